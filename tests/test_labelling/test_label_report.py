import json

import cv2
import numpy as np
import pytest

from clasp_mm.labelling.report import (
    LabelEvaluation,
    LabelledImage,
    read_labelled_images,
    report_labels,
)
from clasp_mm.pseudo_labels.labels import LabelSettings
from clasp_mm.visualization.pseudo_labels import (
    PART_COLOURS,
    Example,
    draw_example,
    outline_regions,
    paint_parts,
)
from tests.test_labelling.test_make_store import People
from tests.test_pseudo_labels.fakes import (
    BLACK,
    BLUE,
    GREEN,
    RED,
    VOCABULARY,
    draw_person,
    make_labeler,
)


def true_parts(image):
    """Labels of fakes.VOCABULARY, which names pure colours."""
    return np.select([image[..., c] == 255 for c in range(3)], [1, 2, 3]).astype(np.uint8)


def labelled(bands, name, parts=None, **kwargs):
    image = draw_person(bands, **kwargs)
    return LabelledImage(name, image, true_parts(image) if parts is None else parts,
                         dict(mood='cold', taste='even'))


def evaluate(images, labeler=None):
    labeler = labeler or make_labeler()
    evaluation = LabelEvaluation(VOCABULARY, LabelSettings(), labeler.grid)
    evaluation.update(labeler.label([x.image for x in images], [x.name for x in images]), images)
    return evaluation.compute()


def test_perfect_labels_score_one():
    images = [labelled((RED, GREEN, BLUE, BLUE), 'a'), labelled((BLUE, RED, RED, GREEN), 'b')]
    result = evaluate(images)
    for entry in result['parts'].values():
        assert entry['named_iou'] == dict(hat=1, shirt=1, legs=1)
        assert entry['best_mean_iou'] == entry['regions_named_right'] == 1
        assert entry['confidence'][-1] == 1
    assert result['foreground_iou'] == result['mean_iou'] == 1
    assert result['kept'] == dict(foreground=1, person=1, both=1)


def test_wrong_names_and_outlines_are_counted():
    # The truth calls all red regions shirt, and the person two columns wider than drawn.
    images = [labelled((RED, GREEN, BLUE, BLUE), 'a')]
    parts = images[0].parts
    parts[parts == 1] = 2
    parts[:, 12:14] = 3
    result = evaluate(images)
    entry = result['parts']['3']
    assert result['foreground_iou'] == pytest.approx(12 / 14)
    assert entry['regions_named_right'] == pytest.approx(2 / 3)
    assert entry['sure_regions_named_right'] == pytest.approx(2 / 3)
    shirt = 8 * 12 / (16 * 12)                    # the green half of the true shirt
    legs = 16 * 12 / (16 * 12 + 32 * 2)
    assert entry['named_iou'] == pytest.approx(dict(hat=0, shirt=shirt, legs=legs))
    assert entry['best_iou']['shirt'] == 1
    assert entry['named_mean_iou'] == pytest.approx((shirt + legs) / 3)


def test_rejected_images_count_in_the_filters_only():
    images = [labelled((RED, GREEN, BLUE, BLUE), 'a'), labelled([BLACK] * 4, 'b'),
              labelled((RED, GREEN, BLUE, BLUE), 'c', columns=(0, 0.5))]
    result = evaluate(images)
    assert result['kept'] == pytest.approx(dict(foreground=1 / 3, person=2 / 3, both=1 / 3))
    assert result['num_images'] == 3 and result['mean_iou'] == 1
    # cold and even are right; of red and blue, warm and cold, one is twice as blue.
    mood = result['attributes']['per_attribute']['mood']
    assert (mood['accuracy'], mood['most_common'], mood['kept']) == (1, 1, 1)


def test_a_score_at_its_threshold_is_rejected_and_counts_so():
    """float32's 0.3 is more than the 0.3 of Python: both are compared in float32."""
    image = draw_person((RED, GREEN, BLUE, BLUE))
    labels = make_labeler().label([image], ['a'])
    labels.foreground[:] = .3
    settings = LabelSettings(min_foreground=.3)
    evaluation = LabelEvaluation(VOCABULARY, settings, make_labeler().grid)
    evaluation.update(labels, [LabelledImage('a', image)])
    assert not labels.accepted(.3, .2).any()
    assert evaluation.compute()['kept'] == dict(foreground=0, person=1, both=0)


def test_nothing_known_gives_none():
    image = draw_person((RED, GREEN, BLUE, BLUE))
    result = evaluate([LabelledImage('a', image)])
    assert result['foreground_iou'] is None and result['mean_iou'] is None
    assert result['attributes']['accuracy'] is None
    nothing = evaluate([labelled([BLACK] * 4, 'b')])
    assert nothing['kept']['both'] == 0 and nothing['attributes']['kept'] is None


def test_report_files(tmp_path):
    images = [labelled((RED, GREEN, BLUE, BLUE), '<a>'), labelled([BLACK] * 4, 'b')]
    result = report_labels(make_labeler(), images, tmp_path, num_examples=2)
    assert json.loads((tmp_path / 'report.json').read_text()) == result
    page = (tmp_path / 'report.html').read_text()
    for text in ('&lt;a&gt;: accepted', 'b: <b>rejected</b>', 'regions named right', 'cold'):
        assert text in page
    assert page.count('data:image/png') == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ['report.html', 'report.json']


