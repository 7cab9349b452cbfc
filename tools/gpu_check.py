#!/usr/bin/env python
"""Check clasp_mm on this machine's GPU; ``--help`` lists the stages. Needs the clone."""

from clasp_mm.cli import tool

if __name__ == '__main__':
    tool('benchmarks.gpu_check.command')
