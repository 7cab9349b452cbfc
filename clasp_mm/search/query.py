"""What is searched for: words, values of attributes, and pictures."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clasp_mm.datasets.images import IMAGE_SUFFIXES
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, Attribute
from clasp_mm.utils.files import read_json, read_yaml
from clasp_mm.utils.names import did_you_mean

_FULL_TEXT = 'a photo of '
_SENTENCE = 'a photo of a person with '


class Part(NamedTuple):
    """One thing that is searched for.

    Attributes:
        kind: ``text``, ``attribute`` or ``image``.
        words: As they were asked.
        texts: For CLIP, a group of texts for each direction: one of a text, one for every value of
            an attribute.
        value: Which of the values.
        path: The picture.
    """

    kind: str
    words: str
    texts: tuple[tuple[str, ...], ...] = ()
    value: int = 0
    path: str = ''


def parse_query(arguments: Sequence[str],
                attributes: Sequence[Attribute] = DEFAULT_VOCABULARY.attributes) -> list[Part]:
    """Split the arguments of a query into its parts, all of which count.

    The path of an image file is a picture to look like. Anything else is split at its commas into
    ``NAME=VALUE``, a value of an attribute, and free texts. A text that starts with "a photo of" is
    taken as it is; before any other comes "a photo of a person with".

    Raises:
        FileNotFoundError: An argument that ends as an image is no file.
        ValueError: An attribute or value is unknown; the nearest is offered.
    """
    parts = []
    for argument in arguments:
        if argument.lower().endswith(IMAGE_SUFFIXES):
            if not os.path.isfile(argument):
                raise FileNotFoundError(f'no image {argument} to look like')
            parts.append(Part('image', argument, path=argument))
            continue
        for words in filter(None, map(str.strip, argument.split(','))):
            parts.append(_attribute(words, attributes) if '=' in words else _text(words))
    if not parts:
        raise ValueError(f'nothing to search for in {list(arguments)}: give words, '
                         'ATTRIBUTE=VALUE or an image file')
    return parts


def read_attributes(path: str | os.PathLike) -> tuple[Attribute, ...]:
    """Read attributes of one's own from JSON or YAML: ``{name: {value: [text, ...]}}``.

    After them come the built-in ones whose names they do not take.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is neither, or an attribute has not two values with texts.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no file of attributes {path}')
    if path.suffix not in ('.json', '.yaml', '.yml'):
        raise ValueError(f'attributes are read from .json or .yaml, got {path}')
    content = read_json(path) if path.suffix == '.json' else read_yaml(path)
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f'{path} must be {{name: {{value: [text, ...]}}}}, got {content!r:.80}')
    own = tuple(_own(path, str(name), values) for name, values in content.items())
    names = {attribute.name for attribute in own}
    return own + tuple(attribute for attribute in DEFAULT_VOCABULARY.attributes
                       if attribute.name not in names)


def _own(path: Path, name: str, values: object) -> Attribute:
    if not isinstance(values, Mapping) or len(values) < 2:
        raise ValueError(f'{path}: {name} needs two values or more, which are told apart, such as '
                         f'{{"umbrella": ["a photo of a person with an umbrella"], "no umbrella": '
                         f'["a photo of a person"]}}; got {values!r:.80}')
    texts = []
    for value, group in values.items():
        group = [group] if isinstance(group, str) else group
        if not isinstance(group, list) or not group or not all(
                isinstance(text, str) and text.strip() for text in group):
            raise ValueError(f'{path}: {name}, {value}: a list of texts is needed, got '
                             f'{group!r:.80}')
        texts.append(tuple(group))
    return Attribute(name, tuple(map(str, values)), tuple(texts))


def _attribute(words: str, attributes: Sequence[Attribute]) -> Part:
    name, value = map(str.strip, words.split('=', 1))
    by_name = {attribute.name: attribute for attribute in attributes}
    if name not in by_name:
        raise ValueError(f'unknown attribute {name!r}{did_you_mean(name, by_name)}: '
                         f'{", ".join(by_name)}; others are added by a file of their texts '
                         '(--attributes)')
    attribute = by_name[name]
    if value not in attribute.values:
        raise ValueError(f'{name} has no value {value!r}{did_you_mean(value, attribute.values)}: '
                         f'{", ".join(attribute.values)}')
    return Part('attribute', f'{name}={value}', attribute.texts, attribute.values.index(value))


def _text(words: str) -> Part:
    text = words if words.lower().startswith(_FULL_TEXT) else _SENTENCE + words
    return Part('text', words, ((text, ), ))
