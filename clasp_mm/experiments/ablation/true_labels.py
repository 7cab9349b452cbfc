"""Labels as right as they can be, in place of the teacher's and CLIP's: what they may cost."""

from pathlib import Path

import numpy as np

from clasp_mm.evaluation.frozen.people import read_parts
from clasp_mm.pseudo_labels.hashing import hash_names
from clasp_mm.pseudo_labels.labels import LabelSettings, PseudoLabels
from clasp_mm.pseudo_labels.store import StoreWriter, make_header
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
from clasp_mm.synthetic import GroundTruth

_ROWS = 1024  # at a time


def write_true_labels(truth: GroundTruth, out: Path, settings: LabelSettings,
                      grid: tuple[int, int]) -> None:
    """Write a store of true parts and attributes, all sure, once.

    The regions of each k are the k largest parts of the image, largest first; what is of no part
    or of a smaller one is background. A token has the part of its centre.

    Args:
        truth: Of the images.
        out: Folder of the store; one that is there is left alone.
        settings: Whose cluster numbers count.
        grid: (h, w) of the tokens.
    """
    if out.exists():
        return
    names = truth.names.tolist()
    hashes = hash_names(names)
    header = make_header(hashes, DEFAULT_VOCABULARY, 'truth', 'truth', settings, grid)
    with StoreWriter(out, header, hashes) as writer:
        todo = writer.todo
        for start in range(0, len(todo), _ROWS):
            rows = todo[start:start + _ROWS]
            writer.write(rows, _true_labels(truth, rows, settings, grid), np.ones(len(rows), bool))
        writer.finish()


def _true_labels(truth: GroundTruth, rows: np.ndarray, settings: LabelSettings,
                 grid: tuple[int, int]) -> PseudoLabels:
    numbers = settings.cluster_numbers
    labels = PseudoLabels.empty(len(rows), grid, numbers, len(DEFAULT_VOCABULARY.attributes))
    labels.foreground[:] = labels.person_cosine[:] = labels.attr_conf[:] = 1
    labels.attr_value[:] = truth.attributes[rows]
    starts = np.cumsum([0, *numbers])
    for at, parts in enumerate(read_parts(truth, rows.tolist())):
        down, across = (((np.arange(cells) + .5) * size / cells).astype(int)
                        for cells, size in zip(grid, parts.shape, strict=True))
        tokens = parts[down][:, across].reshape(-1)
        area = np.bincount(tokens, minlength=len(DEFAULT_VOCABULARY.parts) + 1)
        area[0] = 0
        largest = np.argsort(-area, kind='stable')[:np.count_nonzero(area)]
        for which, k in enumerate(numbers):
            for region, part in enumerate(largest[:k]):
                labels.regions[at, which, tokens == part] = region + 1
                labels.region_label[at, starts[which] + region] = part
                labels.region_conf[at, starts[which] + region] = 1
    return labels
