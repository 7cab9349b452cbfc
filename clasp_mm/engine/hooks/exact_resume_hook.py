"""A resumed run is the run that was interrupted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from clasp_mm.registry import HOOKS

# Where a run lies and how it was started may differ; so may this hook's way into the config.
_NOT_COMPARED = frozenset({'work_dir', 'load_from', 'resume', 'launcher', 'experiment_name'})


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Makes the losses after a resume those of the run in one go, bit by bit on the CPU.

    * Before each iteration torch's draws (drop path, gate noise) are seeded from the run's seed,
      the rank and the iteration.
    * An epoch that was broken off goes on behind the images it has seen, where the sampler is
      ``clasp_mm.ResumableSampler``, which also settles the draws of the augmentation.
    * The checkpoint must have the model's tensors, all finite. MMEngine would only warn and train
      on from a mixture. The settings that differ from those it was saved with are logged.

    With gradient accumulation a checkpoint must fall on an optimizer step: MMEngine does not save
    gradients.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Pass over what this epoch has seen."""
        loader = runner.train_dataloader
        seen = runner.iter - runner.epoch * len(loader)
        if not 0 <= seen <= len(loader):
            runner.logger.warning(
                f'iteration {runner.iter} does not lie in epoch {runner.epoch + 1} of '
                f'{len(loader)} iterations: the batch size, the number of processes or of images '
                'was another. The epoch starts anew')
            seen = 0
        if hasattr(loader.sampler, 'start'):
            loader.sampler.start = seen * loader.batch_size
        elif seen:
            runner.logger.warning(
                f'the epoch starts anew, not behind its first {seen} iterations: for that '
                'train_dataloader.sampler must be clasp_mm.ResumableSampler')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed torch's draws of this iteration."""
        key = np.random.SeedSequence((runner.seed, get_rank(), runner.iter))
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save the settings as plain data, and the order of the images."""
        checkpoint['meta']['settings'] = json.dumps(runner.cfg.to_dict(), default=str)
        checkpoint['meta']['sampler_seed'] = getattr(runner.train_dataloader.sampler, 'seed', None)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check what a run resumes from.

        Raises:
            ValueError: The checkpoint does not fit the model, or holds NaN; names the tensors and
                the settings that differ.
        """
        if not runner._resume:
            return
        meta = checkpoint['meta']
        meta.pop('config', None)  # MMEngine would run its text as Python
        saved = json.loads(meta.get('settings', 'null'))
        changes = [] if saved is None else list(
            _differences(saved, json.loads(json.dumps(runner.cfg.to_dict(), default=str))))
        told = ''.join(f'\n  {change}' for change in changes)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        faults = list(_faults(checkpoint['state_dict'], model.state_dict()))
        if faults:
            raise ValueError(
                f'cannot resume: {"; ".join(faults[:8])}{" ..." * (len(faults) > 8)}.'
                + (f' The config is not the one of the checkpoint:{told}' if told else ''))
        if told:
            runner.logger.warning(f'resumed with another config than it was saved with:{told}')
        if meta.get('sampler_seed') is not None:
            runner.train_dataloader.sampler.seed = meta['sampler_seed']


def _faults(saved: Mapping, own: Mapping) -> Iterator[str]:
    """What keeps a state dict from being loaded as it is."""
    for name in {**own, **saved}:
        if name not in saved:
            yield f'{name} is not in the checkpoint'
        elif name not in own:
            yield f'{name} of the checkpoint is not in the model'
        elif saved[name].shape != own[name].shape:
            yield (f'{name} is {list(saved[name].shape)} in the checkpoint, '
                   f'{list(own[name].shape)} in the model')
        elif not saved[name].isfinite().all():
            yield f'{name} of the checkpoint is not finite'


def _differences(saved: Any, own: Any, place: str = '') -> Iterator[str]:
    """Dotted keys that differ, each with both values."""
    if isinstance(saved, Mapping) and isinstance(own, Mapping):
        for key in {**saved, **own}:
            if place or key not in _NOT_COMPARED:
                yield from _differences(saved.get(key), own.get(key),
                                        f'{place}.{key}' if place else key)
    elif saved != own:
        yield f'{place}: {saved!r:.80} then, {own!r:.80} now'
