import json
import os

import cv2
import numpy as np
import pytest
import torch

from clasp_mm.cli import main
from clasp_mm.datasets import LUPerson
from clasp_mm.pseudo_labels.clip_model import CLIPModel
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
from clasp_mm.search import (
    FeatureIndex,
    backbone_encoder,
    clip_encoder,
    parse_query,
    read_attributes,
    search_images,
)
from clasp_mm.search import index as index_module
from clasp_mm.search.rank import _best
from tests.test_pseudo_labels.fakes import ColourCLIP, tokenize
from tests.test_search.colours import Colours

SIZE = (32, 16)
COLOURS = dict(red=(250, 10, 10), rose=(250, 140, 140), blue=(10, 10, 250), green=(10, 250, 10),
               purple=(200, 10, 200), gray=(90, 90, 90))


def paint(path, colour):
    cv2.imwrite(str(path), np.full((*SIZE, 3), colour[::-1], np.uint8))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'in').mkdir()
    for name, colour in COLOURS.items():
        paint(tmp_path / 'in' / f'{name} ü.png', colour)
    return tmp_path / 'in'


@pytest.fixture
def clip():
    return CLIPModel(ColourCLIP(), tokenize, SIZE, 'colour/clip', mean=(0, 0, 0), std=(1, 1, 1))


def find(folder, clip, *query, attributes=DEFAULT_VOCABULARY.attributes, **kwargs):
    return search_images(LUPerson(str(folder)), parse_query(query, attributes),
                         folder.parent / 'index', clip, num_workers=0, progress=False, **kwargs)


def names(found):
    return [hit.name.split()[0] for hit in found.hits]


def cosine(a, b):
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def colour_of(text):
    """What the fake CLIP makes of a text."""
    words = dict(red=(1, 0, 0), green=(0, 1, 0), blue=(0, 0, 1), person=(1, 1, 1))
    total = sum((np.array(words[word]) for word in text.split() if word in words), np.zeros(3))
    return total / max(np.linalg.norm(total), 1e-12)


def test_the_right_image_is_first_and_its_score_the_oracles(folder, clip):
    found = find(folder, clip, 'red')
    assert names(found)[:3] == ['red', 'rose', 'purple'] and len(found.hits) == 6
    groups = [group for attribute in DEFAULT_VOCABULARY.attributes for group in attribute.texts]
    common = np.mean([np.mean([colour_of(text) for text in group], 0) for group in groups], 0)
    asked = colour_of('a photo of a person with red')
    for hit in found.hits:
        colour = np.array(COLOURS[hit.name.split()[0]])
        unit = colour / np.linalg.norm(colour)
        assert hit.score == pytest.approx(cosine(asked, colour) - unit @ common, abs=1e-4)


def test_parts_are_averaged_none_outweighing_another(folder, clip):
    found = find(folder, clip, 'red, blue')
    assert names(found)[0] == 'purple'
    table = np.array([hit.parts for hit in found.hits])
    assert found.spread == pytest.approx(np.stack([table.mean(0), table.std(0)], 1), abs=1e-5)
    expected = ((table - table.mean(0)) / table.std(0)).mean(1)
    assert [hit.score for hit in found.hits] == pytest.approx(expected.tolist(), abs=1e-3)
    assert names(find(folder, clip, 'red', 'blue')) == names(found)


def test_a_full_sentence_is_taken_as_it_is(folder, clip):
    assert parse_query(['a photo of red, hat'])[0].texts == (('a photo of red', ), )
    assert parse_query(['hat'])[0].texts == (('a photo of a person with hat', ), )


@pytest.mark.parametrize('suffix, text', [
    ('json', '{"mood": {"warm": ["red"], "cold": ["blue", "blue blue"], "fresh": "green"}}'),
    ('yaml', 'mood:\n  warm: [red]\n  cold: [blue, blue blue]\n  fresh: green\n')])
def test_an_attribute_is_added_by_its_texts(folder, clip, tmp_path, suffix, text):
    (tmp_path / f'own.{suffix}').write_text(text)
    attributes = read_attributes(tmp_path / f'own.{suffix}')
    found = find(folder, clip, 'mood=cold', attributes=attributes)
    assert names(found)[0] == 'blue'
    for hit in found.hits:
        colour = np.array(COLOURS[hit.name.split()[0]])
        odds = [np.exp(clip.logit_scale * colour[channel] / np.linalg.norm(colour))
                for channel in (0, 2, 1)]
        assert hit.score == pytest.approx(odds[1] / sum(odds), abs=1e-4)
    assert attributes[1:] == DEFAULT_VOCABULARY.attributes


