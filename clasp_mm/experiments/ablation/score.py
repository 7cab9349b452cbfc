"""Score one trained row, in a process of its own.

``python -m clasp_mm.experiments.ablation.score FILE``
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from clasp_mm.analysis.task_conflict import System, measure_system
from clasp_mm.evaluation.frozen.people import Scored
from clasp_mm.evaluation.frozen.tasks import SEMANTIC_WEIGHTS, TASK_PROMPTS, evaluate_tasks
from clasp_mm.evaluation.functional import harmonic_mean
from clasp_mm.models.backbones import SemanticSwin
from clasp_mm.models.layers import TASKS
from clasp_mm.models.weights.swin import load_backbone
from clasp_mm.registry import MODELS
from clasp_mm.synthetic import load_ground_truth
from clasp_mm.utils.device import pick_device
from clasp_mm.utils.files import read_json, read_logs, replacing, write_json


def score_row(config: Path, checkpoint: Path | None, seed: int, data: Path,
              wrong_prompts: bool, size: tuple[int, int], batches: int
              ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """All that a table may show of a row.

    Args:
        config: The row's resolved config.
        checkpoint: Its last checkpoint; None for random weights of this seed.
        seed: Of the row.
        data: Folder with ``train``, ``held_out`` and ``scenes``.
        wrong_prompts: Score every task under each single prompt too.
        size: (H, W) of the crops.
        batches: Over which conflict is measured.

    Returns:
        ``scores`` (metric -> percent, ``HM`` among them), ``gcr``, ``ead`` and ``expert_use``
        (T, S, n) (None where not defined), ``parameters`` of the backbone, ``step_seconds`` (median
        of the last epoch, None without training), ``under_prompt`` (prompt -> scores; empty unless
        asked for). And the sums of each metric over what was scored, ``METRIC`` -> (U, F), and
        ``PROMPT/METRIC`` under each prompt.
    """
    cfg = Config.fromfile(config)
    torch.manual_seed(seed)
    backbone = MODELS.build({**cfg.model.backbone, 'out_indices': (0, 1, 2, 3), 'init_cfg': None})
    backbone.init_weights()
    if checkpoint is not None:
        load_backbone(backbone, checkpoint)
    backbone.to(pick_device()).eval()
    train, held_out = (load_ground_truth(data / name) for name in ('train', 'held_out'))

    def evaluate(prompts: Mapping[str, Any]) -> Scored:
        return evaluate_tasks(backbone, train, held_out, data / 'scenes', size, prompts)

    prompted = getattr(backbone, 'has_moe', False)
    prompts = (SEMANTIC_WEIGHTS if isinstance(backbone, SemanticSwin) else
               TASK_PROMPTS if prompted else dict.fromkeys(TASK_PROMPTS))
    scores, sums = evaluate(prompts)
    scores['HM'] = harmonic_mean(scores['mAP'], scores['mIoU'])
    conflict: Mapping[str, Any] = {}
    if checkpoint is not None:
        conflict = measure_system(System('', str(config), checkpoint), batches, seed)
    under_prompt = {}
    for task in TASKS if wrong_prompts and prompted else ():
        under_prompt[task], more = evaluate(dict.fromkeys(TASK_PROMPTS, task))
        sums |= {f'{task}/{key}': value for key, value in more.items()}
    return dict(
        scores=scores,
        **{key: conflict.get(key) for key in ('gcr', 'ead', 'gcr_of', 'expert_use')},
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        step_seconds=None if checkpoint is None else step_seconds(checkpoint.parent),
        under_prompt=under_prompt), sums


def step_seconds(folder: Path) -> float:
    """Median time of a training step over the last logged quarter of a run, loading left out."""
    times = [row['time'] - row.get('data_time', 0) for row in read_logs(folder)
             if 'time' in row and 'loss' in row]
    return float(np.median(times[-max(1, len(times) // 4):]))


def sums_file(result: str | Path) -> Path:
    """Where the sums of a result are."""
    return Path(result).with_suffix('.npz')


def main() -> None:
    """Score the row that a file of :mod:`.run` describes."""
    job = read_json(sys.argv[1])
    result, sums = score_row(
        Path(job['config']), job['checkpoint'] and Path(job['checkpoint']), job['seed'],
        Path(job['data']), job['wrong_prompts'], tuple(job['size']), job['batches'])
    with replacing(sums_file(job['out'])) as partial, open(partial, 'wb') as file:
        np.savez_compressed(file, **sums)
    write_json(job['out'], {**result, 'job': job})


if __name__ == '__main__':
    main()
