"""GCR, EAD and HM of trained systems side by side (CLASP, Table XI)."""

import os
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, set_random_seed

from clasp_mm.compat import load_file
from clasp_mm.engine.hooks.task_conflict_hook import first_images
from clasp_mm.engine.launch import load_config
from clasp_mm.evaluation.functional.conflict import (
    expert_activation_divergence,
    gradient_cosines,
    harmonic_mean,
)
from clasp_mm.evaluation.task_conflict import expert_use, task_gradients
from clasp_mm.registry import MODELS
from clasp_mm.utils.device import pick_device
from clasp_mm.utils.tables import markdown_table, number_or_dash


class System(NamedTuple):
    """One row of the table.

    Attributes:
        name: What to call it.
        config: Its pretraining config.
        checkpoint: Its training checkpoint, heads included.
        scores: Re-identification mAP and parsing mIoU, or None.
    """

    name: str
    config: str
    checkpoint: str | os.PathLike
    scores: tuple[float, float] | None = None


def measure_system(system: System, batches: int = 8, seed: int = 0,
                   device: str | torch.device | None = None) -> dict[str, Any]:
    """Conflict in a trained system on augmented batches of its own training data.

    Args:
        system: What to measure.
        batches: Batches over which cosines are pooled and gates are averaged.
        seed: Seed of the batches and their augmentation; on one data set all systems see the same.
        device: Where to compute; by default on the GPU where there is one.

    Returns:
        ``gcr`` and ``ead``, None where not defined: GCR needs two losses, EAD a PC-MoE; ``hm``,
        None without scores; ``gcr_of``, by pair of tasks; ``cosines``, how many were counted;
        ``expert_use``, (T, S, n) nested lists or None.

    Raises:
        ValueError: If the checkpoint is no training checkpoint of the config's model, or
            ``batches`` is below 1.
    """
    if batches < 1:
        raise ValueError(f'at least one batch is needed, got {batches}')
    cfg = load_config(system.config)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(dict(cfg.model, stage1=None))
    content = load_file(system.checkpoint)
    try:
        model.load_state_dict(content.get('state_dict', content))
    except RuntimeError as error:
        raise ValueError(f'{system.checkpoint} is no training checkpoint of {system.config} (a '
                         f'published backbone has no heads to take gradients from): {error}'
                         ) from error
    model.to(pick_device(device))
    model.set_progress(step=1, max_steps=1, epoch=cfg.train_cfg.get('max_epochs', 1))
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=seed)
    set_random_seed(seed)
    pooled: dict[tuple[str, str], list[float]] = {}
    use, seen = None, 0
    for data_batch in islice(loader, batches):
        views, samples = first_images(model, data_batch, len(data_batch['inputs'][0]))
        for pair, layers in gradient_cosines(task_gradients(model, views, samples)).items():
            pooled.setdefault(pair, []).extend(layers.values())
        gates = expert_use(model.backbone, views[0])
        if gates is not None:
            use = gates if use is None else use + gates
        seen += 1
    cosines = [value for values in pooled.values() for value in values]
    return dict(
        name=system.name, gcr=_negative(cosines), cosines=len(cosines), batches=seen,
        ead=None if use is None else expert_activation_divergence(use),
        hm=None if system.scores is None else harmonic_mean(*system.scores),
        gcr_of={' / '.join(pair): _negative(values) for pair, values in pooled.items()},
        expert_use=None if use is None else (use / seen).tolist())


def conflict_table(rows: Sequence[dict[str, Any]]) -> str:
    """The systems as a table in Markdown."""
    pairs = list(dict.fromkeys(pair for row in rows for pair in row['gcr_of']))
    return markdown_table(['system', 'GCR', *(f'GCR {pair}' for pair in pairs), 'EAD', 'HM'], [
        [row['name'], *map(number_or_dash, (
            row['gcr'], *(row['gcr_of'].get(pair) for pair in pairs), row['ead'])),
         number_or_dash(row['hm'], '.2f')] for row in rows])


def _negative(cosines: Sequence[float]) -> float | None:
    return sum(value < 0 for value in cosines) / len(cosines) if cosines else None
