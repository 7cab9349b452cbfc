#!/usr/bin/env python
"""The same as ``clasp data check person_search``."""

from clasp_mm.cli import tool
from clasp_mm.cli.converters import Converter

if __name__ == '__main__':
    tool(Converter('person_search'))
