"""``python -m clasp_mm``: the same as the ``clasp`` command."""

import sys

from .cli import main

if __name__ == '__main__':
    sys.exit(main())
