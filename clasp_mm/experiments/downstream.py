"""Fine-tune a task from pretrained backbones and from random weights, at equal budget."""

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from rich.console import Console

from clasp_mm import synthetic
from clasp_mm.engine.checkpoints import last_checkpoint
from clasp_mm.engine.jobs import run_jobs
from clasp_mm.engine.training import Training
from clasp_mm.models.layers import TASKS
from clasp_mm.utils.claims import hold
from clasp_mm.utils.files import read_logs, write_json, write_text
from clasp_mm.utils.resources import shipped_file
from clasp_mm.utils.tables import markdown_table, mean_std

from .ablation.score import step_seconds
from .ablation.tables import SOLIDER, TABLES
from .quickstart.layout import DOWNSTREAM_DIR as WORK_DIR
from .quickstart.layout import WORK_DIR as QUICKSTART_DIR
from .quickstart.layout import published, seed_dir
from .quickstart.report import machine

DATA_SEED = 0
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


class Start(NamedTuple):
    """What a network is fine-tuned from.

    Attributes:
        folder: Name of its runs' folders.
        backbones: Weights of each seed; None draws random ones.
        prompt: In place of the config's.
        left_aside: Patterns of the weights' tensors that the network does not have.
    """

    folder: str
    backbones: Sequence[Path | None]
    prompt: str | None = None
    left_aside: Sequence[str] = ()


def run_downstream(task: str, starts: Mapping[str, Start], seeds: int = 1,
                   train_images: int | None = None, systems: Path | None = None,
                   parallel: int = 2) -> dict[str, Any]:
    """Draw the data, train the models of every seed, and write the table.

    Below ``work_dirs/quickstart_downstream``: ``data/TASK``, ``TASK/seedN/START`` (runs of clasp
    train), ``TASK.json`` and ``TASK.md``; ``TASK-N`` in place of ``TASK`` with ``train_images=N``,
    and ``TASK-DIR`` where the starts are the systems of a folder. What is done is not done again.

    Args:
        task: One of ``DATA``.
        starts: Title -> what to train from, of :func:`quickstart_starts` or :func:`system_starts`.
        seeds: How many; the data are the same for all.
        train_images: Labelled images to train on, each seen as much more often as there are fewer
            of them, so that the number of steps stays; None takes those of ``DATA``.
        systems: The folder that the starts are from.
        parallel: Trainings at the same time.

    Returns:
        What ``TASK.json`` holds.

    Raises:
        HeldError: Another process has the task's folder.
        RuntimeError: A training failed; the message names its log.
        ValueError: ``train_images`` does not divide those of ``DATA``.
    """
    console, config = Console(), find_config(task)
    _, most, scored = DATA[task]
    counts = [train_images or most, scored]
    if most % counts[0]:
        raise ValueError(f'{task} trains on {most} images or a part of them that divides {most}, '
                         f'not {train_images}')
    data = task if train_images is None else f'{task}-{train_images}'
    name = data if systems is None else f'{data}-{systems.name}'
    with hold(WORK_DIR / name):
        console.rule(f'{task}: synthetic data', align='left')
        write_data(task, counts, data)
        runs, metric = _train_all(task, config, name, starts, seeds, train_images, parallel,
                                  console)
    backbones = dict.fromkeys(str(path) for start in starts.values() for path in start.backbones
                              if path)
    report = dict(task=task, config=str(config.relative_to(config.parents[2])), metric=metric,
                  backbones=list(backbones), images=counts,
                  command=shlex.join(sys.argv), machine=machine(), runs=runs)
    write_json(WORK_DIR / f'{name}.json', report)
    write_text(WORK_DIR / f'{name}.md', markdown(report))
    console.print(markdown(report), markup=False, soft_wrap=True)
    return report


def _train_all(task: str, config: Path, name: str, starts: Mapping[str, Start], seeds: int,
               train_images: int | None, parallel: int, console: Console
               ) -> tuple[list[dict[str, Any]], str]:
    """Train every seed from every start; the runs' scores, and the metric's name."""
    runs, metric = [], ''
    for seed in range(seeds):
        console.rule(f'{task}: seed {seed}, {parallel} at a time', align='left')
        trainings = {}
        for title, start in starts.items():
            cfg = few_images(Config.fromfile(config), task, train_images)
            cfg.randomness = dict(cfg.get('randomness', {}), seed=seed)
            if (backbone := start.backbones[seed]) is None:
                cfg.model.backbone.init_cfg = None
            else:
                cfg.model.backbone.init_cfg.checkpoint = str(backbone)
            if start.left_aside:
                cfg.model.backbone.init_cfg.allow_unexpected = list(start.left_aside)
            if start.prompt:
                cfg.model.backbone.task = start.prompt
                if 'tasks' in cfg.model.get('roi_head', {}):  # of person search
                    cfg.model.roi_head.tasks = (start.prompt, start.prompt)
            metric = cfg.default_hooks.checkpoint.save_best
            trainings[title] = Training(WORK_DIR / name / f'seed{seed}' / start.folder, cfg)
        run_missing(trainings, metric, parallel)
        runs += [dict(seed=seed, start=title, **read_run(training.folder, metric))
                 for title, training in trainings.items()]
    return runs, metric


