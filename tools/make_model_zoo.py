#!/usr/bin/env python
"""Write model_zoo.md and the tables of the families' READMEs from the metafiles."""

import argparse
import sys
from pathlib import Path

from clasp_mm.utils.files import replacing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing; fail if they differ')
    parser.add_argument('--costs', action='store_true', help='first count parameters and FLOPs of '
                        'every config anew, into the metafiles (minutes)')
    parser.add_argument('--zoo', type=Path, metavar='FOLDER', help='instead write README.md of a '
                        'folder with published models and their metafile')
    args = parser.parse_args()
    from clasp_mm.zoo.pages import folder_page, zoo_pages  # slow
    root = Path(__file__).resolve().parents[1]
    try:
        if args.costs:
            from clasp_mm.zoo.costs import count_costs
            count_costs(root)
        pages = {args.zoo / 'README.md': folder_page(args.zoo)} if args.zoo else zoo_pages(root)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'make_model_zoo.py: {error}')
    old = [path for path, text in pages.items()
           if not path.is_file() or path.read_text(encoding='utf-8') != text]
    if args.check and old:
        sys.exit(f'{", ".join(str(path) for path in old)} differ from the '
                 'metafiles: run python tools/make_model_zoo.py')
    for path in old:
        with replacing(path) as partial:
            partial.write_text(pages[path], encoding='utf-8')


if __name__ == '__main__':
    main()