def test_an_own_attribute_takes_the_place_of_a_built_in_one(tmp_path):
    (tmp_path / 'own.json').write_text('{"bag": {"red bag": ["red"], "no bag": ["person"]}}')
    attributes = read_attributes(tmp_path / 'own.json')
    assert attributes[0].values == ('red bag', 'no bag')
    assert [a.name for a in attributes].count('bag') == 1


@pytest.mark.parametrize('text, words', [
    ('{"mood": {"warm": ["red"]}}', 'mood needs two values or more'),
    ('{"mood": {"warm": ["red"], "cold": []}}', 'mood, cold: a list of texts is needed'),
    ('{"mood": {"warm": ["red"], "cold": [3]}}', 'mood, cold: a list of texts is needed'),
    ('["mood"]', 'must be {name'), ('{"mood": ', 'is no JSON file')])
def test_files_of_attributes_that_are_wrong(tmp_path, text, words):
    (tmp_path / 'own.json').write_text(text)
    with pytest.raises(ValueError, match=words):
        read_attributes(tmp_path / 'own.json')


def test_queries_that_are_wrong(folder):
    with pytest.raises(ValueError, match="unknown attribute 'hats'; did you mean 'hat'"):
        parse_query(['hats=hat'])
    with pytest.raises(ValueError, match="bag has no value 'backpak'; did you mean 'backpack'"):
        parse_query(['bag=backpak'])
    with pytest.raises(FileNotFoundError, match=r'no image gone\.JPG'):
        parse_query(['gone.JPG'])
    with pytest.raises(ValueError, match='nothing to search for'):
        parse_query([' , '])
    with pytest.raises(ValueError, match='needs a backbone'):
        find(folder, None, str(folder / 'red ü.png'))


def test_look_alikes_do_not_find_themselves(folder, clip):
    look = backbone_encoder(Colours(), SIZE, 'appearance')
    found = find(folder, None, str(folder / 'red ü.png'), look=look)
    assert names(found)[:3] == ['rose', 'purple', 'gray'] and len(found.hits) == 5
    expected = [cosine(COLOURS['red'], COLOURS[name]) for name in names(found)]
    assert [hit.score for hit in found.hits] == pytest.approx(expected, abs=1e-4)
    assert len(find(folder, None, str(folder / 'red ü.png'), look=look, count=5).hits) == 5

    both = find(folder, clip, str(folder / 'red ü.png'), 'blue', look=look)
    assert names(both)[0] == 'purple' and len(both.updates) == 2


def test_only_what_changed_is_embedded_again(folder, clip):
    first = find(folder, clip, 'red')
    assert first.updates['clip-colour/clip'][:3] == (6, 6, 0) and clip.model.images_seen == 6
    again = find(folder, clip, 'red')
    assert again.updates['clip-colour/clip'][:3] == (6, 0, 0) and clip.model.images_seen == 6
    assert again.hits == first.hits

    paint(folder / 'blue ü.png', (255, 0, 0))  # changed
    os.utime(folder / 'blue ü.png', ns=(0, 123))  # though as long as before
    (folder / 'rose ü.png').unlink()
    paint(folder / 'new ü.png', (240, 20, 20))
    found = find(folder, clip, 'red')
    assert found.updates['clip-colour/clip'][:3] == (6, 2, 2) and clip.model.images_seen == 8
    assert names(found)[:3] == ['blue', 'red', 'new'] and 'rose' not in names(found)


def test_another_model_has_features_of_its_own(folder, clip):
    find(folder, clip, 'red')
    clip.identity = 'other'
    assert next(iter(find(folder, clip, 'red').updates.values())).new == 6
    looks = [backbone_encoder(Colours(), SIZE, 'part'),
             backbone_encoder(Colours(), SIZE, 'appearance'),
             backbone_encoder(Colours(), (64, 32), 'part')]
    with torch.no_grad():
        weights = Colours()
        weights.scale.fill_(2)
    assert len({look.name for look in [*looks, backbone_encoder(weights, SIZE, 'part')]}) == 4


