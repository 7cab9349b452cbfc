"""What is missing or wrong in a data set as it was downloaded."""

from .findings import Findings

__all__ = ['Findings']
