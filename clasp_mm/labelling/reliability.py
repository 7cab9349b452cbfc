"""How far pseudo-labels can be trusted where nobody knows the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch

from clasp_mm.pseudo_labels.labels import Scores
from clasp_mm.pseudo_labels.vocabulary import IGNORE, Attribute, Part, Vocabulary

USABLE, WEAK, UNUSABLE = 'usable', 'weak', 'unusable at this resolution'
_REWORDINGS = (('a picture of', 'person'), ('a low-quality photo of', 'pedestrian'))


def paraphrase(vocabulary: Vocabulary) -> tuple[Vocabulary, ...]:
    """The vocabulary in other words: "a picture of", and "a low-quality photo of a pedestrian"."""
    return tuple(_reworded(vocabulary, *words) for words in _REWORDINGS)


def _reworded(vocabulary: Vocabulary, opening: str, person: str) -> Vocabulary:
    def group(texts: Sequence[str]) -> tuple[str, ...]:
        bare = (text.removeprefix('a photo of ').removeprefix('an image of ') for text in texts)
        return tuple(f'{opening} {text}'.replace('person', person) for text in bare)

    parts = tuple(Part(part.name, group(texts)) for part, texts
                  in zip(vocabulary.parts, vocabulary.part_texts(), strict=True))
    attributes = tuple(replace(attribute, texts=tuple(map(group, attribute.texts)))
                       for attribute in vocabulary.attributes)
    return Vocabulary(parts, attributes, ('{}',), vocabulary.person_texts)


def widen(vocabularies: Sequence[Vocabulary]) -> Vocabulary:
    """One vocabulary with the candidates of all, so that one pass of CLIP scores them all.

    Raises:
        ValueError: If they do not name the same parts, attributes and values.
    """
    first = vocabularies[0]
    for other in vocabularies[1:]:
        if (other.part_names != first.part_names or [(a.name, a.values) for a in other.attributes]
                != [(a.name, a.values) for a in first.attributes]):
            raise ValueError('a paraphrase must keep the names of parts, attributes and values, '
                             'and change their texts only')
    parts = [Part(f'{part.name} #{i}', tuple(texts)) for i, vocabulary in enumerate(vocabularies)
             for part, texts in zip(vocabulary.parts, vocabulary.part_texts(), strict=True)]
    attributes = []
    for same in zip(*(vocabulary.attributes for vocabulary in vocabularies), strict=True):
        values = [f'{value} #{i}' for i, item in enumerate(same) for value in item.values]
        texts = [group for item in same for group in item.texts]
        attributes.append(Attribute(same[0].name, tuple(values), tuple(texts)))
    return Vocabulary(tuple(parts), tuple(attributes), ('{}',), first.person_texts)


def split(scores: Scores, count: int) -> list[Scores]:
    """Scores under each of ``count`` vocabularies from those under the widened one.

    A softmax over all candidates, divided by the sum over some, is the softmax over those.
    """
    def blocks(probs: torch.Tensor) -> list[torch.Tensor]:
        parted = probs.double().unflatten(-1, (count, -1))
        parted = parted / parted.sum(-1, keepdim=True).clamp_min(1e-300)
        return list(parted.float().unbind(-2))

    if count == 1:
        return [scores]
    parts, attributes = blocks(scores.part_probs), [blocks(p) for p in scores.attr_probs]
    return [replace(scores, part_probs=parts[i], attr_probs=[a[i] for a in attributes])
            for i in range(count)]


class Reliability:
    """Signs of reliable labels that need no truth, and a verdict on each attribute and part.

    Over the images that pass both filters:

    - entropy: mean entropy of CLIP's choice, over the log of the number of values (0 sure, 1 blind)
    - agreement across texts: Cohen's kappa between the choices by the vocabulary and by each of
      its paraphrases; 0 is what two who guess with the same habits would reach, so that an answer
      that is always the same is worth nothing
    - agreement across k: kappa of "is this part" over the tokens of two cluster numbers

    An attribute is ``usable`` at kappa >= 0.6 and entropy <= 0.6; ``unusable at this resolution``
    at kappa < 0.2, entropy > 0.9 or one value for more than 99 % of the images; else ``weak``.
    A part is ``usable`` if it is found in >= 5 % of the images, with a mean confidence >= 0.5,
    kappa >= 0.6 across texts and >= 0.4 across k; ``unusable at this resolution`` if it is found
    in < 1 %, its kappa across texts is < 0.2, or its regions are smaller than 8 x 8 pixels of the
    source; else ``weak``. The kappa steps are those of Landis and Koch (1977); the others are
    ours. Agreement is necessary, not sufficient: CLIP can be wrong in all words.

    Args:
        vocabulary: Vocabulary of the labels.
        cluster_numbers: The k of the labels.
        grid: (h, w) of the tokens.
    """

    def __init__(self, vocabulary: Vocabulary, cluster_numbers: Sequence[int],
                 grid: tuple[int, int]) -> None:
        self.vocabulary, self.cluster_numbers, self.grid = vocabulary, tuple(cluster_numbers), grid
        count = len(vocabulary.parts)
        self.num_images = 0
        self._values = [np.zeros((n, n), np.int64) for n in vocabulary.attribute_sizes]
        self._chosen = [np.zeros(n, np.int64) for n in vocabulary.attribute_sizes]
        self._entropy = np.zeros(len(vocabulary.attributes))
        self._names = np.zeros((count, count), np.int64)
        self._tokens = np.zeros((count, count), np.int64)
        self._found = np.zeros(count, np.int64)        # images
        self._regions = np.zeros((count, 3))           # number, sum of confidence, of log area
        self._log_size = np.zeros(2)

    def update(self, scores: Sequence[Scores], accepted: np.ndarray,
               sizes: np.ndarray) -> None:
        """Add a batch.

        Args:
            scores: By the vocabulary, then by each paraphrase.
            accepted: Images that pass both filters, (B,) bool.
            sizes: Their (H, W) in the source, (B, 2).
        """
        first, *others = scores
        keep = torch.from_numpy(accepted).to(first.foreground.device)
        self.num_images += int(accepted.sum())
        self._log_size += np.log(sizes[accepted]).sum(0)
        for a, probs in enumerate(first.attr_probs):
            probs = probs[keep]
            entropy = torch.special.entr(probs).sum(1) / np.log(probs.shape[1])
            self._entropy[a] += float(entropy.sum())
            chosen = probs.argmax(1).cpu().numpy()
            np.add.at(self._chosen[a], chosen, 1)
            for other in others:
                np.add.at(self._values[a],
                          (chosen, other.attr_probs[a][keep].argmax(1).cpu().numpy()), 1)
        self._add_parts(first, others, sizes)

    def _add_parts(self, first: Scores, others: Sequence[Scores], sizes: np.ndarray) -> None:
        confidence, label = (x.cpu().numpy() for x in first.part_probs.max(-1))
        there = confidence > 0                                                   # (B, T)
        for other in others:
            np.add.at(self._names,
                      (label[there], other.part_probs.argmax(-1).cpu().numpy()[there]), 1)
        labels, regions = first.to_labels(), first.regions.cpu().numpy()
        area = np.stack([(regions[:, which] == region).mean(1)
                         for which, k in enumerate(self.cluster_numbers)
                         for region in range(1, k + 1)], axis=1)
        area *= sizes.prod(1, keepdims=True)                                     # pixels
        np.add.at(self._regions, label[there], np.stack(
            [np.ones(there.sum()), confidence[there], np.log(area[there])], 1))
        for image in range(len(label)):
            self._found[np.unique(label[image][there[image]])] += 1
        maps = [labels.part_maps(self.cluster_numbers, which)
                for which in range(len(self.cluster_numbers))]
        for one, two in combinations(maps, 2):
            named = (one > 0) & (one != IGNORE) & (two > 0) & (two != IGNORE)
            np.add.at(self._tokens, (one[named] - 1, two[named] - 1), 1)

    def compute(self) -> dict:
        """All figures as plain data: sides in pixels, None where nothing is known."""
        return dict(
            num_images=self.num_images,
            image_size=np.exp(self._log_size / self.num_images).round(1).tolist()
            if self.num_images else None,
            attributes={attribute.name: self._attribute(a, attribute)
                        for a, attribute in enumerate(self.vocabulary.attributes)},
            parts={name: self._part(p) for p, name in enumerate(self.vocabulary.part_names)})

    def _attribute(self, a: int, attribute: Attribute) -> dict:
        most = int(self._chosen[a].argmax())
        entry = dict(
            entropy=_ratio(self._entropy[a], self.num_images),
            agreement=_kappa(self._values[a]), most_common=attribute.values[most],
            most_common_share=_ratio(self._chosen[a][most], self.num_images))
        return dict(entry, **_judge_attribute(entry))

    def _part(self, p: int) -> dict:
        number, confidence, log_area = self._regions[p]
        entry = dict(
            found=_ratio(self._found[p], self.num_images), confidence=_ratio(confidence, number),
            side=float(np.exp(log_area / number / 2)) if number else None,
            agreement=_kappa(_one_against_all(self._names, p)),
            agreement_across_k=_kappa(_one_against_all(self._tokens, p)))
        return dict(entry, **_judge_part(entry))


def _ratio(total: float, number: float) -> float | None:
    return float(total / number) if number else None


def _one_against_all(matrix: np.ndarray, category: int) -> np.ndarray:
    both, row = matrix[category, category], matrix[category].sum()
    column = matrix[:, category].sum()
    return np.array([[both, row - both], [column - both, matrix.sum() - row - column + both]])


def _kappa(matrix: np.ndarray) -> float | None:
    """Cohen's kappa of a table of counts; None if chance alone would agree always."""
    if not matrix.any():
        return None
    shares = matrix / matrix.sum()
    observed, chance = np.trace(shares), shares.sum(0) @ shares.sum(1)
    return float((observed - chance) / (1 - chance)) if chance < 1 else None


