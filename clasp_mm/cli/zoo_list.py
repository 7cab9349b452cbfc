"""Names of the models that there are: the library's, of zoo/, and of the folder CLASP_ZOO."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('pattern', nargs='?', default='*',
                        help='of the names, with wildcards; anything may follow')
    parser.add_argument('--task', help='that the models are for, or have results of')
    parser.add_argument('--licence', help="terms of their data, with wildcards, as 'CC BY*'")
    parser.add_argument('--published', action='store_true', help='only those with weights')
    parser.add_argument('--json', action='store_true', help='print JSON in place of lines')


def run(args: argparse.Namespace) -> None:
    import json

    from clasp_mm.zoo.index import list_models
    names = list_models(args.pattern, args.task, args.licence, args.published)
    if not names and not args.json:
        raise ValueError(f'no such model ({args.pattern}): a name begins with the pattern; "*reid" '
                         'finds it anywhere')
    print(json.dumps(names, indent=1) if args.json else '\n'.join(names))
