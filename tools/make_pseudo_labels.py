#!/usr/bin/env python
"""The same as ``clasp label make``; ``--help`` tells the rest."""

from clasp_mm.cli import tool

if __name__ == '__main__':
    tool('label make')
