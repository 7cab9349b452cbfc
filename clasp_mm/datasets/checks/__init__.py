"""What is missing or wrong in a data set as it was downloaded."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from clasp_mm.utils.files import printable


@dataclass
class CheckReport:
    """Facts to compare with the data set's own numbers, and problems to solve.

    Attributes:
        facts: What is there, one line each.
        problems: What is missing or wrong, one line each.
    """

    facts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def first(self, what: str, cases: Sequence, count: int = 3) -> None:
        """Add one problem for all ``cases``, if there are any, and name the first of them."""
        if cases:
            shown = ', '.join(map(str, cases[:count])) + (', ...' if len(cases) > count else '')
            self.problems.append(f'{len(cases)} {what}: {shown}')

    def __str__(self) -> str:
        lines = [f'  ok       {fact}' for fact in self.facts]
        lines += [f'  PROBLEM  {problem}' for problem in self.problems]
        return printable('\n'.join(lines))
