"""What is missing or wrong in a data set as it was downloaded."""

from .check_report import CheckReport

__all__ = ['CheckReport']
