"""The main job: synthetic people or the user's crops to a published backbone and a report."""

import copy
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from rich.console import Console

from clasp_mm.analysis.expert_use import expert_use
from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.images import read_image
from clasp_mm.datasets.inputs import input_batches
from clasp_mm.datasets.transforms.clip_pseudo_labeler import build_labeler
from clasp_mm.engine.checkpoints import last_checkpoint
from clasp_mm.engine.jobs import ONE_THREAD, Job, run_jobs
from clasp_mm.engine.training import Training, check_epochs, set_epochs
from clasp_mm.engine.training_step import measure_steps
from clasp_mm.evaluation.frozen.people import evaluate_backbone
from clasp_mm.labelling.make_store import make_store
from clasp_mm.labelling.report import read_labelled_images, read_synthetic_people, report_labels
from clasp_mm.mini_clip.architecture import CHECKPOINT_FILE
from clasp_mm.models.backbones.archs import arch_settings
from clasp_mm.models.weights.swin import load_backbone
from clasp_mm.pseudo_labels.clip_labeler import CLIPLabeler
from clasp_mm.pseudo_labels.clip_model import build_clip
from clasp_mm.registry import MODELS
from clasp_mm.synthetic import SyntheticPeople, contact_sheet, load_ground_truth, write_people
from clasp_mm.utils.claims import hold
from clasp_mm.utils.device import pick_device
from clasp_mm.utils.files import file_hash, read_json
from clasp_mm.utils.resources import shipped_file
from clasp_mm.visualization.neighbours import Row, neighbour_rows
from clasp_mm.zoo.get_model import get_model
from clasp_mm.zoo.publish import publish_model

from .layout import LABELS, STAGE1, point, published, seed_dir
from .report import write_report

DINO = 'configs/quickstart/dino_swin-nano_1xb32_synthetic-64x32.py'
DINO_STAGE2 = 'configs/quickstart/dino_swin-nano_stage2_1xb32_synthetic-64x32.py'
CLASP = 'configs/quickstart/clasp_pcmoe-swin-nano_1xb32_synthetic-64x32.py'
INPUT_SIZE = (64, 32)
EVALUATED_MAPS = (0, 1, 2, 3)
TRAIN_SEED, HELD_OUT_SEED = 1, 2
IMAGES_PER_IDENTITY = 8
LABEL_SETTINGS = dict(stage=0, input_size=(128, 64), foreground='centre', position_weight=1.0,
                      image_size=(128, 64), min_foreground=0.1)
LABEL_REPORT_IMAGES, SHOWN_IMAGES = 128, 512
QUERIES, NEIGHBOURS = 6, 6


@dataclass(frozen=True)
class Options:
    """What the quickstart is asked for.

    Args:
        work_dir: Everything is written below it.
        seeds: Number of seeds to pretrain with; data and labels' CLIP stay the same.
        images: The user's folder of crops in place of synthetic people; then without the rows
            that need ground truth.
        clip: open_clip model that makes the labels; None takes the mini CLIP.
        clip_pretrained: Its tag or weights file.
        identities: Number of synthetic people to pretrain on.
        held_out: Number of synthetic people to evaluate on.
        epochs: Epochs of stage 1 and of stage 2; None takes those of the configs.
        size: (H, W) of the crops.
        arch: Of the Swin.
        teachers: Epochs of stage 1 whose teachers' labels are reported beside the last's.

    Raises:
        ValueError: A stage of less than two epochs, or weights of no CLIP.
    """

    work_dir: Path
    seeds: int = 1
    images: Path | None = None
    clip: str | None = None
    clip_pretrained: str | None = None
    identities: int = 256
    held_out: int = 160
    epochs: tuple[int, int] | None = None
    size: tuple[int, int] = INPUT_SIZE
    arch: str = 'nano'
    teachers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.epochs is not None:
            check_epochs(*self.epochs)
        if self.clip is None and self.clip_pretrained is not None:
            raise ValueError(f'--clip-pretrained {self.clip_pretrained!r} are the weights of a '
                             '--clip: give its name too')


