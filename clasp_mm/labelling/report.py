"""How good pseudo-labels are, with ground truth (the paper's Fig. 4 and 5) or without."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.images import UnreadableImageError, read_map, warn_unreadable
from clasp_mm.datasets.transforms.check_label_map import label_problem
from clasp_mm.evaluation.functional.parsing import ConfusionMatrix
from clasp_mm.pseudo_labels.clip_labeler import CLIPLabeler
from clasp_mm.pseudo_labels.labels import LabelSettings, PseudoLabels, Scores
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, LIP_TO_PART, Vocabulary
from clasp_mm.synthetic import load_ground_truth
from clasp_mm.utils.files import write_json
from clasp_mm.visualization.pseudo_labels import Example, write_label_page

from .reliability import Reliability, split, widen

_BINS = np.linspace(0, 1, 11)
_SURE = 0.5


@dataclass
class LabelledImage:
    """An image and what is known of it.

    Args:
        name: Seeds its clustering, as in a store.
        image: (H, W, 3) uint8 RGB.
        parts: True part labels of the vocabulary, (H, W) uint8, 255 unknown; or None.
        attributes: True value of each known attribute by name; or None.
    """

    name: str
    image: np.ndarray
    parts: np.ndarray | None = None
    attributes: Mapping[str, str] | None = None


def read_labelled_images(source, parsing_dir: str | os.PathLike | None = None,
                         attributes: Mapping[str, Mapping[str, str]] | None = None,
                         unreadable: list[str] | None = None,
                         vocabulary: Vocabulary = DEFAULT_VOCABULARY) -> Iterator[LabelledImage]:
    """Images of a source with LIP-style annotation; unreadable images are left out.

    Args:
        source: Has ``names`` and ``load``, as ``clasp_mm.LUPerson``.
        parsing_dir: Folder of PNGs of LIP's 20 classes (255 unknown), named as the images but
            for the suffix, in the same subfolders or in none.
        attributes: Image name -> attribute name -> value.
        unreadable: What is wrong with the images that are left out is added, by name.
        vocabulary: Of the attributes.

    Raises:
        FileNotFoundError: If an image has no parsing map.
        ValueError: If its parsing map cannot be read or is not of its image and LIP's classes, or
            an attribute is none of the vocabulary; names the image.
    """
    _check_attributes(attributes or {}, vocabulary)
    unreadable = [] if unreadable is None else unreadable
    table = np.full(256, 255, np.uint8)
    table[:len(LIP_TO_PART)] = LIP_TO_PART
    for index, name in enumerate(source.names):
        try:
            image = source.load(index)['img'][..., ::-1]
        except UnreadableImageError as error:
            unreadable.append(str(error))
            continue
        parts = None
        if parsing_dir is not None:
            path = _parsing_file(Path(parsing_dir), name)
            classes = read_map(path)
            if problem := label_problem(classes, image.shape, len(LIP_TO_PART)):
                raise ValueError(f'{path}: {problem}')
            parts = table[classes]
        yield LabelledImage(name, np.ascontiguousarray(image), parts,
                            (attributes or {}).get(name))


def read_synthetic_people(root: str | os.PathLike, num_images: int | None = None,
                          ) -> tuple[Iterator[LabelledImage], int]:
    """Images and ground truth of a folder of synthetic people, and how many there are.

    Args:
        root: Written by ``clasp data draw``.
        num_images: Take only that many, spread evenly over the identities.
    """
    truth, source = load_ground_truth(root), LUPerson(os.fspath(root), 'list.txt')
    count = len(source) if num_images is None else min(num_images, len(source))
    table = np.array(LIP_TO_PART, np.uint8)

    def read() -> Iterator[LabelledImage]:
        for index in np.linspace(0, len(source) - 1, count).round().astype(int).tolist():
            attributes = {
                attribute.name: attribute.values[value] for attribute, value in
                zip(DEFAULT_VOCABULARY.attributes, truth.attributes[index], strict=True)}
            yield LabelledImage(
                source.names[index], np.ascontiguousarray(source.load(index)['img'][..., ::-1]),
                table[truth.parsing(index)], attributes)

    return read(), count


def _check_attributes(truth: Mapping[str, Mapping[str, str]], vocabulary: Vocabulary) -> None:
    values = {attribute.name: attribute.values for attribute in vocabulary.attributes}
    for image, own in truth.items():
        for name, value in own.items():
            if value not in values.get(name, ()):
                raise ValueError(
                    f'attributes of {image!r}: {name} is {value!r}; '
                    + (f'it can be {", ".join(values[name])}' if name in values else
                       f'there is no {name}, there are {", ".join(values)}'))


def _parsing_file(folder: Path, name: str) -> Path:
    relative = Path(name).with_suffix('.png')
    inner = Path(*relative.parts[1:]) if len(relative.parts) > 1 else relative
    for candidate in (relative, inner, Path(relative.name)):
        if (folder / candidate).is_file():
            return folder / candidate
    raise FileNotFoundError(f'no parsing map {str(relative)!r} in {str(folder)!r} for {name!r}')


class LabelEvaluation:
    """Sums over images from which :meth:`compute` takes all figures.

    Args:
        vocabulary: Vocabulary of the labels.
        settings: How they were made: the cluster numbers and the filters' thresholds.
        grid: (h, w) of the tokens.
    """

    def __init__(self, vocabulary: Vocabulary, settings: LabelSettings,
                 grid: tuple[int, int]) -> None:
        self.vocabulary = vocabulary
        self.cluster_numbers = settings.cluster_numbers
        self.grid = grid
        self.thresholds = (settings.min_foreground, settings.min_person_cosine)
        count = len(vocabulary.parts) + 1
        self._named = {k: ConfusionMatrix(count) for k in self.cluster_numbers}
        self._best = {k: ConfusionMatrix(count) for k in self.cluster_numbers}
        self._regions: dict[int, list[np.ndarray]] = {k: [] for k in self.cluster_numbers}
        self._foreground_iou: list[float] = []
        self._scores: list[np.ndarray] = []           # (2, B): foreground, person cosine
        self._part_conf: dict[int, list[np.ndarray]] = {k: [] for k in self.cluster_numbers}
        self._attributes: list[np.ndarray] = []       # (A, 4): value, confidence, truth, accepted

    def update(self, labels: PseudoLabels, images: Sequence[LabelledImage]) -> None:
        """Add the labels of some images."""
        accepted = labels.accepted(*self.thresholds)
        self._scores.append(np.stack([labels.foreground, labels.person_cosine]))
        maps = [labels.part_maps(self.cluster_numbers, which)
                for which in range(len(self.cluster_numbers))]
        for i, image in enumerate(images):
            self._add_attributes(labels, i, image.attributes or {}, accepted[i])
            if image.parts is not None:
                person = self._to_pixels(labels.regions[i, 0] > 0, image.parts.shape)
                true = (image.parts > 0) & (image.parts != 255)
                union = ((person | true) & (image.parts != 255)).sum()
                self._foreground_iou.append((person & true).sum() / union if union else 1.0)
            if accepted[i]:
                self._add_parts(labels, i, maps, image.parts)

    def _add_parts(self, labels: PseudoLabels, i: int, maps: Sequence[np.ndarray],
                   truth: np.ndarray | None) -> None:
        start = 0
        for which, k in enumerate(self.cluster_numbers):
            label = labels.region_label[i, start:start + k]
            confidence = labels.region_conf[i, start:start + k]
            self._part_conf[k].append(confidence[label > 0])
            start += k
            if truth is None:
                continue
            named = self._to_pixels(maps[which][i], truth.shape)
            regions = self._to_pixels(labels.regions[i, which], truth.shape)
            # What the regions would give if each bore the name of its largest true part.
            counts = np.zeros((k + 1, len(self.vocabulary.parts) + 1), np.int64)
            known = truth != 255
            np.add.at(counts, (regions[known], truth[known]), 1)
            best = np.where(counts[:, 1:].any(axis=1), counts[:, 1:].argmax(axis=1) + 1, 0)
            best[0] = 0
            self._named[k].update(named, truth)
            self._best[k].update(best[regions].astype(np.uint8), truth)
            counted = (best[1:] > 0) & (label > 0)
            self._regions[k].append(np.stack([(best[1:] == label)[counted], confidence[counted]]))

    def _add_attributes(self, labels: PseudoLabels, i: int, truth: Mapping[str, str],
                        accepted: bool) -> None:
        rows = [(labels.attr_value[i, a], labels.attr_conf[i, a],
                 attribute.values.index(truth[attribute.name]) if attribute.name in truth else -1,
                 accepted) for a, attribute in enumerate(self.vocabulary.attributes)]
        self._attributes.append(np.array(rows, np.float64).reshape(-1, 4))

    def _to_pixels(self, tokens: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        full = cv2.resize(tokens.reshape(self.grid).astype(np.uint8), size[::-1],
                          interpolation=cv2.INTER_NEAREST_EXACT)
        return full.astype(tokens.dtype)

    def compute(self) -> dict:
        """All figures as plain data; shares and scores in [0, 1], None where nothing is known."""
        foreground, cosine = np.concatenate([np.zeros((2, 0), np.float32), *self._scores], axis=1)
        spatial, semantic = foreground > self.thresholds[0], cosine > self.thresholds[1]
        result = dict(
            num_images=len(spatial),
            thresholds=dict(foreground=self.thresholds[0], person_cosine=self.thresholds[1]),
            kept=dict(foreground=_mean(spatial), person=_mean(semantic),
                      both=_mean(spatial & semantic)),
            rejected=dict(too_little_foreground=int((~spatial & semantic).sum()),
                          no_person=int((spatial & ~semantic).sum()),
                          both=int((~spatial & ~semantic).sum())),
            filter_scores=dict(foreground=_quantiles(foreground), person_cosine=_quantiles(cosine)),
            foreground_iou=_mean(self._foreground_iou),
            parts={}, attributes=self._compute_attributes())
        for k in self.cluster_numbers:
            confidence = np.concatenate([np.zeros(0), *self._part_conf[k]])
            entry = dict(confidence=_distribution(confidence),
                         confidence_above_half=_mean(confidence > _SURE))
            if self._named[k].counts.any():
                for name, matrix in (('named', self._named[k]), ('best', self._best[k])):
                    iou = matrix.compute()['iou'] / 100
                    entry[f'{name}_iou'] = {
                        part: None if np.isnan(value) else float(value)
                        for part, value in zip(self.vocabulary.part_names, iou[1:], strict=True)}
                    entry[f'{name}_mean_iou'] = float(np.nanmean(iou[1:]))
                right, confidence = np.concatenate([np.zeros((2, 0)), *self._regions[k]], axis=1)
                entry['regions_named_right'] = _mean(right)
                entry['sure_regions_named_right'] = _mean(right[confidence > _SURE])
            result['parts'][str(k)] = entry
        means = [entry['named_mean_iou'] for entry in result['parts'].values()
                 if 'named_mean_iou' in entry]
        result['mean_iou'] = _mean(means)
        return result

    def _compute_attributes(self) -> dict:
        table = np.stack(self._attributes) if self._attributes else np.zeros((0, 0, 4))
        value, confidence, truth, accepted = np.moveaxis(table, -1, 0)
        accepted = accepted.astype(bool)
        per_attribute = {}
        for a, attribute in enumerate(self.vocabulary.attributes):
            known = accepted[:, a] & (truth[:, a] >= 0)
            kept = known & (confidence[:, a] > _SURE)
            right = value[:, a] == truth[:, a]
            classes = np.unique(truth[known, a])
            per_attribute[attribute.name] = dict(
                accuracy=_mean(right[known]), kept_accuracy=_mean(right[kept]),
                balanced_accuracy=_mean([right[known & (truth[:, a] == v)].mean()
                                         for v in classes]),
                most_common=max((float((truth[known, a] == v).mean()) for v in classes),
                                default=None),
                kept=_mean((confidence[:, a] > _SURE)[accepted[:, a]]))
        confidence = confidence[accepted]
        return dict(
            per_attribute=per_attribute,
            **{name: _mean([entry[name] for entry in per_attribute.values()
                            if entry[name] is not None])
               for name in ('accuracy', 'kept_accuracy', 'balanced_accuracy', 'kept')},
            confidence=_distribution(confidence),
            confidence_above_07=_mean(confidence > 0.7))


def _mean(values: Sequence | np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _quantiles(values: np.ndarray) -> list[float] | None:
    """The 5th, 50th and 95th percentile."""
    if not len(values):
        return None
    return np.quantile(values.astype(np.float64), (0.05, 0.5, 0.95)).round(4).tolist()


def _distribution(confidence: np.ndarray) -> list[float]:
    """Share of values in each tenth of [0, 1]."""
    return (np.histogram(confidence, _BINS)[0] / max(confidence.size, 1)).round(4).tolist()


def report_labels(labeler: CLIPLabeler, images: Iterable[LabelledImage],
                  out_dir: str | os.PathLike | None = None, num_examples: int = 12,
                  batch_size: int = 32, total: int | None = None,
                  data: str = '', paraphrases: Sequence[Vocabulary] = (), num_extremes: int = 0,
                  unreadable: Sequence[str] = ()) -> dict:
    """Label images, judge the labels, and write ``report.json`` and ``report.html``.

    What can be known without the truth: what the filters reject, and with ``paraphrases`` under
    ``reliability`` what :class:`Reliability` measures, with a verdict on every attribute and part.

    Args:
        labeler: Makes the labels.
        images: What to label.
        out_dir: Where the two files go; None writes none.
        num_examples: Images shown on the page, the first ones.
        batch_size: Images per teacher forward.
        total: Number of images, for the progress bar; None shows none.
        data: What the images are, for the head of the page.
        paraphrases: The labeler's vocabulary in other words, see
            :func:`~clasp_mm.labelling.reliability.paraphrase`.
        num_extremes: Images shown of the most and the least sure accepted ones each, and of the
            rejected ones.
        unreadable: What ``images`` leaves out, as :func:`read_labelled_images` fills it; it is
            counted, and named in the log and in ``report.json``.

    Returns:
        What :meth:`LabelEvaluation.compute` gives, with the labeler's identity and settings.
    """
    settings, vocabularies = labeler.settings, (labeler.vocabulary, *paraphrases)
    evaluation = LabelEvaluation(labeler.vocabulary, settings, labeler.grid)
    reliability = Reliability(labeler.vocabulary, settings.cluster_numbers, labeler.grid)
    scorer = labeler
    if paraphrases:
        scorer = CLIPLabeler(labeler.clip, labeler.teacher, labeler.teacher_id,
                             widen(vocabularies), settings, labeler.clip_batch_size)
    gallery = _Gallery(num_examples, num_extremes)
    stream = iter(images)
    with tqdm(total=total, unit='img', desc='label report', disable=total is None) as bar:
        for batch in iter(lambda: list(islice(stream, batch_size)), []):
            scores = split(scorer.score([image.image for image in batch],
                                        [image.name for image in batch]), len(vocabularies))
            labels = scores[0].to_labels()
            accepted = labels.accepted(settings.min_foreground, settings.min_person_cosine)
            evaluation.update(labels, batch)
            if paraphrases:
                reliability.update(scores, accepted,
                                   np.array([image.image.shape[:2] for image in batch]))
            gallery.add(batch, scores[0], labels, accepted)
            bar.update(len(batch))
    result = dict(clip=labeler.clip.identity, teacher=labeler.teacher_id,
                  settings=settings.to_dict(), grid=list(labeler.grid), **evaluation.compute())
    result['rejected']['unreadable'] = len(unreadable)
    result['unreadable'] = list(unreadable)
    warn_unreadable(unreadable, len(unreadable) + result['num_images'])
    if paraphrases:
        result['reliability'] = reliability.compute()
    if out_dir is not None:
        out_dir = Path(out_dir)
        write_json(out_dir / 'report.json', result)
        write_label_page(out_dir / 'report.html', data, gallery.examples(), labeler.vocabulary,
                         labeler.grid, settings.cluster_numbers, result)
    return result


class _Gallery:
    """The first images, and the surest, least sure and rejected ones, of a stream.

    Sure is who has a high mean of the confidences of its attributes and regions.
    """

    def __init__(self, num_first: int, num_extremes: int) -> None:
        self.num_first, self.num_extremes = num_first, num_extremes
        self._first: list[Example] = []
        self._rejected: list[Example] = []
        self._sure: list[tuple[float, Example]] = []  # by the first number, lowest first
        self._unsure: list[tuple[float, Example]] = []

    def add(self, batch: Sequence[LabelledImage], scores: Scores, labels: PseudoLabels,
            accepted: np.ndarray) -> None:
        """Look at a batch."""
        confidence = np.concatenate([
            labels.attr_conf.astype(np.float64),
            np.where(labels.region_label > 0, labels.region_conf, np.nan)], axis=1)
        part_probs = scores.part_probs.cpu().numpy()
        attr_probs = [probs.cpu().numpy() for probs in scores.attr_probs]
        for i, image in enumerate(batch):
            own = PseudoLabels(**{name: value[i:i + 1] for name, value in vars(labels).items()})
            example = Example(image.name, image.image, own, part_probs[i],
                              [probs[i] for probs in attr_probs], bool(accepted[i]),
                              image.parts, image.attributes)
            if len(self._first) < self.num_first:
                self._first.append(example)
            if accepted[i]:
                sureness = float(np.nanmean(confidence[i])) if confidence.shape[1] else 0.0
                self._sure.append((-sureness, example))
                self._unsure.append((sureness, example))
            elif len(self._rejected) < self.num_extremes:
                self._rejected.append(example)
        for ranked in (self._sure, self._unsure):
            ranked.sort(key=lambda pair: pair[0])
            del ranked[self.num_extremes:]

    def examples(self) -> list[Example]:
        """What to show, in order."""
        groups = {'The first images': self._first,
                  'The surest labels': [example for _, example in self._sure],
                  'The least sure labels': [example for _, example in self._unsure],
                  'Rejected': self._rejected}
        return [replace(example, group=group) for group, examples in groups.items()
                for example in examples]
