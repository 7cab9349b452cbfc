import argparse
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.launches import Counter
from clasp_mm.cli import labeler_options
from clasp_mm.mini_clip.people import draw_people as draw_synthetic
from clasp_mm.models import PCMoESwin
from clasp_mm.pseudo_labels import clustering
from clasp_mm.pseudo_labels.clip_labeler import CLIPLabeler, to_canvas
from clasp_mm.pseudo_labels.clip_model import build_clip
from clasp_mm.pseudo_labels.labels import LabelSettings
from clasp_mm.pseudo_labels.resample import fit_window, resample
from clasp_mm.pseudo_labels.text_bank import TextBank
from clasp_mm.pseudo_labels.vocabulary import Part, Vocabulary
from tests.test_pseudo_labels.fakes import (
    BLACK,
    BLUE,
    GREEN,
    GRID,
    RED,
    VOCABULARY,
    draw_people,
    draw_person,
    make_labeler,
)


def test_labels_of_known_pictures():
    labeler = make_labeler()
    images = [draw_person((RED, GREEN, BLUE, BLUE)), draw_person((BLUE, BLUE, RED, RED))]
    labels = labeler.label(images, ['a', 'b'])
    want = np.zeros((2, *GRID), np.uint8)
    want[0, :, :3] = np.repeat([1, 2, 3, 3], 2)[:, None]
    want[1, :, :3] = np.repeat([3, 3, 1, 1], 2)[:, None]
    for which in range(3):
        assert np.array_equal(labels.part_maps((3, 4, 5), which).reshape(want.shape), want)
    assert labels.foreground.tolist() == [0.75, 0.75]
    # Mean colours (1, 1, 2) and (2, 0, 2) against the person direction (1, 1, 1).
    assert labels.person_cosine == pytest.approx([4 / 18**.5, 4 / 24**.5], rel=1e-5)
    # Regions of one pure colour: cosines 1, 0, 0 at logit scale 10.
    sure = np.exp(10) / (np.exp(10) + 2)
    assert labels.region_conf[0, :3] == pytest.approx([sure] * 3, abs=1e-3)
    warm, cold = 1 / 6**.5, 2 / 6**.5
    assert labels.attr_value[0].tolist() == [1, 0]
    assert labels.attr_conf[0, 0] == pytest.approx(1 / (1 + np.exp(10 * (warm - cold))), abs=1e-3)
    # The second image is red and blue in equal parts: undecided between warm and cold.
    assert labels.attr_value[1, 1] == 2
    assert labels.attr_targets(0.5)[1].tolist() == [-1, 2]


@pytest.mark.parametrize('prompted', [False, True])
def test_a_teacher_sees_images_as_it_was_trained(prompted):
    seen = []

    class Teacher(torch.nn.Module):
        mean, std = (127.5, ) * 3, (51., ) * 3

        def forward(self, x, task=None):
            seen.append(x)
            return (torch.nn.functional.adaptive_avg_pool2d(x, GRID), )

    known, teacher = make_labeler(), Teacher()
    labeler = CLIPLabeler(known.clip, partial(teacher, task='part') if prompted else teacher,
                          vocabulary=VOCABULARY, settings=known.settings)
    labeler.label([draw_person([RED] * 4)], ['a'])
    assert seen[-1].unique().tolist() == pytest.approx([-2.5, 2.5])


def test_filters_and_their_thresholds():
    people = [draw_person((RED, GREEN, BLUE, BLUE), columns=(0, right))
              for right in (0.5, 0.75)] + [draw_person([BLACK] * 4)]
    names = ['half', 'more', 'nothing']
    labels = make_labeler().label(people, names)
    assert labels.foreground.tolist() == [0.5, 0.75, 0]
    assert labels.accepted(0.5, 0.2).tolist() == [False, True, False]   # strictly more than half
    assert labels.accepted(0.5, 0.95).tolist() == [False, False, False]
    assert not labels.region_label[0].any() and labels.region_label[1, :3].all()
    assert not labels.regions[2].any()
    assert np.isfinite(labels.region_conf).all() and np.isfinite(labels.attr_conf).all()
    loose = make_labeler(min_foreground=0.4).label(people, names)
    assert loose.region_label[0, :3].tolist() == [1, 2, 3]


def test_of_a_batch_in_which_nobody_is_accepted_clip_sees_no_empty_batch(monkeypatch):
    """Which an attention layer cannot be asked."""
    labeler, sizes = make_labeler(), []
    embed = labeler._embed
    monkeypatch.setattr(labeler, '_embed', lambda shown, boxes: (
        sizes.append(len(shown)), embed(shown, boxes))[1])
    labels = labeler.label([draw_person([BLACK] * 4)] * 2, ['a', 'b'])
    assert not labels.accepted(.5, .2).any() and sizes and min(sizes) > 0


