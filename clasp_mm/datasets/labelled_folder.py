"""A folder of images whose sub-folders are their classes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .images import list_images


class LabelledFolder(NamedTuple):
    """Images of a folder and their classes, in the order of their names.

    Attributes:
        paths: Files.
        labels: (N,) class numbers.
        classes: Names of the classes: the first folder below the root.
    """

    paths: list[str]
    labels: np.ndarray
    classes: list[str]

    @classmethod
    def read(cls, root: str | os.PathLike) -> LabelledFolder:
        """Read the names of all images below ``root/CLASS/``.

        Raises:
            FileNotFoundError: There is no such folder.
            ValueError: There are not two classes with images.
        """
        root = Path(root).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(f'{str(root)!r} is no folder; give one with a sub-folder of '
                                    'images for every class')
        names = [name for name in list_images(root) if '/' in name]
        classes, labels = np.unique([name.split('/')[0] for name in names], return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f'{str(root)!r} holds images of {len(classes)} classes, a probe needs '
                             'two: one sub-folder of images for every class')
        return cls([str(root / name) for name in names], labels, classes.tolist())

    def split(self, every: int = 4) -> tuple[np.ndarray, np.ndarray]:
        """Rows to learn from and rows to score: every fourth image of each class is scored.

        Raises:
            ValueError: No class has that many images.
        """
        held_out = np.sort(np.concatenate([np.flatnonzero(self.labels == label)[every - 1::every]
                                           for label in range(len(self.classes))]))
        if not held_out.size:
            raise ValueError(f'no class has {every} images, none can be held out')
        return np.setdiff1d(np.arange(len(self.labels)), held_out), held_out
