"""The operators of mmcv that nothing stands in for: who asks for them, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from mmengine.config import Config

# Functions of mmcv's compiled module, by what asks for them.
_ASKED_BY = {
    'DeformRoIPool (the dpool configs of DCN)': (
        'deform_roi_pool_forward', 'deform_roi_pool_backward'),
    'MMSyncBN (SyncBatchNorm of mmcv; type="SyncBN" is the one of torch)': (
        'sync_bn_forward_mean', 'sync_bn_forward_var', 'sync_bn_forward_output',
        'sync_bn_backward_param', 'sync_bn_backward_data'),
    'RoIPool (Fast R-CNN as first published; RoIAlign is served)': (
        'roi_pool_forward', 'roi_pool_backward'),
    'PrRoIPool': ('prroi_pool_forward', 'prroi_pool_backward', 'prroi_pool_coor_backward'),
    'BorderAlign (BorderDet)': ('border_align_forward', 'border_align_backward'),
    'rotated detection (mmrotate)': (
        'nms_rotated', 'nms_quadri', 'box_iou_rotated', 'box_iou_quadri', 'convex_iou',
        'convex_giou', 'min_area_polygons', 'points_in_polygons_forward',
        'diff_iou_rotated_sort_vertices_forward', 'active_rotated_filter_forward',
        'active_rotated_filter_backward', 'riroi_align_rotated_forward',
        'riroi_align_rotated_backward', 'roi_align_rotated_forward', 'roi_align_rotated_backward',
        'rotated_feature_align_forward', 'rotated_feature_align_backward'),
    'text detection (mmocr)': (
        'bezier_align_forward', 'bezier_align_backward', 'contour_expand', 'pixel_group'),
    'optical flow and video (mmagic, mmaction)': (
        'correlation_forward', 'correlation_backward', 'tin_shift_forward', 'tin_shift_backward'),
    'StyleGAN (mmagic)': (
        'bias_act', 'filtered_lrelu', 'filtered_lrelu_act_', 'fused_bias_leakyrelu', 'upfirdn2d'),
    'point clouds (mmdet3d)': (
        'assign_score_withk_forward', 'assign_score_withk_backward', 'ball_query_forward',
        'stack_ball_query_forward', 'chamfer_distance_forward', 'chamfer_distance_backward',
        'furthest_point_sampling_forward', 'furthest_point_sampling_with_dist_forward',
        'gather_points_forward', 'gather_points_backward', 'group_points_forward',
        'group_points_backward', 'stack_group_points_forward', 'stack_group_points_backward',
        'iou3d_boxes_overlap_bev_forward', 'iou3d_nms3d_forward', 'iou3d_nms3d_normal_forward',
        'knn_forward', 'points_in_boxes_part_forward', 'points_in_boxes_cpu_forward',
        'points_in_boxes_all_forward', 'roiaware_pool3d_forward', 'roiaware_pool3d_backward',
        'roipoint_pool3d_forward', 'dynamic_point_to_voxel_forward',
        'dynamic_point_to_voxel_backward', 'three_interpolate_forward',
        'three_interpolate_backward', 'three_nn_forward', 'dynamic_voxelize_forward',
        'hard_voxelize_forward', 'get_indice_pairs_2d_forward', 'get_indice_pairs_3d_forward',
        'get_indice_pairs_4d_forward', 'get_indice_pairs_2d_backward',
        'get_indice_pairs_3d_backward', 'indice_conv_forward', 'indice_conv_backward',
        'fused_indice_conv_forward', 'indice_maxpool_forward', 'indice_maxpool_backward'),
}
UNSERVED = {name: asker for asker, names in _ASKED_BY.items() for name in names}


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
    return (f'{name} of mmcv.ops, which {UNSERVED[name]} asks for, has no stand-in in clasp_mm: it '
            'needs mmcv compiled for this torch. `pip uninstall mmcv-lite`, then `pip install '
            '--no-build-isolation mmcv==2.1.0`: a build of 20 to 46 minutes with a C++ compiler, '
            'for a GPU also with nvcc')


def raising(name: str) -> Callable[..., NoReturn]:
    """A function in the operator's place that says what is missing when it is called."""

    def operator(*args: object, **kwargs: object) -> NoReturn:
        raise NotImplementedError(_missing(name))

    operator.__name__ = operator.__qualname__ = name
    return operator
