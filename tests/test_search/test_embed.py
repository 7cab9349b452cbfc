import json

import cv2
import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from mmengine.config import Config

import clasp_mm
from clasp_mm.cli import main
from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.images import read_image, resize_images
from clasp_mm.pseudo_labels.clip_model import state_digest
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
from clasp_mm.registry import MODELS
from clasp_mm.search.embed import _encoder, check_out, embed_images
from clasp_mm.search.index import backbone_encoder
from clasp_mm.visualization import neighbours
from clasp_mm.visualization.neighbours import nearest_neighbours
from tests.test_pseudo_labels.fakes import RED
from tests.test_search.colours import Colours

SIZE = (32, 16)
BACKBONE = dict(type='clasp_mm.PCMoESwin', arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)),
                strides=(4, 2), out_indices=(1,), window_size=4,
                moe=dict(num_experts=3, top_k=2, expert_hidden=4))
MODEL = dict(
    type='clasp_mm.CLASP', backbone=BACKBONE, semantic_views='one',
    head=dict(type='clasp_mm.DINOHead', in_channels=16, out_dim=12, hidden_dim=16,
              bottleneck_dim=8),
    part_head=dict(type='clasp_mm.PartSegHead', in_channels=16, num_classes=10),
    attr_head=dict(type='clasp_mm.AttrHead', in_channels=16,
                   attribute_sizes=DEFAULT_VOCABULARY.attribute_sizes),
    data_preprocessor=dict(type='clasp_mm.ViewPreprocessor'))


@pytest.fixture
def people(tmp_path):
    """Seven pictures of which two are not to be read."""
    folder = tmp_path / 'people'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(7):
        cv2.imwrite(str(folder / f'p{i} ü.png'), rng.integers(0, 255, (40, 20, 3), np.uint8))
    (folder / 'p2 ü.png').write_bytes(b'broken')
    (folder / 'p5 ü.png').write_bytes(b'')
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    """A training checkpoint of CLASP."""
    model = MODELS.build(dict(MODEL, _scope_='mmpretrain'))
    with torch.no_grad():
        for parameter in model.teacher.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    (tmp_path / 'run').mkdir()
    Config(dict(model=MODEL)).dump(tmp_path / 'run' / 'config.py')
    torch.save(dict(state_dict=model.state_dict(), meta=dict(
        cfg=Config(dict(model=MODEL)).pretty_text)), tmp_path / 'run' / 'epoch_1.pth')
    return tmp_path / 'run' / 'epoch_1.pth'


READABLE = [f'p{i} ü.png' for i in (0, 1, 3, 4, 6)]


@pytest.mark.parametrize('workers, batch_size', [(0, 3), (2, 2), (1, 64)])
def test_features_are_the_models_whatever_the_batches(people, checkpoint, tmp_path, workers,
                                                      batch_size):
    model = clasp_mm.get_model(checkpoint.parent / 'config.py', pretrained=checkpoint,
                               task='part')
    out = tmp_path / 'deep' / 'f.npy'
    result = embed_images(model, LUPerson(str(people)), out, SIZE, batch_size, workers,
                          show_progress=False)
    images = clasp_mm.load_images([people / name for name in READABLE], SIZE)
    with torch.no_grad():
        expected = model(images)[-1].mean((2, 3)).numpy()
    features = np.load(out)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert out.with_suffix('.names.txt').read_text('utf-8').splitlines() == READABLE
    assert result == json.loads(out.with_suffix('.json').read_text())
    assert (result['num_images'], result['channels']) == (5, 16)
    assert [fault.split(':')[0] for fault in result['unreadable']] == ['p2 ü.png', 'p5 ü.png']
    assert sorted(file.name for file in out.parent.iterdir()) == [
        'f.html', 'f.json', 'f.names.txt', 'f.npy']


def test_neighbours_are_those_of_brute_force(monkeypatch):
    monkeypatch.setattr(neighbours, '_CHUNK', 7)
    features = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    queries = np.array([0, 6, 7, 49])
    found, cosines = nearest_neighbours(features, queries, 12)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    table = unit[queries] @ unit.T
    table[np.arange(4), queries] = -2
    np.testing.assert_array_equal(found, np.argsort(-table, axis=1)[:, :12])
    np.testing.assert_allclose(cosines, -np.sort(-table, axis=1)[:, :12], rtol=1e-6)
    assert nearest_neighbours(features[:3], np.array([1]), 12)[0].shape == (1, 2)
    assert nearest_neighbours(features[:1], np.array([0]), 12)[0].shape == (1, 0)


