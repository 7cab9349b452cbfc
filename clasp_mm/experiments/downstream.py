"""Fine-tune a task from the quickstart's backbone and from random weights, at equal budget."""

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from rich.console import Console

from clasp_mm import synthetic
from clasp_mm.engine.jobs import run_jobs
from clasp_mm.engine.training import Training
from clasp_mm.models.layers.pc_moe import TASKS
from clasp_mm.utils.claims import hold
from clasp_mm.utils.files import read_json, read_logs, write_json, write_text
from clasp_mm.utils.resources import shipped_file
from clasp_mm.utils.tables import markdown_table, mean_std

from .quickstart.layout import DOWNSTREAM_DIR as WORK_DIR
from .quickstart.layout import WORK_DIR as QUICKSTART_DIR
from .quickstart.layout import published, seed_dir
from .quickstart.report import machine

DATA_SEED = 0
STARTS = ('pretrained', 'random')
# Writer, images to train on, images to score on. Their people are not those of pretraining. The
# first point of the miss rate, 0.01 false positives an image, is four of them in 400 streets.
DATA: Mapping[str, tuple[Callable, int, int]] = {
    'pose': (synthetic.write_coco_keypoints, 240, 120),
    'parsing': (synthetic.write_lip, 400, 200),
    'detection': (synthetic.write_citypersons, 160, 400),
    'attribute': (synthetic.write_pa100k, 1600, 600),
    'reid': (synthetic.write_market1501, 800, 400),
    'person_search': (partial(synthetic.write_cuhk_sysu, num_people=(5, 9)), 96, 64),
}


def run_downstream(task: str, backbone: Path | None = None, seeds: int = 1,
                   prompts: Sequence[str] = (), train_images: int | None = None
                   ) -> dict[str, Any]:
    """Draw the data, train the models of every seed side by side, and write the table.

    Below ``work_dirs/quickstart_downstream``: ``data/TASK``, ``TASK/seedN/{pretrained,random}``
    and ``TASK/seedN/pretrained_PROMPT`` (runs of clasp train), ``TASK.json`` and ``TASK.md``;
    ``TASK-N`` in place of ``TASK`` with ``train_images=N``. What is done is not done again.

    Args:
        task: One of ``DATA``.
        backbone: Published weights for all seeds; None takes the quickstart's of the same seed.
        seeds: How many; the data are the same for all.
        prompts: Other prompts than the config's to fine-tune the backbone under as well.
        train_images: Labelled images to train on, each seen as much more often as there are fewer
            of them, so that the number of steps stays; None takes those of ``DATA``.

    Returns:
        What ``TASK.json`` holds.

    Raises:
        FileNotFoundError: There is no such backbone, or the quickstart had fewer seeds.
        HeldError: Another process has the task's folder.
        RuntimeError: A training failed; the message names its log.
        ValueError: There is no such prompt, or ``train_images`` does not divide those of ``DATA``.
    """
    if unknown := set(prompts) - set(TASKS):
        raise ValueError(f'no prompt {", ".join(sorted(unknown))}; there are {", ".join(TASKS)}')
    starts = {start: None for start in STARTS} | {
        f'pretrained, task={prompt}': prompt for prompt in prompts}
    console, backbones = Console(), find_backbones(backbone, seeds)
    config = find_config(task)
    _, most, scored = DATA[task]
    counts = [train_images or most, scored]
    if most % counts[0]:
        raise ValueError(f'{task} trains on {most} images or a part of them that divides {most}, '
                         f'not {train_images}')
    name = task if train_images is None else f'{task}-{train_images}'
    with hold(WORK_DIR / name):
        console.rule(f'{task}: synthetic data', align='left')
        write_data(task, counts, name)
        runs, metric = _train_all(task, config, name, backbones, starts, train_images, console)
    report = dict(task=task, config=str(config.relative_to(config.parents[2])), metric=metric,
                  backbones=list(map(str, dict.fromkeys(backbones))), images=counts,
                  command=shlex.join(sys.argv), machine=machine(), runs=runs)
    write_json(WORK_DIR / f'{name}.json', report)
    write_text(WORK_DIR / f'{name}.md', markdown(report))
    console.print(markdown(report), markup=False, soft_wrap=True)
    return report


