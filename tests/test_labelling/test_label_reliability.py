import re
from argparse import ArgumentParser
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from clasp_mm.cli.labeler_options import add_labeler_arguments, labeler_from_arguments
from clasp_mm.labelling.reliability import (
    UNUSABLE,
    USABLE,
    WEAK,
    Reliability,
    _kappa,
    _one_against_all,
    paraphrase,
    split,
    widen,
)
from clasp_mm.pseudo_labels.clip_labeler import CLIPLabeler
from clasp_mm.pseudo_labels.colour_teacher import ColourTeacher
from clasp_mm.pseudo_labels.labels import Scores
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, Attribute
from tests.test_pseudo_labels.fakes import (
    BLUE,
    GREEN,
    RED,
    VOCABULARY,
    draw_people,
    draw_person,
    make_labeler,
)

# Says "green" of what is warm, and swaps shirt and legs.
OTHER = replace(
    VOCABULARY, parts=tuple(replace(part, phrases=(phrase,)) for part, phrase in
                            zip(VOCABULARY.parts, ('red', 'blue', 'green'), strict=True)),
    attributes=(Attribute('mood', ('warm', 'cold'), (('green',), ('blue',))),
                VOCABULARY.attributes[1]))


def wide_scores(images, vocabularies):
    labeler = make_labeler()
    wide = CLIPLabeler(labeler.clip, labeler.teacher, 'x', widen(vocabularies), labeler.settings)
    return split(wide.score(images, [str(i) for i in range(len(images))]), len(vocabularies))


def test_one_pass_scores_as_one_pass_for_each_vocabulary():
    images = draw_people(10)
    names = [str(i) for i in range(10)]
    for scores, vocabulary in zip(wide_scores(images, (VOCABULARY, OTHER)), (VOCABULARY, OTHER),
                                  strict=True):
        alone = make_labeler(vocabulary=vocabulary).score(images, names)
        torch.testing.assert_close(scores.part_probs, alone.part_probs)
        assert (scores.part_probs > 0).any() and (scores.part_probs.sum(-1) == 0).any()
        for mine, theirs in zip(scores.attr_probs, alone.attr_probs, strict=True):
            torch.testing.assert_close(mine, theirs)


def test_paraphrases_change_every_text_and_no_name():
    original = DEFAULT_VOCABULARY
    texts = [original.part_texts(), [a.texts for a in original.attributes]]
    for other in paraphrase(original):
        widen((original, other))
        assert other.person_texts == original.person_texts
        flat = [text for group in other.part_texts() for text in group]
        flat += [text for a in other.attributes for group in a.texts for text in group]
        assert not any('a photo of' in text.replace('low-quality photo', '') for text in flat)
        assert len(set(flat)) == len(flat)
        assert [len(group) for group in other.part_texts()] == [len(g) for g in texts[0]]
    assert paraphrase(original)[1].part_texts()[0] == ["a low-quality photo of a pedestrian's hat"]
    renamed = replace(original, attributes=original.attributes[::-1])
    with pytest.raises(ValueError, match='keep the names'):
        widen((original, renamed))


def test_kappa_is_cohens():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 3, 200)
    two = np.where(rng.random(200) < 0.6, one, rng.integers(0, 3, 200))
    matrix = np.zeros((3, 3), np.int64)
    np.add.at(matrix, (one, two), 1)
    assert _kappa(matrix) == pytest.approx(cohen_kappa_score(one, two))
    assert _kappa(_one_against_all(matrix, 1)) == pytest.approx(
        cohen_kappa_score(one == 1, two == 1))
    # Counts of 4.18 M images with 512 tokens do not overflow.
    assert _kappa(matrix * 3_000_000_000) == pytest.approx(_kappa(matrix))
    assert _kappa(np.diag([9, 0])) is None and _kappa(np.zeros((2, 2))) is None


def reliability_of(choices, others, confidence):
    """Of the attribute mood, from what is chosen for each image by two vocabularies."""
    def scores(chosen):
        mood = torch.full((len(chosen), 2), 1 - confidence)
        mood[torch.arange(len(chosen)), torch.as_tensor(chosen)] = confidence
        taste = torch.full((len(chosen), 3), 1 / 3)
        return Scores(torch.zeros(len(chosen), 3, 32, dtype=torch.uint8),
                      torch.ones(len(chosen)), torch.ones(len(chosen)),
                      torch.zeros(len(chosen), 12, 3), [mood, taste])

    reliability = Reliability(VOCABULARY, (3, 4, 5), (8, 4))
    for half in (slice(0, 150), slice(150, None)):
        reliability.update([scores(choices[half]), scores(others[half])],
                           np.ones(len(choices[half]), bool),
                           np.tile((64, 32), (len(choices[half]), 1)))
    return reliability.compute()


