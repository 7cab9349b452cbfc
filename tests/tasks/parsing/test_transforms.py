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


def oracle(label, size, scale=1., angle=0.):
    """Every output pixel asks where it came from (SCHP's box to size, centre on centre)."""
    height, width = label.shape
    seen = scale * max(width - 1, (height - 1) * size[1] / size[0])  # of the source, across
    zoom = (size[1] - 1) / seen
    out = np.full(size, 255)
    turn = math.radians(-angle)
    for y in range(size[0]):
        for x in range(size[1]):
            v, u = (y - (size[0] - 1) / 2) / zoom, (x - (size[1] - 1) / 2) / zoom
            u, v = (math.cos(turn) * u - math.sin(turn) * v,
                    math.sin(turn) * u + math.cos(turn) * v)
            row, column = round(v + (height - 1) / 2), round(u + (width - 1) / 2)
            if 0 <= row < height and 0 <= column < width:
                out[y, x] = label[row, column]
    return out


def test_places_by_hand():
    """5 wide, 3 high into 9 x 9: from pixel 0 to 4 are 8 pixels, so twice as large, row 0 at 2."""
    results = PersonAffine((9, 9)).transform(sample(3, 5))
    assert results['affine'].tolist() == [[2, 0, 0], [0, 2, 2]]
    assert results['padding_size'] == [0, 0, 1, 2]  # 6 rows of 9
    # 3 wide, 5 high into 9 x 5: 5 / 9 * 4 = 20 / 9 across are seen, so 4 / (20 / 9) = 1.8
    matrix = PersonAffine((9, 5)).transform(sample(5, 3))['affine']
    np.testing.assert_allclose(matrix, [[1.8, 0, .2], [0, 1.8, .4]])


@pytest.mark.parametrize('factor', [.75, 1.25])
def test_the_drawn_factor_divides(factor, monkeypatch):
    """As published it is how much is seen: at 0.75 the picture comes out 4 / 3 times as large."""
    transform = PersonAffine((7, 7), scale_std=.25)
    monkeypatch.setattr(transform, '_draw', lambda: (factor, 0.))
    matrix = transform.transform(sample(7, 7))['affine']
    np.testing.assert_allclose(matrix[:, :2], np.eye(2) / factor)
    np.testing.assert_allclose(matrix @ [3, 3, 1], [3, 3])


@pytest.mark.parametrize('height, width', [(50, 20), (30, 40), (96, 64), (200, 51), (7, 1)])
def test_fits_centred_with_its_aspect(height, width):
    given = sample(height, width)
    label = given['gt_seg_map'].copy()
    given['img'] = np.stack(np.broadcast_arrays(*np.mgrid[:height, :width], 0), -1).astype(np.uint8)
    results = PersonAffine((96, 64)).transform(given)
    assert (results['gt_seg_map'] == oracle(label, (96, 64))).mean() > .98  # but for ties
    x, y = cv2.invertAffineTransform(results['affine']) @ np.stack(
        [*np.mgrid[:96, :64][::-1].reshape(2, -1), np.ones(96 * 64)])
    inside = (x >= 1) & (x <= width - 2) & (y >= 1) & (y <= height - 2)
    seen = results['img'].reshape(-1, 3)[inside].astype(float)
    assert np.abs(seen - np.stack([y, x, 0 * x], 1)[inside]).max(initial=0) <= .6
    left, right, top, bottom = results['padding_size']
    rows, columns = np.where(results['gt_seg_map'] != 255)
    assert abs(top - rows.min()) <= 1 and abs(bottom - (95 - rows.max())) <= 1
    assert abs(left - columns.min()) <= 1 and abs(right - (63 - columns.max())) <= 1
    assert results['img_shape'] == results['pad_shape'] == (96, 64)


def test_a_large_picture_is_averaged():
    """Stripes of a pixel, 8 times too fine, come out grey; sampled, black or white."""
    img = np.zeros((512, 512, 3), np.uint8)
    img[:, ::2] = 200
    results = PersonAffine((64, 64)).transform(dict(img=img))
    assert np.abs(results['img'][1:-1, 1:-1].astype(int) - 100).max() <= 4


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
    expected = oracle(label, (48, 32), *drawn[0])
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
    pytest.importorskip('mmseg', reason='needs mmseg: bash tools/setup.sh')
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
    (np.full((4, 5), 254, np.uint8), 'label 254'),
    (np.zeros(4, np.uint8), 'one pixel wide or high')])
def test_wrong_label_maps_are_named(label, words):
    results = dict(gt_seg_map=label, ori_shape=(4, 5), seg_map_path='some/7.png')
    with pytest.raises(ValueError, match=f'some/7.png: {words}'):
        CheckLabelMap(20).transform(results)


def test_a_map_of_two_bytes_a_pixel_is_named(tmp_path):
    """Its reader keeps the lower byte: 259 would pass as 3."""
    path = str(tmp_path / '7.png')
    cv2.imwrite(path, np.full((4, 5), 259, np.uint16))
    results = dict(gt_seg_map=np.full((4, 5), 3, np.uint8), ori_shape=(4, 5), seg_map_path=path)
    with pytest.raises(ValueError, match=r'7.png: I;16\S* pixels: more than one byte each'):
        CheckLabelMap(20).transform(results)
    cv2.imwrite(path, np.full((4, 5), 3, np.uint8))
    assert CheckLabelMap(20).transform(results) is results


def test_right_label_maps_and_none_pass():
    for extra in ({}, dict(gt_seg_map=np.full((4, 5), 255)), dict(gt_seg_map=np.full((4, 5), 19))):
        results = dict(extra, ori_shape=(4, 5))
        assert CheckLabelMap(20).transform(results) is results


@pytest.mark.parametrize('options, words', [
    (dict(size=(1, 5)), 'size'), (dict(size=(5, )), 'size'),
    (dict(size=(4, 4), scale_std=1.), 'scale_std')])
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        PersonAffine(**options)