def paint(folder, colours):
    folder.mkdir()
    for name, colour in colours.items():
        image = np.full((*SIZE, 3), colour, np.uint8)
        cv2.imwrite(str(folder / f'{name}.png'), image[..., ::-1])
    return LUPerson(str(folder))


def test_page_shows_the_nearest_first(tmp_path):
    source = paint(tmp_path / 'in', {
        'a<b': (250, 10, 10), 'dark': (100, 5, 0), 'sea': (10, 10, 250), 'sky': (60, 60, 255)})
    embed_images(Colours(), source, tmp_path / 'f.npy', SIZE, num_workers=0, num_queries=1,
                 num_neighbours=2, show_progress=False)
    page = (tmp_path / 'f.html').read_text()
    order = [page.index(word) for word in ('a&lt;b.png', 'dark.png', '0.999', 'sky.png')]
    assert order == sorted(order) and 'sea.png' not in page
    assert page.count('data:image/jpeg') == 3


def test_one_image_has_no_neighbours(tmp_path):
    embed_images(Colours(), paint(tmp_path / 'in', {'a': RED}), tmp_path / 'f.npy', SIZE,
                 num_workers=0, show_progress=False)
    assert (tmp_path / 'f.html').read_text().count('<figure') == 1


def test_a_failure_leaves_what_was_there(people, tmp_path):
    class Failing(Colours):
        calls = 0

        def forward(self, x, task=None):
            self.calls += 1
            if self.calls == 3:
                raise RuntimeError('out of memory')
            return super().forward(x)

    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'f.npy').write_bytes(b'older')
    with pytest.raises(RuntimeError, match='out of memory'):
        embed_images(Failing(), LUPerson(str(people)), tmp_path / 'out' / 'f.npy', SIZE, 2, 0,
                     show_progress=False)
    assert [file.name for file in (tmp_path / 'out').iterdir()
            if not file.name.startswith('.')] == ['f.npy']
    assert (tmp_path / 'out' / 'f.npy').read_bytes() == b'older'


def test_a_name_that_is_listed_twice_has_two_rows(people, tmp_path):
    (tmp_path / 'list').write_text('\n'.join([READABLE[1], 'p2 ü.png', READABLE[0], READABLE[1]]))
    result = embed_images(Colours(), LUPerson(str(people), str(tmp_path / 'list')),
                          tmp_path / 'f.npy', SIZE, num_workers=0, show_progress=False)
    first, _, again = features = np.load(tmp_path / 'f.npy')
    assert len(features) == result['num_images'] == 3 and (first == again).all()
    assert (tmp_path / 'f.names.txt').read_text('utf-8').splitlines() == [
        READABLE[1], READABLE[0], READABLE[1]]


def test_nothing_to_read_is_an_error(people, tmp_path):
    for name in READABLE:
        (people / name).write_bytes(b'?')
    with pytest.raises(ValueError, match=r'none of the 7 images .*the first is p0'):
        embed_images(Colours(), LUPerson(str(people)), tmp_path / 'f.npy', SIZE, num_workers=0,
                     show_progress=False)


def test_features_are_of_images_normalised_as_in_training(people, tmp_path):
    model = clasp_mm.get_model('reid_nano')  # trained with 127.5 for mean and deviation
    embed_images(model, LUPerson(str(people)), tmp_path / 'f.npy', (64, 32), num_workers=0,
                 show_progress=False)
    pixels = torch.cat([resize_images([read_image(people / name)], (64, 32)) for name in READABLE])
    with torch.no_grad():
        expected = model((pixels.float() - 127.5) / 127.5)[-1].mean((2, 3)).numpy()
    np.testing.assert_allclose(np.load(tmp_path / 'f.npy'), expected, atol=1e-5)


@pytest.mark.parametrize('other', [
    dict(moe=dict(BACKBONE['moe'], top_k=1)), dict(strides=(4, 1)), dict(pad_small_map=False),
    dict(mean=(127.5,) * 3), dict(std=(1., 1., 1.))])
