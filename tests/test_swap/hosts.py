"""Stock configs of the hosts with the backbone replaced, and small data for them to read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from . import data

CHANNELS = [32, 64, 128, 256]  # of the nano's stages
SMALL = 96


class Case(NamedTuple):
    """A stock config, the stages its heads read, and what else changes with the channels."""

    host: str
    config: str
    out_indices: tuple[int, ...]
    changes: dict[str, Any]


_POSE = 'body_2d_keypoint/'
_HEAD = dict(head=dict(in_channels=256))
_FPN = dict(neck=dict(in_channels=CHANNELS))
_ROI = dict(roi_head=dict(bbox_head=dict(fc_out_channels=32)))  # for speed
_PLAIN = dict(pretrained=None)  # of a ResNet, in mmseg's
CASES = [
    Case('mmpose', f'{_POSE}topdown_heatmap/coco/td-hm_swin-t-p4-w7_8xb32-210e_coco-256x192.py',
         (3, ), _HEAD),
    Case('mmpose', f'{_POSE}simcc/coco/simcc_res50_8xb64-210e_coco-256x192.py', (3, ), _HEAD),
    Case('mmpose', f'{_POSE}rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py', (3, ), _HEAD),
    Case('mmdet', 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', (0, 1, 2, 3),
         dict(_FPN, **_ROI)),
    Case('mmdet', 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', (0, 1, 2, 3),
         dict(_FPN, **_ROI)),
    # its FPN begins at stride 8
    Case('mmdet', 'retinanet/retinanet_r50_fpn_1x_coco.py', (1, 2, 3),
         dict(neck=dict(in_channels=CHANNELS[1:], start_level=0))),
    Case('mmdet', 'dino/dino-4scale_r50_8xb2-12e_coco.py', (1, 2, 3),
         dict(neck=dict(in_channels=CHANNELS[1:]), encoder=dict(num_layers=1),
              decoder=dict(num_layers=2), num_queries=20)),
    Case('mmseg', 'upernet/upernet_r50_4xb4-160k_ade20k-512x512.py', (0, 1, 2, 3),
         dict(_PLAIN, decode_head=dict(in_channels=CHANNELS, channels=32),
              auxiliary_head=dict(in_channels=128))),
    Case('mmseg', 'fcn/fcn_r50-d8_4xb4-160k_ade20k-512x512.py', (2, 3),
         dict(_PLAIN, decode_head=dict(in_channels=256, in_index=1, channels=32),
              auxiliary_head=dict(in_channels=128, in_index=0))),
    Case('mmseg', 'segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py', (0, 1, 2, 3),
         dict(decode_head=dict(in_channels=CHANNELS))),
    Case('mmpretrain', 'resnet/resnet50_8xb32_in1k.py', (3, ), _HEAD),
    Case('mmpretrain', 'swin_transformer/swin-tiny_16xb64_in1k.py', (3, ), _HEAD),
    Case('mmpretrain', 'mobilenet_v2/mobilenet-v2_8xb32_in1k.py', (3, ), _HEAD),
]


def case_name(case: Case) -> str:
    return f'{case.host}-{Path(case.config).stem.split("_")[0]}'


def write_data(root: Path) -> Path:
    from mmdet.datasets import CocoDataset
    data.write_coco(root / 'coco', CocoDataset.METAINFO['classes'])
    data.write_ade(root / 'ade')
    data.write_imagenet(root / 'imagenet')
    return root


def swapped(case: Case, folder: Path, checkpoint: Path, **backbone: Any) -> Config:
    """The stock config with one dict of the model replaced, as a user writes it."""
    backbone = dict(dict(
        _delete_=True, type='clasp_mm.PCMoESwin', arch='nano', task='part', window_size=4,
        out_indices=case.out_indices,
        init_cfg=dict(type='clasp_mm.Pretrained', checkpoint=str(checkpoint))), **backbone)
    file = folder / 'swapped.py'
    file.write_text(f'_base_ = {f"{case.host}::{case.config}"!r}\n'
                    f'model = {dict(case.changes, backbone=backbone)!r}\n')
    return Config.fromfile(file)


def shrink(cfg: Config, root: Path, work_dir: Path, iters: int, real_size: bool = False) -> Config:
    """Read the small data, at a small size where the host allows one, for ``iters`` steps."""
    roots = {'data/coco/': root / 'coco', 'data/ade/ADEChallengeData2016': root / 'ade',
             'data/imagenet': root / 'imagenet'}

    def text(value: Any) -> Any:
        for old, new in roots.items():
            if isinstance(value, str) and value.startswith(old):
                return f'{new}{value[len(old.rstrip("/")):]}'
        return 'BN' if value == 'SyncBN' else value  # which has no CPU version

    def settings(node: dict) -> None:
        type_ = node.get('type')
        if not real_size:
            if type_ in ('Resize', 'RandomResize'):
                node['scale'] = (SMALL, SMALL)
            elif type_ == 'RandomChoiceResize':
                node['scales'] = [(SMALL, SMALL)]
            elif type_ == 'RandomCrop' and 'crop_size' in node:
                node['crop_size'] = (SMALL, SMALL)
            elif type_ == 'SegDataPreProcessor':
                node['size'] = (SMALL, SMALL)
        if 'bbox_file' in node:
            node['bbox_file'] = None
        if 'pipeline' in node:  # albumentations is no requirement of the hosts'
            node['pipeline'] = [t for t in node['pipeline'] if t['type'] != 'Albumentation']

    cfg = Config(_walk(cfg.to_dict(), text, settings), filename=cfg.filename)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        loader.pop('prefetch_factor', None)
    cfg.train_dataloader.batch_size = 2
    cfg.train_cfg = dict(type='mmengine.IterBasedTrainLoop', max_iters=iters, val_interval=1000)
    if cfg.train_dataloader.get('sampler', {}).get('type') == 'DefaultSampler':
        cfg.train_dataloader.sampler.type = 'InfiniteSampler'
    cfg.train_dataloader.pop('batch_sampler', None)
    cfg.default_hooks.logger.interval = 1
    cfg.param_scheduler = None  # the stock one is for hundreds of epochs
    cfg.default_hooks.checkpoint = dict(type='mmengine.CheckpointHook', interval=1, by_epoch=False)
    cfg.work_dir = str(work_dir)
    cfg.launcher = 'none'
    return cfg


def _walk(node: Any, text: Callable, settings: Callable) -> Any:
    if isinstance(node, dict):
        settings(node)
        return {key: _walk(value, text, settings) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_walk(value, text, settings) for value in node)
    return text(node)
