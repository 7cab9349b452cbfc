"""The operators of mmcv that nothing stands in for: who asks for them, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from mmengine.config import Config

# Who asks for a function of mmcv's compiled module, by the first pattern that its name has.
_ASKED_BY = {
    'deform_roi_pool': 'DeformRoIPool (the dpool configs of DCN)',
    'sync_bn': 'MMSyncBN (SyncBatchNorm of mmcv; type="SyncBN" is the one of torch)',
    '^roi_pool': 'RoIPool (Fast R-CNN as first published; RoIAlign is served)',
    'prroi_pool': 'PrRoIPool',
    'border_align': 'BorderAlign (BorderDet)',
    'rotated|quadri|convex|polygon': 'rotated detection (mmrotate)',
    'bezier|contour|pixel_group': 'text detection (mmocr)',
    'correlation|tin_shift': 'optical flow and video (mmagic, mmaction)',
    'bias_act|lrelu|leakyrelu|upfirdn': 'StyleGAN (mmagic)',
    '': 'point clouds (mmdet3d)',
}
# What a config names, and the first function that it calls in a training.
_TYPES = {
    'DeformRoIPool': 'deform_roi_pool_forward',
    'DeformRoIPoolPack': 'deform_roi_pool_forward',
    'ModulatedDeformRoIPoolPack': 'deform_roi_pool_forward',
    'MMSyncBN': 'sync_bn_forward_mean',
    'RoIPool': 'roi_pool_forward',
    'PrRoIPool': 'prroi_pool_forward',
    'BorderAlign': 'border_align_forward',
    'RoIAlignRotated': 'roi_align_rotated_forward',
    'RiRoIAlignRotated': 'riroi_align_rotated_forward',
    'nms_rotated': 'nms_rotated',
    'nms_quadri': 'nms_quadri',
}


def check_operators(cfg: Config | Mapping) -> None:
    """Refuse a config whose training would call an operator that nothing stands in for.

    A compiled mmcv serves them all: with it, nothing is refused.

    Raises:
        NotImplementedError: The operator, the type in the config, and what to do.
    """
    from ..switch import operators_in_use
    if operators_in_use() != 'compiled mmcv':
        for kind in _types(dict(cfg.items())):
            if kind in _TYPES:
                raise NotImplementedError(f"type={kind!r} in the config: {_missing(_TYPES[kind])}")


def _types(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        kind = node.get('type')
        yield str(getattr(kind, '__name__', kind)).rpartition('.')[2]
        node = node.values()
    elif not isinstance(node, (list, tuple)):
        return
    for value in node:
        yield from _types(value)


def _missing(name: str) -> str:
    asker = next(text for pattern, text in _ASKED_BY.items() if re.search(pattern, name))
    return (f'{name} of mmcv.ops, which {asker} asks for, has no stand-in in clasp_mm: it '
            'needs mmcv compiled for this torch. `pip uninstall mmcv-lite`, then `pip install '
            '--no-build-isolation mmcv==2.1.0`: a build of 20 to 46 minutes with a C++ compiler, '
            'for a GPU also with nvcc')


def raising(name: str) -> Callable[..., NoReturn]:
    """A function in the operator's place that says what is missing when it is called."""

    def operator(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(_missing(name))

    operator.__name__ = operator.__qualname__ = name
    return operator
