"""The pages and READMEs whose blocks are run as they stand."""

import re
from pathlib import Path
from typing import NamedTuple

from tests.source_tree import ROOT

PAGES = [ROOT / 'README.md', *sorted(path for path in (ROOT / 'docs').rglob('*.md')
                                      if '_build' not in path.parts)]


class Block(NamedTuple):
    """What stands between fences of a page."""

    page: Path
    number: int
    language: str
    code: str

    @property
    def name(self) -> str:
        return f'{self.page.relative_to(ROOT)}:{self.number}'

    @property
    def is_config(self) -> bool:
        return self.code.startswith('_base_ =')


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    found = re.findall(r'(?m)^```([\w{}-]+)\n(.*?)^```$', page.read_text('utf-8'), re.DOTALL)
    return [Block(page, i, language, code) for i, (language, code) in enumerate(found, 1)]
