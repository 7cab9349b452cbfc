"""Results side by side: alike, or refused with what differs."""

import json

import pytest
import torch

from clasp_mm.utils.files import file_hash
from clasp_mm.zoo.compare import PROTOCOL, ProtocolError, compare
from clasp_mm.zoo.passport import dataset_hash, files_hash

PASSPORT = dict(task='Re-identification', data_hash='01234567', split_hash='89abcdef',
                input_size='64x32', flip_test=False, rerank=False, selection='last',
                seed=0, clasp_mm_version='0')


@pytest.fixture
def side_car(tmp_path):
    def write(name, mAP=20.0, **changes):
        path = tmp_path / f'{name}.json'
        path.write_text(json.dumps(dict(name=name, passport=PASSPORT | changes,
                                        results={'reid': {'mAP': mAP}})))
        return str(path)
    return write


def test_models_scored_alike_are_listed(side_car):
    table = compare([side_car('a'), side_car('b', 21.5, seed=1)])
    assert '| a | 20.0 |\n| b | 21.5 |' in table and 'scored split 89abcdef' in table
    assert 'unlike' not in table and 're-ranking no' in table


@pytest.mark.parametrize('field, value, shown', [
    ('task', 'Human Parsing', 'Human Parsing'), ('data_hash', 'ffffffff', 'ffffffff'),
    ('split_hash', 'ffffffff', 'ffffffff'), ('input_size', '256x128', '256x128'),
    ('flip_test', True, 'yes'), ('rerank', 'k1=20', 'k1=20'),
    ('selection', 'best mAP on the split that is scored', 'best mAP on')])
def test_every_field_of_the_protocol_is_compared(side_car, field, value, shown):
    sources = [side_car('a'), side_car('b', **{field: value})]
    own = {False: 'no'}.get(PASSPORT[field], PASSPORT[field])
    with pytest.raises(ProtocolError, match=f'{PROTOCOL[field]}: a {own}; b {shown}') as error:
        compare(sources)
    assert str(error.value).count('; b ') == 1, 'nothing else differs'
    forced = compare(sources, force=True)
    assert f'**unlike:** {PROTOCOL[field]}' in forced and f'| 20.0 | {shown}' in forced


def test_models_of_one_name_are_told_apart(side_car, tmp_path):
    sources = [side_car('a'), side_car('b')]
    other = json.loads((tmp_path / 'b.json').read_text())
    other['name'] = 'a'
    changes = dict(data_hash='ffffffff', split_hash='eeeeeeee', input_size='256x128',
                   rerank='k1=20')
    (tmp_path / 'b.json').write_text(json.dumps(other))
    assert '| a (1) | 20.0 |' in compare(sources)
    other['passport'].update(changes)
    (tmp_path / 'b.json').write_text(json.dumps(other))
    with pytest.raises(ProtocolError) as error:
        compare(sources)
    for field, value in changes.items():
        own = PASSPORT[field] or 'no'
        assert f'{PROTOCOL[field]}: a (1) {own}; a (2) {value}' in str(error.value)
    assert '| a (2) | 20.0 | ffffffff | eeeeeeee |' in compare(sources, force=True)


def test_what_is_not_known_is_not_alike(side_car):
    sources = [side_car(name, split_hash=None) for name in 'ab']
    with pytest.raises(ProtocolError, match='scored split: a not known; b not known'):
        compare(sources)
    assert '| a | 20.0 | not known |' in compare(sources, force=True)


def test_what_cannot_be_compared(side_car, tmp_path, monkeypatch):
    monkeypatch.delenv('CLASP_ZOO', raising=False)
    with pytest.raises(ValueError, match='a comparison needs two'):
        compare([side_car('a')])
    with pytest.raises(FileNotFoundError, match=r'near: reid_transreid_pcmoe-swin-nano'):
        compare(['reid_transreid_pcmoe-swin-nano_1xb32_synthetic', side_car('a')])
    with pytest.raises(ValueError, match='has no passport'):
        compare(['reid_transreid_pcmoe-swin-nano_1xb32_synthetic-64x32', side_car('a')])
    (tmp_path / 'none.json').write_text(json.dumps(dict(name='none', passport=PASSPORT)))
    with pytest.raises(ValueError, match='no results were published'):
        compare([str(tmp_path / 'none.json')] * 2)
    torch.save(dict(meta=dict(name='f', passport=PASSPORT, results={'reid': {'mAP': 1.}})),
               tmp_path / 'f.pth')
    path = (tmp_path / 'f.pth').rename(tmp_path / f'f-{file_hash(tmp_path / "f.pth")}.pth')
    assert '| f | 1.0 |' in compare([str(path), side_car('a')])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match='only partly copied'):
        compare([str(path), side_car('a')])


def test_hashes_are_of_what_is_read(tmp_path):
    def dataset(root, **changes):
        return dict(type='X', data_root=str(root), ann_file='list.txt', split='train') | changes
    for name, text in (('a', 'one\n'), ('b', 'one\n'), ('c', 'two\n')):
        (tmp_path / name / 'images').mkdir(parents=True)
        (tmp_path / name / 'list.txt').write_text(text)
        (tmp_path / name / 'images' / '1.jpg').write_text(text)
    own = dataset_hash(dataset(tmp_path / 'a'))
    assert own == dataset_hash(dataset(tmp_path / 'b', pipeline=[], type='clasp_mm.X'))
    assert own == dataset_hash(dataset(tmp_path, ann_file=str(tmp_path / 'b' / 'list.txt')))
    others = [dataset_hash(one) for one in (
        dataset(tmp_path / 'c'), dataset(tmp_path / 'a', split='val'),
        dict(type='RepeatDataset', times=2, dataset=dataset(tmp_path / 'a')),
        dict(datasets=[dataset(tmp_path / 'a'), dataset(tmp_path / 'c')]),
        dataset(tmp_path / 'a', ann_file=''))]
    assert len({own, *others}) == 6 and None not in others
    for missing in (dataset(tmp_path / 'd'), dataset(tmp_path / 'd', ann_file=''), None,
                    dict(datasets=[dataset(tmp_path / 'a'), dataset(tmp_path / 'd')])):
        assert dataset_hash(missing) is None

    folders = [tmp_path / name / 'images' for name in 'abc']
    first, second, third = (files_hash([folder]) for folder in folders)
    assert first == second == third, 'names and sizes, not contents'
    assert len({files_hash([folder], contents=True) for folder in folders}) == 2
    (folders[0] / '.cache').write_text('hidden')
    assert files_hash([folders[0]]) == first
    (folders[0] / '2.jpg').touch()
    assert files_hash([folders[0]]) != first