def test_what_cannot_be_read_is_named_and_tried_again(folder, clip):
    paint(folder / 'sun ü.png', (255, 30, 0))
    whole = (folder / 'sun ü.png').read_bytes()
    stamp = (folder / 'sun ü.png').stat().st_mtime_ns
    (folder / 'sun ü.png').write_bytes(b'?' * len(whole))
    (folder / 'empty.jpg').write_bytes(b'')
    found = find(folder, clip, 'red')
    assert [fault.split(':')[0] for fault in found.unreadable] == ['empty.jpg', 'sun ü.png']
    assert len(found.hits) == 6 and found.updates['clip-colour/clip'].num_images == 6
    (folder / 'sun ü.png').write_bytes(whole)
    os.utime(folder / 'sun ü.png', ns=(stamp, stamp))  # nothing tells that it changed
    found = find(folder, clip, 'red')
    assert names(found)[:2] == ['red', 'sun'] and len(found.unreadable) == 1
    for path in folder.iterdir():
        path.write_bytes(b'?')
    with pytest.raises(ValueError, match=r'none of the 8 images .*; the first is blue'):
        find(folder, clip, 'red')


def test_a_run_that_was_killed_goes_on(folder, clip, monkeypatch):
    monkeypatch.setattr(index_module, 'SEGMENT_ROWS', 2)
    encode = clip.encode_images

    def failing(images):
        if clip.model.images_seen >= 4:
            raise KeyboardInterrupt
        return encode(images)

    monkeypatch.setattr(clip, 'encode_images', failing)
    with pytest.raises(KeyboardInterrupt):
        find(folder, clip, 'red', batch_size=1)
    monkeypatch.setattr(clip, 'encode_images', encode)
    found = find(folder, clip, 'red', batch_size=1)
    assert found.updates['clip-colour/clip'][:3] == (6, 2, 0)
    assert names(found)[:2] == ['red', 'rose']


def test_an_index_stays_small_and_right(folder, clip, monkeypatch):
    monkeypatch.setattr(index_module, 'SEGMENT_ROWS', 4)
    for i in range(30):
        paint(folder / 'red ü.png', (250, i, 0))
        os.utime(folder / 'red ü.png', ns=(0, i))
        found = find(folder, clip, 'red')
    space, = (folder.parent / 'index').iterdir()
    files = list(space.glob('*.npy'))
    assert len(files) <= 12 and sum(len(np.load(file)) for file in files) <= 6 + 7
    fresh = search_images(LUPerson(str(folder)), found.parts, folder.parent / 'fresh', clip,
                          num_workers=0, progress=False)
    assert [hit.name for hit in fresh.hits] == [hit.name for hit in found.hits]
    assert [hit.score for hit in fresh.hits] == pytest.approx([hit.score for hit in found.hits])


def test_scores_are_products_whatever_the_segments(folder, clip, monkeypatch):
    source = LUPerson(str(folder))
    directions = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    unit = np.array([COLOURS[name.split()[0]] for name in source.names], np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for i, rows in enumerate((1, 4, 100)):
        monkeypatch.setattr(index_module, 'SEGMENT_ROWS', rows)
        space = FeatureIndex(folder.parent / str(i), source, clip_encoder(clip))
        space.update(batch_size=2, num_workers=0, progress=False)
        np.testing.assert_allclose(space.scores(directions), unit @ directions.T, atol=1e-4)


def test_a_damaged_segment_is_named(folder, clip):
    find(folder, clip, 'red')
    path, = (folder.parent / 'index').glob('*/*.npy')
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=rf'{path.name} is damaged .*delete it'):
        find(folder, clip, 'red')
    path.unlink()
    assert names(find(folder, clip, 'red'))[0] == 'red'


def test_the_best_are_those_of_a_sort():
    scores = np.random.default_rng(0).integers(0, 9, 200).astype(np.float32)  # many are equal
    scores[::17] = -np.inf
    for count in (1, 7, 200, 999):
        np.testing.assert_array_equal(_best(scores, count),
                                      np.argsort(-scores, kind='stable')[:count])


def test_an_lmdb_is_searched_and_embedded_again_when_it_changes(folder, clip, tmp_path):
    lmdb = pytest.importorskip('lmdb')
    (tmp_path / 'db').mkdir()
    for colours in (('red', 'blue'), ('red', 'blue', 'rose')):
        with lmdb.open(str(tmp_path / 'db' / 'lmdb')) as environment, environment.begin(
                write=True) as transaction:
            for name in colours:
                transaction.put(name.encode(), (folder / f'{name} ü.png').read_bytes())
        found = find(tmp_path / 'db', clip, 'red')
        assert next(iter(found.updates.values())).new == len(colours)
    assert names(found) == ['red', 'rose', 'blue']