def _train_all(task: str, config: Path, name: str, backbones: Sequence[Path],
               starts: Mapping[str, str | None], train_images: int | None, console: Console
               ) -> tuple[list[dict[str, Any]], str]:
    """Train every seed from every start; the runs' scores and costs, and the metric's name."""
    runs, metric = [], ''
    for seed, backbone in enumerate(backbones):
        console.rule(f'{task}: seed {seed}, all starts side by side', align='left')
        trainings = {}
        for start, prompt in starts.items():
            cfg = few_images(Config.fromfile(config), task, train_images)
            cfg.randomness = dict(cfg.get('randomness', {}), seed=seed)
            if start == 'random':
                cfg.model.backbone.init_cfg = None
            else:
                cfg.model.backbone.init_cfg.checkpoint = str(backbone)
            if prompt:
                cfg.model.backbone.task = prompt
                if 'tasks' in cfg.model.get('roi_head', {}):  # of person search
                    cfg.model.roi_head.tasks = (prompt, prompt)
            metric = cfg.default_hooks.checkpoint.save_best
            folder = f'pretrained_{prompt}' if prompt else start
            trainings[start] = Training(WORK_DIR / name / f'seed{seed}' / folder, cfg)
        run_missing(trainings)
        runs += [dict(seed=seed, start=start, **read_run(training.folder, metric))
                 for start, training in trainings.items()]
    return runs, metric


def write_data(task: str, counts: Sequence[int], name: str) -> None:
    """Draw the images to train on and those to score on, where the configs look for them."""
    for split, count in zip(('train', 'val'), counts, strict=True):
        DATA[task][0](WORK_DIR / 'data' / name, split, count, seed=DATA_SEED)


def few_images(cfg: Config, task: str, train_images: int | None) -> Config:
    """A quickstart config with as many steps on a training set of fewer images."""
    if train_images is None:
        return cfg
    data = f'{WORK_DIR}/data/{task}'
    cfg = Config.fromstring(cfg.pretty_text.replace(f'{data}/', f'{data}-{train_images}/'), '.py')
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=DATA[task][1] // train_images,
        dataset=cfg.train_dataloader.dataset)
    return cfg


def find_backbones(path: Path | None, seeds: int) -> list[Path]:
    """What each seed starts from: the given file, or the quickstart's CLASP backbone of that seed.

    Raises:
        FileNotFoundError: There is no such file, or the quickstart had fewer seeds.
    """
    if path is not None:
        if not path.is_file():
            raise FileNotFoundError(f'no backbone at {path}')
        return [path] * seeds
    found = []
    for seed in range(seeds):
        latest = published(seed_dir(QUICKSTART_DIR, seed))
        if not latest.is_file():
            raise FileNotFoundError(
                f'the quickstart has no backbone of seed {seed}, {latest}: run `clasp '
                f'quickstart --seeds {seeds}` first, or name a backbone by --backbone')
        # by its own name, which tells it from another
        found.append(latest.parent / os.readlink(latest) if latest.is_symlink() else latest)
    return found


def find_config(task: str) -> Path:
    """The quickstart's config of a task."""
    return next(shipped_file('configs/quickstart').glob(f'{task}_*.py'))


def run_missing(trainings: Mapping[str, Training]) -> None:
    """Train what is not done, side by side, and keep beside each run what it cost."""
    missing = {start: training for start, training in trainings.items()
               if not training.is_done() or not (training.folder / 'cost.json').is_file()}
    usage = run_jobs([training.job() for training in missing.values()])
    for training in missing.values():
        write_json(training.folder / 'cost.json', usage[training.name])


def read_run(folder: Path, metric: str) -> dict[str, Any]:
    """What a run scored at each validation, in the order of training, and what it cost.

    Raises:
        ValueError: No validation of the run's logs has ``metric``.
    """
    scores: dict[int, float] = {}
    for row in read_logs(folder):
        if metric in row:
            scores[row['step']] = row[metric]
    if not scores:
        raise ValueError(f'no {metric} in the logs of {folder}')
    steps = sorted(scores)
    return dict(steps=steps, scores=[scores[step] for step in steps],
                **read_json(folder / 'cost.json'))


def markdown(report: Mapping[str, Any]) -> str:
    """The table, with what is needed to make it again."""
    steps = report['runs'][0]['steps']
    rows = []
    for start in dict.fromkeys(run['start'] for run in report['runs']):
        runs = [run for run in report['runs'] if run['start'] == start]
        rows.append([start, *(mean_std([run['scores'][at] for run in runs], '.3g')
                              for at in range(len(steps))),
                     mean_std([run['seconds'] for run in runs], '.3g')])
    seeds = sorted({run['seed'] for run in report['runs']})
    train, val = report['images']
    own = report['machine']
    return '\n'.join([
        markdown_table([f'{report["metric"]} after epoch', *steps, 'seconds a run'], rows),
        '', f'`{report["command"]}`: `{report["config"]}` on {train} synthetic images, '
        f'scored on {val} with other people; seeds {", ".join(map(str, seeds))}, mean ± standard '
        f'deviation; all starts side by side, one thread each; {own["cores"]} cores, '
        f'{own["gpu"] or "no GPU"}, torch {own["torch"]}; pretrained: '
        + ', '.join(report['backbones']) + '.'
    ]) + '\n'
