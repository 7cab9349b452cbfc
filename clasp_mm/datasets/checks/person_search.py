"""Check CUHK-SYSU and PRW in their official layouts."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..images import UnreadableImageError, image_shape
from ..search_annotations import GALLERY_SIZES, UNLABELLED, Frame, Query, read_cuhk_sysu, read_prw
from . import CheckReport

# Frames, identities and queries of the releases.
_OFFICIAL = {
    'cuhk_sysu': {'train': (11206, 5532, 0), 'test': (6978, 2900, 2900)},
    'prw': {'train': (5704, 483, 0), 'test': (6112, 450, 2057)},
}
_FOLDERS = {'cuhk_sysu': 'Image/SSM', 'prw': 'frames'}


def check_person_search(root: Path, data: str, progress: bool = True) -> CheckReport:
    """Look at a data root as ``configs/person_search`` expects it; every image's head is read.

    Args:
        root: The data root.
        data: ``'cuhk_sysu'`` or ``'prw'``.
        progress: Show progress bars.
    """
    findings = CheckReport()
    for split, official in _OFFICIAL[data].items():
        frames: list[Frame] = []
        galleries = data == 'cuhk_sysu' and split == 'test'
        for size in GALLERY_SIZES if galleries else GALLERY_SIZES[:1]:
            try:
                frames, queries = (read_prw(root, split) if data == 'prw'
                                   else read_cuhk_sysu(root, split, size))
            except (FileNotFoundError, ValueError) as error:
                findings.problems.append(str(error))
                continue
            name = f'{split}, galleries of {size}' if galleries else split
            _count(name, frames, queries, official, findings)
        _check_frames(root / _FOLDERS[data], split, frames, progress, findings)
    return findings


def _count(name: str, frames: list[Frame], queries: list[Query], official: tuple[int, ...],
           findings: CheckReport) -> None:
    pids = np.concatenate([np.zeros(0, int), *(frame.pids for frame in frames)])
    known = set(pids.tolist()) - {UNLABELLED}
    findings.facts.append(
        f'{name}: {len(frames)} frames, {len(pids)} boxes, {len(known)} identities, '
        f'{len(queries)} queries (the release: {official[0]}, {official[1]}, {official[2]})')
    names = {frame.name for frame in frames}
    wanted = {name for query in queries for name in (query.frame, *(query.gallery or ()))}
    findings.first(f'frames that queries of {name} need are not of the split',
                   sorted(wanted - names))
    findings.first(f'queries of {name} have an empty gallery', [
        number for number, query in enumerate(queries) if query.gallery == ()])


def _check_frames(folder: Path, split: str, frames: list[Frame], progress: bool,
                  findings: CheckReport) -> None:
    missing, unread, outside = [], [], []
    for frame in tqdm(frames, split, unit='img', disable=not progress):
        path = folder / frame.name
        if not path.is_file():
            missing.append(frame.name)
            continue
        try:
            height, width = image_shape(path)
        except UnreadableImageError as error:
            unread.append(str(error))
            continue
        cut = frame.boxes.clip(0, [width, height, width, height])
        outside += [f'{frame.name} {frame.boxes[row].tolist()}' for row in np.flatnonzero(
            (cut[:, 2:] <= cut[:, :2]).any(axis=1))]
    findings.first(f'images of {split} are missing in {folder}', missing)
    findings.first(f'images of {split} cannot be read', unread)
    findings.first(f'boxes of {split} without area or outside their image (x1, y1, x2, y2)',
                   outside)
