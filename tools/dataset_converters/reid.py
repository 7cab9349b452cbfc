#!/usr/bin/env python
"""The same as ``clasp data check reid``."""

from clasp_mm.cli import tool
from clasp_mm.cli.converters import Converter

if __name__ == '__main__':
    tool(Converter('reid'))
