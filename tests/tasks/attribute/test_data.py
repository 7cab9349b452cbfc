import io
import runpy
import shutil
import sys

import cv2
import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from scipy.io import loadmat, savemat

from clasp_mm.datasets import AttributeDataset
from clasp_mm.datasets.attribute import positive_ratios
from clasp_mm.datasets.attribute_files import read_attribute_file
from clasp_mm.datasets.checks.attribute import check_attributes
from clasp_mm.registry import DATASETS
from clasp_mm.synthetic import PA100K_ATTRIBUTES, SyntheticPeople, write_pa100k
from clasp_mm.synthetic.layouts.split import Split
from tests.source_tree import ROOT

from .conftest import COUNTS
from .pickles import write_rethink


def build(root, split='train', **kwargs):
    return DATASETS.build(dict(type='clasp_mm.AttributeDataset', data_root=str(root), split=split,
                               **{'ann_file': 'annotation.mat', **kwargs}))


@pytest.fixture
def root(pa100k, tmp_path):
    """A copy that may be spoiled."""
    return shutil.copytree(pa100k, tmp_path / 'pa100k')


def edit(path, **changes):
    content = {key: value for key, value in loadmat(path).items() if key[:2] != '__'}
    content.update(changes)
    buffer = io.BytesIO()
    savemat(buffer, {key: value for key, value in content.items() if value is not None})
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize('split', COUNTS)
def test_written_people_are_read_back(pa100k, split):
    """Names, pictures and labels are those of the people that were drawn."""
    data = build(pa100k, split)
    assert len(data) == COUNTS[split]
    assert data.metainfo == dict(classes=PA100K_ATTRIBUTES)
    seed = Split(pa100k, split, COUNTS[split], 0, (64, 32), tuple(COUNTS)).people_seed
    people = SyntheticPeople(COUNTS[split], 1, seed, (64, 32))
    for sample, person in zip(data, people, strict=True):
        assert sample['gt_score'].tolist() == person.pa100k.tolist()
        picture = cv2.imread(sample['img_path'])[..., ::-1]
        assert np.abs(picture.astype(int) - person.image).mean() < 6


def test_splits_share_no_person_and_do_not_depend_on_the_order(pa100k, tmp_path):
    seeds = {Split(pa100k, split, 1, seed, (64, 32), tuple(COUNTS)).people_seed
             for split in COUNTS for seed in (0, 1, 2, 2**29 - 1)}
    assert len(seeds) == 12 and max(seeds) < 2**32
    for split in reversed(COUNTS):
        write_pa100k(tmp_path, split, COUNTS[split], size=(64, 32), workers=1, progress=False)
    for path in pa100k.rglob('*'):
        if path.is_file():
            assert (tmp_path / path.relative_to(pa100k)).read_bytes() == path.read_bytes()


def test_trainval_is_both(pa100k):
    parts = [sample['img_path'] for split in ('train', 'val') for sample in build(pa100k, split)]
    assert [sample['img_path'] for sample in build(pa100k, 'trainval')] == parts


