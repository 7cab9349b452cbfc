"""Part and attribute pseudo-labels of a sample, from a store or made on the spot."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from clasp_mm.pseudo_labels.clip_labeler import CLIPLabeler
from clasp_mm.pseudo_labels.clip_model import build_clip, state_digest
from clasp_mm.pseudo_labels.labels import NAMINGS, LabelSettings, PseudoLabels
from clasp_mm.pseudo_labels.store import LabelStore
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, IGNORE, Vocabulary
from clasp_mm.registry import MODELS, TRANSFORMS
from clasp_mm.utils.shards import digest

from ..inputs import MEAN, STD, statistics

_BLOCKS = 64  # of a store that are verified at the start: 16 MB


def build_labeler(clip: Mapping, teacher: Mapping | torch.nn.Module,
                  vocabulary: Vocabulary = DEFAULT_VOCABULARY, device: str | torch.device = 'cpu',
                  clip_batch_size: int = 256, task: str | None = None,
                  **settings) -> CLIPLabeler:
    """Build a labeler from plain data.

    Args:
        clip: Arguments of :func:`~clasp_mm.pseudo_labels.clip_model.build_clip`.
        teacher: A backbone that has its weights and puts out every stage from the first to
            ``stage``; or the config of one, whose ``init_cfg`` names the weights.
        vocabulary: Parts, attributes and texts.
        device: Where both networks live.
        clip_batch_size: Regions per CLIP forward.
        task: Prompt under which a teacher with PC-MoE runs; a plain one has none.
        **settings: Fields of :class:`~clasp_mm.pseudo_labels.labels.LabelSettings`.

    Raises:
        ValueError: If the teacher's config names no weights, or a setting is not known.
    """
    settings = LabelSettings.from_dict(settings)
    if isinstance(teacher, Mapping):
        if not teacher.get('init_cfg'):
            raise ValueError(
                'a teacher without weights finds no parts; name its checkpoint: '
                "teacher=dict(type='clasp_mm.PCMoESwin', arch=..., moe=None, "
                "init_cfg=dict(type='Pretrained', checkpoint='dino.pth'))")
        teacher = MODELS.build(
            dict(teacher, out_indices=tuple(range(settings.stage + 1))))
        teacher.init_weights()
    teacher = teacher.to(device).eval().requires_grad_(False)
    identity = state_digest(teacher)
    if statistics(teacher) != (MEAN, STD):
        identity = f'{identity}-{digest(statistics(teacher))}'
    if getattr(teacher, 'semantic_weight', None) is not None:
        identity = f'{identity}-{teacher.semantic_weight:g}'
    if task is not None:
        identity, teacher = f'{identity}-{task}', partial(teacher, task=task)
    return CLIPLabeler(build_clip(**clip, device=device), teacher, identity, vocabulary, settings,
                       clip_batch_size)


@TRANSFORMS.register_module()
class CLIPPseudoLabeler(BaseTransform):
    """Add CLIP's part and attribute labels to a sample; one k of the cluster numbers per call.

    It must see the image as it was read, before any crop. Reads ``img_key`` and, for live labels,
    ``img`` ((H, W, 3) uint8 BGR). Adds ``part_map`` ((h, w) uint8 over the teacher's tokens: 0
    background, 1..P, 255 ignored), ``attr_target`` ((A,) int64, -1 ignored) and
    ``label_accepted`` (bool). An image that a filter rejects has nothing but 255 and -1.

    Args:
        store: Folder of a label store, of which some blocks are verified. Or:
        labeler: Arguments of :func:`build_labeler`; labels are made at the first visit of an
            image and kept in memory. For small sets.
        vocabulary: Plain data of a vocabulary (``Vocabulary.to_dict``) if not the default one.
        cluster_numbers: The k to draw from; by default all that the labels have.
        naming: What ``part_map`` calls a region: ``clip``, the part whose texts are nearest, or
            ``order``, its number from top to bottom, 1..k, as SOLIDER counts its parts; the part
            head then has ``1 + max(cluster_numbers)`` classes. Any labels serve both.
        min_foreground: Share of foreground tokens that an image must exceed; by default what
            the labels were made with.
        min_person_cosine: CLIP cosine with the person texts that it must exceed; likewise.
        min_part_prob: Regions whose label is not more probable than this are ignored (ours; the
            paper keeps all). With ``order`` none is.
        min_attr_prob: ... and attributes.

    Raises:
        ValueError: If not exactly one source is given, the store is damaged, is not of this
            vocabulary or has no such k, the naming is not known, or a filter is looser than the one
            the labels were made with.
        KeyError: At the first image that the store does not hold.

    Example:
        >>> labelled = CLIPPseudoLabeler('labels')(dict(img_key='person0.jpg'))
        >>> labelled['part_map'].shape, labelled['attr_target'].shape
        ((5, 3), (9,))
    """

    def __init__(self, store: str | None = None, labeler: Mapping | None = None,
                 vocabulary: Mapping | None = None,
                 cluster_numbers: Sequence[int] | None = None, naming: str = 'clip',
                 min_foreground: float | None = None, min_person_cosine: float | None = None,
                 min_part_prob: float = 0.0, min_attr_prob: float = 0.5) -> None:
        if (store is None) == (labeler is None):
            raise ValueError('give CLIPPseudoLabeler either store (a folder) or labeler (how to '
                             f'label live), got store={store!r} and labeler={labeler!r}')
        if naming not in NAMINGS:
            raise ValueError(f'naming must be one of {NAMINGS}, got {naming!r}')
        self.vocabulary = (DEFAULT_VOCABULARY if vocabulary is None
                           else Vocabulary.from_dict(vocabulary))
        self.store, self.labeler_cfg = None, labeler
        if store is not None:
            self.store = LabelStore(store, vocabulary=self.vocabulary.to_dict())
            self.store.verify(_BLOCKS)
            settings = self.store.settings
        else:
            settings = LabelSettings.from_dict(
                {name: value for name, value in labeler.items()
                 if name not in ('clip', 'teacher', 'device', 'clip_batch_size', 'task')})
        self.all_cluster_numbers = settings.cluster_numbers
        self.cluster_numbers = tuple(cluster_numbers or settings.cluster_numbers)
        self.naming = naming
        missing = set(self.cluster_numbers) - set(settings.cluster_numbers)
        if missing:
            raise ValueError(f'there are labels for k in {settings.cluster_numbers}, none for '
                             f'{sorted(missing)}; make them again with these too')
        self.min_foreground = _stricter('min_foreground', min_foreground, settings)
        self.min_person_cosine = _stricter('min_person_cosine', min_person_cosine, settings)
        self.min_part_prob = min_part_prob
        self.min_attr_prob = min_attr_prob
        self._seen: dict[str, PseudoLabels] = {}

    def __getstate__(self) -> dict:
        return {**{name: value for name, value in vars(self).items() if name != '_live'},
                '_seen': {}}

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        labels = self._labels(results)
        accepted = bool(labels.accepted(self.min_foreground, self.min_person_cosine)[0])
        which = self.all_cluster_numbers.index(self._draw_cluster_number())
        part_map = labels.part_maps(self.all_cluster_numbers, which, self.min_part_prob,
                                    self.naming)[0]
        attr_target = labels.attr_targets(self.min_attr_prob)[0]
        if not accepted:
            part_map = np.full_like(part_map, IGNORE)
            attr_target = np.full_like(attr_target, -1)
        grid = self._live.grid if self.store is None else self.store.grid
        results.update(part_map=part_map.reshape(grid), attr_target=attr_target,
                       label_accepted=accepted)
        return results

    @cache_randomness
    def _draw_cluster_number(self) -> int:
        return int(np.random.choice(self.cluster_numbers))

    def _labels(self, results: dict[str, Any]) -> PseudoLabels:
        name = results['img_key']
        if self.store is not None:
            return self.store.lookup(name)
        if name not in self._seen:
            image = results['img'][..., ::-1]
            self._seen[name] = self._live.label([image], [name])
        return self._seen[name]

    @cached_property
    def _live(self) -> CLIPLabeler:
        device = str(self.labeler_cfg.get('device', 'cpu'))
        if device != 'cpu' and torch.utils.data.get_worker_info() is not None:
            raise ValueError(
                f'labelling live on {device!r} in a data-loading worker does not work; set '
                'num_workers=0 or device=\'cpu\', or make a store with clasp label make')
        return build_labeler(**self.labeler_cfg, vocabulary=self.vocabulary)

    def __repr__(self) -> str:
        source = 'labeler=...' if self.store is None else f'store={str(self.store.path)!r}'
        return (f'{type(self).__name__}({source}, cluster_numbers={self.cluster_numbers}, '
                f'naming={self.naming!r}, min_foreground={self.min_foreground}, '
                f'min_person_cosine={self.min_person_cosine}, '
                f'min_part_prob={self.min_part_prob}, min_attr_prob={self.min_attr_prob})')


def _stricter(name: str, value: float | None, settings: LabelSettings) -> float:
    used = getattr(settings, name)
    if value is not None and value < used:
        raise ValueError(f'{name}={value} is looser than {used}, with which the labels were made: '
                         'rejected images have no part labels; make the labels again')
    return used if value is None else value
