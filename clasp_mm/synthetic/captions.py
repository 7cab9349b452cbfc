"""Sentences about synthetic people, and which other images they are true of as well."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Facts = Mapping[str, 'str | None']

SCENE_CAPTIONS = ('a photo of an empty street', 'a photo of a place without people',
                  'a photo of walls and windows', 'a photo of the ground', 'a photo of nobody')

_PATTERNS = {'stripes': 'striped', 'dots': 'dotted', 'splice': 'two-tone', 'logo': 'printed',
             'side stripe': 'side-striped'}
_PLURALS = ('trousers', 'shorts', 'shoes', 'sneakers', 'boots', 'gloves', 'glasses', 'sunglasses')
_VIEWS = {'front': 'seen from the front', 'back': 'seen from behind',
          'side': 'seen from the side'}
_VOWELS = 'aeiou'


@dataclass(frozen=True)
class Caption:
    """A sentence and the claims it makes: pairs of a fact's name and its value, sorted."""

    text: str
    claims: tuple[tuple[str, str], ...]

    def holds(self, facts: Facts) -> bool:
        """Whether every claim is true of a person with these facts."""
        return all(facts.get(name) == value for name, value in self.claims)


@dataclass(frozen=True)
class _Phrase:
    slot: str  # 'with', 'wearing', 'carrying', 'without' or 'seen'
    words: str
    claims: tuple[str, ...]  # names of the facts it states


def caption_facts(attributes: Mapping[str, str], details: Facts) -> dict[str, str]:
    """Join a record's attributes and details into the facts that captions speak of.

    A detail that has an attribute's name is what kind of thing the attribute speaks of: attribute
    ``hat`` is ``hat`` or ``without hat``, fact ``hat kind`` is ``cap``. Absent details are left
    out, so no claim about them can hold.
    """
    facts = dict(attributes)
    facts.update((f'{name} kind' if name in attributes else name, value)
                 for name, value in details.items() if value is not None)
    return facts


def _article(words: str) -> str:
    if words.endswith(_PLURALS):
        return words
    return f'{"an" if words[0] in _VOWELS else "a"} {words}'


def _thing(facts: Facts, slot: str, kind: str, colour: str, pattern: str = '') -> list[_Phrase]:
    """Ways to name a thing by its kind, and by its colour and pattern too."""
    noun = facts.get(kind)
    if noun is None:
        return []
    phrases = [_Phrase(slot, _article(noun), (kind,))]
    if facts.get(colour):
        phrases.append(_Phrase(slot, _article(f'{facts[colour]} {noun}'), (kind, colour)))
        if pattern and facts.get(pattern):
            look = _PATTERNS.get(facts[pattern], facts[pattern])
            phrases.append(_Phrase(
                slot, _article(f'{facts[colour]} {look} {noun}'), (kind, colour, pattern)))
    return phrases


def _hair(facts: Facts) -> list[_Phrase]:
    if 'hair length' not in facts:
        return []
    phrases = [_Phrase('with', facts['hair length'], ('hair length',))]
    style, colour = facts.get('hair style'), facts.get('hair colour')
    if style == 'bald':
        return [*phrases, _Phrase('with', 'a bald head', ('hair style',))]
    if colour:
        length = facts['hair length'].split()[0]
        phrases.append(
            _Phrase('with', f'{length} {colour} hair', ('hair length', 'hair colour')))
    if style in ('ponytail', 'bun'):
        phrases.append(_Phrase('with', f'a {style}', ('hair style',)))
    return phrases


def _glasses(facts: Facts) -> list[_Phrase]:
    if facts.get('glasses') == 'without glasses':
        return [_Phrase('without', 'glasses', ('glasses',))]
    if facts.get('glasses') != 'glasses':
        return []
    phrases = [_Phrase('wearing', 'glasses', ('glasses',))]
    if facts.get('glasses kind') == 'sunglasses':
        phrases.append(_Phrase('wearing', 'sunglasses', ('glasses kind',)))
    return phrases


