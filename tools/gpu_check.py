#!/usr/bin/env python
"""Check clasp_mm on this machine's GPU; ``--help`` lists the stages. Needs the clone."""

import sys
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from benchmarks.gpu_check.command import main as run
    run()


if __name__ == '__main__':
    main()