def _judge_attribute(entry: Mapping) -> dict:
    if entry['entropy'] is None:
        return dict(verdict=UNUSABLE, reason='no image passes the filters')
    if entry['most_common_share'] > 0.99:
        return dict(verdict=UNUSABLE, reason=f'nearly always {entry["most_common"]!r}')
    low = [f'agreement across texts {_show(entry["agreement"])}'] * _below(entry['agreement'], 0.6)
    low += [f'entropy {entry["entropy"]:.2f}'] * (entry['entropy'] > 0.6)
    bad = _below(entry['agreement'], 0.2) or entry['entropy'] > 0.9
    return dict(verdict=UNUSABLE if bad else WEAK if low else USABLE, reason=', '.join(low))


def _judge_part(entry: Mapping) -> dict:
    if not entry['found'] or entry['found'] < 0.01:
        return dict(verdict=UNUSABLE, reason='hardly ever found')
    low = [f'{text} {_show(entry[key])}' for text, key, limit in (
        ('found in', 'found', 0.05), ('confidence', 'confidence', 0.5),
        ('agreement across texts', 'agreement', 0.6),
        ('agreement across k', 'agreement_across_k', 0.4)) if _below(entry[key], limit)]
    low += [f'regions of {entry["side"]:.0f} px'] * (entry['side'] < 8)
    bad = _below(entry['agreement'], 0.2) or entry['side'] < 8
    return dict(verdict=UNUSABLE if bad else WEAK if low else USABLE, reason=', '.join(low))


def _below(value: float | None, limit: float) -> bool:
    return value is None or value < limit


def _show(value: float | None) -> str:
    return 'undefined' if value is None else f'{value:.2f}'
