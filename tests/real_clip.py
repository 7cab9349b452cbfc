"""Eight frames of one street clip, with 14 people in each, and the same as by another camera.

The frames are a third of a second: the next one shows each person in the same pixels. Seen by
another camera they are mirrored, darker, bluish, a third as sharp, and cut loosely.
"""

import json
import os

import cv2
import numpy as np
import pytest

from clasp_mm.experiments.quickstart.layout import WORK_DIR, published, seed_dir
from tests.source_tree import ROOT

CLIP = ROOT / os.environ.get('CLASP_REAL_PEOPLE', '../shared/data/real_people') / 'mmtracking'
APART = 4  # frames between a query and what it is searched in
needs_clip = pytest.mark.skipif(not CLIP.is_dir(),
                                reason=f'no photographs at {CLIP} (CLASP_REAL_PEOPLE)')


def read_clip():
    """Frames (BGR), and of each the boxes (N, 4) and identities (N, )."""
    tracks = json.loads((CLIP / 'derived_tracks.json').read_text())
    names = sorted({one['frame'] for one in tracks})
    people = [[one for one in tracks if one['frame'] == name] for name in names]
    boxes = [np.array([one['bbox_xywh'] for one in own], float) for own in people]
    return ([cv2.imread(str(CLIP / 'frames' / name)) for name in names],
            [np.concatenate([own[:, :2], own[:, :2] + own[:, 2:]], 1) for own in boxes],
            [np.array([one['pid'] for one in own]) for own in people])


def by_another_camera(frame, boxes, loose=.12):
    """The frame and the boxes as that camera has them."""
    height, width = frame.shape[:2]
    small = cv2.resize(frame[:, ::-1], (width // 3, height // 3), interpolation=cv2.INTER_AREA)
    frame = 255 * (cv2.resize(small, (width, height)) / 255.)**1.8 * np.array([1.1, 1, .85])
    sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    boxes = boxes + sizes * np.random.default_rng(0).uniform(-loose, loose, boxes.shape)
    boxes = boxes.clip(0, [width, height] * 2)
    boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    return frame.clip(0, 255).astype(np.uint8), boxes


def crops(frame, boxes):
    return [frame[y:b, x:r] for x, y, r, b in boxes.astype(int)]


def search_clip(features, query_features, pids):
    """mAP and rank-1 of everybody of every frame, searched in the frames APART or more away."""
    from clasp_mm.evaluation.functional import evaluate_reid
    found = []
    for frame, own in enumerate(query_features):
        others = [other for other in range(len(pids)) if abs(other - frame) >= APART]
        scores = evaluate_reid(own, np.concatenate([features[other] for other in others]),
                               pids[frame], np.concatenate([pids[other] for other in others]),
                               None, None)
        found.append((scores['mAP'], scores['rank1']))
    return np.mean(found, axis=0)


def chance(pids):
    """mAP of features that are noise."""
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(len(own), 16)) for own in pids]
    return search_clip(noise, [rng.permutation(own) for own in noise], pids)[0]


def published_backbone():
    """The quickstart's of its first seed, or skip."""
    found = published(seed_dir(ROOT / WORK_DIR, 0))
    if not found.is_file():
        pytest.skip('no published backbone: bash tools/quickstart.sh')
    return found
