"""What decides a pseudo-label, what labels are, and what they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from clasp_mm.utils.names import did_you_mean

from .clustering import check_cluster_numbers
from .regions import FOREGROUND_RULES
from .resample import FITS
from .transfer import Download
from .vocabulary import IGNORE

NAMINGS = ('clip', 'order')
_CHOICES = dict(foreground=FOREGROUND_RULES, region=('mask', 'crop'), fit=FITS,
                fill=('black', 'mean'), amp=('none', 'bf16', 'fp16'))


@dataclass(frozen=True)
class LabelSettings:
    """Everything but the networks and the vocabulary that decides a label.

    The defaults are the best of those measured with a nano teacher and the mini CLIP on 120
    synthetic people. Foreground IoU: ``centre`` 0.61, ``feature`` 0.43, ``norm`` 0.42; mean part
    IoU 0.13, against 0.08 and 0.06 without places. On 13 crops of real photographs the order is
    the same. More regions name more parts (0.18 with ``cluster_numbers=(6, 8, 10)``) and cost as
    many more CLIP forwards. The paper uses 2-means and no places.

    Args:
        cluster_numbers: The set S; every image gets regions for each k in it.
        image_size: (H, W) to which every image is brought first; regions are cut out at it.
        stage: Stage of the teacher whose map is clustered, from 0.
        input_size: (H, W) of the teacher's input.
        foreground: Rule that tells person from background: ``norm``, ``feature`` or ``centre``,
            see :func:`~clasp_mm.pseudo_labels.regions.foreground_mask`.
        position_weight: Weight of a token's place in the part clustering; 0 as the paper.
        min_foreground: An image needs a larger share of foreground tokens than this.
        min_person_cosine: ... and a larger CLIP cosine with the vocabulary's person texts.
        region: How CLIP sees a region: ``mask``, the image with all else blanked (eq. 1 of the
            paper), or ``crop``, the same cut to the region's bounding box.
        fit: How an image or crop becomes CLIP's input: ``squash``, ``pad`` or ``centre``.
        fill: What is blanked becomes ``black`` or CLIP's ``mean`` colour.
        logit_scale: Factor from cosine to logit of the confidences; None for the CLIP model's
            own, which is 100 for OpenAI's and LAION's.
        amp: Autocast of both networks: ``none``, ``bf16`` or ``fp16``. With three random nano
            teachers and 24 synthetic people on the CPU, bf16 changes the region number of 16 to
            18 % of the tokens and the foreground share of one image by up to 0.45; where both name
            a region the names are the same, and confidences of attributes differ by up to 0.0044.

    Raises:
        ValueError: For a value that cannot be, naming the choices.
    """

    cluster_numbers: tuple[int, ...] = (3, 4, 5)
    image_size: tuple[int, int] = (256, 128)
    stage: int = 2
    input_size: tuple[int, int] = (512, 256)
    foreground: str = 'centre'
    position_weight: float = 1.5
    min_foreground: float = 0.5
    min_person_cosine: float = 0.2
    region: str = 'mask'
    fit: str = 'squash'
    fill: str = 'black'
    logit_scale: float | None = None
    amp: str = 'none'

    def __post_init__(self) -> None:
        for name in ('cluster_numbers', 'image_size', 'input_size'):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_cluster_numbers(self.cluster_numbers)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f'{name} must be one of {choices}, got {getattr(self, name)!r}')
        if self.position_weight < 0:
            raise ValueError(f'position_weight must be >= 0, got {self.position_weight}')
        if not 0 <= self.min_foreground < 1:
            raise ValueError(f'min_foreground must be in [0, 1), got {self.min_foreground}')
        if not -1 <= self.min_person_cosine < 1:
            raise ValueError(f'min_person_cosine must be in [-1, 1), got {self.min_person_cosine}')

    @classmethod
    def from_dict(cls, spec: Mapping) -> LabelSettings:
        """Build from plain data; an unknown name is an error that offers the nearest one."""
        names = [item.name for item in fields(cls)]
        for name in spec:
            if name not in names:
                raise ValueError(f'unknown label setting {name!r}'
                                 + (did_you_mean(name, names) or f'; all: {names}'))
        return cls(**spec)

    def to_dict(self) -> dict:
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(self).items()}


@dataclass
class PseudoLabels:
    """Labels of B images, in the precision in which a store keeps them.

    T = sum of the cluster numbers: region r = 1..k of the i-th k has column
    ``sum(cluster_numbers[:i]) + r - 1``.

    Args:
        regions: Region number of each token for each k, 0 background, (B, S, L) uint8.
        region_label: Part label 1..P; 0 for a region that is not there or was not labelled,
            (B, T) uint8.
        region_conf: Softmax probability of that label, (B, T) float16.
        attr_value: Most probable value of each attribute, (B, A) uint8.
        attr_conf: Its softmax probability, (B, A) float16.
        foreground: Share of foreground tokens, (B,) float32.
        person_cosine: CLIP cosine with the person texts, (B,) float32.
    """

    regions: np.ndarray
    region_label: np.ndarray
    region_conf: np.ndarray
    attr_value: np.ndarray
    attr_conf: np.ndarray
    foreground: np.ndarray
    person_cosine: np.ndarray

    def __len__(self) -> int:
        return len(self.foreground)

    @classmethod
    def empty(cls, batch: int, grid: tuple[int, int], cluster_numbers: Sequence[int],
              num_attributes: int) -> PseudoLabels:
        """Labels of images without foreground, as unreadable ones have."""
        total = sum(cluster_numbers)
        return cls(
            regions=np.zeros((batch, len(cluster_numbers), grid[0] * grid[1]), np.uint8),
            region_label=np.zeros((batch, total), np.uint8),
            region_conf=np.zeros((batch, total), np.float16),
            attr_value=np.zeros((batch, num_attributes), np.uint8),
            attr_conf=np.zeros((batch, num_attributes), np.float16),
            foreground=np.zeros(batch, np.float32),
            person_cosine=np.full(batch, -1, np.float32))

    def accepted(self, min_foreground: float, min_person_cosine: float) -> np.ndarray:
        """Images that pass both filters, (B,) bool."""
        return (self.foreground > min_foreground) & (self.person_cosine > min_person_cosine)

    def part_maps(self, cluster_numbers: Sequence[int], which: int,
                  min_part_prob: float = 0.0, naming: str = 'clip') -> np.ndarray:
        """Token maps of part labels for the ``which``-th k.

        Args:
            cluster_numbers: All the k of these labels.
            which: Position of one of them.
            min_part_prob: Regions whose name is not more probable are ignored.
            naming: What a region is called: ``clip``, the part whose texts are nearest, or
                ``order``, its number from top to bottom, which is never ignored.

        Returns:
            (B, L) uint8: 0 background, 1..P (or 1..k), 255 where the region's confidence is not
            above ``min_part_prob`` or it has no label.
        """
        if naming == 'order':
            return self.regions[:, which]
        start = sum(cluster_numbers[:which])
        stop = start + cluster_numbers[which]
        label = self.region_label[:, start:stop]
        sure = (label > 0) & (self.region_conf[:, start:stop] > min_part_prob)
        label = np.where(sure, label, np.uint8(IGNORE))
        table = np.concatenate([np.zeros((len(label), 1), np.uint8), label], axis=1)
        return np.take_along_axis(table, self.regions[:, which].astype(np.intp), axis=1)

    def attr_targets(self, min_attr_prob: float) -> np.ndarray:
        """Value of each attribute, -1 where its probability is not above the threshold.

        Returns:
            (B, A) int64.
        """
        return np.where(self.attr_conf > min_attr_prob, self.attr_value.astype(np.int64), -1)


@dataclass
class Scores:
    """What the labels are made of, for reports; tensors on the labeler's device.

    Args:
        regions: As in :class:`PseudoLabels`, (B, S, L) uint8.
        foreground: (B,).
        person_cosine: (B,).
        part_probs: Softmax over the P parts of each region, 0 where not labelled, (B, T, P).
        attr_probs: Softmax over the values of each attribute, each (B, V_a).
    """

    regions: Tensor
    foreground: Tensor
    person_cosine: Tensor
    part_probs: Tensor
    attr_probs: list[Tensor] = field(default_factory=list)

    def to_labels(self) -> PseudoLabels:
        return PseudoLabels(**self.download().wait())

    def download(self) -> Download:
        """The fields of :class:`PseudoLabels`, on their way to the host."""
        confidence, label = self.part_probs.max(dim=-1)
        winners = [probs.max(dim=-1) for probs in self.attr_probs]
        batch = len(self.foreground)
        attr_value = (torch.stack([winner.indices for winner in winners], dim=1)
                      if winners else self.regions.new_zeros(batch, 0))
        attr_conf = (torch.stack([winner.values for winner in winners], dim=1)
                     if winners else self.part_probs.new_zeros(batch, 0))
        return Download(dict(
            regions=self.regions,
            region_label=((label + 1) * (confidence > 0)).to(torch.uint8),
            region_conf=confidence.to(torch.float16),
            attr_value=attr_value.to(torch.uint8), attr_conf=attr_conf.to(torch.float16),
            foreground=self.foreground.float(), person_cosine=self.person_cosine.float()))


@dataclass
class Seen:
    """What is known of a batch before its regions go through CLIP.

    Args:
        pixels: (B, 3, H, W) in [0, 1].
        masks: Tokens of each region, (B, T, h, w) bool.
        scores: All but the part probabilities, which are 0.
        asked: For the host: ``broken`` (B,), features that are not finite, and ``wanted`` (B, T),
            the regions to name.
    """

    pixels: Tensor
    masks: Tensor
    scores: Scores
    asked: Download
