"""Pseudo-labels: clustering against scikit-learn, and all of labelling against CLIP alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from clasp_mm.mini_clip.architecture import build_mini_clip
from clasp_mm.models.backbones import PCMoESwin
from clasp_mm.pseudo_labels.clip_labeler import CLIPLabeler
from clasp_mm.pseudo_labels.clip_model import CLIPModel
from clasp_mm.pseudo_labels.hashing import hash_names
from clasp_mm.pseudo_labels.labels import LabelSettings
from clasp_mm.pseudo_labels.regions import find_regions, foreground_mask
from clasp_mm.pseudo_labels.resample import resample
from clasp_mm.synthetic import SyntheticPeople

from .contest import Goal, Options, Row, race

NUM_INIT = 10
_GRID = (16, 8)
_CLUSTER_NUMBERS = (3, 4, 5)
_FOREGROUND_CLUSTERS = dict(feature=2, centre=12)


def teacher_maps(batch: int) -> Tensor:
    """Last maps (B, 768, 16, 8) of a Swin-T of random weights on synthetic people, 512x256."""
    people = SyntheticPeople(batch, 1)
    pixels = torch.stack([torch.from_numpy(people[index].image) for index in range(batch)])
    pixels = resample(pixels.permute(0, 3, 1, 2).float() / 255,
                      torch.tensor([[0, 0, 128, 256]]).expand(batch, 4), (512, 256))
    swin = PCMoESwin('tiny', moe=None).eval()
    with torch.inference_mode():
        return torch.cat([swin(part * 4 - 2)[-1] for part in pixels.split(4)])


def sklearn_regions(features: Tensor, foreground: Tensor, clusters: int) -> list[list[float]]:
    """What :func:`find_regions` does by scikit-learn's KMeans, image by image.

    Args:
        features: (B, C, h, w).
        foreground: (B, L) bool, the tokens in which the parts are sought; given, so that both
            sides cluster the same tokens.
        clusters: Clusters of the foreground step.

    Returns:
        Inertia of the foreground step and of each k, for each image.
    """
    inertia = []
    for image, mask in zip(features.flatten(2).mT.numpy(), foreground.numpy(), strict=True):
        fits = [_fit(image, clusters)] + [_fit(image[mask], k) for k in _CLUSTER_NUMBERS]
        inertia.append([fit.inertia_ for fit in fits])
    return inertia


def _fit(points: np.ndarray, clusters: int) -> KMeans:
    return KMeans(clusters, n_init=NUM_INIT, max_iter=100, random_state=0).fit(points)


def labels(options: Options) -> Iterator[Row]:
    """Clustering with 2-means as the paper and with our default rule; then all of labelling."""
    batch = 4 if options.quick else 32
    features = teacher_maps(batch)
    keys = hash_names([str(number) for number in range(batch)])
    peer_batch = min(batch, 8)
    for rule, clusters in _FOREGROUND_CLUSTERS.items():
        foreground = foreground_mask(features.flatten(2).mT.contiguous(), _GRID, rule, keys)
        ours = partial(find_regions, features.to(options.device), _CLUSTER_NUMBERS, keys, rule)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', ConvergenceWarning)
            row = race(
                f'clustering, {rule}',
                f'128 tokens x 768 of a random Swin-T, {clusters}-means of all + k = 3, 4, 5 of '
                f'the foreground, {NUM_INIT} restarts, per image',
                'scikit-learn KMeans, image by image', ours,
                partial(sklearn_regions, features[:peer_batch], foreground[:peer_batch], clusters),
                Goal(1 / 30), options, 1)
        row.ours /= batch
        row.theirs /= peer_batch
        row.details['cpu_ratio'] *= peer_batch / batch
        row.details.update(batch=batch, peer_milliseconds_per_fit=1e3 * row.theirs / 4)
        yield row
    yield labelling(options)


def labelling(options: Options) -> Row:
    """End to end against the CLIP forwards alone, both networks with random weights."""
    batch = options.batch(8 if options.device == 'cpu' else 256)
    labeler = random_labeler(options)
    settings, arch = labeler.settings, _teacher_arch(options)
    images = torch.randint(0, 256, (batch, 3, *settings.image_size), dtype=torch.uint8)
    names = [str(number) for number in range(batch)]
    forwards = _clip_forwards(labeler, labeler.score(images, names), options)
    row = race(
        'labelling', f'{"mini CLIP" if options.quick else "ViT-B-32"}, teacher Swin-{arch} at '
        f'{settings.input_size[0]}x{settings.input_size[1]}, random weights, {options.dtype}, '
        f'batch {batch}', 'the CLIP forwards alone', partial(labeler.score, images, names),
        forwards.run, Goal(1.15), options, batch, _parts(labeler, images, names, forwards.number))
    row.details.update(clip_forwards_per_image=forwards.number / batch)
    return row


def _teacher_arch(options: Options) -> str:
    return 'nano' if options.quick else 'tiny'


def random_labeler(options: Options, **settings: Any) -> CLIPLabeler:
    """ViT-B-32 and a Swin-T of random weights (quick: the mini CLIP and Swin-nano).

    Args:
        options: Device and precision.
        **settings: Of :class:`LabelSettings`; by default no image is rejected.
    """
    settings = LabelSettings(**{**dict(
        min_foreground=0, min_person_cosine=-0.999, amp='bf16' if options.amp else 'none'),
        **settings})
    clip = _random_clip(options)
    teacher = PCMoESwin(_teacher_arch(options), moe=None,
                        out_indices=tuple(range(settings.stage + 1)))
    teacher = teacher.to(options.device).eval().requires_grad_(False)
    # On a CPU small chunks stay in cache, and their memory is used again.
    return CLIPLabeler(clip, teacher, 'random', settings=settings,
                       clip_batch_size=32 if options.device == 'cpu' else 256)


def _clip_forwards(labeler: CLIPLabeler, scores, options: Options) -> SimpleNamespace:
    """The CLIP forwards of a batch on inputs that are there already."""
    regions = int((scores.part_probs.sum(dim=-1) > 0).sum())
    whole = len(scores.regions)
    chunk = labeler.clip_batch_size
    inputs = torch.rand(min(chunk, max(regions, whole)), 3, *labeler.clip.size,
                        device=options.device)
    sizes = [len(part) for number in (whole, regions)
             for part in torch.empty(number).split(chunk)]

    @torch.inference_mode()
    def run() -> None:
        with labeler._autocast():
            for number in sizes:
                labeler.clip.encode_images(inputs[:number])
    return SimpleNamespace(run=run, number=whole + regions)


def _parts(labeler: CLIPLabeler, images: Tensor, names: list[str], forwards: int) -> dict:
    """The steps beside CLIP, each by itself."""
    settings, device = labeler.settings, labeler.device
    pixels = images.to(device).float() / 255
    height, width = settings.image_size
    whole = pixels.new_tensor([[0, 0, width, height]])
    large = resample(pixels, whole.expand(len(pixels), 4), settings.input_size)
    with torch.inference_mode():
        maps = labeler.teacher(large)[settings.stage].float()

    @torch.inference_mode()
    def teacher() -> None:
        with labeler._autocast():
            labeler.teacher(large)

    @torch.inference_mode()
    def clustering() -> None:
        find_regions(maps, settings.cluster_numbers, hash_names(names), settings.foreground,
                     settings.position_weight)

    repeated = pixels.repeat(-(-forwards // len(pixels)), 1, 1, 1)[:forwards]

    @torch.inference_mode()
    def resampling() -> None:
        resample(pixels, whole.expand(len(pixels), 4), settings.input_size)
        for part in repeated.split(labeler.clip_batch_size):
            resample(part, whole.expand(len(part), 4), labeler.clip.size)
    return dict(teacher=teacher, clustering=clustering, resampling=resampling)


def _random_clip(options: Options) -> CLIPModel:
    import open_clip
    model = (build_mini_clip() if options.quick
             else open_clip.create_model('ViT-B-32', pretrained=None))
    model.to(options.device).eval().requires_grad_(False)
    size = model.visual.image_size
    return CLIPModel(model, open_clip.SimpleTokenizer(context_length=model.context_length),
                     (size, size) if isinstance(size, int) else tuple(size), identity='random')