def run_quickstart(options: Options) -> dict[str, Any]:
    """Run every stage that is not done yet, and write the report.

    Returns:
        What ``report.json`` holds.

    Raises:
        HeldError: Another quickstart has the folder.
        RuntimeError: If a job fails; the message names its log.
        ImportError, ValueError, FileNotFoundError: The CLIP cannot be had, see
            :func:`~clasp_mm.pseudo_labels.clip_model.build_clip`; nothing was made yet.
    """
    MMLogger.get_instance('quickstart', log_level='WARNING')  # the jobs keep full logs
    if options.clip is not None:  # its labels are made after stage 1 only
        build_clip(options.clip, options.clip_pretrained)
    with hold(options.work_dir):
        return Quickstart(options).run()


class Quickstart:
    """The stages in their order; what an earlier call has finished is not done again."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.dir = options.work_dir
        self.console = Console()
        self.start = time.perf_counter()
        self.train_dir = options.images or self.dir / 'data' / 'train'
        self.held_out_dir = self.dir / 'data' / 'held_out'
        self.clip_dir = self.dir / 'mini_clip'
        self.cost: dict[str, dict[str, float]] = {}

    def run(self) -> dict[str, Any]:
        self.make_data()
        batch = Config.fromfile(shipped_file(DINO)).train_dataloader.batch_size
        if self.images < batch:
            self.console.print(f'{self.images} images: batches of that many, not of {batch}')
        results = [self.run_seed(seed) for seed in range(self.options.seeds)]
        self.say('step cost and report')
        folder = seed_dir(self.dir, 0)
        runs = dict(DINO=folder / 'dino_stage2', CLASP=folder / 'clasp')
        steps = measure_steps({name: Config.fromfile(run / f'{run.name}.py')
                               for name, run in runs.items()})
        logs = {title: run / 'metrics.jsonl'  # of all starts
                for title, run in (('stage 1: DINO', folder / 'dino'),
                                   ('stage 2: DINO', runs['DINO']),
                                   ('stage 2: CLASP', runs['CLASP']))}
        neighbours = self.neighbours(results[0]['published']['CLASP'])
        report = write_report(self.dir, results, steps, self.cost, self.setting(),
                              self.pictures(), *neighbours, logs, self.console)
        self.say(f'done: open {self.dir / "report.html"}')
        return report

    def run_seed(self, seed: int) -> dict[str, Any]:
        folder, stage1 = seed_dir(self.dir, seed), self.stage1(seed)
        jobs = self.clip_jobs()
        self.say(f'seed {seed}: ' + ' beside '.join(job.name for job in (stage1, *jobs)))
        self.run_missing([stage1], jobs)
        point(folder / STAGE1, stage1.result)

        self.say(f'seed {seed}: pseudo-labels')
        store, labels, page = self.label(folder, self.labeler(stage1))
        point(folder / LABELS, store)
        dino, clasp = (Config.fromfile(shipped_file(config)) for config in (DINO_STAGE2, CLASP))
        self.say(f'seed {seed}: stage 2, dino_stage2 beside clasp')
        self.run_missing([self.prepare(folder / 'dino_stage2', dino, seed, stage1),
                          self.prepare(folder / 'clasp', clasp, seed, stage1, store)])

        self.say(f'seed {seed}: publish and evaluate')
        return dict(self.evaluate(seed, folder), labels=labels, label_page=str(page))

    @property
    def data(self) -> dict[str, str]:
        """What to pretrain on, as arguments of ``clasp_mm.LUPerson``."""
        return dict(data_root=str(self.train_dir),
                    ann_file='' if self.options.images else 'list.txt')

    @cached_property
    def images(self) -> int:
        """How many there are to pretrain on."""
        if self.options.images is None:
            return self.options.identities * IMAGES_PER_IDENTITY
        return len(LUPerson(**self.data))

    def stage1(self, seed: int) -> Training:
        """The DINO that a seed's stage 2 starts from."""
        cfg = Config.fromfile(shipped_file(DINO))
        if self.options.teachers:
            cfg.default_hooks.checkpoint.max_keep_ckpts = -1
        return self.prepare(seed_dir(self.dir, seed) / 'dino', cfg, seed)

    def say(self, text: str) -> None:
        elapsed = int(time.perf_counter() - self.start)
        self.console.rule(f'{elapsed // 60}:{elapsed % 60:02d}  {text}', align='left')

    def make_data(self) -> None:
        """Draw the synthetic people, unless the user brings images."""
        if self.options.images is not None:
            return
        self.say('synthetic people')
        for folder, identities, seed in ((self.train_dir, self.options.identities, TRAIN_SEED),
                                         (self.held_out_dir, self.options.held_out, HELD_OUT_SEED)):
            write_people(folder, SyntheticPeople(identities, IMAGES_PER_IDENTITY, seed))

    def prepare(self, folder: Path, cfg: Config, seed: int, stage1: Training | None = None,
                store: Path | None = None) -> Training:
        """A training of a config on the quickstart's data, after a stage 1 and on labels if any."""
        cfg = copy.deepcopy(cfg)
        cfg.merge_from_dict(dict(randomness=dict(seed=seed),
                                 train_dataloader=dict(dataset=self.data)))
        if stage1 is not None:
            cfg.model.stage1 = str(stage1.result)
        cfg.train_dataloader.batch_size = min(cfg.train_dataloader.batch_size, self.images)
        if store is not None:
            cfg.train_dataloader.dataset.pipeline[0].store = str(store)
        set_arch(cfg, self.options.arch)
        for step in cfg.train_dataloader.dataset.pipeline:
            if step.type == 'clasp_mm.MultiCrop':
                height, width = step.global_size = self.options.size
                step.map_size = (height // 4, width // 4)
        if self.options.epochs is not None:
            set_epochs(cfg, self.options.epochs[0 if stage1 is None else 1])
        return Training(folder, cfg)

    def clip_jobs(self) -> list[Job]:
        """The training of the mini CLIP, where it is needed and not there."""
        if self.options.clip is not None or (self.clip_dir / CHECKPOINT_FILE).exists():
            return []
        command = [sys.executable, str(shipped_file('tools/train_mini_clip.py')),
                   str(self.clip_dir), '--threads', '1', '--people', '3072', '--steps', '450']
        return [Job('mini_clip', command, self.dir / 'mini_clip.log', env=ONE_THREAD)]

    def run_missing(self, trainings: Sequence[Training], jobs: Sequence[Job] = ()) -> None:
        """Run side by side the trainings that are not done and the jobs; keep what they cost."""
        missing = [training.job() for training in trainings if not training.is_done()]
        self.cost.update(run_jobs([*missing, *jobs]))

    def labeler(self, stage1: Training, epoch: int | None = None, **settings: Any) -> CLIPLabeler:
        """CLIP and the teacher of an epoch of stage 1, by default the last.

        ``settings`` take the place of those of ``LABEL_SETTINGS``.
        """
        clip = dict(name=f'local-dir:{self.clip_dir}', pretrained=None)
        if self.options.clip is not None:
            clip = dict(name=self.options.clip, pretrained=self.options.clip_pretrained)
        teacher = MODELS.build(dict(stage1.cfg.model.backbone, out_indices=(0, 1, 2, 3)))
        load_backbone(teacher, stage1.result if epoch is None else
                      stage1.folder / f'epoch_{epoch}.pth')
        return build_labeler(clip, teacher, device=pick_device(),
                             **{**LABEL_SETTINGS, **settings})

    def label(self, folder: Path, labeler: CLIPLabeler) -> tuple[Path, dict, Path]:
        """Label the training images, and report how good labels of this kind are.

        Returns:
            The store, the figures of ``report_labels`` and its page.
        """
        store = folder / f'labels-{label_key(labeler)}'
        if not store.exists():
            make_store(LUPerson(**self.data), labeler, store, num_workers=0)
        return store, *self.report_labels(folder, labeler)

    def report_labels(self, folder: Path, labeler: CLIPLabeler) -> tuple[dict, Path]:
        """The figures and the page of :meth:`label`."""
        page = folder / f'label_report-{label_key(labeler)}'
        if not (page / 'report.json').exists():
            unreadable: list[str] = []
            if self.options.images is None:
                images, _ = read_synthetic_people(self.held_out_dir, LABEL_REPORT_IMAGES)
            else:
                images = islice(read_labelled_images(LUPerson(**self.data), unreadable=unreadable),
                                LABEL_REPORT_IMAGES)
            report_labels(labeler, images, page, unreadable=unreadable)
        return read_json(page / 'report.json'), page / 'report.html'

    def evaluate(self, seed: int, folder: Path) -> dict[str, Any]:
        """Publish both results, and score them and random weights on held-out people."""
        published = {title: publish_once(folder, name) for title, name in
                     (('DINO', 'dino_stage2'), ('CLASP', 'clasp'))}
        clasp = get_model(published['CLASP'], out_indices=EVALUATED_MAPS).to(pick_device())
        scores = {}
        if self.options.images is None:
            train, held_out = (load_ground_truth(path)
                               for path in (self.train_dir, self.held_out_dir))
            torch.manual_seed(seed)
            backbones = {
                'random weights': get_model(shipped_file(DINO), out_indices=EVALUATED_MAPS),
                'DINO': get_model(published['DINO'], out_indices=EVALUATED_MAPS),
                'CLASP': clasp}
            for title, backbone in backbones.items():
                backbone.to(pick_device())
                scores[title] = evaluate_backbone(
                    backbone, train, held_out, self.options.size).scores
        return dict(seed=seed, scores=scores,
                    published={title: str(path) for title, path in published.items()},
                    expert_use=expert_use(clasp, *self.shown, self.options.size))

    @cached_property
    def shown(self) -> tuple[LUPerson, list[int]]:
        """The user's images or the held-out people, and which of them are looked at."""
        source = (LUPerson(**self.data) if self.options.images is not None
                  else LUPerson(str(self.held_out_dir), 'list.txt'))
        count = min(SHOWN_IMAGES, len(source))
        return source, np.linspace(0, len(source) - 1, count).round().astype(int).tolist()

    @torch.inference_mode()
    def neighbours(self, checkpoint: str) -> tuple[list[Row], int]:
        """Some of the images with the nearest ones, and among how many they were sought."""
        backbone, (source, shown) = get_model(checkpoint).to(pick_device()), self.shown
        rows, features = [], []
        for kept, images, _ in input_batches(source, shown, self.options.size, backbone):
            rows += kept
            if kept:
                maps = backbone(images, 'appearance')
                features.append(maps[-1].mean((2, 3)).cpu().numpy())
        return neighbour_rows(source, rows, np.concatenate(features), QUERIES,
                              NEIGHBOURS), len(rows)

    def setting(self) -> dict[str, Any]:
        """What was run, in words and as plain data."""
        options = self.options
        data = (f'the images below {options.images}' if options.images is not None else
                f'{options.identities} synthetic people to pretrain on and {options.held_out} '
                'others to evaluate on')
        clip = ('the mini CLIP, a stand-in trained on synthetic people' if options.clip is None
                else f'{options.clip} ({options.clip_pretrained})')
        height, width = options.size
        return dict(data=data, model=f'{options.arch} Swin at {height}x{width}, '
                    f'{options.seeds} seed(s), labels by {clip}', input_size=options.size,
                    **{key: str(value) if isinstance(value, Path) else value
                       for key, value in asdict(options).items()})

    def pictures(self) -> dict[str, np.ndarray]:
        """Pictures of the data."""
        if self.options.images is not None:
            return {}
        path = self.dir / 'people.png'
        contact_sheet(SyntheticPeople(self.options.held_out, IMAGES_PER_IDENTITY, HELD_OUT_SEED),
                      path, identities=4)
        return {'Synthetic people, with their ground truth': read_image(path)[..., ::-1]}


def set_arch(cfg: Config, arch: str) -> None:
    """Put another size of Swin into a config of the nano; the heads' inputs grow with it."""
    backbone = cfg.model.backbone
    wider = arch_settings(arch)['embed_dims'] / arch_settings(backbone.arch)['embed_dims']
    backbone.arch = arch
    for head in cfg.model.values():
        if isinstance(head, dict) and 'in_channels' in head and head is not backbone:
            head.in_channels = int(head.in_channels * wider)


def label_key(labeler: CLIPLabeler) -> str:
    """Eight digits that tell labels of one kind from others."""
    return hashlib.sha256(json.dumps([labeler.teacher_id, labeler.clip.identity,
                                      labeler.settings.to_dict()]).encode()).hexdigest()[:8]


def publish_once(folder: Path, name: str) -> Path:
    """Publish a run's last checkpoint, or find what an earlier call published of it."""
    checkpoint, latest = last_checkpoint(folder / name), published(folder, name)
    out_dir = latest.parent / file_hash(checkpoint)
    found = sorted(out_dir.glob('*.pth')) or [publish_model(
        checkpoint, latest.stem, out_dir, folder / name / f'{name}.py', allow_dirty=True)]
    point(latest, found[0])
    return found[0]
