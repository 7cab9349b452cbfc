"""Downstream tasks: fine-tuning step and inference against the host's own Swin.

The model is a shipped config's; the peer is the same model with the host's SwinTransformer of equal
arch, strides and drop path in the backbone's place, and with the host's head and RoIAlign where the
config has faster ones of the same outputs; then the backbone's part is told beside it. Weights are
equal too (PC-MoE starts as the identity) and stay so (steps have a learning rate of 0), so that
heads, assigners and NMS have the same work on both sides: regions of other sizes cost RoIAlign a
twentieth of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib import import_module
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData
from torch import nn

from clasp_mm.inferencers.batches import decode_in_float32
from clasp_mm.models.backbones.archs import ARCHS
from clasp_mm.models.weights.swin import load_backbone
from clasp_mm.utils.profiling import peak_bytes
from clasp_mm.utils.resources import shipped_file

from .contest import Goal, Options, Row, race

Size = tuple[int, int]
_INFERENCE, _STEP, _MEMORY = Goal(0.90, 0.80), Goal(1.00, 0.90), Goal(1.05)
MMPRETRAIN = (Goal(0.80), Goal(0.95))  # of inference and of a step
_PEOPLE = 8  # boxes in an image


def pose(options: Options) -> Iterator[Row]:
    """Heat maps of COCO keypoints, flip test included, at both sizes of our configs."""
    for name, size in (('32-210e_coco-256x192', (256, 192)), ('16-210e_coco-384x288', (384, 288))):
        yield from contest('pose', f'pose/td-hm_pcmoe-swin-tiny_8xb{name}.py', size, _pose_sample,
                            options, batch=4)


def parsing(options: Options) -> Iterator[Row]:
    """LIP's 20 classes by augmented CE2P at 473x473, and by mmseg's UPerNet at 572x384."""
    for head, name, size, peer in (
            ('CE2P', 'schp_pcmoe-swin-tiny_8xb8-150e_lip-473x473', (473, 473), host_model),
            ('UPerNet', 'upernet_pcmoe-swin-tiny_8xb2-160k_lip-572x384', (572, 384), host_upernet)):
        yield from contest(head, f'parsing/{name}.py', size, _parsing_sample, options, batch=2,
                            peer=peer)


def detection(options: Options) -> Iterator[Row]:
    """People by mmdet's Faster R-CNN and by CSP; on CPUs at a quarter of CityPersons' area."""
    size = (512, 1024) if options.device == 'cpu' else (1024, 2048)
    for head, name, peer in (
            ('Faster R-CNN', 'faster-rcnn_pcmoe-swin-tiny_fpn_8xb2-1x_coco-person',
             host_faster_rcnn),
            ('CSP', 'csp_pcmoe-swin-tiny_8xb3-240e_citypersons-1024x2048', host_model)):
        yield from contest(head, f'detection/{name}.py', size, detection_sample, options, batch=1,
                            peer=peer)


def attribute(options: Options) -> Iterator[Row]:
    """PA-100K's 26 attributes at 256x128, against mmpretrain's Swin."""
    yield from contest(
        'Attributes', 'attribute/rethinkpar_pcmoe-swin-tiny_1xb64-30e_pa100k-256x128.py',
        (256, 128), _attribute_sample, options, batch=4, goals=MMPRETRAIN)


def host_swin(backbone: dict, host: str) -> dict:
    """The config of a host's SwinTransformer that computes what ours does without PC-MoE."""
    arch = {key: list(value) if isinstance(value, tuple) else value
            for key, value in ARCHS[backbone['arch']].items()}
    if host == 'mmpretrain':
        return dict(type='mmpretrain.SwinTransformer', arch=arch, pad_small_map=True,
                    drop_path_rate=backbone.get('drop_path_rate', 0.1))
    return dict(
        arch, type=f'{host}.SwinTransformer', window_size=7,
        strides=backbone.get('strides', (4, 2, 2, 2)),
        out_indices=backbone.get('out_indices', (3, )),
        drop_path_rate=backbone.get('drop_path_rate', 0.1))


def host_model(model: dict, host: str) -> dict:
    """The config of a model with the host's SwinTransformer in the backbone's place."""
    return dict(model, backbone=host_swin(model['backbone'], host))


