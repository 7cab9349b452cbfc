"""What CSP learns: centres, sizes and offsets of pedestrians on a map of cells.

Liu et al., "High-level Semantic Feature Detection: A New Perspective for Pedestrian Detection",
CVPR 2019, section 3.3; size windows, ignore regions and the Gaussian's sigma as in Pedestron.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class CSPTargets(NamedTuple):
    """Targets of a batch on a map of H x W cells.

    Attributes:
        centers: (B, 1, H, W), a Gaussian over every pedestrian: exactly 1 in the cell of a centre,
            less elsewhere, 0 outside the boxes.
        center_weight: (B, 1, H, W), 0 in ignore regions that no pedestrian covers, else 1.
        scales: (B, 2, H, W), log of height and width in cells, around each centre.
        scale_weight: (B, 1, H, W), 1 where ``scales`` holds a value.
        offsets: (B, 2, H, W), from the middle of the centre's cell to the centre, y and x in
            cells, in (-0.5, 0.5].
        offset_weight: (B, 1, H, W), 1 in the cells of the centres.
    """

    centers: Tensor
    center_weight: Tensor
    scales: Tensor
    scale_weight: Tensor
    offsets: Tensor
    offset_weight: Tensor


def csp_targets(boxes: Sequence[Tensor], ignored: Sequence[Tensor], map_size: tuple[int, int],
                stride: int, radius: int, min_width: float) -> CSPTargets:
    """Targets of all images at once, without a loop over boxes or cells.

    A box that is too narrow, or whose centre lies outside the map (cut off by a crop), becomes an
    ignore region. Where boxes compete for a cell of ``scales`` or ``offsets``, the later one wins.

    Args:
        boxes: Pedestrians of each image, (N_i, 4), as x1, y1, x2, y2 in pixels of the input.
        ignored: Regions of each image to ignore, (M_i, 4).
        map_size: Height and width of the map in cells.
        stride: Pixels per cell.
        radius: Cells on each side of a centre that learn its size.
        min_width: Narrower boxes, in pixels, are ignored.
    """
    height, width = map_size
    image, box = _flatten(boxes)
    ignored_image, ignored_box = _flatten(ignored)
    size = box[:, 2:] - box[:, :2]
    center = (box[:, :2] + box[:, 2:]) / 2 / stride
    limit = center.new_tensor([width, height])
    good = (size[:, 0] >= min_width) & ((center >= 0) & (center < limit)).all(1)
    ignored_image = torch.cat([ignored_image, image[~good]])
    ignored_box = torch.cat([ignored_box, box[~good]])
    image, box, size, center = image[good], box[good] / stride, size[good] / stride, center[good]
    cell = center.floor().long()
    cells = len(boxes) * height * width

    inside, index, x, y = _cells_of(
        image, box[:, :2].ceil().long(), box[:, 2:].floor().long(), map_size)
    sigma = 0.15 * size + 0.35  # 0.3 ((k - 1) / 2 - 1) + 0.8 of a side of k cells
    distance = (torch.stack([x, y], 1) - cell[inside]) / sigma[inside]
    centers = box.new_zeros(cells).scatter_reduce_(
        0, index, torch.exp(-0.5 * distance.square().sum(1)), 'amax')
    at_center = (image * height + cell[:, 1]) * width + cell[:, 0]
    centers[at_center] = 1.

    center_weight = box.new_ones(cells)
    _, hidden, _, _ = _cells_of(ignored_image, (ignored_box[:, :2] / stride).floor().long(),
                                (ignored_box[:, 2:] / stride).ceil().long(), map_size)
    center_weight[hidden] = 0.
    center_weight[index] = 1.
    center_weight[at_center] = 1.

    around, window, _, _ = _cells_of(image, cell - radius, cell + radius + 1, map_size)
    scales, scale_weight = _paint(cells, window, around, size.flip(1).log())
    offset = (center - cell - 0.5).flip(1)
    offsets, offset_weight = _paint(
        cells, at_center, torch.arange(len(cell), device=cell.device), offset)
    return CSPTargets(*(
        value.view(len(boxes), height, width, -1).permute(0, 3, 1, 2).contiguous()
        for value in (centers, center_weight, scales, scale_weight, offsets, offset_weight)))


def _flatten(boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The image of each box, (N, ), and the boxes, (N, 4)."""
    counts = torch.tensor([len(one) for one in boxes], device=boxes[0].device)
    return torch.repeat_interleave(counts), torch.cat([one.float() for one in boxes])


def _cells_of(image: Tensor, first: Tensor, last: Tensor, map_size: tuple[int, int]
              ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All cells of integer boxes, those outside the map left out."""
    limit = first.new_tensor(map_size[::-1])
    first = torch.minimum(first.clamp(min=0), limit)
    sides = (torch.minimum(last, limit) - first).clamp(min=0)
    area = sides.prod(1)
    box = torch.repeat_interleave(area)
    within = torch.arange(len(box), device=box.device) - (area.cumsum(0) - area)[box]
    x = first[box, 0] + within % sides[box, 0]
    y = first[box, 1] + within // sides[box, 0]
    return box, (image[box] * map_size[0] + y) * map_size[1] + x, x, y


def _paint(cells: int, index: Tensor, box: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Values (cells, K) of the last box in each cell, 0 where there is none; and where one is."""
    owner = index.new_zeros(cells).scatter_reduce_(0, index, box + 1, 'amax')
    return torch.cat([values.new_zeros(1, values.shape[1]), values])[owner], (owner > 0).float()
