"""The ``clasp`` command: a table of verbs, each a module imported only when called.

A verb's module has ``add_arguments(parser)`` and ``run(args) -> int | None`` (the exit code). Its
docstring is its help, ``EPILOG`` (where there is one) stands below the options. It imports nothing
heavy before ``run``. The files of ``tools/`` are the same verbs under OpenMMLab's names.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from clasp_mm.utils.names import did_you_mean
from clasp_mm.version import __version__

from .options import USER_ERRORS, import_from_clone, set_device

# verb -> its module here, or a group of verbs; '' is what the group is about
VERBS: dict[str, Any] = {
    '': 'CLIP-guided self-supervised pretraining for people in images.',
    'quickstart': 'quickstart',
    'train': 'train',
    'test': 'test',
    'estimate': 'estimate',
    'demo': 'demo',
    'embed': 'embed',
    'search': 'search',
    'data': {
        '': 'Draw people, or see whether a data set lies as the configs expect it.',
        'draw': 'data_draw',
        'check': 'data_check',
        'arrange': 'data_arrange',
    },
    'label': {
        '': 'Pseudo-labels of CLIP: make them, judge them, score them.',
        'make': 'label_make',
        'report': 'label_report',
        'zero-shot': 'label_zero_shot',
    },
    'analyse': {
        '': 'Tables and figures of the paper, of your models and data.',
        'prompt': 'analyse_prompt',
        'conflict': 'analyse_conflict',
        'cost': 'analyse_cost',
        'convergence': 'analyse_convergence',
        'experts': 'analyse_experts',
        'tsne': 'analyse_tsne',
        'branching': 'analyse_branching',
        'ranked': 'analyse_ranked',
        'calibrate': 'analyse_calibrate',
        'run': 'analyse_run',
    },
    'export': 'export',
    'publish': 'publish',
    'compare': 'compare',
    'zoo': {
        '': 'The models that there are.',
        'list': 'zoo_list',
        'pages': 'zoo_pages',
    },
    'downstream': 'downstream',
    'ablation': 'ablation',
    'mini-clip': 'mini_clip',
    'benchmark': 'benchmark',
    'doctor': 'doctor',
    'install': 'install',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the verb that ``argv`` names (default: the command line); return its exit code.

    0 is success, 1 a failure that was told in one line, 130 an interruption; a wrong command line
    ends the program with 2.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    node, prog = VERBS, 'clasp'
    while isinstance(node, dict):
        word = words.pop(0) if words else '--help'
        if word in ('-h', '--help'):
            print(_listing(node, prog))
            return 0
        if word == '--version' and node is VERBS:
            print(f'clasp_mm {__version__}')
            return 0
        if not word or word not in node:
            names = [name for name in node if name]
            print(f'{prog}: no verb {word!r}{did_you_mean(word, names) or "."} There are '
                  f'{", ".join(names)}.', file=sys.stderr)
            raise SystemExit(2)
        node, prog = node[word], f'{prog} {word}'
    return _call(_module(node), prog, words)


def tool(verb: Any, **defaults: Any) -> None:
    """Run a verb as a file of ``tools/``: under the file's name, and a failure ends the program.

    Args:
        verb: As on the command line (``'data draw'``), a module that stands beside the package
            (``'benchmarks.scale_check'``), or what has the parts of a verb's module.
        defaults: What the file knows beside the command line.

    Raises:
        SystemExit: The verb has an exit code, or failed.
    """
    prog = sys.argv[0].replace('\\', '/').rsplit('/', 1)[-1]
    if isinstance(verb, str):
        try:
            verb = _named(verb)
        except FileNotFoundError as error:
            sys.exit(f'{prog}: {error}')
    code = _call(verb, prog, sys.argv[1:], as_tool=True, **defaults)
    if code is not None:
        sys.exit(code)


def parser_of(verb: Any, prog: str) -> argparse.ArgumentParser:
    """The parser of a verb's module."""
    parser = argparse.ArgumentParser(
        prog=prog, description=verb.__doc__, epilog=getattr(verb, 'EPILOG', None),
        formatter_class=argparse.RawDescriptionHelpFormatter)
    verb.add_arguments(parser)
    return parser


def _call(verb: Any, prog: str, words: Sequence[str], as_tool: bool = False,
          **defaults: Any) -> Any:
    parser = parser_of(verb, prog)
    parser.set_defaults(**defaults)
    args = parser.parse_args(words)
    try:
        set_device(args)
        code = verb.run(args)
    except argparse.ArgumentError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        code = 130
    except USER_ERRORS as error:
        if getattr(error, 'of_the_work', False):  # see options.work
            raise
        said = f'{prog}: {error}' if str(error) else f'{prog}: {type(error).__name__}'
        if as_tool:
            raise SystemExit(said) from error
        print(said, file=sys.stderr)
        code = 1
    return code if as_tool else code or 0


def _named(verb: str) -> Any:
    if '.' in verb:
        return import_from_clone(verb)
    node = VERBS
    for word in verb.split():
        node = node[word]
    return _module(node)


def _module(name: str) -> Any:
    return import_module(f'clasp_mm.cli.{name}')


def _listing(node: dict[str, Any], prog: str) -> str:
    """The help of a group: its verbs with the first line of their own help."""
    lines = [f'usage: {prog} VERB ...', '', node[''], '']
    for name, inside in node.items():
        if name:
            told = inside[''] if isinstance(inside, dict) else _module(inside).__doc__
            lines.append(f'  {name:12} {told.splitlines()[0]}')
    return '\n'.join([*lines, '', f'`{prog} VERB --help` tells the rest.'])
