"""Operators that gather neighbours of cells: PSAMask, masked convolution and CARAFE.

Arguments have the names and places that the Python side of mmcv 2.1 gives them; results go into
the tensors that it hands over.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .sampling import widened


def psamask_forward(input: Tensor, output: Tensor, psa_type: int, num_: int, h_feature: int,
                    w_feature: int, h_mask: int, w_mask: int, half_h_mask: int,
                    half_w_mask: int) -> None:
    """PSANet's masks (Zhao et al. 2018): the weights of neighbours, laid out over all cells.

    Tensors:
        input: (b, h_mask w_mask, h, w): per cell, the weight of each neighbour.
        output: (b, h w, h, w), to be filled: collecting, the weight of cell i for cell (y, x);
            distributing, that of (y, x) for i. What is no neighbour gets 0.
        psa_type: 0: collect; 1: distribute.
        num_: b; ``h_feature`` and ``w_feature`` are h and w.
        h_mask: Rows of a neighbourhood, as ``w_mask`` columns, odd or even; ``half_h_mask`` and
            ``half_w_mask`` of them lie above and left of the cell.
    """
    y, x = (torch.arange(size, device=input.device) for size in (h_feature, w_feature))
    index, inside = _index(y[:, None] - y + half_h_mask, x[:, None] - x + half_w_mask,
                           h_mask, w_mask)
    cells = h_feature * w_feature
    weights = input.reshape(num_, -1, cells)
    gathered = weights.gather(1, index.expand(num_, -1, -1)) * inside
    output.copy_((gathered.transpose(1, 2) if psa_type else gathered).reshape(output.shape))


def psamask_backward(grad_output: Tensor, grad_input: Tensor, psa_type: int, num_: int,
                     h_feature: int, w_feature: int, h_mask: int, w_mask: int, half_h_mask: int,
                     half_w_mask: int) -> None:
    """Fill ``grad_input`` with the gradient of :func:`psamask_forward`."""
    y, x, mask_y, mask_x = (torch.arange(size, device=grad_output.device)
                            for size in (h_feature, w_feature, h_mask, w_mask))
    index, inside = _index(mask_y[:, None] + y - half_h_mask, mask_x[:, None] + x - half_w_mask,
                           h_feature, w_feature)
    cells = h_feature * w_feature
    grad = grad_output.reshape(num_, cells, cells)
    grad = grad.transpose(1, 2) if psa_type else grad
    grad_input.copy_((grad.gather(1, index.expand(num_, -1, -1)) * inside)
                     .reshape(grad_input.shape))


def _index(rows: Tensor, columns: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where (rows[i, j], columns[k, l]) is in a map read row by row, and whether it is inside."""
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & (
        (columns >= 0) & (columns < width))[:, None]
    index = (rows.clamp(0, height - 1) * width)[:, None, :, None] + (
        columns.clamp(0, width - 1)[:, None])
    return tuple(one.flatten(2).flatten(0, 1) for one in (index, inside))


def masked_im2col_forward(im: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, col: Tensor,
                          kernel_h: int, kernel_w: int, pad_h: int, pad_w: int) -> None:
    """The neighbourhoods of some cells, as the columns of a matrix.

    Tensors:
        im: (1, c, h, w).
        mask_h_idx: (n,): the cells' rows; ``mask_w_idx`` their columns.
        col: (c kernel_h kernel_w, n), to be filled.
        pad_h: Rows of zeros above and below, as ``pad_w`` columns; a neighbourhood starts this far
            above its cell.
    """
    padded = F.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    y, x = (torch.arange(size, device=im.device) for size in (kernel_h, kernel_w))
    patches = padded[:, mask_h_idx + y[:, None, None], mask_w_idx + x[:, None]]
    col.copy_(patches.reshape(col.shape))


def masked_col2im_forward(col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor,
                          height: int, width: int, channels: int) -> None:
    """Write columns of values to their cells of a map.

    Tensors:
        col: (channels, n).
        mask_h_idx: (n,): the cells' rows; ``mask_w_idx`` their columns.
        im: (1, channels, height, width): the other cells stay as they are.
    """
    im[0, :, mask_h_idx, mask_w_idx] = col


def carafe_naive_forward(features: Tensor, masks: Tensor, output: Tensor, kernel_size: int,
                         group_size: int, scale_factor: int) -> None:
    """CARAFE (Wang et al. 2019): every fine cell is a weighted sum of the coarse cells around it.

    Args:
        features: (b, c, h, w).
        masks: (b, group_size kernel_size^2, s h, s w): the weights, s the ``scale_factor``.
        output: (b, c, s h, s w), to be filled.
        kernel_size: Coarse cells per row of a neighbourhood, odd.
        group_size: Groups of channels, each with weights of its own.
        scale_factor: Fine cells per coarse cell and axis.
    """
    around = _around(widened(features), kernel_size, group_size)
    weights = _weights(widened(masks), kernel_size, group_size, scale_factor)
    output.copy_(torch.einsum('ngckhw,ngkhywx->ngchywx', around, weights).reshape(output.shape))


def carafe_naive_backward(top_grad: Tensor, features: Tensor, masks: Tensor, bottom_grad: Tensor,
                          mask_grad: Tensor, kernel_size: int, group_size: int,
                          scale_factor: int) -> None:
    """Fill ``bottom_grad`` and ``mask_grad`` with the gradients of the features and the masks."""
    around = _around(widened(features), kernel_size, group_size)
    weights = _weights(widened(masks), kernel_size, group_size, scale_factor)
    n, _, h, w = features.shape
    grad = widened(top_grad).reshape(n, group_size, -1, h, scale_factor, w, scale_factor)
    mask_grad.copy_(torch.einsum('ngchywx,ngckhw->ngkhywx', grad, around).reshape(masks.shape))
    spread = torch.einsum('ngchywx,ngkhywx->ngckhw', grad, weights)
    bottom_grad.copy_(F.fold(spread.reshape(n, -1, h * w), (h, w), kernel_size,
                             padding=kernel_size // 2))


def _around(features: Tensor, kernel_size: int, group_size: int) -> Tensor:
    """(b, c, h, w) to (b, group_size, c / group_size, kernel_size^2, h, w)."""
    n, c, h, w = features.shape
    columns = F.unfold(features, kernel_size, padding=kernel_size // 2)
    return columns.reshape(n, group_size, c // group_size, kernel_size ** 2, h, w)


def _weights(masks: Tensor, kernel_size: int, group_size: int, scale_factor: int) -> Tensor:
    n, _, h, w = masks.shape
    return masks.reshape(n, group_size, kernel_size ** 2, h // scale_factor, scale_factor,
                         w // scale_factor, scale_factor)


def carafe_forward(features: Tensor, masks: Tensor, rfeatures: Tensor, routput: Tensor,
                   rmasks: Tensor, output: Tensor, kernel_size: int, group_size: int,
                   scale_factor: int) -> None:
    """:func:`carafe_naive_forward`; keeps the features in ``rfeatures`` for the way back."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(top_grad: Tensor, rfeatures: Tensor, masks: Tensor, rtop_grad: Tensor,
                    rbottom_grad_hs: Tensor, rbottom_grad: Tensor, rmask_grad: Tensor,
                    bottom_grad: Tensor, mask_grad: Tensor, kernel_size: int, group_size: int,
                    scale_factor: int) -> None:
    """:func:`carafe_naive_backward`; the four tensors from ``rtop_grad`` on are not used."""
    carafe_naive_backward(top_grad, rfeatures, masks, bottom_grad, mask_grad, kernel_size,
                          group_size, scale_factor)