def test_only_regions_of_accepted_images_go_through_clip():
    labeler = make_labeler()
    labeler.label([draw_person([BLACK] * 4)] * 7, [str(i) for i in range(7)])
    assert labeler.clip.model.images_seen == 7
    labeler.label([draw_person((RED, GREEN, BLUE, BLUE))], ['x'])
    assert labeler.clip.model.images_seen == 7 + 1 + 9   # three distinct colours for each k


def test_uncertain_regions_are_ignored():
    labels = make_labeler().label([draw_person((RED, RED, BLUE, BLUE))], ['a'])
    labels.region_conf[0, 0] = 0.3
    got = labels.part_maps((3, 4, 5), 0, min_part_prob=0.4).reshape(GRID)
    assert (got[:4, :3] == 255).all() and (got[4:, :3] == 3).all() and (got[:, 3] == 0).all()


def test_label_depends_on_image_and_name_alone():
    images, names = draw_people(12), [f'{i}.jpg' for i in range(12)]
    labeler = make_labeler(clip_batch_size=5)
    together = labeler.label(images, names)
    for i in (0, 4, 11):
        alone = labeler.label(images[i:i + 1], names[i:i + 1])
        for name, value in vars(alone).items():
            assert np.array_equal(value[0], getattr(together, name)[i]), name
    stacked = torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images])
    again = labeler.label(stacked, names)
    assert np.array_equal(again.regions, together.regions)


def test_crop_shows_clip_the_bounding_box_only():
    seen = []

    def look(labeler):
        encode = labeler.clip.model.encode_image
        labeler.clip.model.encode_image = lambda x: (seen.append(x), encode(x))[1]
        labeler.label([draw_person((RED, GREEN, BLUE, BLUE), columns=(0.25, 1))], ['a'])
        regions = torch.cat(seen[1:])[:3]
        seen.clear()
        return regions

    masked = look(make_labeler(region='mask'))
    box = masked[0, 0] > 0.5
    assert box[:8, 4:].all() and not box[8:].any() and not box[:, :4].any()
    cropped = look(make_labeler(region='crop'))
    assert (cropped[0] - torch.tensor([1., 0, 0])[:, None, None]).abs().max() < 1e-5
    padded = look(make_labeler(region='crop', fit='pad'))
    # A box of 8x12 on a canvas of 32x16: full width, 32/3 rows in the middle.
    rows = (padded[0, 0] > 0.5).all(dim=1)
    assert rows.nonzero().flatten().tolist() == list(range(11, 21))


def test_resample_equals_interpolate():
    images = torch.rand(3, 3, 40, 24)
    whole = torch.tensor([[0, 0, 24, 40.]]).expand(3, 4)
    for size in ((16, 16), (80, 60), (40, 24)):
        want = F.interpolate(images, size, mode='bicubic', antialias=True).clamp(0, 1)
        assert torch.allclose(resample(images, whole, size), want, atol=1e-5)
    part = torch.tensor([[8, 10, 20, 30.], [0, 0, 24, 40], [5, 5, 6, 6]])
    got = resample(images, part, (10, 6))
    for i, (x1, y1, x2, y2) in enumerate(part.int().tolist()):
        cut = images[i:i + 1, :, y1:y2, x1:x2]          # nothing outside the box bleeds in
        want = F.interpolate(cut, (10, 6), mode='bicubic', antialias=True).clamp(0, 1)
        assert torch.allclose(got[i:i + 1], want, atol=1e-5)


def test_fit_windows():
    box = torch.tensor([[2., 4, 10, 20]])
    assert fit_window(box, (6, 6), 'squash').tolist() == box.tolist()
    assert fit_window(box, (6, 6), 'pad').tolist() == [[-2, 4, 14, 20]]
    assert fit_window(box, (6, 6), 'centre').tolist() == [[2, 8, 10, 16]]
    padded = resample(
        torch.ones(1, 3, 20, 10), torch.tensor([[0, 0, 10, 20]]), (20, 20), 'pad', fill=0.25)
    assert padded[0, 0, 0].tolist() == [0.25] * 5 + [1.0] * 10 + [0.25] * 5


