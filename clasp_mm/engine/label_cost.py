"""How long the pseudo-labels of a config will take to make."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import torch
from mmengine.config import Config

from clasp_mm.datasets.images import UnreadableImageError
from clasp_mm.datasets.transforms.clip_pseudo_labeler import build_labeler
from clasp_mm.pseudo_labels.clip_labeler import CLIPLabeler
from clasp_mm.pseudo_labels.clip_model import CLIPModel
from clasp_mm.pseudo_labels.labels import LabelSettings
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
from clasp_mm.registry import DATASETS, MODELS
from clasp_mm.utils.device import pick_device

LABELER = 'clasp_mm.CLIPPseudoLabeler'
CLIP_NAME = 'ViT-B-32'


def label_cost(cfg: Config) -> dict[str, Any] | None:
    """Time of labelling all training images, measured on a few; nothing else of ``cfg`` is opened.

    Labels made live are timed with the config's own networks. Where a store is named and missing,
    networks of the sizes of the default CLIP and of the config's backbone, with random weights,
    label images of which none is rejected: an upper bound.

    Returns:
        ``seconds_per_image``, ``hours``, ``device`` and ``how``, or ``error`` where labelling
        cannot be tried; None where there is nothing to label or the store is there.
    """
    data = cfg.train_dataloader.dataset
    spec = next((step for step in data.get('pipeline', []) if step['type'] == LABELER), None)
    if spec is None or os.path.isdir(spec.get('store') or ''):
        return None
    dataset = DATASETS.build(dict(data, pipeline=[]))
    if spec.get('labeler') is not None:
        labeler = build_labeler(**dict(spec['labeler']))
        how = 'made live, at the first visit of an image in each process'
    else:
        try:
            labeler = stand_in_labeler(cfg, pick_device())
        except ImportError as error:
            return dict(error=f'there is no store {spec["store"]!r}, and no time to tell: {error}')
        how = (f'the store {spec["store"]!r} is missing: make it with clasp label make '
               f'(measured with {CLIP_NAME}, none rejected)')
    samples = list(islice(_readable(dataset), 64 if labeler.device.type == 'cuda' else 4))
    if not samples:
        raise ValueError('no image of the training data can be read')
    images = [sample['img'][..., ::-1] for sample in samples]
    names = [sample['img_key'] for sample in samples]
    labeler.label(images[:1], names[:1])
    begin = time.perf_counter()
    labeler.label(images, names)
    seconds = (time.perf_counter() - begin) / len(samples)
    return dict(seconds_per_image=seconds, hours=seconds * len(dataset) / 3600,
                device=str(labeler.device), how=how)


def _readable(dataset: Any) -> Iterator[dict]:
    for index in range(len(dataset)):
        with suppress(UnreadableImageError):
            yield dataset.load(index)


def stand_in_labeler(cfg: Config, device: torch.device) -> CLIPLabeler:
    """A labeler with random weights that costs what the real one does.

    Raises:
        ImportError: If open_clip is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ImportError('it needs open_clip: pip install open_clip_torch') from error
    settings = LabelSettings(min_foreground=0., min_person_cosine=-1.)
    backbone = {**cfg.model.backbone, 'moe': None, 'task': None, 'init_cfg': None,
                'out_indices': tuple(range(settings.stage + 1))}
    teacher = MODELS.build(backbone).to(device).eval().requires_grad_(False)
    model = open_clip.create_model(CLIP_NAME, pretrained=None, device=device).eval()
    clip = CLIPModel(model, open_clip.get_tokenizer(CLIP_NAME), model.visual.image_size,
                     'random weights')
    return CLIPLabeler(clip, teacher, 'random weights', DEFAULT_VOCABULARY, settings, 256)
