#!/usr/bin/env python
"""The same as ``clasp analyse calibrate``; ``--help`` tells the rest."""

from clasp_mm.cli import tool

if __name__ == '__main__':
    tool('analyse calibrate')