def test_text_bank_averages_unit_embeddings():
    vocabulary = Vocabulary(
        parts=(Part('both', ('red', 'blue blue')), Part('person', ('person',))),
        attributes=VOCABULARY.attributes, part_templates=('{}',), person_texts=('person',))
    labeler = make_labeler()
    bank = TextBank.build(labeler.clip, vocabulary)
    assert bank.parts[0].tolist() == pytest.approx([0.5**.5, 0, 0.5**.5])
    assert bank.person.tolist() == pytest.approx([3**-.5] * 3)
    assert bank.attributes[1][2].tolist() == pytest.approx([0.5**.5, 0, 0.5**.5])


def test_odd_images_are_labelled():
    big = draw_person((RED, GREEN, BLUE, BLUE), size=(320, 160))
    labels = make_labeler().label([big, np.full((1, 1, 3), 255, np.uint8)], ['big', 'pixel'])
    assert labels.region_label[0, :3].tolist() == [1, 2, 3]
    assert labels.foreground[1] == 0
    canvas = to_canvas([big], (32, 16))
    small = draw_person((RED, GREEN, BLUE, BLUE))
    assert np.abs(canvas[0].permute(1, 2, 0).numpy().astype(int) - small).mean() < 12


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(foreground='colour'), 'foreground must be one of'),
    (dict(min_foregroud=0.3), "did you mean 'min_foreground'"),
    (dict(cluster_numbers=(3, 3)), 'cluster numbers must be different'),
    (dict(min_foreground=1.0), r'\[0, 1\)'),
    (dict(stage=1), r'stage=1 is none of the 1 maps.*out_indices=\(0, 1\)'),
])
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        make_labeler(**settings)


def test_bad_images_are_named():
    labeler = make_labeler()
    with pytest.raises(ValueError, match='image 1 must be RGB uint8'):
        labeler.label([draw_person([RED] * 4), np.zeros((4, 4), np.uint8)], ['a', 'b'])
    with pytest.raises(ValueError, match='2 images but 1 names'):
        labeler.label([draw_person([RED] * 4)] * 2, ['a'])


def test_settings_survive_json():
    settings = LabelSettings(cluster_numbers=(2, 6), foreground='feature')
    assert LabelSettings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize('region', ['mask', 'crop'])
def test_a_batch_asks_the_device_once(monkeypatch, region):
    monkeypatch.setitem(clustering._WAYS, 'cpu', clustering._WAYS['cuda'])
    labeler, images = make_labeler(region=region), draw_people(12)
    asked = []
    with torch.no_grad(), Counter() as counted:
        seen = labeler.see(images, [str(i) for i in range(12)])
        wait = seen.asked.wait
        seen.asked.wait = lambda: asked.append(1) or wait()
        labels = labeler.name_regions(seen).download()
    assert not counted.waits and len(asked) == 1
    assert labels.wait()['region_label'].any()


@pytest.mark.parametrize('device, capability, precision', [
    ('cpu', None, 'none'), ('cuda', (7, 5), 'none'), ('cuda:1', (8, 0), 'bf16')])
def test_precision_is_that_of_the_device_unless_asked_for(monkeypatch, device, capability,
                                                          precision):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: capability)
    asked = []
    monkeypatch.setattr('clasp_mm.datasets.transforms.clip_pseudo_labeler.build_labeler',
                        lambda **settings: asked.append(settings['amp']) or SimpleNamespace())
    parser = argparse.ArgumentParser()
    labeler_options.add_labeler_arguments(parser)
    needed = ['--data-root', 'a', '--out', 'b', '--teacher', 'none', '--device', device]
    for more in ([], ['--amp'], ['--amp', 'fp16'], ['--no-amp']):
        labeler_options.labeler_from_arguments(parser.parse_args(needed + more))
    assert asked == [precision, 'bf16', 'fp16', 'none']


def test_distance_of_labels_in_bfloat16(tiny_clip):
    """As :class:`LabelSettings` says of ``amp``, with room for other machines."""
    people = draw_synthetic(16, seed=0, split='heldout', size=(256, 128)).images
    names = [str(number) for number in range(len(people))]
    torch.manual_seed(0)
    teacher = PCMoESwin('nano', moe=None, out_indices=(0, 1, 2)).eval()
    exact, fast = (
        CLIPLabeler(build_clip(**tiny_clip), teacher, settings=LabelSettings(
            amp=amp, min_foreground=0., min_person_cosine=-.999)).label(people, names)
        for amp in ('none', 'bf16'))
    assert 0 < (exact.regions != fast.regions).mean() < .25
    assert abs(exact.foreground - fast.foreground).max() < .35
    both = (exact.region_label > 0) & (fast.region_label > 0)
    assert both.mean() > .9
    assert (exact.region_label == fast.region_label)[both].mean() >= .95
    assert 0 < abs(exact.attr_conf - fast.attr_conf).max() < .01
