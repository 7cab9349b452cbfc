"""Antialiased resampling of a window of each image, all images of a batch at once."""

import torch
from torch import Tensor

FITS = ('squash', 'pad', 'centre')


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic kernel with a = -0.5, as Pillow and torch's antialiased bicubic use."""
    x = x.abs()
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, inner, torch.where(x < 2, outer, torch.zeros_like(x)))


def _weights(window: tuple[Tensor, Tensor], box: tuple[Tensor, Tensor], length: int,
             out: int) -> Tensor:
    """Filter rows (N, out, length) that sample points of a window on an axis of pixels.

    Window, and box of what may be seen, are starts and ends (N,). Rows sum to one, those centred
    outside the box are zero.
    """
    scale = (window[1] - window[0]) / out
    positions = torch.arange(out, device=scale.device) + 0.5
    centre = window[0][:, None] + positions * scale[:, None]                      # (N, out)
    pixels = torch.arange(length, device=scale.device) + 0.5
    first, last = box[0][:, None], box[1][:, None]
    stretch = scale.clamp_min(1)[:, None, None]
    weights = _cubic((pixels - centre[..., None]) / stretch)
    weights = weights * ((pixels > first) & (pixels < last))[:, None]
    weights = weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-6)
    return weights * ((centre >= first) & (centre < last))[..., None]


def fit_window(boxes: Tensor, size: tuple[int, int], fit: str) -> Tensor:
    """The source window that fills an output of the given size.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
        size: (H, W) of the output.
        fit: ``squash`` stretches the box to the output; ``pad`` keeps its aspect and adds
            borders; ``centre`` keeps its aspect and cuts what is too long, open_clip's own way.

    Returns:
        Windows, (N, 4).
    """
    if fit == 'squash':
        return boxes
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    ratio = torch.stack([(y2 - y1) / size[0], (x2 - x1) / size[1]])
    scale = ratio.amax(dim=0) if fit == 'pad' else ratio.amin(dim=0)
    half_w, half_h = scale * size[1] / 2, scale * size[0] / 2
    centre_x, centre_y = (x1 + x2) / 2, (y1 + y2) / 2
    return torch.stack(
        [centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h], dim=1)


def resample(images: Tensor, boxes: Tensor, size: tuple[int, int], fit: str = 'squash',
             fill: Tensor | float = 0.0) -> Tensor:
    """Cut one box out of each image and bring it to a size, bicubic and antialiased.

    A box equal to its image, squashed, gives ``F.interpolate(mode='bicubic', antialias=True)``.

    Args:
        images: (N, 3, H, W) float in [0, 1].
        boxes: (N, 4) x1, y1, x2, y2 in pixels, at least one pixel wide and high.
        size: (h, w) of the output.
        fit: See :func:`fit_window`.
        fill: Colour of the borders that ``pad`` adds, a number or (3, 1, 1).

    Returns:
        (N, 3, h, w) float, clamped to [0, 1].
    """
    height, width = images.shape[-2:]
    boxes = boxes.to(images.dtype)
    windows = fit_window(boxes, size, fit)
    rows = _weights((windows[:, 1], windows[:, 3]), (boxes[:, 1], boxes[:, 3]), height, size[0])
    columns = _weights((windows[:, 0], windows[:, 2]), (boxes[:, 0], boxes[:, 2]), width, size[1])
    out = rows[:, None] @ (images - fill) @ columns.mT[:, None]
    return (out + fill).clamp_(0, 1)
