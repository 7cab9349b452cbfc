import json
import runpy
import sys

import cv2
import numpy as np
import pytest

from clasp_mm.datasets.attribute_files import AttributeTable
from clasp_mm.labelling.zero_shot import pa100k_texts, read_texts, score_zero_shot
from clasp_mm.pseudo_labels.clip_model import CLIPModel
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
from clasp_mm.synthetic import PA100K_ATTRIBUTES
from tests.oracles import attribute as oracle
from tests.source_tree import ROOT
from tests.test_pseudo_labels.fakes import BLUE, GREEN, RED, SIZE, ColourCLIP, tokenize

COLOURS = np.array([RED, GREEN, BLUE, (255, 90, 0), (0, 90, 255), (120, 100, 110)], np.uint8)
TEXTS = {'warm': [['red'], ['blue']], 'leafy': [['green'], ['red', 'blue']]}


@pytest.fixture
def people(tmp_path):
    """Pictures of one colour each, and labels that say which are red and which are green."""
    for index, colour in enumerate(COLOURS):
        image = np.broadcast_to(colour[::-1], (64, 32, 3))
        cv2.imwrite(str(tmp_path / f'{index}.png'), np.ascontiguousarray(image))
    labels = np.array([[1, 0], [0, 1], [0, 0], [1, 0], [0, 1], [-1, 0]], np.int8)
    return AttributeTable(tuple(f'{index}.png' for index in range(6)), ('leafy', 'warm'),
                          labels[:, ::-1], dict(test=np.arange(6), val=np.array([4, 0])))


def clip(scale=10.):
    return CLIPModel(ColourCLIP(scale), tokenize, SIZE, 'colour', mean=(0, 0, 0), std=(1, 1, 1))


def softmax_by_hand(colour, scale=10.):
    """Share of each attribute's text among its two, (leafy, warm)."""
    def unit(vector):
        vector = np.asarray(vector, float)
        return vector / np.linalg.norm(vector)
    image = unit(colour)
    texts = dict(warm=(unit((1, 0, 0)), unit((0, 0, 1))),
                 leafy=(unit((0, 1, 0)), unit(unit((1, 0, 0)) + unit((0, 0, 1)))))
    shares = []
    for name in ('leafy', 'warm'):
        there, absent = (np.exp(scale * image @ text) for text in texts[name])
        shares.append(there / (there + absent))
    return shares


@pytest.mark.parametrize('split, rows', [('test', range(6)), ('val', (4, 0))])
def test_scores_are_those_of_cosines_by_hand(people, tmp_path, split, rows):
    rows = list(rows)
    result = score_zero_shot(clip(), people, split, tmp_path, read_texts(TEXTS))
    expected = oracle.attribute_metrics([softmax_by_hand(COLOURS[row]) for row in rows],
                                        people.labels[rows])
    for name in ('mA', 'accuracy', 'precision', 'recall', 'F1'):
        assert result[name] == pytest.approx(expected[name]), name
    np.testing.assert_allclose(result['per_attribute']['mA'], expected['per_attribute'])
    assert result['attributes'] == ['leafy', 'warm']


def test_pa100k_has_texts_for_each_attribute_and_those_of_pretraining_where_there_are():
    vocabulary, meaning = pa100k_texts()
    assert set(meaning) == set(PA100K_ATTRIBUTES)
    own = {attribute.name: attribute for attribute in DEFAULT_VOCABULARY.attributes}
    texts = {attribute.name: attribute for attribute in vocabulary.attributes}
    assert sum(owner in own for owner, _ in meaning.values()) == 15
    for owner, value in meaning.values():
        assert value in texts[owner].values
        assert owner not in own or texts[owner] == own[owner]


def test_says_what_is_missing(people, tmp_path):
    with pytest.raises(ValueError, match=r'no texts for 1 of 2 attributes: leafy; .*--texts'):
        score_zero_shot(clip(), people, 'test', tmp_path, read_texts(dict(warm=TEXTS['warm'])))
    with pytest.raises(ValueError, match=r"texts of 'warm' must be"):
        read_texts(dict(warm=[['red']]))
    with pytest.raises(ValueError, match="no image of a split 'dev'"):
        score_zero_shot(clip(), people, 'dev', tmp_path, read_texts(TEXTS))
    (tmp_path / '3.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'there is no image .*3\.png.*--images'):
        score_zero_shot(clip(), people, 'test', tmp_path, read_texts(TEXTS))
    (tmp_path / '3.png').write_text('no picture')
    with pytest.raises(ValueError, match=r'3\.png: no known image'):
        score_zero_shot(clip(), people, 'test', tmp_path, read_texts(TEXTS))


def test_tool(pa100k, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('clasp_mm.pseudo_labels.clip_model.build_clip', lambda *_: clip())
    content = {name: TEXTS['warm' if index % 2 else 'leafy']
               for index, name in enumerate(PA100K_ATTRIBUTES)}
    (tmp_path / 'texts.json').write_text(json.dumps(content))
    arguments = ['x', str(pa100k / 'annotation.mat'), '--images', str(pa100k / 'data'),
                 '--split', 'train', '--texts', str(tmp_path / 'texts.json'), '--out',
                 str(tmp_path / 'scores')]
    monkeypatch.setattr(sys, 'argv', arguments)
    tool = str(ROOT / 'tools/analysis/zero_shot_attributes.py')
    runpy.run_path(tool, run_name='__main__')
    scores = json.loads((tmp_path / 'scores/zero_shot.json').read_text())
    assert scores['split'] == 'train' and scores['attributes'] == list(PA100K_ATTRIBUTES)
    assert len(scores['per_attribute']['mA']) == 26 and '| Female |' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', [*arguments[:5], 'dev'])
    with pytest.raises(SystemExit, match=r"zero_shot_attributes\.py: .*'dev'"):
        runpy.run_path(tool, run_name='__main__')
