"""Real people, searched as by another camera: pretrained features against pixels and no training.

``pytest -m slow -s tests/tasks/reid/test_real_people.py`` prints the scores.
"""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import save_checkpoint
from mmpretrain.registry import MODELS

from clasp_mm.inferencers import reid
from clasp_mm.utils.resources import shipped_file
from clasp_mm.visualization.ranked_lists import draw_ranked_list
from tests import real_clip


def embedder(folder, backbone=None):
    """A function from images to features (N, C) of a nano that was not fine-tuned."""
    cfg = Config.fromfile(next(shipped_file('configs/quickstart').glob('reid_*.py')))
    cfg.model.backbone.init_cfg = backbone and dict(
        type='clasp_mm.Pretrained', checkpoint=str(backbone))
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
        model.init_weights()
    cfg.model.backbone.init_cfg = None
    cfg.dump(folder / 'reid.py')
    save_checkpoint(dict(state_dict=model.state_dict(), meta={}), str(folder / 'reid.pth'))
    model = reid.load(folder / 'reid.py', folder / 'reid.pth')
    return lambda images: np.stack([one['feature'] for one in reid.predict(model, images)])


def pixels(images):
    rows = np.stack([cv2.resize(one, (8, 16)).ravel() for one in images]).astype(float)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.slow
@real_clip.needs_clip
def test_pretrained_features_find_real_people_under_another_camera(tmp_path):
    backbone = real_clip.published_backbone()
    frames, boxes, pids = real_clip.read_clip()
    seen = [real_clip.crops(frame, own) for frame, own in zip(frames, boxes, strict=True)]
    others = [real_clip.crops(*real_clip.by_another_camera(frame, own))
              for frame, own in zip(frames, boxes, strict=True)]
    ways = dict(pretrained=embedder(tmp_path, backbone), random=embedder(tmp_path), pixels=pixels)
    scores, chance = {}, real_clip.chance(pids)
    for name, embed in ways.items():
        features, queries = ([embed(own) for own in side] for side in (seen, others))
        scores[name] = real_clip.search_clip(features, queries, pids)
        plain = real_clip.search_clip(features, features, pids)
        print(f'{name}: mAP {scores[name][0]:.1f}, rank-1 {scores[name][1]:.1f}; by the same '
              f'camera {plain[0]:.1f}, {plain[1]:.1f}; chance {chance:.1f}')
        if name == 'pretrained':
            picture = ranked(seen, others, features, queries, pids)
            cv2.imwrite(str(tmp_path / 'ranked.png'), picture[..., ::-1])
    assert scores['pretrained'][0] > 3 * chance
    assert scores['pretrained'][0] > max(scores['random'][0], scores['pixels'][0]) + 5


def ranked(seen, others, features, queries, pids):
    """The lists of the first frame's people, as a picture (RGB)."""
    lists, names = [], np.concatenate(pids[real_clip.APART:])
    gallery = [image for own in seen[real_clip.APART:] for image in own]
    rows = np.concatenate(features[real_clip.APART:])
    for query, image in enumerate(others[0]):
        distances = np.linalg.norm(queries[0][query] - rows, axis=1)
        order = np.argsort(distances)[:10]
        lists.append(draw_ranked_list(
            image[..., ::-1], [gallery[at][..., ::-1] for at in order], distances[order].tolist(),
            (names[order] == pids[0][query]).tolist()))
    width = max(one.shape[1] for one in lists)
    return np.concatenate([cv2.copyMakeBorder(one, 0, 0, 0, width - one.shape[1],
                                              cv2.BORDER_CONSTANT) for one in lists])