def quickstart_starts(backbone: Path | None, seeds: int, prompts: Sequence[str] = ()
                      ) -> dict[str, Start]:
    """The quickstart's CLASP backbone, or a given one, and random weights.

    Args:
        backbone: For all seeds; None takes the quickstart's of the same seed.
        seeds: How many.
        prompts: Other prompts than the config's to fine-tune the backbone under as well.

    Raises:
        FileNotFoundError: There is no such backbone, or the quickstart had fewer seeds.
        ValueError: There is no such prompt.
    """
    if unknown := set(prompts) - set(TASKS):
        raise ValueError(f'no prompt {", ".join(sorted(unknown))}; there are {", ".join(TASKS)}')
    found = find_backbones(backbone, seeds)
    return {'pretrained': Start('pretrained', found),
            'random': Start('random', [None] * seeds),
            **{f'pretrained, task={prompt}': Start(f'pretrained_{prompt}', found, prompt)
               for prompt in prompts}}


def system_starts(folder: Path, seeds: int, titles: Sequence[str] = ()) -> dict[str, Start]:
    """The systems of ``clasp ablation --table systems``, or some, in one network.

    PC-MoE starts as the identity where a system has none; SOLIDER's controller is left out.

    Args:
        folder: What was ``--out`` there.
        seeds: How many.
        titles: Of the systems; none takes all.

    Raises:
        FileNotFoundError: A system of a seed was not trained there.
        ValueError: There is no such system.
    """
    rows = {row.title: row for row in TABLES['systems']}
    if unknown := set(titles) - set(rows):
        raise ValueError(f'no system {", ".join(sorted(unknown))}; there are {", ".join(rows)}')
    starts = {}
    for title in titles or rows:
        row, backbones = rows[title], []
        for seed in range(seeds):
            backbones.append(last_checkpoint(seed_dir(folder, seed) / row.key))
            if row.config and backbones[-1] is None:
                raise FileNotFoundError(
                    f'{title} of seed {seed} is not in {folder}: run `clasp ablation --table '
                    f'systems --seeds {seed + 1} --out {folder}` first')
        left_aside = ('semantic_embed_*', ) if row.config == SOLIDER else ()
        starts[title] = Start(row.key, backbones, left_aside=left_aside)
    return starts


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
    """What each seed starts from: the file that is given, or the quickstart's CLASP backbone."""
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


def run_missing(trainings: Mapping[str, Training], metric: str, parallel: int) -> None:
    """Train what is not done.

    A run that was killed in its last validation goes on from the checkpoint before.
    """
    for training in trainings.values():
        if training.is_done() and not _is_scored(training, metric):
            training.result.unlink()
    run_jobs([training.job() for training in trainings.values() if not training.is_done()],
             parallel=parallel)


def _is_scored(training: Training, metric: str) -> bool:
    """Whether the logs have the metric of every validation."""
    loop = training.cfg.train_cfg
    scored = {row['step'] for row in read_logs(training.folder) if metric in row}
    return len(scored) >= -(-loop.max_epochs // loop.get('val_interval', 1))


def read_run(folder: Path, metric: str) -> dict[str, Any]:
    """What a run scored at each validation, in the order of training, and the time of a step.

    Raises:
        ValueError: No validation of the run's logs has ``metric``.
    """
    scores = {row['step']: row[metric] for row in read_logs(folder) if metric in row}
    if not scores:
        raise ValueError(f'no {metric} in the logs of {folder}')
    steps = sorted(scores)
    return dict(steps=steps, scores=[scores[step] for step in steps],
                step_seconds=step_seconds(folder))


def markdown(report: Mapping[str, Any]) -> str:
    """The table, with what is needed to make it again."""
    steps = report['runs'][0]['steps']
    rows = []
    for start in dict.fromkeys(run['start'] for run in report['runs']):
        runs = [run for run in report['runs'] if run['start'] == start]
        rows.append([start, *(mean_std([run['scores'][at] for run in runs], '.3g')
                              for at in range(len(steps))),
                     mean_std([1000 * run['step_seconds'] for run in runs], '.3g')])
    seeds = sorted({run['seed'] for run in report['runs']})
    train, val = report['images']
    own = report['machine']
    return '\n'.join([
        markdown_table([f'{report["metric"]} after epoch', *steps, 'ms a step'], rows),
        '', f'`{report["command"]}`: `{report["config"]}` on {train} synthetic images, '
        f'scored on {val} with other people; seeds {", ".join(map(str, seeds))}, mean ± standard '
        f'deviation; one thread each; {own["cores"]} cores, '
        f'{own["gpu"] or "no GPU"}, torch {own["torch"]}; pretrained: '
        + ', '.join(report['backbones']) + '.'
    ]) + '\n'
