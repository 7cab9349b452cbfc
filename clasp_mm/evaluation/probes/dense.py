"""Linear probes for keypoints and for people in scenes: ridge regression from single tokens.

Beside :mod:`.probes` they complete the frozen evaluation of all six tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import nms

from .ridge import Ridge

_NMS_IOU = 0.5
_NEAR = 0.1  # of the image's height: a joint within is right


def gaussians(points: Tensor, visible: Tensor, shape: tuple[int, int], sigma: Tensor | float
              ) -> Tensor:
    """Bumps of height 1 at points of a grid.

    Args:
        points: (..., 2) x, y in cells; the centre of the first cell is (0.5, 0.5).
        visible: (...) bool; others get zeros.
        shape: Rows h and columns w of the grid.
        sigma: Deviation in cells, a number or (...).

    Returns:
        (..., h, w) float32.
    """
    rows, columns = (torch.arange(size, device=points.device) + .5 for size in shape)
    sigma = torch.as_tensor(sigma, device=points.device).float()[..., None, None]
    squares = ((columns - points[..., :1]).square()[..., None, :]
               + (rows - points[..., 1:]).square()[..., None])
    return torch.exp(-squares / (2 * sigma.square())) * visible[..., None, None]


def linear_probe_keypoints(train_feats: np.ndarray | Tensor, train_points: np.ndarray,
                           val_feats: np.ndarray | Tensor, val_points: np.ndarray,
                           size: tuple[int, int]) -> dict[str, Any]:
    """PCK at a tenth of the image's height, of keypoints read off a linear map of each token.

    A token's targets are the heights of the joints' Gaussians, as wide as a token, in its cell. A
    joint is where its map, raised to the image's size bicubically, is highest.

    Args:
        train_feats: (N, C, h, w) features.
        train_points: (N, K, 3) x, y in pixels of the image and 0 where there is no label.
        val_feats: (M, C, h, w).
        val_points: (M, K, 3).
        size: (H, W) of the image in pixels.

    Returns:
        ``PCK``, the share of labelled joints that are right, in percent, and (M, 2) ``counts`` of
        those right and those labelled in each image.

    Raises:
        ValueError: Nothing is labelled, or features are not finite.
    """
    train, held_out = torch.as_tensor(train_feats), torch.as_tensor(val_feats)
    shape = tuple(train.shape[-2:])
    stride = torch.tensor([size[1] / shape[1], size[0] / shape[0]])
    truth = torch.as_tensor(train_points).float()
    heat = gaussians(truth[..., :2] / stride, truth[..., 2] > 0, shape, 1.)
    ridge = Ridge(train.shape[1], heat.shape[1])
    ridge.add(_tokens(train), _tokens(heat))
    weight, bias = ridge.solve()

    truth = torch.as_tensor(val_points).float()
    seen = truth[..., 2] > 0
    if not seen.any():
        raise ValueError('no joint of the validation images is labelled')
    right = []
    for maps, points, labelled in zip(held_out.split(64), truth.split(64), seen.split(64),
                                      strict=True):
        heat = torch.einsum('bchw,ck->bkhw', maps.to(weight), weight) + bias[:, None, None]
        heat = F.interpolate(heat, size, mode='bicubic').flatten(2).argmax(2).cpu()
        found = torch.stack([heat % size[1], heat // size[1]], -1) + .5
        near = (found - points[..., :2]).norm(dim=-1) <= _NEAR * size[0]
        right.append((near & labelled).sum(1))
    counts = torch.stack([torch.cat(right), seen.sum(1)], 1).numpy()
    return {'PCK': 100 * float(counts[:, 0].sum() / counts[:, 1].sum()), 'counts': counts}


class PeopleProbe(NamedTuple):
    """A linear detector of people: centre map and log-height of each token.

    Attributes:
        centre: W (C, 1) and b (1,) of the centre map.
        height: W (C, 1) and b (1,) of the logarithm of the height in pixels.
        aspect: Width over height of all boxes.
    """

    centre: tuple[Tensor, Tensor]
    height: tuple[Tensor, Tensor]
    aspect: float

    @classmethod
    def fit(cls, batches: Iterable[tuple[Tensor, Sequence[np.ndarray]]], stride: int,
            l2: float = 1e-2) -> PeopleProbe:
        """Learn from scenes.

        Args:
            batches: Features (B, C, h, w) of scenes and of each scene its boxes (N_i, 4), x1, y1,
                x2, y2 in pixels of the input.
            stride: Pixels of a token.
            l2: Weight decay, see :class:`.ridge.Ridge`.

        Raises:
            ValueError: There is no box, or a feature is not finite.
        """
        centre = height = None
        aspects: list[float] = []
        for maps, people in batches:
            if centre is None:
                centre, height = Ridge(maps.shape[1], 1), Ridge(maps.shape[1], 1)
            shape = tuple(maps.shape[-2:])
            for features, boxes in zip(maps, people, strict=True):
                boxes = torch.as_tensor(np.asarray(boxes, np.float32)).reshape(-1, 4)
                tall = boxes[:, 3] - boxes[:, 1]
                middle = (boxes[:, :2] + boxes[:, 2:]) / 2 / stride
                heat = torch.zeros(shape)
                if len(boxes):
                    # A bump as wide as a tenth of the person, and no narrower than a token.
                    heat, whose = gaussians(middle, torch.ones(len(boxes)), shape,
                                            (tall / stride / 10).clamp(min=1)).max(0)
                    near = heat > .6
                    height.add(features[:, near].T, tall[whose[near]].log()[:, None])
                    aspects += ((boxes[:, 2] - boxes[:, 0]) / tall).tolist()
                centre.add(_tokens(features[None]), heat.reshape(-1, 1))
        if not aspects:
            raise ValueError('no scene has a person to learn from')
        return cls(centre.solve(l2), height.solve(l2), float(np.mean(aspects)))

    def detect(self, maps: Tensor, stride: int, most: int = 50
               ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Boxes (N_i, 4) in pixels of the input and scores (N_i,) of each scene.

        Args:
            maps: (B, C, h, w).
            stride: Pixels of a token.
            most: Boxes of a scene at most.
        """
        (score, tall) = (
            (torch.einsum('bchw,ck->bkhw', maps.to(weight), weight)[:, 0] + bias).float().cpu()
            for weight, bias in (self.centre, self.height))
        peak = (F.max_pool2d(score[:, None], 3, 1, 1)[:, 0] == score) & (score > 0)
        found = []
        for scores, heights, at in zip(score, tall.exp(), peak, strict=True):
            row, column = at.nonzero(as_tuple=True)
            half = heights[row, column] / 2 * torch.tensor([[self.aspect], [1.]])
            middle = (torch.stack([column, row]) + .5) * stride
            boxes = torch.cat([middle - half, middle + half]).T
            kept = nms(boxes, scores[at], _NMS_IOU)[:most]
            found.append((boxes[kept].numpy(), scores[at][kept].numpy()))
        return found


def _tokens(maps: Tensor) -> Tensor:
    """(B, C, h, w) to (B * h * w, C)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