def test_features_of_other_settings_have_another_name(tmp_path, other):
    def named(**kwargs):
        torch.manual_seed(0)
        statistics = {name: kwargs.pop(name) for name in ('mean', 'std') if name in kwargs}
        model = MODELS.build({**BACKBONE, **kwargs})
        for name, value in statistics.items():
            setattr(model, name, value)
        return state_digest(model), {backbone_encoder(model, SIZE, 'part').name,
                                     _encoder(tmp_path / 'f.npy', model, SIZE, 4, None).name}

    (tensors, plain), (same, changed) = named(), named(**other)
    assert tensors == same and named()[1] == plain and not plain & changed


def call(people, checkpoint, tmp_path, *more):
    return main(['embed', str(people), '--checkpoint', str(checkpoint), '--size', '32', '16',
                 '--out', str(tmp_path / 'out'), '--workers', '0', '--device', 'cpu',
                 *map(str, more)])


def test_command_embeds_by_a_training_checkpoint(people, checkpoint, tmp_path, capsys):
    assert call(people, checkpoint, tmp_path, '--task', 'appearance', 'part') == 0
    assert '5 x 16 features, 2 images left out' in capsys.readouterr().out
    page = (tmp_path / 'out' / 'features.html').read_text()
    assert page.count('<figure') == 5 * 5
    written = json.loads((tmp_path / 'out' / 'features.json').read_text())
    assert written['task'] == ['appearance', 'part']


def test_images_are_as_large_as_those_that_a_published_model_was_trained_on(people, checkpoint,
                                                                            tmp_path):
    def size(*more):
        assert main(['embed', str(people), '--task', 'appearance', '--out', str(tmp_path / 'out'),
                     '--workers', '0', '--device', 'cpu', *more]) == 0
        return json.loads((tmp_path / 'out' / 'features.json').read_text())['size']

    assert size('--checkpoint', 'clasp_nano') == [64, 32]
    assert size('--checkpoint', 'clasp_nano', '--size', '32', '16') == [32, 16]
    assert size('--checkpoint', str(checkpoint)) == [256, 128]  # says nothing of it


@pytest.mark.parametrize('more, words', [
    ((), '--task appearance|part|attribute'),
    (('--task', 'part', '--checkpoint', 'gone.pth'), 'gone.pth'),
    (('--task', 'part', '--list', 'gone.txt'), 'gone.txt'),
    (('--task', 'part', '--checkpoint', 'dino_nano'),
     'has no PC-MoE, so no prompt: leave task out')])
def test_command_says_what_is_wrong(people, checkpoint, tmp_path, capsys, more, words):
    assert call(people, checkpoint, tmp_path, *more) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('more, words', [
    (('--size', '0', '0'), '--size: must be at least 1 pixel, got 0'),
    (('--batch-size', '0'), '--batch-size must be at least 1, got 0'),
    (('--queries', '-3'), '--queries must be at least 0, got -3'),
    (('--neighbours', '-1'), '--neighbours must be at least 0, got -1'),
    (('--workers', '-1'), '--workers must be at least 0, got -1')])
def test_numbers_that_are_too_low_are_refused_first(people, checkpoint, tmp_path, capsys, more,
                                                    words):
    with pytest.raises(SystemExit, match='2'):
        call(people, checkpoint, tmp_path, '--task', 'part', *more)
    assert words in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('option, figures', [('--queries', 0), ('--neighbours', 5)])
def test_a_page_may_have_no_queries_or_no_neighbours(people, checkpoint, tmp_path, option, figures):
    assert call(people, checkpoint, tmp_path, '--task', 'part', option, '0') == 0
    assert (tmp_path / 'out' / 'features.html').read_text().count('<figure') == figures


def test_features_have_two_formats():
    with pytest.raises(ValueError, match=r"npy or .parquet file, got 'f.csv'"):
        check_out('f.csv')


def test_parquet_without_pyarrow_names_the_way_out(people, checkpoint, tmp_path, monkeypatch,
                                                   capsys):
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow', None)
    assert call(people, checkpoint, tmp_path, '--task', 'part', '--format', 'parquet') == 1
    assert 'or write features.npy' in capsys.readouterr().err


def test_parquet_holds_names_and_features(people, tmp_path):
    source = LUPerson(str(people))
    for suffix in ('npy', 'parquet'):
        embed_images(Colours(), source, tmp_path / f'f.{suffix}', SIZE, 2, 0,
                     show_progress=False)
    table = parquet.read_table(tmp_path / 'f.parquet')
    assert table['name'].to_pylist() == READABLE
    features = np.array(table['feature'].to_pylist(), np.float32)
    np.testing.assert_array_equal(features, np.load(tmp_path / 'f.npy'))
