import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import save_checkpoint
from mmpretrain.registry import MODELS

from clasp_mm.synthetic import write_market1501
from clasp_mm.utils.resources import shipped_file


@pytest.fixture(scope='session')
def market(tmp_path_factory):
    """Market-1501's layout: 6 people to train on, 10 to score on (one distractor, one junk)."""
    root = tmp_path_factory.mktemp('market1501')
    for split, count in (('train', 48), ('val', 80)):
        write_market1501(root, split, count, size=(64, 32), workers=1, progress=False)
    return root


@pytest.fixture(scope='session')
def fine_tuned(tmp_path_factory):
    """Config and checkpoint of a nano model with random weights."""
    folder = tmp_path_factory.mktemp('model')
    cfg = Config.fromfile(next(shipped_file('configs/quickstart').glob('reid_*.py')))
    cfg.model.backbone.init_cfg = None
    cfg.dump(folder / 'reid.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):  # whatever ran before
        model = MODELS.build(cfg.model)
    model.init_weights()
    save_checkpoint(dict(state_dict=model.state_dict(), meta={}), str(folder / 'reid.pth'))
    return folder / 'reid.py', folder / 'reid.pth'
