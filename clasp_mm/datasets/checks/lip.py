"""Arrange and check LIP."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import mmcv
from tqdm import tqdm

from clasp_mm.utils.files import write_text

from ..images import list_files
from ..name_table import NameTable
from ..transforms.check_label_map import label_problem
from . import CheckReport

NUM_CLASSES = 20
OFFICIAL = {'train': 30462, 'val': 10000}
_CHUNK = 64


def folders(split: str) -> tuple[str, str]:
    """Folders of the images and of the label maps below the data root."""
    return f'{split}_images', f'TrainVal_parsing_annotations/{split}_segmentations'


def arrange_lip(source: Path, root: Path) -> list[Path]:
    """Link the folders of the unpacked download into the layout that configs/parsing expects.

    The archives nest their folders differently from mirror to mirror; they are found by name.
    Lists of names that are not there are written.

    Args:
        source: What holds the unpacked archives, at any depth.
        root: The data root to fill.

    Returns:
        What was made.

    Raises:
        FileNotFoundError: A folder is not below ``source``, or is empty.
        ValueError: A folder is there twice.
    """
    places = {}
    for split in OFFICIAL:
        for folder in folders(split):
            name = Path(folder).name
            found = [path for path in sorted(source.rglob(name)) if path.is_dir()]
            if not found:
                raise FileNotFoundError(f'no folder {name} below {source}: unpack '
                                        'TrainVal_images and TrainVal_parsing_annotations there')
            if len(found) > 1:
                raise ValueError(f'{name} is there twice: {found[0]} and {found[1]}')
            places[root / folder] = found[0]
    made = []
    for target, place in places.items():
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # a link to where the download was
            target.symlink_to(place.resolve(), target_is_directory=True)
            made.append(target)
    for split in OFFICIAL:
        target = root / f'{split}_id.txt'
        if not target.exists():
            names = [name.removesuffix('.jpg') for name in list_files(
                root / folders(split)[0], ('.jpg', ))]
            if not names:
                raise FileNotFoundError(f'no .jpg in {root / folders(split)[0]}')
            write_text(target, ''.join(f'{name}\n' for name in names))
            made.append(target)
    return made


def check_lip(root: Path, workers: int | None = None, progress: bool = True) -> CheckReport:
    """Look at a data root as ``configs/parsing`` expects it; every image and label map is read.

    Args:
        root: The data root.
        workers: Processes; None takes one per core.
        progress: Show a progress bar.
    """
    findings = CheckReport()
    for split in OFFICIAL:
        images, labels = (root / folder for folder in folders(split))
        listing = root / f'{split}_id.txt'
        missing = [f'{path.relative_to(root)}/' for path in (images, labels) if not path.is_dir()]
        if not listing.is_file():
            missing.append(listing.name)
        findings.problems += [f'{name} is missing below {root}' for name in missing]
        if missing:
            continue
        listed = NameTable.from_file(listing).stripped()
        _check_names(split, listed, {'.jpg': images, '.png': labels}, findings)
        names = [name for name in listed if (images / f'{name}.jpg').is_file()
                 and (labels / f'{name}.png').is_file()]
        faults = _check_maps(images, labels, names, workers, progress, f'{split} label maps')
        findings.first(f'label maps of {split} that cannot be used', faults)
    return findings


def _check_names(split: str, listed: Sequence[str], places: Mapping[str, Path],
                 findings: CheckReport) -> None:
    findings.facts.append(f'{split}_id.txt: {len(listed)} names (the whole of {split}: '
                          f'{OFFICIAL[split]})')
    findings.first(f'names are in {split}_id.txt twice',
                   [name for name, count in Counter(listed).items() if count > 1])
    for suffix, folder in places.items():
        there = {name.removesuffix(suffix) for name in list_files(folder, (suffix, ))}
        findings.facts.append(f'{folder.name}/: {len(there)} {suffix}')
        findings.first(f'of {split}_id.txt are missing in {folder.name}/',
                       sorted(set(listed) - there))
        findings.first(f'in {folder.name}/ are not in {split}_id.txt', sorted(there - set(listed)))


def _check_maps(images: Path, labels: Path, names: Sequence[str], workers: int | None,
                progress: bool, title: str) -> list[str]:
    check = partial(_fault, images, labels)
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        found = tqdm(pool.map(check, names, chunksize=_CHUNK), title, total=len(names), unit='map',
                     disable=not progress)
        return [fault for fault in found if fault]


def _fault(images: Path, labels: Path, name: str) -> str | None:
    """What is wrong with one pair, decoded as mmsegmentation decodes it."""
    try:
        image = mmcv.imread(images / f'{name}.jpg')
        label = mmcv.imread(labels / f'{name}.png', flag='unchanged', backend='pillow')
    except (OSError, SyntaxError, cv2.error) as error:  # Pillow raises the second for damaged PNGs
        return f'{name} (cannot be read: {error})'
    if image is None:
        return f'{name} (cannot be read: no image in {name}.jpg)'
    problem = label_problem(label, image.shape, NUM_CLASSES)
    return f'{name} ({problem})' if problem else None
