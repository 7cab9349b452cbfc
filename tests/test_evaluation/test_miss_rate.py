import math
import time

import numpy as np
import pytest

from clasp_mm.evaluation.functional import log_average_miss_rate
from tests.oracles import miss_rate as oracle

SETUPS = ('Reasonable', 'Small', 'Heavy', 'All')
NAMES = ('detections', 'scores', 'boxes', 'visibility', 'ignore')
EMPTY = np.zeros((0, 4)), np.zeros(0)


def problem(seed, images=12, people=8, noise=.12, false=6, whole=False, copies=2):
    """Boxes with many near, equal and doubled detections; with ``whole`` many exact ties."""
    rng = np.random.default_rng(seed)
    columns = [[] for _ in NAMES]
    for _ in range(images):
        number = rng.integers(1, people + 1)
        height = rng.choice([15, 20, 40, 50, 62, 75, 76, 93.75, 120, 200], number)
        at = rng.uniform(0, 300, (number, 2))
        boxes = np.concatenate([at, at + np.stack([.41 * height, height], 1)], 1)
        near = np.repeat(boxes, copies, axis=0)
        size = np.repeat(height, copies)[:, None]
        near = near + rng.normal(0, noise, near.shape) * size * [.41, 1, .41, 1]
        near = near[rng.random(len(near)) < .5]
        wrong = rng.uniform(0, 300, (rng.integers(0, false + 1), 4))
        wrong[:, 2:] = wrong[:, :2] + rng.uniform(0, 120, (len(wrong), 2))
        if whole:
            boxes, near, wrong = (np.round(array / 25) * 25 for array in (boxes, near, wrong))
        detections = np.concatenate([near, wrong])
        scores = rng.random(len(detections)).round(1 if whole else 9)
        visibility = rng.choice([0, .1, .2, .4, .6499, .65, .8, 1.], number)
        for column, values in zip(columns, (detections, scores, boxes, visibility,
                                            rng.random(number) < .2), strict=True):
            column.append(values)
    return columns


def agree(columns):
    result = log_average_miss_rate(*columns)
    expected = oracle.log_average_miss_rate(*columns)
    assert [result[name] for name in SETUPS] == pytest.approx(
        [expected[name] for name in SETUPS], abs=1e-9, nan_ok=True)
    return result


@pytest.mark.parametrize('whole', [False, True])
@pytest.mark.parametrize('seed', range(20))
def test_equals_the_loop(seed, whole):
    result = agree(problem(seed, whole=whole))
    assert 0 < result['All'] < 100


