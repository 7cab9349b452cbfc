"""Whole jobs on one device: labelling, a training killed and resumed, a folder's inference."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from pathlib import Path

import torch
from mmengine.config import Config

from clasp_mm.compat import load_file
from clasp_mm.datasets import LUPerson
from clasp_mm.engine.jobs import run_jobs
from clasp_mm.engine.launch import set_amp
from clasp_mm.engine.training import Training, set_epochs
from clasp_mm.labelling.make_store import make_store
from clasp_mm.pseudo_labels.clip_labeler import CLIPLabeler
from clasp_mm.synthetic import SyntheticPeople, write_people
from clasp_mm.utils.device import pick_device
from clasp_mm.utils.files import read_rows
from clasp_mm.utils.processes import ending_with_parent
from clasp_mm.utils.resources import shipped_file

from ..contest import Options
from ..inference import random_inferencer, tasks_here
from ..labels import labelling, random_labeler
from ..stages import Report
from .steps import host_waits

_CONFIG = 'configs/quickstart/clasp_pcmoe-swin-nano_1xb32_synthetic-64x32.py'
_SAME_WEIGHTS = 1e-2  # relative, of two runs on a GPU, some of whose sums have no fixed order


def labels(report: Report) -> None:
    """Labelling of images in memory, and of a folder into a store."""
    options = Options(str(pick_device()), amp=True, quick=report.smoke, repeats=3)
    report.part('labelling', _labelling, report, options)
    report.part('label store', _store, report, options)


def _labelling(report: Report, options: Options) -> None:
    row = labelling(options).to_dict()
    report.row('labelling, in memory', what=row['what'],
               images_per_second=row['images_per_second'], to_clip_alone=row['ratio'],
               ms_of_parts={name: 1e3 * seconds for name, seconds
                            in row['details']['seconds_of_parts'].items()})


def _store(report: Report, options: Options) -> None:
    people = _people(report, 2048)
    labeler, begin = random_labeler(options), time.perf_counter()
    store = _label(people, labeler, report.work / 'store', 8 if report.smoke else 256)
    seconds = time.perf_counter() - begin
    report.check('labels of a folder are all there', len(store) == len(_names(people)),
                 images_per_second=len(store) / seconds, images=len(store))
    if labeler.device.type == 'cuda':
        images = torch.zeros(64, 3, *labeler.settings.image_size, dtype=torch.uint8)
        names = [str(number) for number in range(len(images))]
        waits = host_waits(lambda: labeler.see(images, names), labeler.device)
        report.check('labelling makes the host wait for nothing before the regions are named',
                     not waits, places=dict(waits.most_common(5)))


def _label(people: Path, labeler: CLIPLabeler, out: Path, batch_size: int):
    return make_store(LUPerson(str(people), 'list.txt'), labeler, out, batch_size, _workers(),
                      show_progress=False)


def train(report: Report) -> None:
    """A nano CLASP by tools/train.py in one go, and again killed and resumed: the same weights."""
    device = pick_device()
    torch.manual_seed(0)
    people = _people(report, 1024)
    labeler = random_labeler(Options(str(device), quick=True))
    _label(people, labeler, report.work / 'labels', 32)
    whole, killed = (Training(report.work / name, _config(report, people))
                     for name in ('whole', 'killed'))
    used = run_jobs([whole.job()])
    rows = read_rows(whole.folder / 'metrics.jsonl')
    report.row('tools/train.py', config=Path(_CONFIG).stem, steps=rows[-1]['step'],
               seconds=used['whole']['seconds'], images_per_second=statistics.median(
                   row['images_per_second'] for row in rows if row.get('images_per_second')))
    step = _kill_after_a_checkpoint(killed)
    run_jobs([killed.job()])
    (last, expected), (same_last, found) = (_weights(run.folder) for run in (whole, killed))
    error = float((found - expected).norm() / expected.norm())
    limit = 0. if device.type == 'cpu' else _SAME_WEIGHTS
    report.check('training killed and resumed gives the same weights',
                 last == same_last and 0 < step < last and error <= limit, killed_at_step=step,
                 steps=last, error=error, limit=limit, equal_to_the_bit=error == 0)


def _config(report: Report, people: Path) -> Config:
    cfg = Config.fromfile(shipped_file(_CONFIG))
    cfg.merge_from_dict({
        'model.stage1': None, 'train_dataloader.dataset.data_root': str(people),
        'train_dataloader.dataset.pipeline.0.store': str(report.work / 'labels'),
        'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 2,
        'default_hooks.logger.interval': 1})
    if report.smoke:
        cfg.train_dataloader.batch_size = 4
    set_epochs(cfg, 2)
    if torch.cuda.is_available():
        set_amp(cfg, 'bf16')
    return cfg


def _kill_after_a_checkpoint(run: Training) -> int:
    """Start a run and kill it once it has a checkpoint; the step of the last one."""
    job = run.job()
    with open(run.folder / 'killed.log', 'wb') as log:
        process = subprocess.Popen(ending_with_parent(job.command), stdout=log,
                                   stderr=subprocess.STDOUT, env={**os.environ, **job.env})
    try:
        while process.poll() is None and not _steps(run.folder):
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    steps = _steps(run.folder)
    if not steps:
        tail = (run.folder / 'killed.log').read_text('utf-8', 'replace')[-1500:]
        raise RuntimeError(f'the training ended without a checkpoint; its log ends: {tail}')
    return max(steps)


def _steps(folder: Path) -> list[int]:
    return [int(path.stem.removeprefix('iter_')) for path in folder.glob('iter_*.pth')]


def _weights(folder: Path) -> tuple[int, torch.Tensor]:
    """The last step, and all weights after it in one tensor."""
    step = max(_steps(folder))
    state = load_file(folder / f'iter_{step}.pth')['state_dict']
    return step, torch.cat([state[name].double().flatten() for name in sorted(state)])


def infer(report: Report) -> None:
    """Images per second of a folder, for each task whose host is installed."""
    options = Options(str(pick_device()), amp=True, quick=report.smoke)
    people = _people(report, 512)
    for task in tasks_here():
        report.part(task, _infer, report, task, people / 'images', options)


def _infer(report: Report, task: str, folder: Path, options: Options) -> None:
    model, config = random_inferencer(task, options)
    begin = time.perf_counter()
    found = model(folder)
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    again = model(folder)
    seconds = time.perf_counter() - begin
    report.check(f'inference, {task}', len(found) == len(again) > 0 and not again.skipped,
                 config=config, precision=options.dtype, images=len(again),
                 images_per_second=len(again) / seconds, first_seconds=first)


def _people(report: Report, number: int) -> Path:
    """A folder of synthetic people."""
    folder = report.work / 'people'
    people = SyntheticPeople(8 if report.smoke else number // 8, 2 if report.smoke else 8)
    write_people(folder, people, with_ground_truth=False, workers=_workers(), progress=False)
    return folder


def _names(people: Path) -> list[str]:
    return (people / 'list.txt').read_text('utf-8').split()


def _workers() -> int:
    """Processes that draw or read images; few, as each has to import torch."""
    return max(1, min((os.cpu_count() or 1) - 1, 8))
