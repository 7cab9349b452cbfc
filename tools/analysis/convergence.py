#!/usr/bin/env python
"""The same as ``clasp analyse convergence``; ``--help`` tells the rest."""

from clasp_mm.cli import tool

if __name__ == '__main__':
    tool('analyse convergence')
