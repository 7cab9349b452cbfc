"""Captions say what is true of their person, all that they claim, and nothing else."""

import re

import numpy as np
import pytest

from clasp_mm.synthetic.captions import SCENE_CAPTIONS, Caption, caption_facts, compose_caption
from clasp_mm.synthetic.identity import COLOURS, HAIR_COLOURS, draw_look

VIEWS = ('front', 'back', 'side')
GARMENTS = ('t-shirt', 'shirt', 'polo', 'sweater', 'hoodie', 'jacket', 'coat', 'dress')
LOWERS = ('trousers', 'shorts', 'skirt')
PATTERNS = {'striped': 'stripes', 'plaid': 'plaid', 'dotted': 'dots', 'two-tone': 'splice',
            'printed': 'logo', 'plain': 'plain', 'side-striped': 'side stripe'}


def facts_of(identity):
    look = draw_look(3, identity)
    attributes = {**look.attributes(), 'viewpoint': VIEWS[identity % 3]}
    return caption_facts(attributes, look.facts()), look


def longest(words, text):
    found = [word for word in sorted(words, key=len, reverse=True) if text.startswith(word + ' ')]
    return found[0] if found else None


def read_thing(item, facts):
    """Check one listed thing of a sentence against the facts; the names of the facts it uses."""
    item = re.sub('^an? ', '', item)
    if item == 'hat':
        assert facts['hat'] == 'hat'
        return {'hat'}
    if item == 'glasses':
        assert facts['glasses'] == 'glasses'
        return {'glasses'}
    if item == 'sunglasses':
        assert facts['glasses kind'] == 'sunglasses'
        return {'glasses kind'}
    if item == 'skirt or a dress':
        assert facts['lower garment'] == 'skirt'
        return {'lower garment'}
    if item in ('trousers', 'shorts'):
        assert facts['lower garment'] == item
        return {'lower garment'}
    if item in ('backpack', 'bag'):
        assert facts['bag'] == item
        return {'bag'}
    if item in ('short sleeves', 'long sleeves'):
        assert facts['sleeve'] == item
        return {'sleeve'}
    if item in ('ponytail', 'bun'):
        assert facts['hair style'] == item
        return {'hair style'}
    if item == 'bald head':
        assert facts['hair style'] == 'bald'
        return {'hair style'}
    if item.endswith(' hair'):
        length, _, colour = item.removesuffix(' hair').partition(' ')
        assert facts['hair length'] == f'{length} hair'
        if not colour:
            return {'hair length'}
        assert facts['hair colour'] == colour and colour in HAIR_COLOURS
        return {'hair length', 'hair colour'}
    colour = longest(COLOURS, item)
    noun = item.removeprefix(colour + ' ') if colour else item
    pattern = longest(PATTERNS, noun)
    noun = noun.removeprefix(pattern + ' ') if pattern else noun
    if noun in ('scarf', 'gloves'):
        assert facts[f'{noun} colour'] == colour
        return {f'{noun} colour'}
    name = ('upper' if noun in GARMENTS else 'lower' if noun in LOWERS
            else 'shoes' if noun in ('sneakers', 'shoes', 'boots')
            else 'hat kind' if noun in ('cap', 'beanie', 'sun hat') else 'bag kind')
    assert facts[name] == noun
    used = {name}
    base = name.removesuffix(' kind')
    if colour:
        assert facts[f'{base} colour'] == colour
        used.add(f'{base} colour')
    if pattern:
        assert facts[f'{base} pattern'] == PATTERNS[pattern]
        used.add(f'{base} pattern')
    return used


def read_caption(text, facts):
    """Names of all facts that a sentence states, each checked against the facts."""
    used = set()
    text, _, view = text.partition(', seen from ')
    if view:
        assert {'the front': 'front', 'behind': 'back', 'the side': 'side'}[view] == \
            facts['viewpoint']
        used.add('viewpoint')
    subject, *clauses = re.split(r' (?=(?:with|wearing|carrying|without) )', text)
    assert subject.startswith(('a photo of a ', 'a photo of an '))
    for word in subject.split()[4:]:
        if word in ('male', 'female'):
            assert facts['gender'] == word
            used.add('gender')
        elif word in ('child', 'adult', 'elderly'):
            assert facts['age'] == word
            used.add('age')
        else:
            assert word == 'person'
    for clause in clauses:
        kind, _, listed = clause.partition(' ')
        listed = listed.replace('skirt or a dress', 'SKIRT')
        for item in re.split(r', | and | or ', listed):
            if kind == 'without':
                name = item.removeprefix('a ')
                assert facts[name] == f'without {name}'
                used.add(name)
            else:
                used |= read_thing(item.replace('SKIRT', 'skirt or a dress'), facts)
    return used


def test_captions_state_the_facts_and_claim_exactly_what_they_state():
    rng = np.random.default_rng(0)
    spoken = set()
    for identity in range(1500):
        facts, _ = facts_of(identity)
        caption = compose_caption(facts, rng)
        assert read_caption(caption.text, facts) == {name for name, _ in caption.claims}
        assert dict(caption.claims).items() <= facts.items()
        spoken |= dict(caption.claims).keys()
    assert spoken >= {'gender', 'age', 'hat', 'glasses', 'hair length', 'sleeve', 'lower garment',
                      'bag', 'viewpoint', 'upper pattern', 'shoes colour', 'scarf colour'}


def test_equal_sentences_make_equal_claims():
    rng = np.random.default_rng(1)
    claims = {}
    for identity in range(2000):
        caption = compose_caption(facts_of(identity)[0], rng, max_topics=2)
        assert claims.setdefault(caption.text, caption.claims) == caption.claims
    assert len(claims) > 500


def test_a_caption_holds_only_while_all_it_claims_is_true():
    rng = np.random.default_rng(2)
    for identity in range(100):
        facts, _ = facts_of(identity)
        caption = compose_caption(facts, rng)
        assert caption.holds(facts)
        for name, _ in caption.claims:
            assert not caption.holds({**facts, name: 'something else'})
            assert not caption.holds({key: facts[key] for key in facts if key != name})
        silent = {name: 'something else' for name in facts if name not in dict(caption.claims)}
        assert caption.holds({**facts, **silent})


def test_a_person_of_whom_nothing_is_known_is_just_a_person():
    caption = compose_caption({}, np.random.default_rng(0))
    assert caption == Caption('a photo of a person', ())
    assert not set(SCENE_CAPTIONS) & {caption.text}


@pytest.mark.parametrize('name', ['hat', 'glasses', 'bag'])
def test_details_do_not_hide_attributes_of_the_same_name(name):
    facts = caption_facts({name: f'without {name}'}, {name: None, 'upper': 'coat'})
    assert facts == {name: f'without {name}', 'upper': 'coat'}
    facts = caption_facts({name: name}, {name: 'kind'})
    assert facts == {name: name, f'{name} kind': 'kind'}
