"""Calibrate a model of re-identification, and let it decide."""

import os
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from clasp_mm.compat import load_file
from clasp_mm.datasets.images import read_image
from clasp_mm.datasets.labelled_folder import LabelledFolder
from clasp_mm.evaluation.functional.verification import Verification, verify
from clasp_mm.models.weights.find import find_weights
from clasp_mm.utils.files import replacing

from .reid import embed_files, load, predict


class Match(NamedTuple):
    """Answer of :func:`match`.

    Attributes:
        answer: ``'same'``, ``'different'`` or ``'unsure'``.
        similarity: Cosine of the features.
        low: Below it two images are of different people.
        high: From it on they are of one.
    """

    answer: str
    similarity: float
    low: float
    high: float


def calibrate(config: str | os.PathLike, checkpoint: str | os.PathLike,
              folder: str | os.PathLike, out: str | os.PathLike,
              false_match_rate: float = 1e-3, device: str | torch.device | None = None
              ) -> Verification:
    """Find a model's threshold on labelled people and store it with its weights.

    Args:
        config: Config of the model, or its name in the zoo.
        checkpoint: Checkpoint of its training, or published, or its name in the zoo.
        folder: One folder of images (a tracklet) for each person; not of people trained on. Images
            that cannot be read are left out, counted and named.
        out: Checkpoint to write: the weights, and the result in its ``meta``.
        false_match_rate: Share of pairs of different people that may be taken as one.
        device: Where the model runs; by default on the GPU where there is one.

    Raises:
        FileNotFoundError: Config, checkpoint or folder is missing.
        ValueError: Weights or images do not fit; see also
            :func:`~clasp_mm.evaluation.functional.verification.verify`.
    """
    people = LabelledFolder.read(folder)
    checkpoint = find_weights(checkpoint)
    model = load(config, checkpoint, device)
    features, rows = embed_files(model, people.paths)
    found = verify(features, people.labels[rows], false_match_rate)
    meta = load_file(checkpoint).get('meta', {})
    kept = {key: meta[key] for key in ('dataset_meta', 'epoch', 'iter', 'seed') if key in meta}
    with replacing(out) as temporary:
        torch.save(dict(state_dict=model.state_dict(),
                        meta=dict(kept, verification=found.to_dict())), temporary)
    return found


def match(a: np.ndarray | str | os.PathLike, b: np.ndarray | str | os.PathLike,
          model: nn.Module) -> Match:
    """Say whether two images show one person.

    ``'unsure'`` is a similarity within the bootstrap interval of the threshold.

    Args:
        a: File, or (H, W, 3) uint8 BGR.
        b: The other.
        model: :func:`clasp_mm.inferencers.reid.load` of a checkpoint that
            ``clasp analyse calibrate`` wrote.

    Raises:
        ValueError: The model is not calibrated.

    Example:
        >>> from clasp_mm.inferencers import reid
        >>> model = reid.load('reid.py', 'calibrated.pth')
        >>> match('people/0.jpg', 'people/0.jpg', model).answer
        'same'
    """
    known = getattr(model, 'verification', None)
    if known is None:
        raise ValueError('the model has no threshold: calibrate it by '
                         'clasp analyse calibrate and load the checkpoint that it writes')
    images = [read_image(image) if isinstance(image, (str, os.PathLike)) else image
              for image in (a, b)]
    first, second = (result['feature'].astype(np.float64) for result in predict(model, images))
    similarity = float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
    low, high = known['low'], known['high']
    answer = 'same' if similarity >= high else 'different' if similarity < low else 'unsure'
    return Match(answer, similarity, low, high)
