#!/usr/bin/env python
"""The same as ``clasp zoo pages``; ``--help`` tells the rest."""

from pathlib import Path

from clasp_mm.cli import tool

if __name__ == '__main__':
    tool('zoo pages', root=Path(__file__).resolve().parents[1])
