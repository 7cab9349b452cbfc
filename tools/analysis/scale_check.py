#!/usr/bin/env python
"""Make and measure data of LUPerson's size; ``--help`` tells the rest. Needs the clone."""

from clasp_mm.cli import tool

if __name__ == '__main__':
    tool('benchmarks.scale_check')