def call(folder, *more):
    return main(['search', str(folder), *map(str, more), '--index', str(folder.parent / 'index'),
                 '--html', str(folder.parent / 'page.html'), '--workers', '0', '--device', 'cpu'])


@pytest.fixture
def fake_clip(monkeypatch, clip):
    monkeypatch.setattr('clasp_mm.pseudo_labels.clip_model.build_clip', lambda *_: clip)


def test_command_prints_a_table_and_writes_a_page(folder, fake_clip, capsys):
    (folder / 'bad<i>.jpg').write_bytes(b'broken')
    assert call(folder, 'red, blue', '--count', 3) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].split() == ['score', 'red', 'blue', 'image'] and 'purple ü.png' in lines[1]
    assert lines[-1].startswith('6 images, 6 embedded now') and len(lines) == 5
    assert 'left out, bad<i>.jpg' in told.err and '1 of 7 images' in told.err
    page = (folder.parent / 'page.html').read_text()
    order = [page.index(f'{name}.png') for name in (line.split()[-2] + ' ü' for line in lines[1:4])]
    assert order == sorted(order) and page.count('data:image/jpeg') == 3
    assert 'bad&lt;i&gt;.jpg' in page and 'not an identification' in page
    assert 'The best 3 of 6 images' in page and page.count(': relative cosine ') == 6
    assert 'ViT-B-32 (clip-colour/clip)' in page  # which model


def test_command_prints_json_alone(folder, fake_clip, capsys):
    assert call(folder, 'hat=hat', 'red', '--json') == 0
    result = json.loads(capsys.readouterr().out)
    assert [hit['rank'] for hit in result['hits']] == [1, 2, 3, 4, 5, 6]
    assert set(result['hits'][0]['parts']) == {'hat=hat', 'red'}
    assert [part['kind'] for part in result['query']] == ['attribute', 'text']
    assert list(result['features'].values()) == [dict(images=6, embedded=6, gone=0)]


def test_command_finds_what_looks_alike(folder, tmp_path, capsys):
    config = tmp_path / 'backbone.py'
    config.write_text("model = dict(backbone=dict(type='clasp_mm.PCMoESwin', window_size=4, "
                      'arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)), strides=(4, 2), '
                      'out_indices=(1, ), moe=dict(num_experts=3, top_k=2, expert_hidden=4)))')
    from clasp_mm import get_model
    torch.save(dict(state_dict={f'backbone.{name}': value for name, value in
                                get_model(config).state_dict().items()}), tmp_path / 'm.pth')
    query = (folder / 'red ü.png', '--checkpoint', tmp_path / 'm.pth', '--config', config,
             '--size', 32, 16)
    assert call(folder, *query) == 0
    assert 'red ü.png' not in capsys.readouterr().out
    page = (folder.parent / 'page.html').read_text()
    assert page.count('data:image/jpeg') == 6 and '<h1>red ü.png</h1>' in page  # query and five
    assert 'm.pth (look-' in page and '-appearance-32x16)' in page


@pytest.mark.parametrize('more, words', [
    (('hats=1', ), "did you mean 'hat'"),
    (('red', '--attributes', 'gone.json'), 'no file of attributes gone.json'),
    (('red', '--clip', 'ViT-B-33'), "open_clip has no model 'ViT-B-33'")])
def test_command_says_what_is_wrong(folder, capsys, more, words):
    assert call(folder, *more) == 1
    assert words in capsys.readouterr().err
    assert not (folder.parent / 'page.html').exists()


@pytest.mark.parametrize('more, words', [
    (('--count', 0), '--count must be at least 1, got 0'),
    (('--task', 'part', '--semantic-weight', 3, '--checkpoint', 'x.pth'),
     '--checkpoint, --task, --semantic-weight: for look-alikes of a picture')])
def test_a_wrong_command_line_is_2(folder, capsys, more, words):
    with pytest.raises(SystemExit, match='2'):
        call(folder, 'red', *more)
    assert words in capsys.readouterr().err


def test_command_needs_a_backbone_for_pictures(folder, capsys):
    assert call(folder, folder / 'red ü.png') == 1
    assert 'give --checkpoint' in capsys.readouterr().err