def test_report_without_truth(tmp_path):
    sure, unsure = (RED, GREEN, BLUE, BLUE), (RED, BLUE, RED, BLUE)
    images = [LabelledImage('unsure', draw_person(unsure)),
              LabelledImage('sure', draw_person(sure)),
              LabelledImage('black', draw_person([BLACK] * 4)),
              LabelledImage('narrow', draw_person(sure, columns=(0, 0.5)))]
    result = report_labels(make_labeler(), images, tmp_path, num_examples=0, batch_size=3,
                           paraphrases=[VOCABULARY], num_extremes=1,
                           unreadable=['x.jpg: empty', 'y.jpg: cut off'])
    assert result['rejected'] == dict(too_little_foreground=1, no_person=0, both=1, unreadable=2)
    assert result['filter_scores']['foreground'][1] == pytest.approx((0.5 + 0.75) / 2)
    assert result['reliability']['num_images'] == 2
    assert result['reliability']['parts']['hat']['agreement'] == 1
    page = (tmp_path / 'report.html').read_text()
    places = [page.index(text) for text in (
        'Can these labels', 'few images', 'rejected: too little', 'The surest', 'sure: accepted',
        'The least sure', 'unsure: accepted', '<h2>Rejected', 'black: <b>rejected')]
    assert places == sorted(places)
    assert page.count('data:image/png') == 3
    for text in ('foreground IoU', 'part IoU', 'balanced', 'The first'):
        assert text not in page


@pytest.mark.parametrize('shape, size', [
    ((64, 32), (320, 160)), ((2, 3000), (1, 1280)), ((3000, 2), (320, 1)), ((1, 1), (320, 320)),
    ((10, 40), (320, 1280)), ((10, 50), (256, 1280))])
def test_a_strip_is_drawn_no_wider_than_four_heights(shape, size):
    """320 high: 1280 wide at most, of 5 x 1 then 1280 / 5 = 256 high; 3000 x 2 gives 0.85, 1."""
    labeler = make_labeler()
    image = np.zeros((*shape, 3), np.uint8)
    labels = labeler.label([image], ['a'])
    drawn = draw_example(Example('a', image, labels, np.zeros((0, 3)), [], True), labeler.grid,
                         labeler.settings.cluster_numbers)
    panels = 1 + 2 * len(labeler.settings.cluster_numbers)
    assert drawn.shape == (size[0], panels * size[1] + (panels - 1) * 6, 3)


def test_reads_lip_style_annotation(tmp_path):
    source = People(4, unreadable=(1,))
    (tmp_path / 'deep').mkdir()
    source.images = [np.full((1, 3, 3), value, np.uint8) for value in range(4)]
    for name in ('0', '2'):
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.array([[0, 13, 18]], np.uint8))
    source.names[3] = 'images/deep/3.jpg'
    cv2.imwrite(str(tmp_path / 'deep' / '3.png'), np.array([[255, 5, 1]], np.uint8))
    got = list(read_labelled_images(source, tmp_path, {'2.png': dict(gender='male')}))
    assert [x.parts.tolist() for x in got] == [[[0, 3, 9]], [[0, 3, 9]], [[255, 4, 1]]]
    assert [x.attributes for x in got] == [None, dict(gender='male'), None]
    assert np.array_equal(got[1].image, source.images[2])
    for label, said in ((np.zeros((2, 3), np.uint8), r'2x3 pixels, its image 1x3'),
                        (np.full((1, 3), 20, np.uint8), r'label 20 at 3 pixels'),
                        (np.full((1, 3), 300, np.uint16), r'label 300 at 3 pixels')):
        cv2.imwrite(str(tmp_path / '2.png'), label)
        with pytest.raises(ValueError, match=rf'2\.png: {said}'):
            list(read_labelled_images(source, tmp_path))
    for truth, said in ((dict(gender='Male'), "gender is 'Male'; it can be "),
                        (dict(sex='male'), 'there is no sex, there are gender')):
        with pytest.raises(ValueError, match=f"attributes of '2.png': .*{said}"):
            list(read_labelled_images(source, attributes={'2.png': truth}))
    (tmp_path / '2.png').unlink()
    with pytest.raises(FileNotFoundError, match=r"2.png.*for '2.png'"):
        list(read_labelled_images(source, tmp_path))


def test_pictures():
    image = np.full((40, 20, 3), 200, np.uint8)
    parts = np.array([[0, 1], [255, 9]], np.uint8)
    painted = paint_parts(image, parts, alpha=1)
    assert painted[5, 15].tolist() == PART_COLOURS[0].tolist()
    assert painted[35, 15].tolist() == PART_COLOURS[8].tolist()
    assert painted[35, 5].tolist() == [90] * 3 and painted[5, 5].tolist() == [70] * 3
    regions = np.array([[0, 1], [2, 2]], np.uint8)
    outlined = outline_regions(image, regions)
    assert outlined[20, 3].tolist() == [255, 255, 0] and outlined[3, 3].max() < 70
