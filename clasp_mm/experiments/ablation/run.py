"""Train and score the rows of a table, piece by piece, and write the table."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.logging import MMLogger

from clasp_mm.engine.jobs import ONE_THREAD, Job, run_jobs
from clasp_mm.engine.provenance import code_digest
from clasp_mm.engine.training import Training
from clasp_mm.evaluation.frozen.tasks import write_scenes
from clasp_mm.pseudo_labels.labels import LabelSettings
from clasp_mm.synthetic import load_ground_truth
from clasp_mm.utils.claims import hold
from clasp_mm.utils.config_text import config_differences
from clasp_mm.utils.files import file_hash, read_json, write_json

from ..quickstart.layout import seed_dir
from ..quickstart.run import INPUT_SIZE, LABEL_SETTINGS, Options, Quickstart
from .score import sums_file
from .tables import TABLES, Row, quickstart_config
from .true_labels import write_true_labels

_USUAL_NUMBERS, _ALL_NUMBERS = (3, 4, 5), (2, 3, 4, 5, 6)  # of regions, k
# What data, labels and weights depend on, and scores beside; texts and pages may change.
_TRAINING = ('datasets', 'engine', 'labelling', 'mini_clip', 'models', 'pseudo_labels', 'synthetic')
_SCORING = (*_TRAINING, 'analysis', 'evaluation')


class Budget(NamedTuple):
    """How much is drawn, trained and scored.

    Attributes:
        identities: People to pretrain on, of eight images each.
        held_out: Other people to score on.
        scenes: To learn and, as many, to score on.
        epochs: Of both stages; None takes those of the configs.
        size: (H, W) of the crops.
        arch: Of the Swin.
        batches: Over which conflict is measured.
        teachers: Epochs of stage 1 whose teachers' labels are reported.
    """

    identities: int
    held_out: int = 160
    scenes: int = 96
    epochs: tuple[int, int] | None = None
    size: tuple[int, int] = INPUT_SIZE
    arch: str = 'nano'
    batches: int = 8
    teachers: tuple[int, ...] = ()


# long: batches of 32, so 4,000 steps of stage 1 and 2,000 of stage 2.
BUDGETS = {'quickstart': Budget(256),
           'long': Budget(2000, held_out=480, scenes=384, epochs=(8, 4), batches=50,
                          teachers=(1, 2, 4))}


class Ablation:
    """A table: its stages in their order; what an earlier call has finished is not done again.

    Args:
        table: One of ``TABLES``.
        work_dir: Everything is written below it; tables of one budget share it, and each other's
            runs.
        budget: One of ``BUDGETS``.
        seeds: How many; data and mini CLIP are the same for all.
        parallel: Trainings at the same time.
        processes: Processes of each training, started by tools/dist_train.sh; 1 starts none.
        **replaced: Fields of :class:`Budget` in place of the budget's.
    """

    def __init__(self, table: str, work_dir: Path, budget: str = 'quickstart', seeds: int = 3,
                 parallel: int = 2, processes: int = 1, **replaced: Any) -> None:
        self.table, self.dir, self.budget_name = table, work_dir, budget
        self.seeds, self.parallel, self.processes = range(seeds), parallel, processes
        self.rows = TABLES[table]
        self.configs = {row.key: quickstart_config(row) for row in self.rows if row.config}
        own = BUDGETS[budget]._replace(**replaced)
        last = own.epochs[0] if own.epochs else math.inf
        self.budget = own = own._replace(teachers=tuple(e for e in own.teachers if e < last))
        self.quickstart = Quickstart(Options(
            work_dir, epochs=own.epochs, identities=own.identities, held_out=own.held_out,
            size=own.size, arch=own.arch, teachers=own.teachers))
        self.say = self.quickstart.say

    def run(self) -> dict[str, Any]:
        """Run what is not done yet.

        Returns:
            ``rows`` and ``sums`` (title -> results of its seeds, and what each person and scene
            adds to them, see :func:`.score.score_row`), ``labels`` (how good those of each teacher
            are), and the options.

        Raises:
            HeldError: Another process runs a table in the folder.
            RuntimeError: If a training or a scoring fails; the message names its log.
            ValueError: If the folder holds a run of another config, budget or code.
        """
        MMLogger.get_instance('ablation', log_level='WARNING')  # the jobs keep full logs
        with hold(self.dir):
            return self._run()

    def _run(self) -> dict[str, Any]:
        self.check_settings()
        self.quickstart.make_data()
        write_scenes(self.dir / 'data' / 'scenes', self.budget.scenes)
        self.run_stage1()
        trainings = {(row.key, seed): self.training(row, seed) for row in self.rows
                     if row.config for seed in self.seeds}
        missing = {f'seed{seed} {key}': training for (key, seed), training in trainings.items()
                   if not training.is_done()}
        self.say(f'{len(missing)} of {len(trainings)} trainings, {self.parallel} at a time')
        run_jobs([training.job(self.processes, name) for name, training in missing.items()],
                 parallel=self.parallel)
        self.score(trainings)
        files = {row.title: [self.result_file(row, seed) for seed in self.seeds]
                 for row in self.rows}
        return dict(table=self.table, budget=self.budget_name, seeds=len(self.seeds),
                    **self.budget._asdict(),
                    rows={title: [*map(read_json, own)] for title, own in files.items()},
                    sums={title: [dict(np.load(sums_file(file))) for file in own]
                          for title, own in files.items()},
                    labels=self.report_labels())

    def check_settings(self) -> None:
        """Refuse a folder that was begun with another budget or other code."""
        own = json.loads(json.dumps(dict(self.budget._asdict(), code=code_digest(_TRAINING))))
        file = self.dir / 'ablation.json'
        if file.exists() and (found := read_json(file)) != own:
            known, asked = (', '.join(f'{key}={one.get(key)}' for key in {**found, **own}
                                      if own.get(key) != found.get(key)) for one in (found, own))
            raise ValueError(f'{self.dir} was begun with {known}, and is asked to go on with '
                             f'{asked}: name another --out'
                             + (f', or go back to the code of {self.dir}/seed0/dino/git.json'
                                if own['code'] != found.get('code') else ''))
        self.dir.mkdir(parents=True, exist_ok=True)
        write_json(file, own)

    def run_stage1(self) -> None:
        """DINO of every seed, beside the mini CLIP."""
        jobs = self.quickstart.clip_jobs()
        for seed in self.seeds:
            stage1 = self.own(self.quickstart.stage1(seed))
            if not stage1.is_done():
                jobs.append(stage1.job(self.processes, name=f'seed{seed} dino'))
        self.say(f'stage 1: {", ".join(job.name for job in jobs) or "done"}')
        run_jobs(jobs, parallel=self.parallel)

    def training(self, row: Row, seed: int) -> Training:
        """One row's training from the stage 1 of its seed."""
        cfg = self.configs[row.key]
        store = None
        if row.true_labels:
            store = self.true_labels(cfg)
        elif uses_labels(cfg):
            store = self.label(cfg, seed)
        return self.own(self.quickstart.prepare(
            seed_dir(self.dir, seed) / row.key, cfg, seed, self.quickstart.stage1(seed), store))

    def label(self, cfg: Config, seed: int) -> Path:
        """The store of a seed's labels that a config reads; it depends on no other row."""
        labeler = self.quickstart.labeler(
            self.quickstart.stage1(seed), cluster_numbers=label_numbers(cfg))
        return self.quickstart.label(seed_dir(self.dir, seed), labeler)[0]

    def true_labels(self, cfg: Config) -> Path:
        """The store of true labels that a config reads, of the same regions and places."""
        size, numbers = LABEL_SETTINGS['input_size'], label_numbers(cfg)
        store = self.dir / f'true_labels-{"".join(map(str, numbers))}'
        write_true_labels(load_ground_truth(self.quickstart.train_dir), store, LabelSettings(
            cluster_numbers=numbers, **LABEL_SETTINGS), (size[0] // 4, size[1] // 4))
        return store

    def report_labels(self) -> list[dict[str, Any]]:
        """How good the labels of the teachers of stage 1 are, where the budget asks for it."""
        found = []
        for seed in self.seeds if self.budget.teachers else ():
            stage1 = self.quickstart.stage1(seed)
            for epoch in (*self.budget.teachers, stage1.epochs):
                report, _ = self.quickstart.report_labels(
                    seed_dir(self.dir, seed), self.quickstart.labeler(stage1, epoch))
                found.append(dict(
                    seed=seed, epoch=epoch, foreground_iou=report['foreground_iou'],
                    mean_iou=report['mean_iou'], **{name: report['attributes'][name] for name in (
                        'kept', 'kept_accuracy', 'balanced_accuracy')}))
        return found

    def own(self, training: Training) -> Training:
        """The training, unless its folder holds one of another config.

        Raises:
            ValueError: It does; names the first differences.
        """
        if training.holds_another():
            known = Config.fromfile(training.config_file)
            lines = config_differences(training.cfg.to_dict(), known.to_dict())
            raise ValueError(f'{training.folder} was begun with another config ('
                             f'{"; ".join(lines[:3]) or "of the same values"}): delete the folder '
                             'or name another --out')
        return training

    def score(self, trainings: Mapping[tuple[str, int], Training]) -> None:
        """Score what has no result yet of its very checkpoint by this code."""
        jobs, code = [], code_digest(_SCORING)
        for row in self.rows:
            for seed in self.seeds:
                training = trainings.get((row.key, seed))
                config = (training or self.quickstart.stage1(0)).config_file  # else random weights
                file = self.result_file(row, seed)
                job = dict(
                    config=str(config),
                    checkpoint=str(training.result) if training else None,
                    hash=file_hash(training.result) if training else None, seed=seed,
                    data=str(self.dir / 'data'), wrong_prompts=self.table == 'systems',
                    size=list(self.budget.size), batches=self.budget.batches, code=code,
                    out=str(file))
                if file.exists() and sums_file(file).exists():
                    known = read_json(file)['job']
                    if known | dict(wrong_prompts=True) == job | dict(wrong_prompts=True) and (
                            known['wrong_prompts'] or not job['wrong_prompts']):
                        continue
                ticket = file.with_suffix('.job')
                ticket.parent.mkdir(parents=True, exist_ok=True)
                write_json(ticket, job)
                jobs.append(Job(f'seed{seed} {row.key}', [
                    sys.executable, '-m', 'clasp_mm.experiments.ablation.score', str(ticket)],
                    file.with_suffix('.log'), env=ONE_THREAD))
        self.say(f'{len(jobs)} scorings')
        run_jobs(jobs, parallel=self.parallel)

    def result_file(self, row: Row, seed: int) -> Path:
        return self.dir / 'results' / f'{row.key}-seed{seed}.json'


def uses_labels(cfg: Config) -> bool:
    """Whether a config's pipeline reads pseudo-labels."""
    return cfg.train_dataloader.dataset.pipeline[0].type == 'clasp_mm.CLIPPseudoLabeler'


def label_numbers(cfg: Config) -> tuple[int, ...]:
    """The numbers of regions in the store that a config reads: the usual ones or those of all."""
    asked = set(cfg.train_dataloader.dataset.pipeline[0].cluster_numbers)
    return _USUAL_NUMBERS if asked <= set(_USUAL_NUMBERS) else _ALL_NUMBERS
