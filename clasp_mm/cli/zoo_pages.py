"""Write model_zoo.md and the tables of the families' READMEs from the metafiles."""

import argparse
from pathlib import Path

from .options import find_clone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--check', action='store_true', help='write nothing; fail if they differ')
    parser.add_argument('--costs', action='store_true', help='first count parameters and FLOPs of '
                        'every config anew, into the metafiles (minutes)')
    parser.add_argument('--zoo', type=Path, metavar='FOLDER', help='instead write README.md of a '
                        'folder with published models and their metafile')
    parser.set_defaults(root=None)


def run(args: argparse.Namespace) -> None:
    """Write the pages that differ.

    Raises:
        ValueError: With ``--check``, where some do.
    """
    from clasp_mm.utils.files import write_text
    from clasp_mm.zoo.pages import count_costs, folder_page, zoo_pages
    if args.costs or not args.zoo:
        root = args.root or find_clone('the zoo whose pages are written')
    if args.costs:
        count_costs(root)
    pages = {args.zoo / 'README.md': folder_page(args.zoo)} if args.zoo else zoo_pages(root)
    old = [path for path, text in pages.items()
           if not path.is_file() or path.read_text(encoding='utf-8') != text]
    if args.check and old:
        raise ValueError(f'{", ".join(str(path) for path in old)} differ from the metafiles: run '
                         'clasp zoo pages')
    for path in old:
        write_text(path, pages[path])
