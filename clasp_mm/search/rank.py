"""Rank the images of a folder by how well they fit a query."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.images import read_image, resize_images
from clasp_mm.pseudo_labels.clip_model import CLIPModel
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
from clasp_mm.utils.files import printable

from .index import Encoder, FeatureIndex, Update, clip_encoder, share
from .query import Part


class Hit(NamedTuple):
    """An image that was found.

    Attributes:
        row: In the source.
        name: Its name there.
        score: Score of the whole query, see :func:`search_images`.
        parts: Score of each part.
    """

    row: int
    name: str
    score: float
    parts: tuple[float, ...]


class Found(NamedTuple):
    """A result.

    Attributes:
        parts: Parts of the query.
        hits: Best first.
        updates: What was embedded for it, by encoder.
        spread: Mean and deviation of each part's score over the folder, (P, 2).
    """

    parts: list[Part]
    hits: list[Hit]
    updates: dict[str, Update]
    spread: np.ndarray

    @property
    def unreadable(self) -> list[str]:
        """Files that could not be read, and why."""
        return sorted({fault for update in self.updates.values() for fault in update.unreadable})

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as for JSON."""
        words = [part.words for part in self.parts]
        return dict(
            query=[dict(kind=part.kind, words=part.words, mean=float(mean), deviation=float(std))
                   for part, (mean, std) in zip(self.parts, self.spread, strict=True)],
            hits=[dict(rank=rank, name=printable(hit.name), score=hit.score,
                       parts=dict(zip(words, hit.parts, strict=True)))
                  for rank, hit in enumerate(self.hits, 1)],
            features={name: dict(images=update.num_images, embedded=update.new, gone=update.gone)
                      for name, update in self.updates.items()},
            unreadable=self.unreadable)


def search_images(source: LUPerson, parts: Sequence[Part], index: str | os.PathLike,
                  clip: CLIPModel | None = None, look: Encoder | None = None, count: int = 24,
                  batch_size: int = 64, num_workers: int = 2, progress: bool = True,
                  amp: bool | None = None, rank: int = 0, world_size: int = 1) -> Found | None:
    """Search the images of a source, embedding first what has no feature in the index.

    A part's score is the cosine with a picture; the cosine with a text, less the mean cosine with
    the built-in vocabulary's texts, which takes out how far an image fits any words on people; or
    the probability of an attribute's value among its values. With several parts, each is first
    brought to mean 0 and deviation 1 over the folder, so that none outweighs the others, and the
    score is their mean. A picture of the query is not found itself.

    Args:
        source: The images.
        parts: Parts of :func:`~.query.parse_query`.
        index: Folder of the index.
        clip: For texts and attributes.
        look: For pictures, of :func:`~.index.backbone_encoder`.
        count: How many to find.
        batch_size: Images per forward.
        num_workers: Processes that read images.
        progress: Show a bar.
        amp: Precision of CLIP's images, see :func:`clasp_mm.utils.device.precision`.
        rank: Number of this process; each of them embeds its share, and the last one searches.
        world_size: Number of processes.

    Returns:
        What was found, None while other processes still embed.

    Raises:
        ValueError: A model is missing for a part, or no image, or not the query's, can be read.
    """
    spaces: dict[str, FeatureIndex] = {}
    for kind, encoder in (('words', clip and clip_encoder(clip, amp)), ('image', look)):
        needed = [part for part in parts if (part.kind == 'image') == (kind == 'image')]
        if not needed:
            continue
        if encoder is None:
            raise ValueError(f'{needed[0].words!r} needs '
                             + ('a backbone to compare pictures with' if kind == 'image'
                                else 'a CLIP to compare words with'))
        spaces[kind] = FeatureIndex(index, source, encoder)
    shared = share(list(spaces.values()), index, batch_size, num_workers, progress, rank,
                   world_size)
    if shared is None:
        return None
    updates: dict[str, Update] = {}
    for space in spaces.values():
        name, update = space.encoder.name, space.update(batch_size, num_workers, progress)
        updates[name] = update._replace(new=update.new + shared[name])
        if not update.num_images:
            raise ValueError(f'none of the {len(source)} images of {source.source!r} could be '
                             f'read; the first is {update.unreadable[0]}')
    table = np.stack([
        _look_alike(part, look, spaces['image']) if part.kind == 'image'
        else _words(part, clip, spaces['words']) for part in parts], 1)
    readable = np.isfinite(table).all(1)
    spread = np.stack([table[readable].mean(0, np.float64), table[readable].std(0, np.float64)], 1)
    score = table[:, 0]
    if len(parts) > 1:
        mean, deviation = spread.T.astype(np.float32)
        score = ((table - mean) / np.where(deviation > 0, deviation, 1)).mean(1)
    rows = _best(np.where(readable, score, -np.inf), count + len(parts))
    asked = {os.path.realpath(part.path) for part in parts if part.kind == 'image'}
    hits = [Hit(int(row), source.names[row], float(score[row]), tuple(table[row].tolist()))
            for row in rows if readable[row]
            and os.path.realpath(source.get_data_info(row)['img_path']) not in asked]
    return Found(list(parts), hits[:count], updates, spread)


def _words(part: Part, clip: CLIPModel, space: FeatureIndex) -> np.ndarray:
    texts = torch.stack([clip.encode_texts(group) for group in part.texts]).cpu().numpy()
    if part.kind == 'text':
        vocabulary = [group for attribute in DEFAULT_VOCABULARY.attributes
                      for group in attribute.texts]
        texts = texts - np.mean([clip.encode_texts(group).cpu().numpy() for group in vocabulary], 0)
        return space.scores(texts)[:, 0]
    logits = space.scores(texts) * clip.logit_scale
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds[:, part.value] / odds.sum(1)


def _look_alike(part: Part, look: Encoder, space: FeatureIndex) -> np.ndarray:
    image = read_image(part.path)
    with torch.inference_mode():
        feature = look.encode(resize_images([image], look.size))
    return space.scores(feature.float().cpu().numpy())[:, 0]


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Rows of the highest scores, best first; equal ones keep their order."""
    count = min(count, len(scores))
    bound = np.partition(scores, len(scores) - count)[len(scores) - count]
    rows = np.flatnonzero(scores >= bound)
    return rows[np.argsort(-scores[rows], kind='stable')[:count]]
