"""The analyses of a model, written as a picture, a table and plain data each."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from clasp_mm.engine.checkpoints import last_checkpoint
from clasp_mm.engine.run_report import ANALYSES, write_run_report
from clasp_mm.synthetic import load_ground_truth
from clasp_mm.utils.device import pick_device
from clasp_mm.visualization.analysis import draw_bars, draw_embeddings
from clasp_mm.visualization.analysis_page import write_analysis
from clasp_mm.visualization.figures import draw_expert_use
from clasp_mm.zoo.get_model import get_model
from clasp_mm.zoo.index import PRETRAINING
from clasp_mm.zoo.publish import find_config

from .expert_use import ead_table, expert_use, find_images, summarize_use
from .task_conflict import System, conflict_table, measure_system
from .tsne import agreement_table, tsne_figures


def write_expert_use(backbone: nn.Module, folder: str | os.PathLike, out: Path,
                     size: tuple[int, int], images: int = 640) -> str:
    """Write ``expert_use.png``, ``.json`` and ``.md`` into ``out``.

    The backbone, in evaluation mode and with PC-MoE, is shown at most so many of the folder's
    images, evenly taken, at (H, W).

    Returns:
        The table of EAD by pair of tasks and stage, in Markdown.
    """
    source = find_images(folder)
    taken = np.linspace(0, len(source) - 1, min(images, len(source))).round().astype(int)
    use = expert_use(backbone, source, taken, size)
    summary = dict(images=len(taken), size=list(size), **summarize_use(use))
    return write_analysis(out / 'expert_use', ead_table(summary), summary,
                          {'expert_use': draw_expert_use(use)})


def write_tsne(backbone: nn.Module, people: str | os.PathLike, out: Path, size: tuple[int, int],
               number: int = 12, seed: int = 0) -> str:
    """Write ``t-SNE_whole.png``, ``t-SNE_part.png``, ``t-SNE.json`` and ``.md`` into ``out``.

    ``people`` is a folder of synthetic ones with ground truth; for the others see tsne_figures.

    Returns:
        How well neighbours agree, as a table in Markdown.
    """
    figures = tsne_figures(backbone, load_ground_truth(people), size, number, seed)
    pictures = {f't-SNE_{name}': draw_embeddings(figure['points'], figure['labels'],
                                                f't-SNE of {name} features')
                for name, figure in figures.items()}
    agreement = {name: figure['agreement'] for name, figure in figures.items()}
    return write_analysis(out / 't-SNE', agreement_table(agreement), agreement, pictures)


def write_conflict(systems: Sequence[System], stem: Path, batches: int = 8, seed: int = 0,
                   device: str | torch.device | None = None) -> str:
    """Write GCR, EAD and HM of systems to ``STEM.png``, ``.json`` and ``.md``; the table."""
    rows = [measure_system(system, batches, seed, device) for system in systems]
    panels = {key.upper(): [row[key] for row in rows] for key in ('gcr', 'ead', 'hm')}
    defined = {title: values for title, values in panels.items()
               if any(value is not None for value in values)}
    picture = draw_bars([row['name'] for row in rows], defined or panels)
    return write_analysis(stem, conflict_table(rows), rows, {stem.name: picture})


def analyse_run(work_dir: str | os.PathLike, data: str | os.PathLike,
                device: str | torch.device | None = None, batches: int = 8
                ) -> dict[str, str]:
    """Analyse a run's last checkpoint into its folder, and write its page anew.

    Args:
        work_dir: Folder of the run, with its config and checkpoint.
        data: Images, or synthetic people with ground truth, that the run was not trained on.
        device: Where to compute; by default on the GPU where there is one.
        batches: Batches of the run's own training data, for the conflict of the tasks.

    Returns:
        Analysis -> its table, or why it was left out.

    Raises:
        FileNotFoundError: The run has no config or checkpoint, or there are no data.
    """
    folder = Path(work_dir)
    checkpoint = last_checkpoint(folder)
    if checkpoint is None:
        raise FileNotFoundError(f'no checkpoint in {work_dir}: nothing to analyse yet')
    config = find_config(checkpoint)
    cfg, out = Config.fromfile(config), folder / ANALYSES
    backbone = get_model(config, checkpoint).to(pick_device(device))
    size, done = input_size(cfg), {}
    if cfg.model.type in PRETRAINING:
        done['task conflict'] = write_conflict(
            [System(config.stem, str(config), str(checkpoint))], out / 'task_conflict', batches,
            device=device)
    else:
        done['task conflict'] = f'left out: {cfg.model.type} has no pretext tasks'
    if not getattr(backbone, 'has_moe', False):
        done['expert use'] = done['t-SNE'] = 'left out: the backbone has no PC-MoE'
    else:
        done['expert use'] = write_expert_use(backbone, data, out, size)
        done['t-SNE'] = (write_tsne(backbone, data, out, size)
                         if Path(data, 'labels.npz').is_file()
                         else f'left out: {data} has no ground truth')
    write_run_report(folder)
    return done


def input_size(cfg: Config) -> tuple[int, int]:
    """(H, W) of a pretraining config's global crops, 256 x 128 of any other."""
    pipeline = cfg.get('train_dataloader', {}).get('dataset', {}).get('pipeline') or ()
    return next((tuple(step['global_size']) for step in pipeline if 'global_size' in step),
                (256, 128))