def _hat(facts: Facts) -> list[_Phrase]:
    if facts.get('hat') == 'without hat':
        return [_Phrase('without', 'a hat', ('hat',))]
    if facts.get('hat') != 'hat':
        return []
    return [_Phrase('wearing', 'a hat', ('hat',)),
            *_thing(facts, 'wearing', 'hat kind', 'hat colour')]


def _lower(facts: Facts) -> list[_Phrase]:
    value = facts.get('lower garment')
    if value is None:
        return []
    words = 'a skirt or a dress' if value == 'skirt' else value
    phrase = _Phrase('wearing', words, ('lower garment',))
    if facts.get('lower') == 'dress':  # spoken of as the upper garment
        return [phrase]
    return [phrase, *_thing(facts, 'wearing', 'lower', 'lower colour', 'lower pattern')]


def _bag(facts: Facts) -> list[_Phrase]:
    value = facts.get('bag')
    if value is None:
        return []
    if value == 'without bag':
        return [_Phrase('without', 'a bag', ('bag',))]
    slot = 'with' if value == 'backpack' else 'carrying'
    return [_Phrase(slot, f'a {value}', ('bag',)),
            *_thing(facts, slot, 'bag kind', 'bag colour')]


def _fact(facts: Facts, slot: str, name: str, say: Callable[[str], str] = str) -> list[_Phrase]:
    """The one way to speak of a fact."""
    value = facts.get(name)
    return [_Phrase(slot, say(value), (name,))] if value else []


def _topics(facts: Facts) -> list[list[_Phrase]]:
    """Ways to speak of each thing of which something is known."""
    topics = (
        _hair(facts), _glasses(facts), _hat(facts),
        _thing(facts, 'wearing', 'upper', 'upper colour', 'upper pattern'),
        _fact(facts, 'wearing', 'sleeve'), _lower(facts),
        _thing(facts, 'wearing', 'shoes', 'shoes colour'),
        _fact(facts, 'wearing', 'scarf colour', lambda colour: f'{_article(colour)} scarf'),
        _fact(facts, 'wearing', 'gloves colour', lambda colour: f'{colour} gloves'),
        _bag(facts), _fact(facts, 'seen', 'viewpoint', _VIEWS.__getitem__))
    return [_distinct(phrases) for phrases in topics if phrases]


def _person(facts: Facts, claims: Sequence[str]) -> str:
    gender = facts['gender'] if 'gender' in claims else ''
    age = facts['age'] if 'age' in claims else ''
    noun = f'{gender} child' if age == 'child' else f'{age} {gender} person'
    return _article(' '.join(noun.split()))


def _enumerate(items: Sequence[str], last: str) -> str:
    return f' {last} '.join([', '.join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _distinct(phrases: Sequence[_Phrase]) -> list[_Phrase]:
    """Keep the first of those with equal words, so that equal sentences make equal claims."""
    return list({phrase.words: phrase for phrase in reversed(phrases)}.values())


def compose_caption(facts: Facts, rng: np.random.Generator, max_topics: int = 4) -> Caption:
    """Write one sentence that states a random choice of the facts, and nothing but facts.

    Args:
        facts: from :func:`caption_facts`.
        rng: chooses the facts and the words.
        max_topics: most things that are spoken of besides gender and age.

    Returns:
        for example ``a photo of an elderly female person with long grey hair wearing a red
        striped shirt and trousers without a bag, seen from behind``.
    """
    who = [name for name in ('gender', 'age') if facts.get(name) and rng.random() < .5]
    spoken = _topics(facts)
    count = min(int(rng.integers(0 if who else 1, max_topics + 1)), len(spoken))
    chosen = sorted(rng.choice(len(spoken), count, replace=False))
    phrases = [spoken[index][rng.integers(len(spoken[index]))] for index in chosen]
    text = f'a photo of {_person(facts, who)}'
    for slot in ('with', 'wearing', 'carrying', 'without'):
        words = [phrase.words for phrase in phrases if phrase.slot == slot]
        if words:
            text += f' {slot} {_enumerate(words, "or" if slot == "without" else "and")}'
    text += ''.join(f', {phrase.words}' for phrase in phrases if phrase.slot == 'seen')
    names = {*who, *(name for phrase in phrases for name in phrase.claims)}
    return Caption(text, tuple((name, facts[name]) for name in sorted(names)))
