"""Tables of labels as CSV files."""

import csv
import io
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

from clasp_mm.utils.files import read_text


def read_table(path: Path, needed: Iterable[str]
               ) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a CSV file with a header; spaces around names and cells are stripped.

    Args:
        path: The file.
        needed: Columns that it must have.

    Returns:
        The columns, and of each row its line and its cells by column, where a missing cell is
        empty.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=''))
    columns = [name.strip() for name in next(reader, ())]
    if missing := set(needed) - set(columns):
        raise ValueError(f'{path} has no column {", ".join(sorted(missing))}; it has '
                         f'{", ".join(columns) or "none"}')
    return columns, [
        (reader.line_num, {name: (cell or '').strip() for name, cell in zip_longest(
            columns, cells[:len(columns)])}) for cells in reader if cells]
