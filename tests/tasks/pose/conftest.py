import cv2
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import save_checkpoint

from clasp_mm.synthetic import write_coco_keypoints
from clasp_mm.utils.resources import shipped_file

QUICKSTART = 'configs/quickstart/pose_pcmoe-swin-nano_1xb32_synthetic-64x48.py'


@pytest.fixture(autouse=True)
def fresh_scope():
    """mmpose's functions set the default scope of the process."""
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='session')
def coco(tmp_path_factory):
    """A data root with drawn people: 6 images to train on and 3 to score on."""
    root = tmp_path_factory.mktemp('coco')
    for split, count in (('train', 6), ('val', 3)):
        write_coco_keypoints(root, split, count, size=(128, 160), workers=1, progress=False)
    return root


@pytest.fixture(scope='session')
def fine_tuned(tmp_path_factory):
    """Config and checkpoint of a nano pose estimator with random weights."""
    from mmpose.registry import MODELS
    folder = tmp_path_factory.mktemp('model')
    cfg = Config.fromfile(shipped_file(QUICKSTART))
    cfg.model.backbone.init_cfg = None
    cfg.model.head.deconv_out_channels = (8, 8)
    cfg.dump(folder / 'pose.py')
    model = MODELS.build(cfg.model)
    model.init_weights()
    save_checkpoint(dict(state_dict=model.state_dict(), meta={}), str(folder / 'pose.pth'))
    return folder / 'pose.py', folder / 'pose.pth'


@pytest.fixture(scope='session')
def picture(coco):
    path = sorted((coco / 'val2017').iterdir())[0]
    return cv2.imread(str(path))
