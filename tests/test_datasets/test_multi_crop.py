from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms.utils import cache_random_params
from PIL import Image
from scipy.ndimage import gaussian_filter
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as tv

from clasp_mm.datasets.transforms import augment, multi_crop
from clasp_mm.datasets.transforms.multi_crop import MultiCrop, View, draw_box, move_map, render
from clasp_mm.registry import TRANSFORMS
from tests.oracles import crop as oracle

PLAIN = dict(flip_prob=0., jitter_prob=0., gray_prob=0., global_blur_prob=0., local_blur_prob=0.,
             solarize_prob=0.)


def photograph(height=180, width=90, seed=0):
    """Smooth colours with edges, BGR."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 12 + 1, width // 12 + 1, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image[height // 3:, :width // 4] = rng.integers(0, 256, 3)
    return image


def plane(size, box, flip=False):
    return View(size=size, box=box, flip=flip, jitter=(), gray=False, sigma=0., solarize=False)


# Colour operations, against torchvision

def through_torchvision(function, image, *args):
    rgb = torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy())
    return function(rgb, *args).numpy().transpose(1, 2, 0)[..., ::-1].astype(int)


@pytest.mark.parametrize('ours, theirs, amounts, worst', [
    (augment.adjust_brightness, tv.adjust_brightness, (0., .6, .93, 1., 1.4), 1),
    (augment.adjust_contrast, tv.adjust_contrast, (0., .6, .93, 1., 1.4), 1.5),
    (augment.adjust_saturation, tv.adjust_saturation, (0., .8, 1., 1.2, 2.), 2),
    (augment.solarize, lambda rgb: tv.solarize(rgb, 128), (None,), 0),
    (augment.to_gray, lambda rgb: tv.rgb_to_grayscale(rgb, 3), (None,), 1)],
    ids=['brightness', 'contrast', 'saturation', 'solarize', 'gray'])
def test_colour_operations_are_torchvisions(ours, theirs, amounts, worst):
    for seed, amount in enumerate(amounts):
        image = photograph(seed=seed)
        args = () if amount is None else (amount,)
        difference = ours(image, *args) - through_torchvision(theirs, image, *args)
        assert np.abs(difference).max() <= worst, amount


@pytest.mark.parametrize('shift', [-.5, -.1, -.03, 0., .004, .07, .1, .5])
def test_hue_is_as_exact_as_pillow(shift):
    """Hue goes through 8 bits in Pillow, too; the exact turn is torchvision's on tensors."""
    image = photograph()
    exact = through_torchvision(tv.adjust_hue, image, shift)
    pillow = tv.adjust_hue(Image.fromarray(image[..., ::-1].copy()), shift)
    pillow = np.abs(np.asarray(pillow)[..., ::-1] - exact)
    ours = np.abs(augment.adjust_hue(image, shift) - exact)
    assert ours.mean() <= min(1., pillow.mean()) and ours.max() <= pillow.max() + 2


@pytest.mark.parametrize('sigma', [.1, .3, .7, 1., 1.6, 2.])
def test_blur_is_gaussian(sigma):
    image = photograph()
    image[40:44] = 255
    exact = np.stack([gaussian_filter(image[..., channel].astype(float), sigma, mode='nearest')
                      for channel in range(3)], axis=-1)
    assert np.abs(augment.gaussian_blur(image, sigma) - exact).max() <= 3
    assert np.abs(augment.gaussian_blur(image, sigma) - exact).mean() <= .6


@pytest.mark.parametrize('size, mean', [
    ((180, 90), 0.), ((360, 200), .8), ((90, 45), 1.), ((60, 30), 1.2), ((256, 60), 1.2)])
def test_resize_is_near_pillows_filtered_bicubic(size, mean):
    image = photograph()
    pillow = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    ours = augment.crop_resize(image, (0, 0, 180, 90), size)
    assert np.abs(ours - np.asarray(pillow, int)).mean() <= mean


def test_shrinking_does_not_alias():
    stripes = np.zeros((256, 128, 3), np.uint8)
    stripes[::2] = 255
    shrunk = augment.crop_resize(stripes, (0, 0, 256, 128), (100, 50))
    assert np.abs(shrunk.astype(int) - 128).max() <= 52  # 128 +- 255 without a filter


# Boxes