def test_positive_ratios_are_counted(pa100k):
    data = build(pa100k)
    labels = loadmat(pa100k / 'annotation.mat')['train_label']
    np.testing.assert_allclose(positive_ratios(data), labels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(positive_ratios(build(pa100k, indices=4)), labels[:4].mean(0))
    both = ConcatDataset([data, build(pa100k, 'val')])
    np.testing.assert_allclose(positive_ratios(both), positive_ratios(build(pa100k, 'trainval')))


def test_what_is_unknown_has_no_part_in_the_ratios(tmp_path):
    labels = np.array([[1, 1, -1], [0, -1, -1], [-1, 1, -1], [0, 0, -1], [1, 1, -1]] * 2)
    write_rethink(tmp_path / 'a.pkl', labels=labels, eval_=(0, 1, 2),
                  attr_name=['a', 'b', 'c'])
    data = build(tmp_path, ann_file='a.pkl')
    assert positive_ratios(data).tolist() == [.5, .75, 0.]


@pytest.mark.parametrize('split, rows', [('train', range(5)), ('val', (5, 6)),
                                         ('trainval', range(7)), ('test', (9, 8, 7))])
def test_rethinkpars_pickle(tmp_path, split, rows):
    labels = write_rethink(tmp_path / 'dataset_zs_run0.pkl')
    data = build(tmp_path, split, ann_file='dataset_zs_run0.pkl', data_prefix='images')
    assert data.metainfo['classes'] == ('boots', 'hat', 'skirt')  # those to evaluate, in order
    for sample, row in zip(data, rows, strict=True):
        assert sample['img_path'].endswith(f'images/{row + 1:05d}.png')
        assert sample['gt_score'].tolist() == labels[row, [3, 0, 2]].tolist()


def test_a_pickle_without_label_idx_and_with_random_partitions(tmp_path):
    """As RethinkPAR reads it: all attributes, the first of the partitions."""
    path = tmp_path / 'dataset_all.pkl'
    labels = write_rethink(path, label_idx=None,
                           splits=dict(train=[np.arange(4), np.arange(9)], test=[np.arange(4, 6)]))
    table = read_attribute_file(path)
    assert table.attributes == ('hat', 'bag', 'skirt', 'boots')
    assert table.labels.tolist() == labels.tolist()
    assert table.rows('train').tolist() == [0, 1, 2, 3] and table.rows('test').tolist() == [4, 5]


def test_what_cannot_be_told_counts_as_absent(tmp_path):
    labels = np.zeros((10, 4), np.uint8)
    labels[2] = 2
    write_rethink(tmp_path / 'a.pkl', labels=labels)
    table = read_attribute_file(tmp_path / 'a.pkl')
    assert not table.labels.any() and table.num_unsure == 3


@pytest.mark.parametrize('changes, words', [
    (dict(splits=dict(train=np.array([0, 10]))), r"1 image indices of split 'train' lie outside 0 "
                                                 r'to 9, such as 10'),
    (dict(splits=dict(train=np.array([-1]))), r'such as -1'),
    (dict(splits=dict(train=np.array([.5]))), r'whole numbers, got float64'),
    (dict(splits=dict(train='all')), r'whole numbers'),
    (dict(eval_=(0, 4)), r'1 attribute indices of label_idx.eval lie outside 0 to 3, such as 4'),
    (dict(labels=np.zeros((9, 4), int)), r'labels of shape \(9, 3\) for 10 images and 3'),
    (dict(labels=np.zeros((10, 5), int), label_idx=None), r'\(10, 5\) for 10 images and 4'),
    (dict(labels=np.full((10, 4), 3)), r'got \[3\]'),
    (dict(labels=np.full((10, 4), np.nan)), r'got \[nan'),
    (dict(attr_name=['a', 'a', 'b', 'a']), r"named twice: \['a'\]"),
    (dict(image_name=[0] * 10), 'names of images'),
    (dict(partition=[1, 2]), r'partition must name the splits, got \[1, 2\]'),
    (dict(label_idx=dict(color=[1])), r"label_idx has no eval, got \{'color'"),
    (dict(partition=None), r'needs image_name.* holds description, reorder')])
def test_a_pickle_that_does_not_fit_itself(tmp_path, changes, words):
    path = tmp_path / 'dataset_zs_run0.pkl'
    write_rethink(path, **changes)
    with pytest.raises(ValueError, match=f'(?s)dataset_zs_run0.pkl.*{words}'):
        build(tmp_path, ann_file=path.name)


@pytest.mark.parametrize('changes, words', [
    (dict(train_label=np.zeros((3, 26))), 'train_images_name has 12 images, train_label 3 rows'),
    (dict(train_label=np.zeros((12, 25))), 'different numbers of attributes'),
    (dict(train_label=np.full((12, 26), 7)), r'got \[7'),
    (dict(attributes=None), 'no annotation of PA-100K: it holds .*train_label'),
    (dict(train_label=None), "no image of a split 'train'; there are val, test")])
def test_a_mat_that_does_not_fit_itself(root, changes, words):
    edit(root / 'annotation.mat', **changes)
    with pytest.raises(ValueError, match=f'annotation.mat: .*{words}'):
        build(root)


def test_files_that_are_missing_or_no_files_of_this_kind(root):
    with pytest.raises(ValueError, match="no image of a split 'dev'; there are train, val, test"):
        build(root, 'dev')
    with pytest.raises(FileNotFoundError, match=r'(?s)no attribute file.*none.mat.*data check'):
        build(root, ann_file='none.mat')
    (root / 'list.txt').touch()
    with pytest.raises(ValueError, match=r'list.txt: .* \.mat .* \.pkl'):
        build(root, ann_file='list.txt')
    (root / 'annotation.mat').write_text('no such thing')
    with pytest.raises(ValueError, match=r'annotation.mat is no MATLAB file that can be read'):
        build(root)
    (root / 'annotation.mat').write_bytes(
        b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM' + bytes(384) + b'\x89HDF\r\n\x1a\n')
    with pytest.raises(ValueError, match=r"annotation.mat was saved as MATLAB 7.3.*'-v7'"):
        build(root)


@pytest.mark.parametrize('spoil, words', [
    (lambda path: path.unlink(), 'train_000003.jpg'),
    (lambda path: path.write_bytes(b'no picture'), 'train_000003.jpg')])
@pytest.mark.parametrize('test_mode', [False, True])
def test_an_image_that_cannot_be_read_is_named(root, spoil, words, test_mode):
    """Its labels must not be counted with another picture, so the run stops."""
    data = build(root, test_mode=test_mode,
                 pipeline=[dict(type='mmcv.LoadImageFromFile')])
    spoil(root / 'data/train_000003.jpg')
    assert data[2]['img'].shape == (64, 32, 3)
    with pytest.raises((FileNotFoundError, AssertionError), match=words):
        data[3]


def test_check_finds_nothing_wrong_with_good_data(pa100k, tmp_path):
    findings = check_attributes(pa100k)
    assert not findings.problems
    assert 'PA-100K: 80000, 10000, 10000' in findings.facts[0]
    assert 'train 12, val 5, test 4' in findings.facts[0]
    assert 'data/: 21 images' in findings.facts[-1]
    labels = loadmat(pa100k / 'annotation.mat')['val_label']
    lacking = [name for name, column in zip(PA100K_ATTRIBUTES, labels.T, strict=True)
               if column.min() == column.max()]
    assert lacking and any(fact.startswith('val: mA leaves out') and fact.endswith(
        ', '.join(lacking)) for fact in findings.facts)


def test_check_names_every_fault(root, monkeypatch, capsys):
    names = loadmat(root / 'annotation.mat')['val_images_name']
    names[1] = loadmat(root / 'annotation.mat')['train_images_name'][2]
    edit(root / 'annotation.mat', val_images_name=names, test_label=None)
    (root / 'data/train_000007.jpg').unlink()
    (root / 'dataset_zs_run0.pkl').write_bytes(b'cos\nsystem\n(Vfalse\ntR.')
    monkeypatch.setattr(sys, 'argv', ['attribute.py', '--check', str(root)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / 'tools/dataset_converters/attribute.py'), run_name='__main__')
    text = capsys.readouterr().out
    assert stop.value.code == 1 and text.count('PROBLEM') == 5
    for part in ('1 images are in train and in val: train_000002.jpg',
                 "no image of a split 'test'", 'listed more than once: train_000002.jpg',
                 'missing in data/: train_000007.jpg', 'asks for os.system'):
        assert part in text, part


def test_check_of_folders_without_data(tmp_path):
    assert 'neither annotation.mat nor dataset_zs_run0.pkl' in check_attributes(
        tmp_path).problems[0]
    write_rethink(tmp_path / 'dataset_zs_run0.pkl')
    assert check_attributes(tmp_path).problems == [
        f'there is no folder images or RAP_dataset with the images below {tmp_path}']


def test_registered():
    assert DATASETS.get('clasp_mm.AttributeDataset') is AttributeDataset
