"""Parts and attributes of images in words: by a trained CLASP's heads, or by CLIP."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from clasp_mm.compat import load_file
from clasp_mm.datasets.images import resize_images
from clasp_mm.datasets.inputs import normalize
from clasp_mm.pseudo_labels.clip_labeler import CLIPLabeler
from clasp_mm.pseudo_labels.vocabulary import Vocabulary
from clasp_mm.registry import MODELS
from clasp_mm.visualization.neighbours import Description


class HeadDescriber:
    """Reads parts and attributes from the heads of a CLASP training checkpoint.

    Args:
        backbone: Puts out the maps that the heads were trained on.
        part_head: Maps to logits (B, 1 + P, h, w), under the prompt ``part``; or None.
        attr_head: Pooled last map to logits of all candidate values, under ``attribute``; or None.
        vocabulary: What the classes mean.
        size: (H, W) of the backbone's input.

    Raises:
        ValueError: If a head has other classes than the vocabulary.
    """

    def __init__(self, backbone: nn.Module, part_head: nn.Module | None,
                 attr_head: nn.Module | None, vocabulary: Vocabulary,
                 size: tuple[int, int]) -> None:
        parts = None if part_head is None else part_head.num_classes - 1
        if parts not in (None, len(vocabulary.parts)):
            raise ValueError(f'the part head knows {parts} parts, the vocabulary has '
                             f'{len(vocabulary.parts)}; give the one it was trained with '
                             '(--vocabulary)')
        if attr_head is not None and attr_head.attribute_sizes != vocabulary.attribute_sizes:
            raise ValueError(f'the attribute head has {attr_head.attribute_sizes} values, the '
                             f'vocabulary {vocabulary.attribute_sizes}; give the one it was '
                             'trained with (--vocabulary)')
        self.backbone, self.part_head, self.attr_head = backbone, part_head, attr_head
        self.vocabulary, self.size = vocabulary, size

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[Description]:
        """Describe images (H_i, W_i, 3) uint8 BGR."""
        device = next(self.backbone.parameters()).device
        batch = normalize(resize_images(images, self.size).to(device))
        parts: list = [None] * len(images)
        attributes: list = [()] * len(images)
        if self.part_head is not None:
            logits = self.part_head(self.backbone(batch, 'part'))
            parts = list(logits.argmax(1).to(torch.uint8).cpu().numpy())
        if self.attr_head is not None:
            pooled = self.backbone(batch, 'attribute')[-1].mean((2, 3))
            attributes = self._name(self.attr_head(pooled).float().sigmoid())
        return [Description(*pair) for pair in zip(parts, attributes, strict=True)]

    def _name(self, probs: Tensor) -> list[tuple]:
        best = [group.max(1) for group in probs.split(self.vocabulary.attribute_sizes, 1)]
        return [tuple((attribute.name, attribute.values[int(winner.indices[i])],
                       float(winner.values[i]))
                      for attribute, winner in zip(self.vocabulary.attributes, best, strict=True))
                for i in range(len(probs))]


class CLIPDescriber:
    """Reads parts and attributes off CLIP; images that its filters reject get no parts.

    Args:
        labeler: Parts are shown for its largest cluster number.
    """

    def __init__(self, labeler: CLIPLabeler) -> None:
        self.labeler = labeler
        self.vocabulary = labeler.vocabulary

    def __call__(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[Description]:
        """Describe images (H_i, W_i, 3) uint8 BGR."""
        labeler, settings = self.labeler, self.labeler.settings
        labels = labeler.label([image[..., ::-1] for image in images], names)
        accepted = labels.accepted(settings.min_foreground, settings.min_person_cosine)
        which = int(np.argmax(settings.cluster_numbers))
        maps = labels.part_maps(settings.cluster_numbers, which).reshape(-1, *labeler.grid)
        return [Description(maps[i] if accepted[i] else None, tuple(
            (attribute.name, attribute.values[labels.attr_value[i, a]],
             float(labels.attr_conf[i, a]))
            for a, attribute in enumerate(self.vocabulary.attributes)),
            '' if accepted[i] else 'no parts: rejected by the filters')
            for i in range(len(images))]


def load_heads(config: Config, checkpoint: str | os.PathLike,
               device: str | torch.device) -> dict[str, nn.Module | None]:
    """The ``part_head`` and ``attr_head`` of a training checkpoint; None where it has none."""
    state = load_file(checkpoint)
    state, heads = state.get('state_dict', state), {}
    for name in ('part_head', 'attr_head'):
        own = {key.removeprefix(f'{name}.'): value for key, value in state.items()
               if key.startswith(f'{name}.')}
        heads[name] = None
        if own and config.model.get(name):
            head = MODELS.build(dict(config.model[name], _scope_='mmpretrain'))
            head.load_state_dict(own)
            heads[name] = head.to(device).eval()
    return heads