def test_boxes_are_distributed_as_torchvisions():
    def theirs():
        image = torch.empty(3, 300, 120)
        return RandomResizedCrop.get_params(image, [.05, .8], [.4, .6])

    np.random.seed(0)
    torch.manual_seed(0)
    ours = np.array([draw_box(300, 120, (.05, .8), (.4, .6)) for _ in range(4000)])
    reference = np.array([theirs() for _ in range(4000)])
    for quantile in (.05, .25, .5, .75, .95):
        assert np.abs(np.quantile(ours, quantile, axis=0)
                      - np.quantile(reference, quantile, axis=0)).max() <= 6
    assert (ours[:, 0] + ours[:, 2] <= 300).all() and (ours[:, 1] + ours[:, 3] <= 120).all()
    assert ours[:, :2].min() == 0 and (ours[:, 0] + ours[:, 2]).max() == 300


@pytest.mark.parametrize('height, width', [(1, 1), (1, 50), (400, 1), (2, 300), (100, 20)])
def test_box_where_none_fits_is_torchvisions(height, width):
    scale, ratio = (1., 1.), (.4, .6)
    theirs = RandomResizedCrop.get_params(torch.empty(3, height, width), list(scale), list(ratio))
    assert draw_box(height, width, scale, ratio) == tuple(theirs)


# Views

def test_every_view_has_its_size_and_place():
    np.random.seed(0)
    views = MultiCrop()({'img': photograph()})['views']
    assert [view.shape for view in views] == [(256, 128, 3)] * 2 + [(128, 64, 3)] * 8
    assert all(view.dtype == np.uint8 for view in views)


@pytest.mark.parametrize('shape', [(1, 1), (1, 40), (60, 1), (7, 3)])
def test_tiny_images(shape):
    np.random.seed(0)
    image = np.full((*shape, 3), 77, np.uint8)
    results = MultiCrop(**PLAIN)({'img': image, 'part_map': np.full((1, 1), 3, np.uint8)})
    assert all((view == 77).all() for view in results['views'])
    assert (results['view_part_maps'] == 3).all() and results['view_part_maps'].shape[0] == 2


def test_input_is_left_alone_and_shared_with_no_view():
    image = photograph(256, 128)
    before = image.copy()
    crop = MultiCrop(**{**PLAIN, 'global_scale': (1., 1.), 'aspect_ratio': (.5, .5)}, num_local=0)
    for view in crop({'img': image})['views']:
        assert (view == before).all()
        view[:] = 0
    assert (image == before).all()


def draws(count=600, **options):
    np.random.seed(3)
    transform = MultiCrop(**options)
    return np.array([[(view.flip, len(view.jitter) > 0, view.gray, view.sigma > 0, view.solarize)
                      for view in transform.draw(200, 100)] for _ in range(count)]).mean(axis=0)


def test_recipe():
    rates = draws()
    chance = 4 * .5 / np.sqrt(600)  # four standard deviations at most
    assert np.abs(rates[:, 0] - .5).max() < chance
    assert np.abs(rates[:, 1] - .8).max() < chance
    assert np.abs(rates[:, 2] - .2).max() < chance
    assert rates[0, 3] == 1 and abs(rates[1, 3] - .1) < chance
    assert np.abs(rates[2:, 3] - .5).max() < chance
    assert rates[0, 4] == 0 and abs(rates[1, 4] - .2) < chance and (rates[2:, 4] == 0).all()


def test_amounts_and_their_order():
    np.random.seed(0)
    transform = MultiCrop(jitter_prob=1.)
    views = [view for _ in range(300) for view in transform.draw(200, 100)]
    for kind, (low, high) in enumerate(((.6, 1.4), (.6, 1.4), (.8, 1.2), (-.1, .1))):
        amounts = [dict(view.jitter)[kind] for view in views]
        assert low <= min(amounts) < low + .02 * (high - low)
        assert high >= max(amounts) > high - .02 * (high - low)
    orders = {tuple(kind for kind, _ in view.jitter) for view in views}
    assert len(orders) == 24
    sigmas = [view.sigma for view in views if view.sigma]
    assert .1 <= min(sigmas) < .12 and 1.98 < max(sigmas) <= 2.
    shares = np.array([view.box[2] * view.box[3] / 20_000 for view in views]).reshape(-1, 10)
    assert shares[:, :2].min() > .79 and .04 < shares[:, 2:].min() < .06


def test_operations_are_applied_in_their_order():
    image = photograph()
    view = View((180, 90), (0, 0, 180, 90), True, ((3, .05), (1, .7)), True, 1.3, True)
    expected = augment.adjust_contrast(
        augment.adjust_hue(np.ascontiguousarray(image[:, ::-1]), .05), .7)
    expected = augment.solarize(augment.gaussian_blur(augment.to_gray(expected), 1.3))
    assert (render(image, view) == expected).all()


