"""Synthetic people as LIP is kept."""

from __future__ import annotations

import os

from clasp_mm.utils.files import write_text

from ..people import SyntheticPeople
from ..shards import write_picture
from .split import Split, write_split

_LABELS = 'TrainVal_parsing_annotations'


def write_lip(out_dir: str | os.PathLike, split: str, num_images: int, seed: int = 0,
              size: tuple[int, int] = (256, 128), workers: int | None = None,
              progress: bool = True) -> None:
    """Draw crops of single people with part labels, for mmseg's ``LIPDataset``.

    ::

        {split}_images/000000_0000000.jpg
        TrainVal_parsing_annotations/{split}_segmentations/000000_0000000.png
        {split}_id.txt                              one name a line, without suffix

    Labels are 8-bit index PNGs of LIP's classes 0 to 19. No pixel is 255. Every image shows
    another identity.

    Arguments and errors are those of :class:`~.split.Split` and :func:`~.split.write_split`.
    """
    split = Split(out_dir, split, num_images, seed, size)
    owned = (f'{split.name}_images', f'{_LABELS}/{split.name}_segmentations',
             f'{split.name}_id.txt')
    write_split(split, 'lip', owned, _draw, _finish, workers, progress)


def _draw(split: Split, index: int) -> dict:
    record = SyntheticPeople(split.num_images, 1, split.people_seed, split.size)[index]
    name = f'{index:06d}_{record.identity:07d}'
    write_picture(split.out_dir / f'{split.name}_images/{name}.jpg', record.image)
    write_picture(split.out_dir / f'{_LABELS}/{split.name}_segmentations/{name}.png',
                  record.parsing)
    return {'name': name}


def _finish(split: Split, rows: list[dict]) -> None:
    write_text(split.out_dir / f'{split.name}_id.txt',
               ''.join(f'{row["name"]}\n' for row in rows))
