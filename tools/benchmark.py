#!/usr/bin/env python
"""Measure speed and memory against named peers; ``--help`` lists the rows. Needs the clone."""

import sys
from pathlib import Path


def main() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from benchmarks.command import main as run
    run()


if __name__ == '__main__':
    main()