def test_a_seed_reproduces_and_calls_differ():
    image, transform = photograph(), MultiCrop()

    def views(seed):
        np.random.seed(seed)
        return transform({'img': image})['views']

    first, again, other = views(1), views(1), views(2)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not any((a == b).all() for a, b in zip(first, other, strict=True))
    assert not any((a == b).all() for a, b in pairwise(first[2:]))
    with cache_random_params(transform):
        kept = [transform({'img': image})['views'] for _ in range(2)]
    assert all((a == b).all() for a, b in zip(*kept, strict=True))


# The part map

def coordinates(height, width):
    """An image whose blue is its row and whose green is its column (both below 256)."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(height)[:, None]
    image[..., 1] = np.arange(width)
    return image


@pytest.mark.parametrize('seed', range(12))
def test_the_label_follows_the_pixel(seed):
    """With labels as fine as pixels, what a view shows at a cell is what the label names."""
    np.random.seed(seed)
    height, width = np.random.randint(90, 256), np.random.randint(60, 200)
    image = coordinates(height, width)
    transform = MultiCrop(**{**PLAIN, 'flip_prob': .5}, num_local=0, global_scale=(.2, 1.),
                          aspect_ratio=(.3, 1.5))
    for channel in range(2):
        np.random.seed(seed)
        results = transform({'img': image, 'part_map': image[..., channel]})
        for view, labels in zip(results['views'], results['view_part_maps'], strict=True):
            corners = (8 * np.arange(32)[:, None] + 3, 8 * np.arange(16) + 3)
            around = [view[corners[0] + dy, corners[1] + dx, channel].astype(float)
                      for dy in (0, 1) for dx in (0, 1)]  # the four pixels at a cell's centre
            assert np.abs(np.mean(around, axis=0) - .5 - labels)[1:-1, 1:-1].max() <= 1.01


@pytest.mark.parametrize('seed', range(8))
def test_map_is_moved_exactly(seed):
    np.random.seed(seed)
    size = tuple(np.random.randint(1, 300, 2))
    part_map = np.random.randint(0, 10, tuple(np.random.randint(1, 40, 2))).astype(np.uint8)
    map_size = tuple(np.random.randint(1, 20, 2))
    box = draw_box(*size, (.1, 1.), (.3, 2.))
    for flip in (False, True):
        moved = move_map(part_map, size, plane((8, 8), box, flip), map_size)
        assert moved.dtype == np.uint8
        assert (moved == oracle.move_map(part_map, size, box, flip, map_size)).all()


def test_whole_image_keeps_its_map():
    part_map = np.random.default_rng(0).integers(0, 10, (32, 16)).astype(np.uint8)
    whole = plane((256, 128), (0, 0, 300, 140))
    assert (move_map(part_map, (300, 140), whole, (32, 16)) == part_map).all()
    assert (move_map(part_map, (300, 140), whole._replace(flip=True), (32, 16))
            == part_map[:, ::-1]).all()


@pytest.mark.parametrize('options, words', [
    (dict(num_global=0), 'num_global=0'), (dict(num_local=-1), 'num_local=-1'),
    (dict(global_size=(0, 128)), 'global_size'), (dict(local_size=(64,)), 'local_size'),
    (dict(map_size=(8, 0)), 'map_size'), (dict(global_scale=(.9, .8)), 'global_scale'),
    (dict(local_scale=(.5, 1.2)), 'up to 1'), (dict(aspect_ratio=(0, 1)), 'aspect_ratio'),
    (dict(blur_sigma=(2, 1)), 'blur_sigma'), (dict(flip_prob=1.5), 'flip_prob'),
    (dict(global_blur_prob=(1., .1, .5)), '2 global views'), (dict(jitter=(1, 1, 1)), 'jitter'),
    (dict(solarize_prob=-.1), 'solarize_prob'), (dict(jitter=(.4, .4, .2, .6)), 'hue')])
def test_wrong_fields(options, words):
    with pytest.raises(ValueError, match=words):
        MultiCrop(**options)


def test_is_registered_and_says_what_it_is():
    transform = TRANSFORMS.build(dict(type='clasp_mm.MultiCrop', num_local=2, solarize_prob=.1))
    assert isinstance(transform, multi_crop.MultiCrop)
    assert 'num_local=2' in repr(transform) and 'solarize_prob=(0.1, 0.1)' in repr(transform)
