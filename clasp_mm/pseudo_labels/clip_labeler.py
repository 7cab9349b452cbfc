"""Part and attribute pseudo-labels of person images by a frozen teacher and CLIP."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .clip_model import CLIPModel
from .hashing import hash_names
from .labels import LabelSettings, PseudoLabels, Scores, Seen
from .regions import BROKEN, find_regions
from .resample import resample
from .text_bank import TextBank
from .transfer import Download, upload
from .vocabulary import DEFAULT_VOCABULARY, Vocabulary

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


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
        teacher: Images (B, 3, h, w), RGB by its ``mean`` and ``std`` of pixels (ImageNet's where it
            has none), to a tuple of maps (B, C_i, h_i, w_i), one per stage from the first; on the
            CLIP model's device.
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
        owner = getattr(teacher, 'func', teacher)  # a prompt makes it a partial
        self._mean, self._std = (
            [value / 255 for value in getattr(owner, name, ())] or default
            for name, default in (('mean', _IMAGENET_MEAN), ('std', _IMAGENET_STD)))
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
        self._column_k, self._column_region = torch.tensor(
            [(which, region) for which, k in enumerate(numbers) for region in range(1, k + 1)],
            device=self.device).T
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
        mean, std = (self._constant(x)[:, None, None] for x in (self._mean, self._std))
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
        for chunk in wanted.split(self.clip_batch_size) if len(wanted) else ():
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

    def _autocast(self) -> torch.autocast:
        dtype = dict(bf16=torch.bfloat16, fp16=torch.float16).get(self.settings.amp)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)
