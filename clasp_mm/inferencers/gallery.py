"""A gallery of people that is searched by image."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from clasp_mm.datasets.images import list_images
from clasp_mm.evaluation.functional.reid_distances import FeatureDistances, as_features
from clasp_mm.utils.files import replacing

from .reid import embed_files

_SPARE = 32  # further candidates, among which float32 may have erred


class Found(NamedTuple):
    """One result of a search.

    Attributes:
        name: Name of the image, relative to the folder of the index.
        distance: Euclidean, between features of unit length: 0 to 2.
    """

    name: str
    distance: float


class ReIDIndex:
    """Features of a folder of people.

    Searches are exact: candidates by products of matrices, whose distances are then computed in
    float64 and rounded to float32; equal ones keep the order of the names.

    Args:
        features: (N, C) of unit length.
        names: Names of the images, relative to ``root``.
        root: Folder of the images.

    Example:
        >>> features = np.eye(3, dtype=np.float32)
        >>> index = ReIDIndex(features, ['a.jpg', 'b.jpg', 'c.jpg'])
        >>> index.search(features[1:2], count=1)
        [[Found(name='b.jpg', distance=0.0)]]
    """

    def __init__(self, features: np.ndarray, names: Sequence[str],
                 root: str | os.PathLike = '') -> None:
        if len(features) != len(names) or not len(names):
            raise ValueError(f'an index needs one name for each feature and at least one image, '
                             f'got {len(features)} features and {len(names)} names')
        self.features = np.ascontiguousarray(features, np.float32)
        as_features('index', self.features, 'cpu')
        self.names, self.root = list(names), str(root)

    @classmethod
    def build(cls, model: nn.Module, folder: str | os.PathLike, progress: bool = True
              ) -> ReIDIndex:
        """Index all images in and below a folder; those that cannot be read are named and skipped.

        Args:
            model: Model of :func:`clasp_mm.inferencers.reid.load`.
            folder: The folder.
            progress: Show a progress bar.

        Raises:
            FileNotFoundError: There is no such folder, or no image in it that can be read.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f'no folder {folder}')
        names = list(list_images(folder))
        if not names:
            raise FileNotFoundError(f'no image in {folder}')
        features, kept = embed_files(model, [folder / name for name in names], progress)
        return cls(features, [names[place] for place in kept], folder.absolute())

    def __len__(self) -> int:
        return len(self.names)

    def search(self, features: np.ndarray, count: int = 10,
               device: str | torch.device | None = None) -> list[list[Found]]:
        """The nearest images of each feature.

        Args:
            features: (Q, C) of unit length.
            count: How many, at most.
            device: Where to compute; by default on the GPU where there is one.

        Raises:
            ValueError: The features have other channels, or are not finite.
        """
        features = np.ascontiguousarray(features, np.float32)
        queries = as_features('query', features, device)
        if features.shape[1] != self.features.shape[1]:
            raise ValueError(f'features of {features.shape[1]} channels in an index of '
                             f'{self.features.shape[1]}: it was built with another model')
        count, candidates = min(count, len(self)), min(count + _SPARE, len(self))
        distances = FeatureDistances(
            queries, as_features('index', self.features, queries.device))
        results = []
        for row in range(len(features)):
            rough = distances.rough(slice(row, row + 1))[0]
            near = np.sort(torch.topk(rough, candidates, largest=False).indices.cpu().numpy())
            exact = distances.exact(np.full(len(near), row), near)
            order = np.argsort(exact, kind='stable')[:count]
            results.append([Found(self.names[near[i]], float(exact[i])**.5) for i in order])
        return results

    def save(self, path: str | os.PathLike) -> None:
        """Write the index to one ``.npz`` file, without pickles."""
        header = json.dumps(dict(names=self.names, root=self.root))
        with replacing(path) as temporary, open(temporary, 'wb') as file:
            np.savez(file, features=self.features, header=np.frombuffer(header.encode(), np.uint8))

    @classmethod
    def load(cls, path: str | os.PathLike) -> ReIDIndex:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged, or no index.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(file['header'].tobytes())
                return cls(file['features'], header['names'], header['root'])
        except FileNotFoundError:
            raise
        except Exception as error:  # NumPy's, zipfile's and zlib's; each part has its CRC-32
            raise ValueError(f'{path} is damaged or no index that ReIDIndex.save wrote '
                             f'({error or type(error).__name__}): build it again') from error