def host_upernet(model: dict, host: str) -> dict:
    """:func:`host_model` with mmsegmentation's classes, of equal weights and outputs."""
    return dict(host_model(model, host), type='EncoderDecoder',
                decode_head=dict(model['decode_head'], type='UPerHead'))


def host_faster_rcnn(model: dict, host: str) -> dict:
    """:func:`host_model` with mmcv's RoIAlign, of equal outputs."""
    settings = deepcopy(host_model(model, host))
    del settings['roi_head']['bbox_roi_extractor']['roi_layer']['use_torchvision']
    return settings


class Task:
    """A downstream model with images and labels; ``step`` and ``infer`` are what is timed.

    Args:
        cfg: A downstream config.
        theirs: Build it with the host's Swin.
        size: (H, W) of the images.
        sample: Makes the labels of an image from the config and the size.
        batch: Images per call.
        options: Device and precision.
        peer: Makes the peer's config from the model's and the name of the host.
    """

    def __init__(self, cfg: Config, theirs: bool, size: Size, sample: Callable, batch: int,
                 options: Options, peer: Callable[[dict, str], dict] = host_model) -> None:
        self.options = options
        scope, settings = cfg.default_scope, deepcopy(cfg.model)
        settings.backbone.pop('init_cfg', None)
        if theirs:
            settings = peer(settings, scope)
        with DefaultScope.overwrite_default_scope(scope):
            torch.manual_seed(0)
            self.model = revert_sync_batchnorm(MODELS.build(settings)).to(options.device)
            self.optimizer = build_optim_wrapper(self.model, cfg.optim_wrapper)
        for group in self.optimizer.param_groups:
            group['lr'] = 0.
        for name, buffer in self.model.named_buffers():
            if name.endswith('positive_ratios'):  # of a training set
                buffer.fill_(.3)
        decode_in_float32(self.model)
        self.images = torch.randn(batch, 3, *size, device=options.device)
        self.samples = [sample(cfg, size).to(options.device) for _ in range(batch)]

    def take_weights(self, theirs: Task) -> None:
        """Have the weights of the peer: the backbone's by their names, the others' one by one."""
        load_backbone(self.model.backbone, theirs.model.backbone.state_dict(),
                      expected_missing=['norm?.*'])  # of stages that are not put out
        state = {name: value for name, value in theirs.model.state_dict().items()
                 if not name.startswith('backbone.')}
        self.model.load_state_dict(state, strict=False)

    def step(self) -> None:
        """Losses, backward pass and optimizer."""
        self.model.train()
        with self.options.autocast():
            losses = self.model(self.images, deepcopy(self.samples), mode='loss')
        self.optimizer.update_params(self.model.parse_losses(losses)[0])

    @torch.no_grad()
    def infer(self) -> Any:
        """Predictions, with what the host does after the network."""
        self.model.eval()
        with self.options.autocast():
            return self.model(self.images, deepcopy(self.samples), mode='predict')


def contest(head: str, config: str, size: Size, sample: Callable, options: Options, batch: int,
            goals: tuple[Goal, Goal] = (_INFERENCE, _STEP),
            peer: Callable[[dict, str], dict] = host_model) -> Iterator[Row]:
    """Inference, a step and its memory: the model of a config, and that on a peer's backbone."""
    cfg = shipped_config(config, options)
    if options.quick:
        size = (96, 64)
    batch = options.batch(batch if options.device == 'cpu' else 16 * batch)
    scope, arch = cfg.default_scope, cfg.model.backbone.arch
    what = f'{head}, Swin-{arch}, {size[0]}x{size[1]}, {options.dtype}, batch {batch}'
    host = f"{scope}'s SwinTransformer in the same model"
    name = f'{head} {size[0]}x{size[1]}'

    ours, theirs = (Task(cfg, swap, size, sample, batch, options, peer)
                    for swap in (False, True))
    ours.take_weights(theirs)
    sides = dict(ours=ours, theirs=theirs)
    if peer in (host_upernet, host_faster_rcnn):
        host = f"{scope}'s own Swin model"
        sides['same_head'] = Task(cfg, True, size, sample, batch, options, host_model)
        sides['same_head'].model.load_state_dict(theirs.model.state_dict())
    if options.compiled:
        for side in sides.values():
            side.model.backbone = torch.compile(side.model.backbone, dynamic=False)
    for kind, goal in zip(('inference', 'step'), goals, strict=True):
        calls = {side: task.infer if kind == 'inference' else task.step
                 for side, task in sides.items()}
        row = race(f'{name}, {kind}', what, host, calls.pop('ours'), calls.pop('theirs'), goal,
                   options, batch, parts=calls)
        if 'same_head' in calls:
            row.details['same_head_ratio'] = row.ours / row.details['seconds_of_parts']['same_head']
        yield row
    del ours, theirs, sides, calls
    peaks = [peak_bytes(lambda swap=swap: Task(cfg, swap, size, sample, batch, options, peer).step,
                        options.device) / 2**20 for swap in (False, True)]
    yield Row(f'{name}, memory of a step', what, host, *peaks, 'MiB', _MEMORY, batch)


