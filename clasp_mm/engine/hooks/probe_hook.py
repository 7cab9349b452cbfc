"""Scores the teacher on a labelled folder while it trains."""

import logging
import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from clasp_mm.datasets.images import read_images, resize_images, warn_unreadable
from clasp_mm.datasets.labelled_folder import LabelledFolder
from clasp_mm.evaluation.probes.classes import knn_accuracy, linear_accuracy
from clasp_mm.registry import HOOKS

from .algorithm_hook import ends_epoch, unwrapped_model


@HOOKS.register_module()
class ProbeHook(Hook):
    """Nearest neighbours and a linear classifier on the teacher's pooled features.

    A folder with a sub-folder of images for every class; every fourth image of a class is scored,
    the others are learnt from. Images are shared among the processes. Logs ``probe/knn`` and
    ``probe/linear``, percent, to the log, the message hub and the visualizer. Training is the same
    with and without this hook.

    Args:
        data_root: The folder.
        interval: Epochs between two probes; also after the last.
        knn_k: Neighbours; 0 leaves this probe out.
        linear: Whether to fit the linear classifier.
        size: (H, W) in pixels to which images are brought.
        task: Prompt under which features are taken; by default the algorithm's own.
        batch_size: Images in a forward.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, data_root: str, interval: int = 1, knn_k: int = 20, linear: bool = True,
                 size: Sequence[int] = (256, 128), task: str | None = None,
                 batch_size: int = 64) -> None:
        if interval < 1 or knn_k < 0 or not (knn_k or linear):
            raise ValueError('ProbeHook needs interval >= 1 and a probe (knn_k > 0 or linear=True)'
                             f', got interval={interval}, knn_k={knn_k}, linear={linear}')
        self.folder = LabelledFolder.read(data_root)
        self.rows = self.folder.split()
        self.interval = interval
        self.knn_k = knn_k
        self.linear = linear
        self.size = tuple(size)
        self.task = task
        self.batch_size = batch_size

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        """Probe after the last step of an epoch at the interval."""
        if not ends_epoch(runner, self.interval):
            return
        model = unwrapped_model(runner)
        features, known = self.embed(model)
        if not is_main_process():
            return
        scores = {f'probe/{name}': value
                  for name, value in self.score(features, known).items()}
        runner.message_hub.update_scalars(scores)
        runner.visualizer.add_scalars(scores, step=runner.iter + 1)
        text = ', '.join(f'{name} {value:.1f} %' for name, value in scores.items())
        runner.logger.info(f'Probes on {known.sum()} images of {len(self.folder.classes)} '
                           f'classes: {text}')

    @torch.no_grad()
    def embed(self, model: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
        """Pooled features (N, C) of all images, and which of them could be read, (N,) bool."""
        number, rank, world = len(self.folder.paths), get_rank(), get_world_size()
        share = math.ceil(number / world)
        own = range(rank * share, min((rank + 1) * share, number))
        found: dict[int, np.ndarray] = {}
        unreadable: list[str] = []
        task = model.task if self.task is None else self.task
        readable = read_images(self.folder.paths[own.start:own.stop], unreadable)
        while read := list(islice(readable, self.batch_size)):
            places, images = zip(*read, strict=True)
            batch = [resize_images(images, self.size).flip(1)]  # the preprocessor takes BGR
            batch = model.data_preprocessor(dict(inputs=batch, data_samples=None))['inputs']
            pooled = model.teacher.backbone(batch[0], task)[-1].mean((2, 3)).float().cpu()
            found.update(zip(np.add(places, own.start).tolist(), pooled.numpy(), strict=True))
        gathered: list[tuple[dict[int, np.ndarray], list[str]]] = all_gather_object(
            (found, unreadable))
        everything = {row: feature for part, _ in gathered for row, feature in part.items()}
        warn_unreadable([fault for _, faults in gathered for fault in faults], number)
        features = np.zeros((number, len(next(iter(everything.values()), ()))), np.float32)
        for row, feature in everything.items():
            features[row] = feature
        return features, np.isin(np.arange(number), list(everything))

    def score(self, features: np.ndarray, known: np.ndarray) -> dict[str, float]:
        """Accuracies in percent, of features (N, C) of which some are known, (N,) bool.

        NaN without an image to learn from or to score that is known; the log says so.
        """
        train, val = (rows[known[rows]] for rows in self.rows)
        if not len(train) or not len(val):
            print_log(f'{len(train)} images to learn from and {len(val)} to score could be read of '
                      f'{self.folder.paths[0]} and the others: the probes are NaN',
                      logger='current', level=logging.WARNING)
            return dict.fromkeys(['knn'] * bool(self.knn_k) + ['linear'] * self.linear, math.nan)
        labels = self.folder.labels
        data = features[train], labels[train], features[val], labels[val]
        scores = {}
        if self.knn_k:
            scores['knn'] = knn_accuracy(*data, k=self.knn_k)
        if self.linear:
            scores['linear'] = linear_accuracy(*data)
        return scores
