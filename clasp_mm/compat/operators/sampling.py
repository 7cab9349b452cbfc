"""Operators that sample maps between their cells: RoIAlign and deformable convolution.

torchvision computes them. ``_roi_align_backward`` and ``_deform_conv2d_backward`` are private
there: tests/test_compat/test_operators.py says when they change. bfloat16, and float16 on the CPU,
are computed in float32 and rounded once.

Arguments have the names and places that the Python side of mmcv 2.1 gives them; results go into
the tensors that it hands over.
"""

import torch
import torch.nn.functional as F
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

# In cells: outside of every map, and a number of float16 too.
_FAR = -6e4


def widened(tensor: Tensor) -> Tensor:
    """``tensor``, in float32 where the operators know no form for its own type."""
    if tensor.dtype == torch.bfloat16 or (tensor.dtype == torch.half and not tensor.is_cuda):
        return tensor.float()
    return tensor


def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor,
                      argmax_x: Tensor, aligned_height: int, aligned_width: int,
                      spatial_scale: float, sampling_ratio: int, pool_mode: int,
                      aligned: bool) -> None:
    """RoIAlign: every bin of a box becomes the mean or the maximum of points in it.

    Tensors:
        input: (b, c, h, w).
        rois: (n, 5): the index of the map, then x1, y1, x2, y2 in pixels of the image.
        output: (n, c, aligned_height, aligned_width), to be filled: a value for each bin.
        argmax_y: For the maximum: as ``output``; gets the row of the point within its bin, as
            ``argmax_x`` the column.
        spatial_scale: Cells of the map per pixel.
        sampling_ratio: Points per bin and axis; 0: as many as the bin has cells.
        pool_mode: 0: maximum; 1: mean.
        aligned: Whether the centre of the first cell is at 0.5, and not at 0.
    """
    values, rois = widened(input), rois.to(widened(input).dtype)
    bins = (aligned_height, aligned_width)
    if pool_mode:
        output.copy_(torch.ops.torchvision.roi_align(
            values, rois, spatial_scale, *bins, sampling_ratio, aligned))
        return
    for rows, points in _by_points(rois, bins, spatial_scale, sampling_ratio, aligned):
        fine = torch.ops.torchvision.roi_align(
            values, rois[rows], spatial_scale, *_times(bins, points), 1, aligned)
        best, index = F.max_pool2d(fine, points, return_indices=True)
        width = fine.shape[-1]
        output[rows] = best.to(output.dtype)
        argmax_y[rows] = (index // width % points[0]).to(argmax_y.dtype)
        argmax_x[rows] = (index % width % points[1]).to(argmax_x.dtype)


def roi_align_backward(grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor,
                       grad_input: Tensor, aligned_height: int, aligned_width: int,
                       spatial_scale: float, sampling_ratio: int, pool_mode: int,
                       aligned: bool) -> None:
    """Fill ``grad_input`` with the gradient of :func:`roi_align_forward`."""
    grad, rois = widened(grad_output), rois.to(widened(grad_output).dtype)
    bins = (aligned_height, aligned_width)

    def spread(grad: Tensor, rois: Tensor, bins: tuple[int, int], ratio: int) -> Tensor:
        return torch.ops.torchvision._roi_align_backward(
            grad, rois, spatial_scale, *bins, *grad_input.shape, ratio, aligned)

    if pool_mode and grad.device.type != 'cpu':  # groups would make the host wait
        grad_input.copy_(spread(grad, rois, bins, sampling_ratio))
        return
    groups = _by_points(rois, bins, spatial_scale, sampling_ratio, aligned)
    if pool_mode:
        if groups:
            grad_input.copy_(
                _spread_mean(grad, rois, grad_input.shape, spatial_scale, groups, aligned))
        return
    for rows, points in groups:
        fine = grad.new_zeros(*grad[rows].shape[:2], *_times(bins, points))
        top, left = (torch.arange(count, device=grad.device) * step
                     for count, step in zip(bins, points, strict=True))
        index = (top[:, None] + argmax_y[rows].long()) * fine.shape[-1] + (
            left + argmax_x[rows].long())
        fine.flatten(2).scatter_(2, index.flatten(2), grad[rows].flatten(2))
        grad_input += spread(fine, rois[rows], _times(bins, points), 1)


def _spread_mean(grad: Tensor, rois: Tensor, shape: torch.Size, spatial_scale: float,
                 groups: list[tuple[slice | Tensor, tuple[int, int]]], aligned: bool) -> Tensor:
    """The gradient of the mean as a product with a sparse matrix: a third of the kernel's time."""
    maps, channels, height, width = shape
    bins = grad.shape[-2:]
    places = torch.arange(grad[:, 0].numel()).view(-1, *bins)
    left, top, right, bottom = (rois[:, 1:] * spatial_scale - 0.5 * aligned).unbind(1)
    sizes = torch.stack([bottom - top, right - left])
    if not aligned:
        sizes = sizes.clamp(min=1)
    cells, sources, weights = [], [], []
    for of, points in groups:
        rows, row_weights = _corners(top[of], sizes[0, of], bins[0], points[0], height)
        columns, column_weights = _corners(left[of], sizes[1, of], bins[1], points[1], width)
        first = (rois[of, 0].long() * height * width)[:, None, None, None, None]
        found = first + rows[:, :, None, :, None] * width + columns[:, None, :, None]
        cells.append(found.flatten())  # n, *bins, 2 points, 2 points
        sources.append(places[of][..., None, None].expand_as(found).flatten())
        weights.append((row_weights[:, :, None, :, None]
                        * column_weights[:, None, :, None]).flatten())
    spread = torch.sparse_coo_tensor(
        torch.stack([torch.cat(cells), torch.cat(sources)]), torch.cat(weights),
        (maps * height * width, places.numel()), check_invariants=False)
    values = grad.permute(0, 2, 3, 1).reshape(-1, channels)
    return (spread @ values).view(maps, height, width, channels).permute(0, 3, 1, 2)


def _corners(start: Tensor, size: Tensor, bins: int, points: int, length: int
             ) -> tuple[Tensor, Tensor]:
    """The two cells beside every point on one axis, (n, bins, 2 points), and their weights."""
    step = (size / bins)[:, None, None]
    at = start[:, None, None] + torch.arange(bins)[:, None] * step + (
        torch.arange(points, dtype=size.dtype) + 0.5) * step / points
    inside = (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)
    low = at.long()
    cells = torch.stack([low, (low + 1).clamp(max=length - 1)], -1)
    weights = torch.stack([1 - (at - low), at - low], -1) * (inside / points)[..., None]
    return cells.flatten(2), weights.flatten(2)


def _times(bins: tuple[int, int], points: tuple[int, int]) -> tuple[int, int]:
    return bins[0] * points[0], bins[1] * points[1]


def _by_points(rois: Tensor, bins: tuple[int, int], spatial_scale: float, sampling_ratio: int,
               aligned: bool) -> list[tuple[slice | Tensor, tuple[int, int]]]:
    """The boxes in groups of equal numbers of points per bin; none without a point."""
    if not len(rois):
        return []
    if sampling_ratio > 0:
        return [(slice(None), (sampling_ratio, sampling_ratio))]
    sizes = (rois[:, [4, 3]] * spatial_scale) - (rois[:, [2, 1]] * spatial_scale)
    if not aligned:
        sizes = sizes.clamp(min=1)
    points = (sizes / sizes.new_tensor(bins)).ceil().long()
    return [((points == pair).all(1), tuple(pair.tolist()))
            for pair in points.unique(dim=0) if (pair > 0).all()]


def deform_conv_forward(input: Tensor, weight: Tensor, offset: Tensor, output: Tensor,
                        columns: Tensor, ones: Tensor, kW: int, kH: int, dW: int, dH: int,
                        padW: int, padH: int, dilationW: int, dilationH: int, group: int,
                        deformable_group: int, im2col_step: int) -> None:
    """Deformable convolution (Dai et al. 2017).

    Tensors:
        input: (b, c, h, w).
        weight: (o, c / group, kH, kW).
        offset: (b, 2 deformable_group kH kW, oh, ow): y and x in turn, in cells.
        output: (b, o, oh, ow), to be filled.
        columns: Not used, as ``ones`` and ``im2col_step``.
        dW: Stride in x, as ``dH`` in y; so padding and dilation, all in cells.
        deformable_group: Groups of channels that share their offsets.
    """
    layout = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    _convolve(_deformed(input, weight, offset), layout, False, output)


def _convolve(tensors: list[Tensor], layout: tuple[int, ...], modulated: bool,
              output: Tensor) -> None:
    """Fill ``output``; it is nan where an offset is, which torchvision would read memory by."""
    input, weight, offset, *others = tensors
    output.copy_(torch.ops.torchvision.deform_conv2d(
        input, weight, _finite(offset), *others, *layout, modulated))
    output.masked_fill_(offset.isnan().any(1, keepdim=True), torch.nan)


def _gradients(grad: Tensor, tensors: list[Tensor], layout: tuple[int, ...],
               modulated: bool) -> tuple[Tensor, ...]:
    """Those of input, weight, offset, mask and bias."""
    input, weight, offset, *others = tensors
    return torch.ops.torchvision._deform_conv2d_backward(
        widened(grad), input, weight, _finite(offset), *others, *layout, modulated)


def _finite(offset: Tensor) -> Tensor:
    return offset.nan_to_num(_FAR, _FAR, _FAR)


def _deformed(input: Tensor, weight: Tensor, offset: Tensor) -> list[Tensor]:
    """The tensors of a convolution without mask and bias, as torchvision takes them."""
    input, weight, offset = map(widened, (input, weight, offset))
    return [input, weight, offset, input.new_zeros(len(input), 1), input.new_zeros(len(weight))]


def deform_conv_backward_input(input: Tensor, offset: Tensor, gradOutput: Tensor,
                               gradInput: Tensor, gradOffset: Tensor, weight: Tensor,
                               columns: Tensor, kW: int, kH: int, dW: int, dH: int, padW: int,
                               padH: int, dilationW: int, dilationH: int, group: int,
                               deformable_group: int, im2col_step: int) -> None:
    """Fill the gradients of the input and of the offsets of :func:`deform_conv_forward`.

    torchvision computes all gradients at once: that of the weight waits at ``columns``, which
    :func:`deform_conv_backward_parameters` gets too.
    """
    layout = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    of_input, of_weight, of_offset, _, _ = _gradients(
        gradOutput, _deformed(input, weight, offset), layout, False)
    gradInput.copy_(of_input)
    gradOffset.copy_(of_offset)
    columns.clasp_mm_weight = gradOutput, of_weight


def deform_conv_backward_parameters(input: Tensor, offset: Tensor, gradOutput: Tensor,
                                    gradWeight: Tensor, columns: Tensor, ones: Tensor, kW: int,
                                    kH: int, dW: int, dH: int, padW: int, padH: int,
                                    dilationW: int, dilationH: int, group: int,
                                    deformable_group: int, scale: float,
                                    im2col_step: int) -> None:
    """Add ``scale`` times the gradient of the weight of :func:`deform_conv_forward`."""
    of, of_weight = columns.__dict__.pop('clasp_mm_weight', (None, None))
    if of is not gradOutput:
        layout = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
        of_weight = _gradients(gradOutput, _deformed(input, gradWeight, offset), layout, False)[1]
    gradWeight.add_(of_weight, alpha=scale)


def modulated_deform_conv_forward(input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor,
                                  offset: Tensor, mask: Tensor, output: Tensor, columns: Tensor,
                                  kernel_h: int, kernel_w: int, stride_h: int, stride_w: int,
                                  pad_h: int, pad_w: int, dilation_h: int, dilation_w: int,
                                  group: int, deformable_group: int, with_bias: bool) -> None:
    """Modulated deformable convolution (Zhu et al. 2019).

    Tensors:
        input: (b, c, h, w).
        weight: (o, c / group, kernel_h, kernel_w).
        bias: (o,); anything if not ``with_bias``.
        offset: (b, 2 deformable_group kernel_h kernel_w, oh, ow), in cells. A finer map, as DyHead
            has, is read as mmcv reads it: the first numbers of each sample, as if of this shape.
        mask: (b, deformable_group kernel_h kernel_w, oh, ow), or finer.
        output: (b, o, oh, ow), to be filled.
        columns: Not used, as ``ones``. The other numbers are those of :func:`deform_conv_forward`.

    Raises:
        ValueError: The maps of offsets or of masks are smaller than the output.
    """
    layout = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    _convolve(_modulated(input, weight, bias, offset, mask, output.shape[2:], with_bias), layout,
              True, output)


def modulated_deform_conv_backward(input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor,
                                   offset: Tensor, mask: Tensor, columns: Tensor,
                                   grad_input: Tensor, grad_weight: Tensor, grad_bias: Tensor,
                                   grad_offset: Tensor, grad_mask: Tensor, grad_output: Tensor,
                                   kernel_h: int, kernel_w: int, stride_h: int, stride_w: int,
                                   pad_h: int, pad_w: int, dilation_h: int, dilation_w: int,
                                   group: int, deformable_group: int, with_bias: bool) -> None:
    """Fill the gradients of :func:`modulated_deform_conv_forward`."""
    layout = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    tensors = _modulated(input, weight, bias, offset, mask, grad_output.shape[2:], with_bias)
    of_input, of_weight, of_offset, of_mask, of_bias = _gradients(
        grad_output, tensors, layout, True)
    grad_input.copy_(of_input)
    grad_weight.copy_(of_weight)
    if with_bias:
        grad_bias.copy_(of_bias)
    for whole, part in ((grad_offset, of_offset), (grad_mask, of_mask)):
        whole.flatten(1)[:, :part[0].numel()] = part.flatten(1).to(whole.dtype)


def _modulated(input: Tensor, weight: Tensor, bias: Tensor, offset: Tensor, mask: Tensor,
               size: torch.Size, with_bias: bool) -> list[Tensor]:
    input, weight, bias, offset, mask = map(widened, (input, weight, bias, offset, mask))
    if not with_bias:
        bias = input.new_zeros(len(weight))
    return [input, weight, _of_size(offset, size), _of_size(mask, size), bias]


def _of_size(maps: Tensor, size: torch.Size) -> Tensor:
    if maps.shape[2:] == size:
        return maps
    count = maps.shape[1] * size.numel()
    if maps[0].numel() < count:
        raise ValueError(f'offsets or masks of {tuple(maps.shape[2:])} cells for an output of '
                         f'{tuple(size)}: they must not be smaller')
    return maps.flatten(1)[:, :count].unflatten(1, (-1, *size))