DRAWN = np.random.default_rng(0).integers(0, 2, 400)


@pytest.mark.parametrize('others, confidence, verdict, reason', [
    (DRAWN, 0.99, USABLE, ''),
    (np.where(np.arange(400) % 3, DRAWN, 1 - DRAWN), 0.99, WEAK, 'agreement across texts 0.3'),
    (DRAWN, 0.8, WEAK, 'entropy 0.72'),
    (DRAWN, 0.51, UNUSABLE, 'entropy 1.00'),
    (DRAWN[::-1].copy(), 0.99, UNUSABLE, 'agreement across texts -?0.')])
def test_verdict_on_an_attribute(others, confidence, verdict, reason):
    result = reliability_of(DRAWN, others, confidence)
    entry = result['attributes']['mood']
    assert entry['verdict'] == verdict
    assert re.match(reason, entry['reason'])
    assert result['image_size'] == [64, 32] and result['num_images'] == 400
    expected = -(confidence * np.log2(confidence) + (1 - confidence) * np.log2(1 - confidence))
    assert entry['entropy'] == pytest.approx(expected, rel=1e-4)
    assert result['attributes']['taste']['verdict'] == UNUSABLE
    assert result['parts']['hat']['reason'] == 'hardly ever found'


def test_an_answer_that_never_changes_is_worth_nothing():
    entry = reliability_of(np.zeros(400, int), np.zeros(400, int), 0.99)['attributes']['mood']
    assert (entry['verdict'], entry['reason']) == (UNUSABLE, "nearly always 'warm'")


def test_parts():
    # Bands of known size: 12 of 16 pixels wide, hat and shirt 8 high, legs 16.
    images = [draw_person((RED, GREEN, BLUE, BLUE)) for _ in range(3)]
    reliability = Reliability(VOCABULARY, (3, 4, 5), (8, 4))
    scores = wide_scores(images, (VOCABULARY, OTHER))
    reliability.update(scores, np.ones(3, bool), np.tile((64, 32), (3, 1)))  # twice as large
    parts = reliability.compute()['parts']
    assert [parts[name]['found'] for name in parts] == [1, 1, 1]
    assert parts['hat']['side'] == pytest.approx(2 * (8 * 12) ** 0.5, rel=0.3)
    assert parts['hat']['agreement'] == parts['hat']['agreement_across_k'] == 1
    assert parts['hat']['confidence'] > 0.9 and parts['hat']['verdict'] == USABLE
    # The other words swap these two.
    assert parts['shirt']['agreement'] < 0 and parts['shirt']['agreement_across_k'] == 1
    assert parts['shirt']['verdict'] == UNUSABLE
    small = Reliability(VOCABULARY, (3, 4, 5), (8, 4))
    small.update(scores, np.ones(3, bool), np.tile((16, 8), (3, 1)))
    hat = small.compute()['parts']['hat']
    assert hat['verdict'] == UNUSABLE and 'px' in hat['reason']


def test_nothing_accepted():
    reliability = Reliability(VOCABULARY, (3, 4, 5), (8, 4))
    result = reliability.compute()
    assert result['image_size'] is None
    assert {entry['verdict'] for kind in ('attributes', 'parts')
            for entry in result[kind].values()} == {UNUSABLE}


def test_colours_stand_in_for_a_teacher(monkeypatch):
    image = torch.zeros(1, 3, 64, 32)
    image[..., :32, :] = 1
    image[:, 0, 32:] = torch.arange(32) % 2                     # stripes below
    maps = ColourTeacher()(image)
    assert [tuple(m.shape) for m in maps] == [
        (1, 6, 64 // s, 32 // s) for s in (4, 8, 16, 32)]
    assert maps[3][0, :, 0, 0].tolist() == [1, 1, 1, 0, 0, 0]
    assert maps[3][0, :, 1, 0].tolist() == [0.5, 0, 0, 0.5, 0, 0]
    parser = ArgumentParser()
    add_labeler_arguments(parser)
    common = ['--data-root', 'x', '--out', 'y', '--teacher', 'none', '--device', 'cpu']
    clip = make_labeler().clip
    monkeypatch.setattr('clasp_mm.datasets.transforms.clip_pseudo_labeler.build_clip',
                        lambda **_: clip)
    labeler = labeler_from_arguments(parser.parse_args(common))
    assert labeler.teacher_id == ColourTeacher.NAME and labeler.grid == (32, 16)
    with pytest.raises(ValueError, match='--teacher none'):
        labeler_from_arguments(parser.parse_args([*common, '--teacher-task', 'part']))
