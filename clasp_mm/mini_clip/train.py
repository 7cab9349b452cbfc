"""Train the mini CLIP: a stand-in, learned from synthetic people, where no CLIP weights are."""

import hashlib
import json
import time
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from clasp_mm.pseudo_labels.clip_model import build_clip
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, Vocabulary
from clasp_mm.utils.claims import hold
from clasp_mm.utils.device import pick_device
from clasp_mm.utils.files import file_hash, read_json, write_json

from .architecture import ARCHITECTURE, CHECKPOINT_FILE, save_mini_clip
from .batches import batches
from .evaluate import evaluate_mini_clip
from .objectives import Objective, weighted
from .optimizers import Optimizers
from .people import CROP, PeopleTable, draw_people

REPORT_FILE = 'mini_clip_report.json'
NOTE = ('mini CLIP: a small stand-in trained on synthetic people only. It is not OpenAI\'s CLIP '
        'and knows nothing of real photographs.')


def train_mini_clip(
        out_dir: str | Path, *, seed: int = 0, num_people: int = 4096, num_heldout: int = 512,
        steps: int = 500, batch_size: int = 64, vocabulary: Vocabulary = DEFAULT_VOCABULARY,
        architecture: dict = ARCHITECTURE, workers: int | None = None,
        progress: bool = True, device: str | torch.device | None = None) -> dict:
    """Draw people, train, write the model, and measure it on people it has not seen.

    The folder then serves ``open_clip.create_model('local-dir:OUT_DIR')`` and the labeler. Called
    again with the same settings it does nothing but read the report; with others it trains anew.

    Args:
        out_dir: Folder to write; made if it is not there.
        seed: Seed of people, weights and batches. The people's seeds are 2**31 and above, which
            data sets do not take.
        num_people: People to learn from.
        num_heldout: People to measure on.
        steps: Optimizer steps.
        batch_size: People per step.
        vocabulary: Its texts may differ from the default's, its parts and attributes not.
        architecture: In open_clip's format, with a ModifiedResNet as image tower.
        workers: Processes that draw; None takes as many as torch has threads.
        progress: Show progress bars.
        device: Where to train and measure, see :func:`~clasp_mm.utils.device.pick_device`; people
            are drawn and batches made on the CPU.

    Returns:
        The report, as in ``mini_clip_report.json``: note, settings, accuracies on held-out people
        (see :func:`evaluate_mini_clip`), seconds, and the checkpoint's hash.

    Raises:
        HeldError: Another process trains in the folder.
        ValueError: For a number that is too small, another vocabulary's parts or attributes, or a
            device that is not there.
    """
    for name, value, least in (('steps', steps, 1), ('num_heldout', num_heldout, 1),
                               ('seed', seed, 0)):
        if value < least:
            raise ValueError(f'{name} must be at least {least}, got {value}')
    if not 8 <= batch_size <= num_people:
        raise ValueError(f'batch_size must be from 8 to num_people ({num_people}), '
                         f'got {batch_size}')
    out_dir = Path(out_dir)
    # All that decides the weights, besides the code, the device and the number of threads.
    settings = dict(seed=seed, num_people=num_people, num_heldout=num_heldout, steps=steps,
                    batch_size=batch_size, vocabulary=vocabulary.digest(),
                    architecture=architecture, generator=_generator_digest(seed, vocabulary))
    done = read_report(out_dir)
    if done is not None and done['settings'] == json.loads(json.dumps(settings)):
        return done
    with hold(out_dir):
        return _train(out_dir, settings, vocabulary, workers, progress, pick_device(device))


def _train(out_dir: Path, settings: dict, vocabulary: Vocabulary, workers: int | None,
           progress: bool, device: torch.device) -> dict:
    (out_dir / REPORT_FILE).unlink(missing_ok=True)
    workers = torch.get_num_threads() if workers is None else workers
    seed, architecture = settings['seed'], settings['architecture']
    draw = dict(seed=seed, vocabulary=vocabulary, workers=workers, progress=progress)
    start = time.perf_counter()
    size = architecture['vision_cfg']['image_size']
    people = draw_people(settings['num_people'], split='train', size=(size, size), **draw)
    heldout = draw_people(settings['num_heldout'], split='heldout', size=CROP, **draw)
    drawn = time.perf_counter()
    model, losses = fit(people, vocabulary, seed=seed, steps=settings['steps'],
                        batch_size=settings['batch_size'], architecture=architecture,
                        progress=progress, device=device)
    trained = time.perf_counter()
    save_mini_clip(model, out_dir, architecture)
    accuracy = evaluate_mini_clip(
        build_clip(f'local-dir:{out_dir}', None, device), vocabulary, heldout)
    report = dict(
        note=NOTE, settings=settings, heldout=accuracy, last_losses=losses,
        seconds=dict(draw=round(drawn - start, 1), train=round(trained - drawn, 1),
                     evaluate=round(time.perf_counter() - trained, 1)),
        device=str(device), threads=torch.get_num_threads(), checkpoint=CHECKPOINT_FILE,
        sha256=file_hash(out_dir / CHECKPOINT_FILE))
    write_json(out_dir / REPORT_FILE, report, indent=2)
    return report


def read_report(out_dir: str | Path) -> dict | None:
    """The report of a finished training; None if there is none or it is of other weights."""
    path, checkpoint = Path(out_dir) / REPORT_FILE, Path(out_dir) / CHECKPOINT_FILE
    if not path.is_file() or not checkpoint.is_file():
        return None
    report = read_json(path)
    return report if report['sha256'] == file_hash(checkpoint) else None


def _generator_digest(seed: int, vocabulary: Vocabulary) -> str:
    """A hash of the first person drawn, so that a changed generator is noticed."""
    person = draw_people(1, seed=seed, split='train', size=CROP, vocabulary=vocabulary)
    pixels = (person.images, person.parsing, person.scenes)
    return hashlib.sha256(b''.join(item.numpy().tobytes() for item in pixels)).hexdigest()[:16]


def fit(people: PeopleTable, vocabulary: Vocabulary, *, seed: int, steps: int, batch_size: int,
        architecture: dict = ARCHITECTURE, progress: bool = False,
        device: str | torch.device | None = None) -> tuple[nn.Module, dict[str, float]]:
    """Train a fresh model; on the CPU the same arguments and threads give the same weights.

    Returns:
        The model in evaluation mode, on the CPU, and the mean of each loss term over the last tenth
        of steps.
    """
    device = pick_device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective = Objective(architecture, vocabulary).to(device)
    optimizers = Optimizers(objective, steps)
    stream = batches(people, len(vocabulary.parts), batch_size, seed)
    last: list[dict[str, float]] = []
    for step in tqdm(range(steps), 'training mini CLIP', unit='step', disable=not progress):
        terms = objective(next(stream).to(device))
        optimizers.step(weighted(terms))
        if step >= steps - max(1, steps // 10):
            last.append({name: value.item() for name, value in terms.items()})
    means = {name: sum(terms[name] for terms in last) / len(last) for name in last[0]}
    return objective.model.cpu().eval(), means
