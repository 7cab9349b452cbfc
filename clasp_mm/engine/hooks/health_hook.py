"""Watches a pretraining run for collapse."""

import math
from typing import Any

import torch
from mmengine.dist import all_gather, all_reduce, is_main_process
from mmengine.runner import Runner
from torch import Tensor

from clasp_mm.evaluation import health
from clasp_mm.evaluation.functional import expert_activation_divergence
from clasp_mm.models.layers import TASKS
from clasp_mm.registry import HOOKS

from .algorithm_hook import AlgorithmHook


@HOOKS.register_module()
class HealthHook(AlgorithmHook):
    """Logs one line, green, amber or red with the likely cause, and the numbers behind it.

    Every ``interval`` steps the teacher sees the first global view of a few images of the batch
    once more, without gradients and without a random number, so that training is the same with and
    without this hook. The statistics of :mod:`clasp_mm.evaluation.health` are over these images of
    all processes. They go to the message hub and the visualizer as ``health/...``; ``status`` is 0
    (green), 1 or 2 (red), ``centre_drift`` the root mean square change of the centre since the last
    look, in teacher temperatures.

    Args:
        interval: Optimizer iterations between two looks.
        num_images: Images of each process that the teacher sees.
        warmup: Iterations in which nothing is worse than amber, at most a tenth of the run:
            targets that say little are normal at the start.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 50, num_images: int = 32, warmup: int = 1000) -> None:
        if interval < 1 or num_images < 2:
            raise ValueError('HealthHook needs interval >= 1 and num_images >= 2, got '
                             f'interval={interval} and num_images={num_images}')
        self.interval = interval
        self.num_images = num_images
        self.warmup = warmup
        self.last_center: Tensor | None = None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        view = [data_batch['inputs'][0][:self.num_images]]
        images = self.model.data_preprocessor(dict(inputs=view, data_samples=None))['inputs'][0]
        stats = self.statistics(images)
        if not is_main_process():
            return
        status, causes = health.judge(stats)
        step = runner.iter + 1
        if status == 'red' and step <= min(self.warmup, runner.max_iters // 10):
            status = 'amber'
            causes = (f'{causes[0]} (normal in the first steps)', *causes[1:])
        scalars = {f'health/{name}': value for name, value in stats.items()}
        scalars['health/status'] = health.STATUS.index(status)
        runner.message_hub.update_scalars(scalars)
        runner.visualizer.add_scalars(scalars, step=step)
        line = f'Health {status}: {"; ".join(causes) or "no sign of collapse"} | {_brief(stats)}'
        (runner.logger.info if status == 'green' else runner.logger.warning)(line)

    @torch.no_grad()
    def statistics(self, images: Tensor) -> dict[str, float]:
        """Statistics of the teacher on preprocessed images (B, 3, H, W), over all processes."""
        model, teacher = self.model, self.model.teacher
        backbone = teacher.backbone
        embedded = backbone.embed(images)
        maps, own_gates = backbone.from_embed(embedded, model.task)
        features = maps[-1].mean((2, 3)).float()
        targets = model.dino_loss.targets(teacher.head(features)[None], model.teacher_temp)
        own, mean = health.target_entropies(targets[0])
        all_reduce(own, 'mean')
        all_reduce(mean, 'mean')
        features = torch.cat(all_gather(features))
        stats = dict(
            effective_rank=health.effective_rank(features), rank_limit=float(min(features.shape)),
            target_entropy=own.item(), mean_target_entropy=health.entropy(mean),
            log_prototypes=math.log(len(mean)), log_images=math.log(len(features)))
        stats['information'] = stats['mean_target_entropy'] - stats['target_entropy']
        if model.dino_loss.centering == 'mean':
            stats['centre_drift'] = self._centre_drift()
        if own_gates:
            stats.update(self._expert_statistics(embedded, own_gates))
        return stats

    def _centre_drift(self) -> float:
        """Root mean square change since the last call, in teacher temperatures; 0 at first."""
        center = self.model.dino_loss.center.float().clone()
        last = center if self.last_center is None else self.last_center
        self.last_center = center
        return ((center - last).square().mean().sqrt() / self.model.teacher_temp).item()

    def _expert_statistics(self, embedded: Any, own_gates: list) -> dict[str, float]:
        backbone = self.model.teacher.backbone
        gates = torch.stack([
            torch.stack([g.gates.mean(0) for g in (
                own_gates if task == self.model.task else backbone.from_embed(embedded, task)[1])])
            for task in TASKS])
        all_reduce(gates, 'mean')
        largest, unused = health.expert_load(gates)
        prompts = [stage.moe.prompts for stage in backbone.stages
                   if stage.moe is not None and stage.moe.prompts is not None]
        return dict(
            prompt_distance=health.prompt_distance(prompts) if prompts else 1.0,
            gate_distance=expert_activation_divergence(gates), largest_expert=largest,
            unused_experts=unused, num_experts=float(gates.shape[-1]))


def _brief(stats: dict[str, float]) -> str:
    parts = [f'rank {stats["effective_rank"]:.1f}/{stats["rank_limit"]:.0f}',
             f'targets {stats["information"]:.2f} nats (H {stats["target_entropy"]:.2f}, mean '
             f'{stats["mean_target_entropy"]:.2f}, log K {stats["log_prototypes"]:.2f})']
    if 'centre_drift' in stats:
        parts.append(f'centre drift {stats["centre_drift"]:.2f}')
    if 'largest_expert' in stats:
        parts.append(f'prompts {stats["prompt_distance"]:.2f} and gates '
                     f'{stats["gate_distance"]:.2f} apart, largest expert '
                     f'{stats["largest_expert"]:.0%}, unused {stats["unused_experts"]:.0%}')
    return ', '.join(parts)
