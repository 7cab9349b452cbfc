"""Part and attribute pseudo-labels of person images by a frozen teacher and CLIP."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .clip_model import CLIPModel
from .hashing import hash_names
from .regions import BROKEN, FOREGROUND_RULES, check_cluster_numbers, find_regions
from .resample import FITS, resample
from .text_bank import TextBank
from .transfer import Download, upload
from .vocabulary import DEFAULT_VOCABULARY, IGNORE, Vocabulary

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
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
        amp: Autocast of both networks: ``none``, ``bf16`` or ``fp16``. With random networks and 24
            synthetic people bf16 moves 7 % of the tokens between person and background and 14 %
            between regions; no name changes, confidences by 0.004 at most.

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
                near = difflib.get_close_matches(name, names, n=1)
                raise ValueError(f'unknown label setting {name!r}'
                                 + (f'; did you mean {near[0]!r}?' if near else f'; all: {names}'))
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


def to_canvas(images: Tensor | Sequence[np.ndarray], size: tuple[int, int]) -> Tensor:
    """Images of any sizes as one batch, each resized by itself (bicubic, antialiased).

    Args:
        images: (B, 3, h, w) uint8, or B arrays (h_i, w_i, 3) uint8.
        size: (H, W).

    Returns:
        (B, 3, H, W) uint8, on the CPU.

    Raises:
        ValueError: If an image has not three 8-bit channels.
    """
    if isinstance(images, Tensor) and images.dtype == torch.uint8 \
            and images.shape[1:] == (3, *size):
        return images.cpu()
    canvas = torch.empty(len(images), 3, *size, dtype=torch.uint8)
    for i, image in enumerate(images):
        if not isinstance(image, Tensor):
            image = torch.from_numpy(np.ascontiguousarray(image))
            image = image.permute(2, 0, 1) if image.ndim == 3 else image
        if image.ndim != 3 or len(image) != 3 or image.dtype != torch.uint8:
            raise ValueError(f'image {i} must be RGB uint8 with 3 channels, got shape '
                             f'{tuple(image.shape)} of {image.dtype}')
        if tuple(image.shape[1:]) != tuple(size):
            image = F.interpolate(image[None].float(), size, mode='bicubic', antialias=True)[0]
            image = image.round_().clamp_(0, 255)
        canvas[i] = image
    return canvas


class CLIPLabeler:
    """Label person images by parts and attributes (CLASP, arXiv 2601.13133, section III-A).

    Args:
        clip: From :func:`~clasp_mm.pseudo_labels.clip_model.build_clip`.
        teacher: Images (B, 3, h, w), RGB with ImageNet's mean and deviation, to a tuple of maps
            (B, C_i, h_i, w_i), one per stage from the first; on the CLIP model's device.
        teacher_id: What stores record of the teacher.
        vocabulary: Parts, attributes and texts.
        settings: See :class:`LabelSettings`.
        clip_batch_size: Regions per CLIP forward.
    """

    def __init__(self, clip: CLIPModel, teacher: Callable[[Tensor], Sequence[Tensor]],
                 teacher_id: str = 'unnamed', vocabulary: Vocabulary = DEFAULT_VOCABULARY,
                 settings: LabelSettings | None = None, clip_batch_size: int = 256) -> None:
        self.clip = clip
        self.teacher = teacher
        self.teacher_id = teacher_id
        self.vocabulary = vocabulary
        self.settings = settings or LabelSettings()
        self.clip_batch_size = clip_batch_size
        self.device = clip.device
        self.bank = TextBank.build(clip, vocabulary)
        scale = self.settings.logit_scale
        self.logit_scale = clip.logit_scale if scale is None else scale
        numbers = self.settings.cluster_numbers
        # Of each region column: which k, and its number within that k.
        self._column_k = torch.arange(len(numbers)).repeat_interleave(torch.tensor(numbers))
        self._column_region = torch.cat([torch.arange(1, k + 1) for k in numbers])
        self._column_k = self._column_k.to(self.device)
        self._column_region = self._column_region.to(self.device)
        with torch.inference_mode():
            self.grid = self._find_grid()

    def _find_grid(self) -> tuple[int, int]:
        maps = self.teacher(torch.zeros(1, 3, *self.settings.input_size, device=self.device))
        if not 0 <= self.settings.stage < len(maps):
            raise ValueError(
                f'stage={self.settings.stage} is none of the {len(maps)} maps that the teacher '
                f'puts out; build it with out_indices={tuple(range(self.settings.stage + 1))}')
        height, width = maps[self.settings.stage].shape[-2:]
        if height * width < max(self.settings.cluster_numbers):
            raise ValueError(
                f'the teacher\'s map of {height}x{width} tokens cannot hold '
                f'{max(self.settings.cluster_numbers)} regions; take an earlier stage or a larger '
                f'input_size than {self.settings.input_size}')
        return height, width

    def label(self, images: Tensor | Sequence[np.ndarray], names: Sequence[str]) -> PseudoLabels:
        """Label a batch; an image's label depends on its pixels and its name alone.

        Args:
            images: (B, 3, H, W) uint8 RGB, or B arrays (H_i, W_i, 3) uint8 RGB of any sizes.
            names: The B image names; they seed the clustering.
        """
        return self.score(images, names).to_labels()

    def score(self, images: Tensor | Sequence[np.ndarray], names: Sequence[str]) -> Scores:
        """Regions and probabilities of a batch; arguments as of :meth:`label`."""
        return self.name_regions(self.see(images, names))

    @torch.inference_mode()
    def see(self, images: Tensor | Sequence[np.ndarray], names: Sequence[str]) -> Seen:
        """All of :meth:`score` before the regions go through CLIP, without a wait for a GPU."""
        if len(images) != len(names):
            raise ValueError(f'{len(images)} images but {len(names)} names')
        settings = self.settings
        pixels = upload(to_canvas(images, settings.image_size), self.device).float() / 255
        whole = self._whole(len(pixels))
        mean, std = (self._constant(x)[:, None, None] for x in (_IMAGENET_MEAN, _IMAGENET_STD))
        with self._autocast():
            maps = self.teacher((resample(pixels, whole, settings.input_size) - mean) / std)
        regions = find_regions(maps[settings.stage].float(), settings.cluster_numbers,
                               hash_names(names), settings.foreground,
                               settings.position_weight)
        foreground = (regions[:, 0] > 0).float().mean(dim=1)

        embeddings = torch.cat([
            self._embed(part, whole[:len(part)]) for part in pixels.split(self.clip_batch_size)])
        person_cosine = embeddings @ self.bank.person
        attr_probs = [(self.logit_scale * embeddings @ texts.mT).softmax(dim=-1)
                      for texts in self.bank.attributes]
        accepted = ((foreground > settings.min_foreground)
                    & (person_cosine > settings.min_person_cosine))
        masks = (regions.view(len(pixels), -1, *self.grid)[:, self._column_k]
                 == self._column_region[:, None, None])                          # (B, T, h, w)
        asked = Download(dict(broken=regions[:, 0, 0] == BROKEN,
                              wanted=masks.flatten(2).any(dim=2) & accepted[:, None]))
        part_probs = torch.zeros(*masks.shape[:2], len(self.bank.parts), device=self.device)
        return Seen(pixels, masks, Scores(regions, foreground, person_cosine, part_probs,
                                          attr_probs), asked)

    @torch.inference_mode()
    def name_regions(self, seen: Seen) -> Scores:
        """The scores of a batch with the part probabilities of accepted images' regions.

        Raises:
            ValueError: If the teacher's features are not finite.
        """
        asked = seen.asked.wait()
        if asked['broken'].any():
            raise ValueError('the teacher gives features that are not finite; its weights are '
                             'broken or its half precision overflows')
        pixels, size = seen.pixels, self.settings.image_size
        fill = self._fill()
        wanted = upload(np.argwhere(asked['wanted']), self.device)               # (n, 2)
        for chunk in wanted.split(self.clip_batch_size):
            image, column = chunk.unbind(dim=1)
            mask = seen.masks[image, column][:, None]                            # (n, 1, h, w)
            visible = F.interpolate(mask.float(), size, mode='nearest')
            shown = torch.where(visible > 0, pixels[image], fill)
            embeddings = self._embed(shown, self._boxes(mask[:, 0]))
            seen.scores.part_probs[image, column] = (
                self.logit_scale * embeddings @ self.bank.parts.mT).softmax(dim=-1)
        return seen.scores

    def _constant(self, values: Sequence[float]) -> Tensor:
        return upload(np.asarray(values, np.float32), self.device)

    def _whole(self, count: int) -> Tensor:
        """The box of each whole image, (count, 4) pixels."""
        height, width = self.settings.image_size
        return self._constant([0, 0, width, height]).expand(count, 4)

    def _boxes(self, mask: Tensor) -> Tensor:
        """What CLIP sees of each region: the whole image or a bounding box, (n, 4) pixels."""
        if self.settings.region == 'mask':
            return self._whole(len(mask))
        height, width = self.settings.image_size
        size = self._constant([width, height, width, height])
        bounds = []
        for axis in (1, 2):                               # columns that are hit, then rows
            hit = mask.any(dim=axis).float()
            first = hit.argmax(dim=1)
            last = hit.shape[1] - hit.flip(1).argmax(dim=1)
            bounds.append(torch.stack([first, last], dim=1) / hit.shape[1])
        columns, rows = bounds
        return size * torch.stack([columns[:, 0], rows[:, 0], columns[:, 1], rows[:, 1]], dim=1)

    def _fill(self) -> Tensor:
        colour = self.clip.mean if self.settings.fill == 'mean' else (0.0, 0.0, 0.0)
        return self._constant(colour)[:, None, None]

    def _embed(self, pixels: Tensor, boxes: Tensor) -> Tensor:
        """Unit CLIP embeddings (n, E) of one box of each image."""
        inputs = resample(pixels, boxes, self.clip.size, self.settings.fit, self._fill())
        with self._autocast():
            return self.clip.encode_images(inputs)

    def _autocast(self):
        if self.settings.amp == 'none':
            return nullcontext()
        dtype = torch.bfloat16 if self.settings.amp == 'bf16' else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)
