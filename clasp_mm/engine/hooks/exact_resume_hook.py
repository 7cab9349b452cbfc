"""A resumed run is the run that was interrupted."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler

from clasp_mm.models.weights.coverage import check_finite, state_faults
from clasp_mm.registry import HOOKS
from clasp_mm.utils.config_text import config_differences

from .algorithm_hook import unwrapped_model


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Makes the losses after a resume those of the run in one go, bit by bit on the CPU.

    * Before each iteration torch's draws (drop path, gate noise) are seeded from the run's seed,
      the rank and the iteration.
    * An epoch that was broken off goes on behind the images it has seen, where the sampler is one
      of clasp_mm's; ``clasp_mm.ResumableSampler`` also settles the draws of the augmentation. The
      checkpoint says how many images that is, so batch size and number of processes may change:
      iterations are then counted as if the whole run had had the new ones, and the schedules by
      iterations of an epoch go on from the same share of theirs.
    * The checkpoint must have the model's tensors, all finite. MMEngine would only warn and train
      on from a mixture. The settings that differ from those it was saved with are logged.
      ``load_from``, which starts anew, must give the whole backbone; the rest may differ.

    With gradient accumulation a checkpoint must fall on an optimizer step: MMEngine does not save
    gradients.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._start = 0  # images of the next epoch that a resumed run passes over
        self._offset = 0  # images of this epoch seen, less those of all iterations of the run
        self._epoch = 0  # that is trained or was last; a save after validation is behind it

    def before_train_epoch(self, runner: Runner) -> None:
        batches = runner.train_dataloader.batch_sampler
        start, self._start = self._start, 0
        if hasattr(batches.sampler, 'start'):
            batches.sampler.start = start
        self._offset = start - runner.iter * _global_batch(batches)
        self._epoch = runner.epoch

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        key = np.random.SeedSequence((runner.seed, get_rank(), runner.iter))
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0]))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save the settings as plain data, and the place in the order of the images."""
        meta, loader = checkpoint['meta'], runner.train_dataloader
        batch = _global_batch(loader.batch_sampler)
        meta['settings'] = json.dumps(runner.cfg.to_dict(), default=str)
        meta['sampler_seed'] = getattr(loader.batch_sampler.sampler, 'seed', None)
        meta['place'] = dict(
            images=self._offset + meta['iter'] * batch if meta['epoch'] == self._epoch else 0,
            global_batch=batch, epoch_length=len(loader))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check what a run resumes from or starts with.

        Raises:
            ValueError: The checkpoint does not fit the model, or holds NaN; names the tensors and
                the settings that differ. Or its optimizer has other groups of parameters. Or
                ``load_from`` lacks tensors of the backbone, or has none of the model's.
        """
        if not runner._resume:
            if isinstance(runner._train_loop, BaseLoop):  # a test's weights are checked before
                _check_start(checkpoint, runner)
            return
        meta = checkpoint['meta']
        meta.pop('config', None)  # MMEngine would run its text as Python
        saved = json.loads(meta.get('settings', 'null'))
        changes = [] if saved is None else config_differences(runner.cfg.to_dict(), saved)
        told = ''.join(f'\n  {change}' for change in changes)
        if faults := state_faults(checkpoint['state_dict'], unwrapped_model(runner)):
            raise ValueError(
                f'cannot resume: {"; ".join(faults)}.'
                + (f' The config is not the one of the checkpoint:{told}' if told else ''))
        check_finite(checkpoint['state_dict'], 'cannot resume: the checkpoint')
        _check_groups(checkpoint, runner)
        if told:
            runner.logger.warning(f'resumed with another config than it was saved with:{told}')
        if meta.get('sampler_seed') is not None:
            runner.train_dataloader.batch_sampler.sampler.seed = meta['sampler_seed']
        self._find_place(runner, checkpoint)

    def _find_place(self, runner: Runner, checkpoint: dict) -> None:
        """Set where the epoch goes on, and count iterations by its present length."""
        meta, loader = checkpoint['meta'], runner.train_dataloader
        batches, epoch, length = loader.batch_sampler, meta['epoch'], len(loader)
        batch = old_batch = _global_batch(batches)
        images, old_length = None if meta['iter'] != epoch * length else 0, length
        if place := meta.get('place'):
            images, old_batch, old_length = (
                place[name] for name in ('images', 'global_batch', 'epoch_length'))
        if isinstance(runner.train_loop, IterBasedTrainLoop):  # MMEngine passes over its batches
            if old_batch != batch:
                runner.logger.warning(
                    f'iteration {meta["iter"]} of {old_batch} images each is another place than '
                    f'that of {batch}: images are left out or come again')
            return
        sampler = batches.sampler
        if place and meta['iter'] >= (epoch + 1) * old_length:
            images = len(sampler) * get_world_size()  # with what drop_last left out
        if images != 0 and not (images and hasattr(sampler, 'start')):
            runner.logger.warning(
                f'epoch {epoch + 1} starts anew, not behind the images it has seen: for that '
                'clasp_mm.ExactResumeHook must run, and train_dataloader.sampler be '
                'clasp_mm.ResumableSampler')
            images = 0
        left = length
        if images:
            self._start = sampler.start = images
            rounding = math.floor if batches.drop_last else math.ceil
            left = rounding(sampler.remaining / batches.batch_size)
        saved, meta['iter'] = meta['iter'], (epoch + 1) * length - left
        meta['saved'] = dict(step=saved, epoch_length=old_length)  # for RunRecordHook
        if (old_batch, old_length) != (batch, length):
            _stretch(checkpoint.get('param_schedulers'), runner.param_schedulers,
                     old_length, length, meta['iter'])
            runner.logger.warning(
                f'an epoch had {old_length} iterations of {old_batch} images, now it has {length} '
                f'of {batch}: epoch {epoch + 1} goes on behind {images} images, as iteration '
                f'{meta["iter"]} of the run. The learning rate stays that of the checkpoint')


def _check_start(checkpoint: Mapping, runner: Runner) -> None:
    """Refuse weights that are not the backbone's, from which MMEngine would train on."""
    model = unwrapped_model(runner)
    own = model.state_dict()
    state = {name.removeprefix('module.'): value for name, value in
             checkpoint.get('state_dict', checkpoint).items()}
    lacking = [name for name, value in own.items()
               if name not in state or not _loads(name, state[name].shape, value.shape)]
    if len(lacking) == len(own) or any('backbone' in name.split('.') for name in lacking):
        raise ValueError(
            f'load_from={runner._load_from} has {len(own) - len(lacking)} of the {len(own)} tensors'
            f' of {type(model).__name__} and must have all of its backbone: '
            f'{"; ".join(state_faults(state, model))}. Give a checkpoint of this network, or load '
            "a backbone alone by model.backbone.init_cfg=dict(type='clasp_mm.Pretrained', "
            'checkpoint=...)')


