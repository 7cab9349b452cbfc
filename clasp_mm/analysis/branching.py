"""What it costs in quality, and saves in time, to compute several tasks in one pass."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clasp_mm.datasets.inputs import statistics
from clasp_mm.evaluation.frozen.people import evaluate_backbone
from clasp_mm.models import PCMoESwin
from clasp_mm.models.backbones.branched import forward_tasks, stage_tasks
from clasp_mm.models.layers import TASKS
from clasp_mm.synthetic import GroundTruth
from clasp_mm.utils.tables import markdown_table
from clasp_mm.utils.timing import interleaved

SCORES = ('mAP', 'rank1', 'mIoU', 'mA')


class Branched(nn.Module):
    """A backbone that sees each task's maps as one pass of all tasks gives them.

    Args:
        backbone: Backbone with a PC-MoE.
        branch_stage: Stage where the tasks branch, as
            :func:`~clasp_mm.models.backbones.branched.forward_tasks` takes it; the number of stages
            for no branch at all.
    """

    def __init__(self, backbone: PCMoESwin, branch_stage: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.branch_stage = branch_stage
        self.mean, self.std = statistics(backbone)

    def forward(self, x: Tensor, task: str) -> tuple[Tensor, ...]:
        """Maps of images (B, 3, H, W) for a task."""
        return self.backbone(x, stage_tasks(self.backbone, task, self.branch_stage, TASKS))


def pass_times(backbone: PCMoESwin, images: Tensor, repeats: int = 7) -> dict[int | None, float]:
    """Median seconds of all tasks on (B, 3, H, W): by separate passes (None), by branch stage."""
    calls: dict[Any, Any] = {None: lambda: [backbone(images, task) for task in TASKS]}
    for stage in range(backbone.num_stages):
        calls[stage] = lambda stage=stage: forward_tasks(backbone, images, TASKS, stage)
    with torch.inference_mode():
        times = interleaved(calls, repeats, device=images.device)
    return {way: timing.seconds for way, timing in times.items()}


def branch_table(backbone: PCMoESwin, train: GroundTruth, held_out: GroundTruth,
                 size: tuple[int, int], repeats: int = 7, batch_size: int = 32
                 ) -> list[dict[str, Any]]:
    """Scores of frozen features and time, of separate passes and of each branch stage.

    Args:
        backbone: Backbone in evaluation mode, all stages put out.
        train: Synthetic people that the probes learn on.
        held_out: Others, which are scored; see
            :func:`~clasp_mm.evaluation.frozen.people.evaluate_backbone`.
        size: (H, W) of the input.
        repeats: Rounds whose median time counts.
        batch_size: Images in a timed pass.

    Returns:
        For each way ``branch_stage`` (None: separate passes), ``seconds`` of a batch for all
        tasks, ``time`` as a share of separate passes', and the scores in percent. The exact pass
        has the scores of separate passes by definition and is not scored again.
    """
    times = pass_times(backbone, torch.randn(batch_size, 3, *size), repeats)
    rows, scores = [], {}
    for stage, seconds in times.items():
        if stage != 0:
            branched = Branched(backbone, stage or 0)
            found = evaluate_backbone(branched, train, held_out, size).scores
            scores = {name: found[name] for name in SCORES}
        rows.append(dict(branch_stage=stage, seconds=seconds, time=seconds / times[None], **scores))
    return rows


def format_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of :func:`branch_table` as a Markdown table."""
    names = {None: 'separate passes', 0: '0, exact'}
    return markdown_table(['tasks branch at stage', 'time', *SCORES], [
        [names.get(row['branch_stage'], row['branch_stage']), f'{row["time"]:.2f}',
         *(f'{row[score]:.1f}' for score in SCORES)] for row in rows])