def test_equals_the_loop_on_a_good_detector():
    """Sure of most people and with few false ones: the points lie on different stretches."""
    detections, scores, boxes, visibility, ignore = problem(
        7, images=300, noise=.03, false=2, copies=1)
    for image in range(300):
        scores[image][:len(scores[image]) // 2] += .6
    result = agree([detections, scores, boxes, visibility, ignore])
    rates = result['miss_rates']['Reasonable']
    assert len(set(rates)) > 5 and (np.diff(rates) <= 0).all() and rates[0] > rates[-1]


@pytest.mark.parametrize('change', [
    'no annotation', 'no detection', 'all ignored', 'one score', 'doubles', 'no area',
    'outside', 'one region around all', 'empty images', 'backwards'])
@pytest.mark.parametrize('seed', range(3))
def test_equals_the_loop_when_it_is_hard(seed, change):
    detections, scores, boxes, visibility, ignore = problem(seed)
    images = range(len(boxes))
    if change == 'no annotation':
        boxes, visibility, ignore = ([array[:0] for array in column]
                                     for column in (boxes, visibility, ignore))
    elif change == 'no detection':
        detections, scores = ([array[:0] for array in column] for column in (detections, scores))
    elif change == 'all ignored':
        ignore = [np.ones_like(array) for array in ignore]
    elif change == 'one score':
        scores = [np.full_like(array, .5) for array in scores]
    elif change == 'doubles':
        detections = [np.concatenate([array, array]) for array in detections]
        scores = [np.concatenate([array, array]) for array in scores]
        boxes = [np.concatenate([array, array]) for array in boxes]
        visibility = [np.concatenate([array, array]) for array in visibility]
        ignore = [np.concatenate([array, ~array]) for array in ignore]
    elif change == 'no area':
        for image in images:
            detections[image][::3, 2] = detections[image][::3, 0]
            boxes[image][::4, 2] = boxes[image][::4, 0]
    elif change == 'outside':
        boxes = [array - 150 for array in boxes]
        detections = [array - 150 for array in detections]
    elif change == 'one region around all':
        boxes = [np.concatenate([array, [[-99, -99, 999, 999]]]) for array in boxes]
        visibility = [np.append(array, 1.) for array in visibility]
        ignore = [np.append(array, True) for array in ignore]
    elif change == 'empty images':
        for image in images[::2]:
            detections[image], scores[image] = EMPTY
            boxes[image], visibility[image], ignore[image] = *EMPTY, np.zeros(0, bool)
    elif change == 'backwards':  # a detector's box may be inside out: it is false
        detections = [np.concatenate([array, array[:, [2, 1, 0, 3]]]) for array in detections]
        scores = [np.concatenate([array, array]) for array in scores]
    result = agree([detections, scores, boxes, visibility, ignore])
    if change in ('no annotation', 'all ignored'):
        assert all(math.isnan(result[name]) for name in SETUPS)
        assert not any(result['num_pedestrians'].values())
    if change == 'no detection':
        assert [result[name] for name in SETUPS] == [100.] * 4


PERSON = [0., 0., 41., 100.]


def one(detections, scores, boxes=(PERSON,), visibility=(1.,), ignore=(False,), images=100):
    """Result of one image among empty ones."""
    columns = [[np.array(detections).reshape(-1, 4)], [np.array(scores)], [np.array(boxes)],
               [np.array(visibility)], [np.array(ignore)]]
    for column, empty in zip(columns, (*EMPTY, *EMPTY, np.zeros(0, bool)), strict=True):
        column += [empty] * (images - 1)
    return log_average_miss_rate(*columns)


def far(number):
    return [[500. + 50 * i, 0., 541. + 50 * i, 100.] for i in range(number)]


def test_reads_the_last_recall_below_each_point():
    """True, 5 false, true: FPPI 0 then .05; of two people one is missed up to .0316."""
    other = [100., 0., 141., 100.]
    result = one([PERSON, *far(5), other], [.9, .8, .8, .8, .8, .8, .1], [PERSON, other],
                 [1., 1.], [False, False])
    assert result['miss_rates']['Reasonable'].tolist() == [50.] * 3 + [0.] * 6
    assert result['Reasonable'] == 0.  # a factor 0


def test_a_point_below_the_first_detection_takes_the_final_recall():
    """The first is false, among 10 images: FPPI .1 at once, so .01 to .0562 have no value."""
    other = [100., 0., 141., 100.]
    result = one([*far(1), PERSON], [.9, .5], [PERSON, other], [1., 1.], [False, False],
                 images=10)
    assert result['miss_rates']['Reasonable'].tolist() == [50.] * 9
    result = one([*far(1), PERSON, *far(3)[1:], other], [.9, .5, .4, .4, .3],
                 [PERSON, other, [200., 0., 241., 100.]], [1.] * 3, [False] * 3, images=10)
    # final recall 2/3 four times; then .1: 1/3; .1778: 1/3; .3162 on: 2/3
    np.testing.assert_allclose(
        result['miss_rates']['Reasonable'], 100 * np.array([1, 1, 1, 1, 2, 2, 1, 1, 1]) / 3)


def test_a_region_absorbs_many_and_a_pedestrian_one():
    inside = [[500., 0., 541., 100.]] * 3
    region = [480., -50., 700., 200.]
    for boxes, ignore, false in (([PERSON], [False], 3),
                                 ([PERSON, region], [False, True], 0)):
        result = one([*inside, PERSON], [.9, .9, .9, .5], boxes, [1.] * len(boxes), ignore)
        # Three false ones before the true one are FPPI .03.
        assert (result['miss_rates']['Reasonable'][2] == 0) and result['Reasonable'] == 0
        first_points = result['miss_rates']['Reasonable'][:2].tolist()
        assert first_points == ([100., 100.] if false else [0., 0.])
    doubles = one([PERSON, PERSON], [.9, .8], [PERSON, far(1)[0]], [1., 1.], [False, False],
                  images=1)
    assert doubles['miss_rates']['Reasonable'].tolist() == [50.] * 9


@pytest.mark.parametrize('turn, missed', [(1, 50.), (-1, 0.)])
def test_of_equal_overlaps_the_last_is_taken(turn, missed):
    """The first detection lies midway between two people, the second reaches but the right one."""
    people = [[0., 0., 40., 100.], [8., 0., 48., 100.]][::turn]
    result = one([[4., 0., 44., 100.], [14., 0., 54., 100.]], [.9, .8], people, [1., 1.],
                 [False, False], images=1)
    assert result['miss_rates']['Reasonable'][-1] == missed


@pytest.mark.parametrize('right, counted', [(541., False), (542., True)])
def test_overlap_with_a_region_is_by_the_detections_area(right, counted):
    """Half of the detection lies in it, or a little less; the IoU is far below one half."""
    result = one([[500., 0., right, 100.]] * 5 + [PERSON], [.9] * 5 + [.5],
                 [PERSON, [300., 0., 520.5, 400.]], [1., 1.], [False, True])
    assert (result['miss_rates']['Reasonable'][0] == 100) == counted


@pytest.mark.parametrize('height, visibility, counted', [
    (50, .65, 'Reasonable Small Heavy All'), (49, 1, 'All'), (20, .2, 'All'), (19.9, 1, ''),
    (75, 1, 'Reasonable Small All'), (76, 1, 'Reasonable All'), (50, .2, 'Heavy All'),
    (60, .649, 'Heavy All'), (60, .651, 'Reasonable Small All'), (76, .65, 'Reasonable Heavy All'),
    (60, .199, ''), (500, .3, 'Heavy All'), (20, .65, 'All')])
def test_who_counts(height, visibility, counted):
    result = one(*EMPTY, [[0., 0., 30., height]], [visibility])
    assert [name for name in SETUPS if result['num_pedestrians'][name]] == counted.split()


@pytest.mark.parametrize('height, dropped', [
    (39.9, True), (40, False), (93.7, False), (93.75, True)])
def test_detections_beyond_the_tolerance_are_dropped(height, dropped):
    """In Small; dropped ones are not false."""
    person = [0., 0., 30., 60.]
    result = one([[500., 0., 530., float(height)]] * 20 + [person], [.9] * 20 + [.1], [person])
    assert (result['miss_rates']['Small'][0] == 0) == dropped


def test_heavy_counts_whoever_is_visible_to_exactly_its_upper_bound_by_hand():
    """Visible to 0.3, found; to 0.65, missed; to 0.66, not Heavy's. One of two is missed: 50 %."""
    boxes = [PERSON, *far(2)]
    result = one([PERSON], [.9], boxes, [.3, .65, .66], [False] * 3)
    assert result['num_pedestrians'] == dict(Reasonable=2, Small=0, Heavy=2, All=3)
    assert result['Heavy'] == pytest.approx(50) and result['Reasonable'] == pytest.approx(100)
    assert result['All'] == pytest.approx(200 / 3)


def test_order_of_boxes_and_images_is_of_no_consequence():
    columns = problem(3, images=40)
    rng = np.random.default_rng(0)
    images = rng.permutation(40)
    turned = [[] for _ in columns]
    for image in images:
        a, b = (rng.permutation(len(columns[at][image])) for at in (0, 2))
        for column, array, turn in zip(turned, (one[image] for one in columns), (a, a, b, b, b),
                                       strict=True):
            column.append(array[turn])
    first, second = log_average_miss_rate(*columns), log_average_miss_rate(*turned)
    assert [first[name] for name in SETUPS] == pytest.approx([second[name] for name in SETUPS])


def test_takes_iterators_and_float32():
    columns = problem(1, whole=True)
    as_is = log_average_miss_rate(*columns)
    lazy = log_average_miss_rate(*((array.astype(np.float32) for array in column)
                                   for column in columns[:3]), *map(iter, columns[3:]))
    assert lazy['Reasonable'] == pytest.approx(as_is['Reasonable'])


@pytest.mark.parametrize('name, value, words', [
    ('detections', np.zeros((2, 5)), r'detections of image 1 .*\(2, 5\)'),
    ('scores', np.zeros(99), 'scores of image 1'),
    ('scores', np.nan, 'scores of image 1 .* not finite'),
    ('boxes', np.inf, 'boxes of image 1 .* not finite'),
    ('boxes', 'flip', 'image 1 is not x1, y1, x2, y2'),
    ('visibility', np.zeros((3, 1)), 'visibility of image 1'),
    ('ignore', np.zeros(99, bool), 'ignore of image 1')])
def test_wrong_input(name, value, words):
    columns = dict(zip(NAMES, problem(2), strict=True))
    array = columns[name][1]
    assert 0 < len(array) < 99
    if isinstance(value, np.ndarray):
        columns[name][1] = value
    elif value == 'flip':
        columns[name][1] = array[:, [2, 3, 0, 1]]
    else:
        columns[name][1] = np.full_like(array, value)
    with pytest.raises(ValueError, match=words):
        log_average_miss_rate(**columns)


def test_no_image_or_a_missing_one():
    with pytest.raises(ValueError, match='no image'):
        log_average_miss_rate([], [], [], [], [])
    columns = problem(0)
    with pytest.raises(ValueError, match='shorter'):
        log_average_miss_rate(*columns[:-1], columns[-1][:-1])


def test_the_whole_validation_set_takes_seconds():
    """500 images, 50,000 detections, 15,000 annotations, four setups."""
    rng = np.random.default_rng(0)
    at = rng.uniform(0, 1500, (500, 30, 2))
    height = rng.uniform(30, 250, (500, 30, 1))
    boxes = np.concatenate([at, at + height * [.41, 1]], 2)
    detections = np.concatenate([
        np.repeat(boxes, 3, 1) + rng.normal(0, 4, (500, 90, 4)),
        np.sort(rng.uniform(0, 900, (500, 10, 2, 2)), 2).reshape(500, 10, 4)], 1)
    start = time.process_time()
    result = log_average_miss_rate(detections, rng.random((500, 100)), boxes,
                                   rng.random((500, 30)), rng.random((500, 30)) < .1)
    assert time.process_time() - start < 10
    assert 0 < result['Reasonable'] < 100