def _loads(name: str, given: torch.Size, own: torch.Size) -> bool:
    """Whether a tensor fits; bias tables of another window are resized, heads stay."""
    return given == own or (
        name.endswith('relative_position_bias_table') and given[1:] == own[1:])


def _check_groups(checkpoint: Mapping, runner: Runner) -> None:
    """Refuse an optimizer's state of other groups, whose schedules would be those of others too."""
    saved = checkpoint.get('optimizer', {}).get('param_groups')
    if saved is None:
        return
    own = runner.optim_wrapper.optimizer.param_groups  # the wrapper's hold one more, for the log
    sizes = [[len(group['params']) for group in groups] for groups in (saved, own)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f'cannot resume: the optimizer of the checkpoint has {len(saved)} groups of '
            f'{sum(sizes[0])} parameters, this one {len(own)} of {sum(sizes[1])}: '
            'optim_wrapper.constructor or paramwise_cfg is another, or the version of clasp_mm. '
            'Resume with those, or start anew from its weights by load_from')


def _global_batch(batches: BatchSampler) -> int:
    return batches.batch_size * get_world_size()


def _stretch(states: list | dict | None, schedulers: list | dict | None, old: int, new: int,
             iteration: int) -> None:
    """Set schedules made from epochs of ``old`` iterations to ``iteration`` of epochs of ``new``.

    Their values are not touched: the share of the schedule that is over is the same.
    """
    if isinstance(schedulers, dict):
        for name in schedulers:
            _stretch(states[name], schedulers[name], old, new, iteration)
        return
    for state, scheduler in zip(states or (), schedulers or (), strict=False):
        if not scheduler.by_epoch and state['end'] * new == scheduler.end * old:
            last = min(iteration, scheduler.end - 1) - scheduler.begin
            values = {name: state[name] for name in ('base_values', '_last_value')}
            state.clear()
            state.update(values, _global_step=iteration, last_step=max(last, -1))
