"""People of a street clip are found in its other frames, by their boxes in whole pictures."""

import numpy as np
import pytest
import torch

pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import save_checkpoint

from clasp_mm.inferencers import person_search
from tests import real_clip

CONFIG = next((real_clip.ROOT / 'configs/quickstart').glob('person_search_*.py'))

SCALE = (1024, 576)  # people are about as large as the crops of pretraining


def vectors(folder, images, boxes, backbone, seed):
    """Of the people of each image, (N, C), by a nano that was not fine-tuned: its head is drawn."""
    from mmdet.registry import MODELS
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.init_cfg = backbone and dict(
        type='clasp_mm.Pretrained', checkpoint=str(backbone))
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        model.init_weights()
    cfg.model.backbone.init_cfg = None
    for pipeline in (cfg.test_pipeline, cfg.test_dataloader.dataset.pipeline):
        pipeline[1].scale = SCALE
    cfg.dump(folder / 'search.py')
    save_checkpoint(dict(state_dict=model.state_dict(), meta={}), str(folder / 'search.pth'))
    model = person_search.load(folder / 'search.py', folder / 'search.pth')
    return [one['features'] for one in person_search.predict(model, images, boxes=boxes)]


@pytest.mark.slow
@real_clip.needs_clip
def test_real_people_are_found_in_frames_that_are_not_the_next(tmp_path):
    """``-s`` prints the scores. By the same camera weights of no training do it too."""
    backbone, (frames, boxes, pids) = real_clip.published_backbone(), real_clip.read_clip()
    others = [real_clip.by_another_camera(*one) for one in zip(frames, boxes, strict=True)]
    other_frames, other_boxes = zip(*others, strict=True)
    chance = real_clip.chance(pids)
    scores = {}
    for name, start in (('pretrained', backbone), ('random', None)):
        found = []
        for seed in range(5):
            seen = vectors(tmp_path, frames, boxes, start, seed)
            queries = vectors(tmp_path, other_frames, other_boxes, start, seed)
            found.append([real_clip.search_clip(seen, own, pids) for own in (seen, queries)])
        scores[name] = np.mean(found, 0)
        print(f'{name}: mAP, rank-1 by the same camera {np.round(scores[name][0], 1)}, by '
              f'another {np.round(scores[name][1], 1)} ± {np.std(found, 0)[1].round(1)}; chance '
              f'{chance:.1f}')
    assert scores['pretrained'][0][0] > 3 * chance
    assert scores['pretrained'][1][0] > scores['random'][1][0] + 3
