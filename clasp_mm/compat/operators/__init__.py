"""What mmcv's compiled module offers to ``mmcv.ops``, by torch and torchvision.

:data:`OPERATORS` has those that mmdet, mmsegmentation and mmpose call, on the CPU and on GPUs;
:func:`raising` makes the others, which raise an error that says what to do.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

from . import attention, boxes, losses, reassembly, sampling
from .unserved import raising

__all__ = ['OPERATORS', 'raising']

_SERVED = {
    boxes: ('nms', 'softnms', 'nms_match', 'bbox_overlaps'),
    sampling: ('roi_align_forward', 'roi_align_backward', 'deform_conv_forward',
               'deform_conv_backward_input', 'deform_conv_backward_parameters',
               'modulated_deform_conv_forward', 'modulated_deform_conv_backward'),
    reassembly: ('psamask_forward', 'psamask_backward', 'masked_im2col_forward',
                 'masked_col2im_forward', 'carafe_naive_forward', 'carafe_naive_backward',
                 'carafe_forward', 'carafe_backward'),
    attention: ('ms_deform_attn_forward', 'ms_deform_attn_backward'),
    losses: ('sigmoid_focal_loss_forward', 'sigmoid_focal_loss_backward',
             'softmax_focal_loss_forward', 'softmax_focal_loss_backward'),
}


def _as_given(function: Callable) -> Callable:
    """Compute in the types of the tensors, as a compiled operator does, under autocast too."""

    @functools.wraps(function)
    def operator(first: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if first.device.type not in ('cpu', 'cuda'):
            return function(first, *args, **kwargs)
        with torch.autocast(first.device.type, enabled=False):
            return function(first, *args, **kwargs)

    return operator


def get_compiler_version() -> str:
    """What ``collect_env`` prints as the compiler of mmcv's operators."""
    return "none: clasp_mm's operators, by torch and torchvision"


def get_compiling_cuda_version() -> str:
    """What ``collect_env`` prints as the CUDA they were compiled with."""
    return 'none: as torch and torchvision'


OPERATORS = {
    **{name: _as_given(getattr(module, name))
       for module, names in _SERVED.items() for name in names},
    'get_compiler_version': get_compiler_version,
    'get_compiling_cuda_version': get_compiling_cuda_version,
}