def shipped_config(name: str, options: Options) -> Config:
    """A config below ``configs``, of a nano backbone where it need only run."""
    cfg = Config.fromfile(shipped_file(f'configs/{name}'))
    for module in cfg.get('custom_imports', {}).get('imports', ()):
        import_module(module)
    if options.quick:
        cfg.model.backbone.arch = 'nano'
        channels = [32, 64, 128, 256]
        first = ('head', 'decode_head', 'auxiliary_head')
        if 'in_channels' in cfg.model.get('neck', {}):
            first = ('neck', )
        for name in set(first) & set(cfg.model):
            cfg.model[name].in_channels = _narrow(cfg.model[name].in_channels, channels)
    return cfg


def _narrow(in_channels: Any, channels: list[int]) -> Any:
    """The nano's channels in the place of the tiny's."""
    tiny = {96 << i: channel for i, channel in enumerate(channels)}
    if isinstance(in_channels, int):
        return tiny.get(in_channels, in_channels)
    return type(in_channels)(tiny.get(one, one) for one in in_channels)


def _pose_sample(cfg: Config, size: Size) -> Any:
    from mmpose.datasets.datasets.utils import parse_pose_metainfo
    from mmpose.structures import PoseDataSample
    height, width = size
    codec = cfg.model.head.decoder
    columns, rows = (side * one // full for side, one, full in zip(
        codec.heatmap_size, (width, height), codec.input_size, strict=True))
    names = parse_pose_metainfo(dict(from_file='configs/_base_/datasets/coco.py'))
    box = np.array([[0., 0., width, height]], np.float32)
    sample = PoseDataSample(metainfo=dict(
        img_shape=size, input_size=(width, height), input_center=box[0, 2:] / 2,
        input_scale=box[0, 2:], flip_indices=names['flip_indices']))
    sample.gt_instances = InstanceData(
        bboxes=box, bbox_scores=np.ones(1, np.float32))
    sample.gt_instance_labels = InstanceData(keypoint_weights=torch.ones(1, 17))
    sample.gt_fields = PixelData(heatmaps=torch.rand(17, rows, columns))
    return sample


def _parsing_sample(cfg: Config, size: Size) -> Any:
    from mmseg.structures import SegDataSample
    sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size,
                                         padding_size=[0, 0, 0, 0], flip=False))
    labels = torch.randint(20, (1, 1, 9, 7)).float()
    sample.gt_sem_seg = PixelData(data=nn.functional.interpolate(labels, size)[0].long())
    return sample


def detection_sample(cfg: Config, size: Size) -> Any:
    """Some people in an image."""
    from mmdet.structures import DetDataSample
    height, width = size
    sample = DetDataSample(metainfo=dict(
        img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size,
        scale_factor=(1., 1.), img_id=0))
    tall = torch.linspace(height / 6, height / 2, _PEOPLE)
    left = torch.linspace(0, width - height / 4, _PEOPLE)
    boxes = torch.stack([left, height / 2 - tall / 2, left + .4 * tall, height / 2 + tall / 2], 1)
    labels = torch.zeros(_PEOPLE, dtype=torch.long)
    sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
    sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=labels[:0])
    return sample


def _attribute_sample(cfg: Config, size: Size) -> Any:
    from mmpretrain.structures import DataSample
    return DataSample().set_gt_score(torch.randint(2, (cfg.model.head.num_attributes, )).float())
