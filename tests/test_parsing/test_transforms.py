import math

import cv2
import numpy as np
import pytest

from clasp_mm.datasets.transforms import CheckLabelMap, PersonAffine


def sample(height, width):
    """A smooth image and quadrants of labels."""
    y, x = np.mgrid[:height, :width]
    img = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8)
    label = ((y >= height // 2) * 2 + (x >= width // 2) + 1).astype(np.uint8)
    return dict(img=img, gt_seg_map=label, seg_fields=['gt_seg_map'], ori_shape=(height, width))


def oracle(label, size, fitted, corner, scale, angle):
    """Every output pixel asks where it came from."""
    out = np.full(size, 255)
    turn = math.radians(-angle)
    centre = [corner[i] + (fitted[i] - 1) / 2 for i in (0, 1)]
    for y in range(size[0]):
        for x in range(size[1]):
            v, u = (y - centre[0]) / scale, (x - centre[1]) / scale
            u, v = (math.cos(turn) * u - math.sin(turn) * v,
                    math.sin(turn) * u + math.cos(turn) * v)
            u = u * label.shape[1] / fitted[1] + (label.shape[1] - 1) / 2
            v = v * label.shape[0] / fitted[0] + (label.shape[0] - 1) / 2
            row, column = round(v), round(u)
            if 0 <= row < label.shape[0] and 0 <= column < label.shape[1]:
                out[y, x] = label[row, column]
    return out


@pytest.mark.parametrize('height, width, fitted, corner', [
    (50, 20, (96, 38), (0, 13)), (30, 40, (48, 64), (24, 0)), (96, 64, (96, 64), (0, 0)),
    (200, 51, (96, 24), (0, 20))])
def test_fits_centred_with_its_aspect(height, width, fitted, corner):
    results = PersonAffine((96, 64)).transform(sample(height, width))
    top, left = corner
    assert results['padding_size'] == [left, 64 - fitted[1] - left, top, 96 - fitted[0] - top]
    inside = results['gt_seg_map'][top:top + fitted[0], left:left + fitted[1]]
    assert inside.max() <= 4 and (results['gt_seg_map'] != 255).sum() == inside.size
    shrinks = fitted[0] < height
    expected = cv2.resize(sample(height, width)['img'], fitted[::-1],
                          interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    inside = results['img'][top:top + fitted[0], left:left + fitted[1]]
    assert np.abs(inside.astype(int) - expected)[1:-1, 1:-1].max() <= 8
    assert results['img_shape'] == results['pad_shape'] == (96, 64)


@pytest.mark.parametrize('seed', range(4))
def test_image_and_label_take_the_same_turn(seed, monkeypatch):
    transform = PersonAffine((48, 32), scale_std=.25, rotation_std=30., rotation_prob=1.)
    drawn = []
    draw = transform._draw
    monkeypatch.setattr(transform, '_draw', lambda: drawn.append(draw()) or drawn[-1])
    np.random.seed(seed)
    given = sample(60, 30)
    given['img'] = np.repeat(given['gt_seg_map'][..., None] * 60, 3, 2)
    label = given['gt_seg_map'].copy()
    results = transform.transform(given)
    assert .75 <= drawn[0][0] <= 1.25 and 0 < abs(drawn[0][1]) <= 60
    expected = oracle(label, (48, 32), (48, 24), (0, 4), *drawn[0])
    assert (results['gt_seg_map'] == expected).mean() > .98  # but for ties of rounding
    sure = cv2.erode((results['gt_seg_map'] < 255).astype(np.uint8), np.ones((3, 3))) > 0
    shown = np.rint(results['img'][..., 0] / 60)
    assert (shown == results['gt_seg_map'])[sure].mean() > .9  # but for mixed colours at edges


def test_draws_are_clipped_and_some_are_not_turned():
    transform = PersonAffine((8, 8), scale_std=.25, rotation_std=30.)
    scales, angles = np.transpose([transform._draw() for _ in range(2000)])
    assert (scales.min(), scales.max()) == (.75, 1.25) and (angles.min(), angles.max()) == (-60, 60)
    assert np.mean(angles != 0) == pytest.approx(.6, abs=.04)
    assert np.mean((scales > .75) & (scales < 1.25)) == pytest.approx(.683, abs=.04)


def test_mmsegs_flip_swaps_left_and_right():
    pytest.importorskip('mmcv._ext', reason='needs compiled mmcv: bash tools/setup.sh --with-ops')
    from mmseg.datasets.transforms import RandomFlip
    label = np.random.default_rng(0).integers(0, 20, (6, 5)).astype(np.uint8)
    pairs = [(14, 15), (16, 17), (18, 19)]
    flipped = RandomFlip(prob=1., swap_seg_labels=pairs)(
        dict(img=np.zeros((6, 5, 3)), gt_seg_map=label.copy(), seg_fields=['gt_seg_map']))
    other = {**{a: b for a, b in pairs}, **{b: a for a, b in pairs}}
    expected = [[other.get(value, value) for value in reversed(row)] for row in label.tolist()]
    assert flipped['gt_seg_map'].tolist() == expected


@pytest.mark.parametrize('label, words', [
    (np.zeros((4, 5, 3), np.uint8), '3 channels: a picture of colours'),
    (np.zeros((5, 4), np.uint8), '5x4 pixels, its image 4x5'),
    (np.full((4, 5), 20, np.uint8), 'label 20 at 20 pixels; the classes are 0 to 19'),
    (np.full((4, 5), 254, np.uint8), 'label 254')])
def test_wrong_label_maps_are_named(label, words):
    results = dict(gt_seg_map=label, ori_shape=(4, 5), seg_map_path='some/7.png')
    with pytest.raises(ValueError, match=f'some/7.png: {words}'):
        CheckLabelMap(20).transform(results)


def test_right_label_maps_and_none_pass():
    for extra in ({}, dict(gt_seg_map=np.full((4, 5), 255)), dict(gt_seg_map=np.full((4, 5), 19))):
        results = dict(extra, ori_shape=(4, 5))
        assert CheckLabelMap(20).transform(results) is results


@pytest.mark.parametrize('options, words', [
    (dict(size=(0, 5)), 'size'), (dict(size=(5, )), 'size'),
    (dict(size=(4, 4), scale_std=1.), 'scale_std')])
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        PersonAffine(**options)
