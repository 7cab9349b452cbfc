"""Multi-scale deformable attention (Zhu et al. 2021), by the Python form that mmcv ships."""

import torch
from torch import Tensor

from .sampling import widened


def ms_deform_attn_forward(value: Tensor, value_spatial_shapes: Tensor,
                           value_level_start_index: Tensor, sampling_locations: Tensor,
                           attention_weights: Tensor, im2col_step: int) -> Tensor:
    """Return weighted sums of points of several maps.

    Tensors:
        value: (b, cells of all maps, heads, c), the maps one behind the other.
        value_spatial_shapes: (maps, 2): their heights and widths.
        value_level_start_index: Not used, as ``im2col_step``.
        sampling_locations: (b, queries, heads, maps, points, 2): x and y in 0 to 1.
        attention_weights: (b, queries, heads, maps, points).

    Returns:
        (b, queries, heads c).
    """
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
    return multi_scale_deformable_attn_pytorch(
        widened(value), value_spatial_shapes.tolist(), widened(sampling_locations),
        widened(attention_weights)).to(value.dtype)


def ms_deform_attn_backward(value: Tensor, value_spatial_shapes: Tensor,
                            value_level_start_index: Tensor, sampling_locations: Tensor,
                            attention_weights: Tensor, grad_output: Tensor, grad_value: Tensor,
                            grad_sampling_loc: Tensor, grad_attn_weight: Tensor,
                            im2col_step: int) -> None:
    """Fill the gradients of :func:`ms_deform_attn_forward`."""
    leaves = [one.detach().requires_grad_()
              for one in (value, sampling_locations, attention_weights)]
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            leaves[0], value_spatial_shapes, value_level_start_index, *leaves[1:], im2col_step)
    found = torch.autograd.grad(output, leaves, grad_output)
    for to, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), found, strict=True):
        to.copy_(grad)
