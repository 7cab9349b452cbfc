"""The words CLIP chooses from: part names, attributes and texts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

IGNORE = 255


@dataclass(frozen=True)
class Part:
    """A body part: its name and the noun phrases that may stand for it in a text."""

    name: str
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class Attribute:
    """A mutually exclusive choice: value names, and for each value its full texts."""

    name: str
    values: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.texts) or len(self.values) < 2:
            raise ValueError(
                f'attribute {self.name!r} needs at least two values and one group of texts per '
                f'value, got {len(self.values)} values and {len(self.texts)} groups of texts')


@dataclass(frozen=True)
class Vocabulary:
    """Parts (label ``i + 1``; 0 is background), attributes, templates, the filter's texts."""

    parts: tuple[Part, ...]
    attributes: tuple[Attribute, ...]
    part_templates: tuple[str, ...] = ('a photo of a person\'s {}',)
    person_texts: tuple[str, ...] = ('a photo of a person',)

    def __post_init__(self) -> None:
        for kind, names in (('part', self.part_names), ('attribute', self.attribute_names)):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f'{kind} names must differ, repeated: {sorted(twice)}')

    @property
    def part_names(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts)

    @property
    def attribute_names(self) -> tuple[str, ...]:
        return tuple(attribute.name for attribute in self.attributes)

    @property
    def attribute_sizes(self) -> tuple[int, ...]:
        """Number of candidate values of each attribute."""
        return tuple(len(attribute.values) for attribute in self.attributes)

    def part_texts(self) -> list[list[str]]:
        """Texts of each part: every template filled with every phrase."""
        return [[template.format(phrase) for template in self.part_templates
                 for phrase in part.phrases] for part in self.parts]

    def to_dict(self) -> dict:
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, spec: dict) -> Vocabulary:
        """Build from plain data, as a config or a store's side-car gives it."""
        unknown = set(spec) - {'parts', 'attributes', 'part_templates', 'person_texts'}
        if unknown:
            raise ValueError(f'unknown vocabulary keys: {sorted(unknown)}')
        optional = {key: tuple(spec[key]) for key in ('part_templates', 'person_texts')
                    if key in spec}
        return cls(
            parts=tuple(Part(part['name'], tuple(part['phrases'])) for part in spec['parts']),
            attributes=tuple(
                Attribute(item['name'], tuple(item['values']),
                          tuple(tuple(texts) for texts in item['texts']))
                for item in spec['attributes']),
            **optional)

    def digest(self) -> str:
        """A short hash that changes with any word or order."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _attribute(name: str, **texts: tuple[str, ...]) -> Attribute:
    values = tuple(value.replace('_', ' ') for value in texts)
    return Attribute(name, values, tuple(texts.values()))


DEFAULT_VOCABULARY = Vocabulary(
    parts=(
        Part('hat', ('hat',)),
        Part('hair', ('hair',)),
        Part('face', ('face',)),
        Part('upper clothes', ('upper clothes', 'shirt')),
        Part('arm', ('arm',)),
        Part('trousers', ('trousers', 'pants')),
        Part('skirt', ('skirt',)),
        Part('leg', ('bare leg',)),
        Part('shoe', ('shoes',)),
    ),
    attributes=(
        _attribute('gender',
                   male=('a photo of a male person',),
                   female=('a photo of a female person',)),
        _attribute('age',
                   child=('a photo of a child',),
                   adult=('a photo of an adult person',),
                   elderly=('a photo of an elderly person',)),
        _attribute('hat',
                   without_hat=('a photo of a person without a hat',),
                   hat=('a photo of a person wearing a hat',)),
        _attribute('glasses',
                   without_glasses=('a photo of a person without glasses',),
                   glasses=('a photo of a person wearing glasses',)),
        _attribute('hair length',
                   short_hair=('a photo of a person with short hair',),
                   long_hair=('a photo of a person with long hair',)),
        _attribute('sleeve',
                   short_sleeves=('a photo of a person wearing short sleeves',),
                   long_sleeves=('a photo of a person wearing long sleeves',)),
        _attribute('lower garment',
                   trousers=('a photo of a person wearing trousers',),
                   shorts=('a photo of a person wearing shorts',),
                   skirt=('a photo of a person wearing a skirt or a dress',)),
        _attribute('bag',
                   without_bag=('a photo of a person without a bag',),
                   backpack=('a photo of a person with a backpack',),
                   bag=('a photo of a person carrying a bag',)),
        _attribute('viewpoint',
                   front=('a photo of a person seen from the front',),
                   back=('a photo of a person seen from behind',),
                   side=('a photo of a person seen from the side',)),
    ))

# Part label of each of LIP's 20 classes under DEFAULT_VOCABULARY. Gloves count as arm, sunglasses
# as face, socks as leg; dress, coat, jumpsuits and scarf as upper clothes.
LIP_TO_PART = (0, 1, 2, 5, 3, 4, 4, 4, 8, 6, 4, 4, 7, 3, 5, 5, 8, 8, 9, 9)
