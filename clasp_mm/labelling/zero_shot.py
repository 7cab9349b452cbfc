"""Attributes by CLIP's texts alone: what a data set's score is before anything is trained on it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from clasp_mm.datasets.attribute_files import AttributeTable
from clasp_mm.datasets.images import read_image
from clasp_mm.evaluation.functional import attribute_metrics
from clasp_mm.pseudo_labels.clip_labeler import CLIPLabeler
from clasp_mm.pseudo_labels.clip_model import CLIPModel
from clasp_mm.pseudo_labels.colour_teacher import ColourTeacher
from clasp_mm.pseudo_labels.labels import LabelSettings
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, Attribute, Vocabulary

Meaning = Mapping[str, tuple[str, str]]

_BATCH = 64
# Attribute of PA-100K -> attribute and value of the vocabulary that pretraining labels with.
_OWN_WORDS: Meaning = {
    'Female': ('gender', 'female'),
    'AgeOver60': ('age', 'elderly'), 'Age18-60': ('age', 'adult'), 'AgeLess18': ('age', 'child'),
    'Front': ('viewpoint', 'front'), 'Side': ('viewpoint', 'side'), 'Back': ('viewpoint', 'back'),
    'Hat': ('hat', 'hat'), 'Glasses': ('glasses', 'glasses'), 'Backpack': ('bag', 'backpack'),
    'ShortSleeve': ('sleeve', 'short sleeves'), 'LongSleeve': ('sleeve', 'long sleeves'),
    'Trousers': ('lower garment', 'trousers'), 'Shorts': ('lower garment', 'shorts'),
    'Skirt&Dress': ('lower garment', 'skirt'),
}
# What that vocabulary has no words for: there, not there.
_OTHER_WORDS = {
    'HandBag': ('carrying a handbag', 'without a handbag'),
    'ShoulderBag': ('carrying a shoulder bag', 'without a shoulder bag'),
    'HoldObjectsInFront': ('holding something in front', 'with empty hands'),
    'UpperStride': ('wearing a striped shirt', 'wearing a plain shirt'),
    'UpperLogo': ('wearing a shirt with a logo', 'wearing a plain shirt'),
    'UpperPlaid': ('wearing a plaid shirt', 'wearing a plain shirt'),
    'UpperSplice': ('wearing a two-tone shirt', 'wearing a plain shirt'),
    'LowerStripe': ('wearing trousers with side stripes', 'wearing plain trousers'),
    'LowerPattern': ('wearing patterned trousers', 'wearing plain trousers'),
    'LongCoat': ('wearing a long coat', 'without a coat'),
    'boots': ('wearing boots', 'wearing shoes'),
}


def pa100k_texts() -> tuple[Vocabulary, Meaning]:
    """Vocabulary for PA-100K, and what each of its 26 attributes is in it.

    Fifteen take the vocabulary that pretraining labels with, as it is; eleven have none there and
    get two texts each.
    """
    others, meaning = read_texts({name: [[f'a photo of a person {words}'] for words in texts]
                                  for name, texts in _OTHER_WORDS.items()})
    attributes = (*DEFAULT_VOCABULARY.attributes, *others.attributes)
    return Vocabulary(DEFAULT_VOCABULARY.parts, attributes), {**_OWN_WORDS, **meaning}


def read_texts(content: Mapping[str, Sequence[Sequence[str]]]) -> tuple[Vocabulary, Meaning]:
    """The same for any data set, of ``{attribute: [[texts if there], [texts if not]]}``.

    Raises:
        ValueError: An attribute has not both kinds of texts.
    """
    for name, texts in content.items():
        if len(texts) != 2 or not all(isinstance(kind, list) and kind for kind in texts):
            raise ValueError(f'texts of {name!r} must be [[if there, ...], [if not, ...]], got '
                             f'{texts!r:.80}')
    attributes = tuple(Attribute(name, ('yes', 'no'), tuple(map(tuple, texts)))
                       for name, texts in content.items())
    return (Vocabulary(DEFAULT_VOCABULARY.parts, attributes),
            {name: (name, 'yes') for name in content})


def score_zero_shot(clip: CLIPModel, table: AttributeTable, split: str, folder: Path,
                    texts: tuple[Vocabulary, Meaning]) -> dict[str, Any]:
    """Score the attribute labels of the CLIP pseudo-labeler on a split.

    An attribute's probability is the softmax share of its value among the choices of its
    attribute in the vocabulary, as in pretraining; nothing is fitted to the data.

    Args:
        clip: The model.
        table: Images and labels.
        split: Which of its splits.
        folder: Where the images are.
        texts: Texts of :func:`pa100k_texts` or :func:`read_texts`.

    Returns:
        What :func:`attribute_metrics` gives, and ``attributes``, the names it was scored on.

    Raises:
        FileNotFoundError: An image is not there.
        ValueError: An attribute of the data has no texts, there is no such split, or an image
            cannot be read.
    """
    vocabulary, meaning = texts
    missing = [name for name in table.attributes if name not in meaning]
    if missing:
        raise ValueError(f'no texts for {len(missing)} of {len(table.attributes)} attributes: '
                         f'{", ".join(missing)}; give them in a file (--texts)')
    rows = table.rows(split)
    few_regions = LabelSettings(cluster_numbers=(2, ), input_size=(64, 32), min_person_cosine=.99)
    labeler = CLIPLabeler(clip, ColourTeacher(), ColourTeacher.NAME, vocabulary, few_regions)
    places = []
    for name in table.attributes:
        owner, value = meaning[name]
        index = vocabulary.attribute_names.index(owner)
        places.append((index, vocabulary.attributes[index].values.index(value)))
    found = []
    for start in tqdm(range(0, len(rows), _BATCH), unit='batch', desc=f'CLIP on {split}'):
        names = [table.names[row] for row in rows[start:start + _BATCH]]
        scores = labeler.score([_read(folder / name) for name in names], names)
        found.append(np.stack([scores.attr_probs[index][:, value].float().cpu().numpy()
                               for index, value in places], axis=1))
    return dict(attribute_metrics(np.concatenate(found), table.labels[rows]),
                attributes=list(table.attributes))


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f'there is no image {path}: give the folder of the images as '
                                '--images')
    return np.ascontiguousarray(read_image(path)[..., ::-1])
