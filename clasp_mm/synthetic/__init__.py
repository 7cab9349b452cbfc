"""Synthetic people: procedurally drawn persons whose labels are exact."""

from .contact_sheet import contact_sheet
from .layouts import (
    write_citypersons,
    write_coco_keypoints,
    write_cuhk_sysu,
    write_lip,
    write_market1501,
    write_pa100k,
)
from .people import PersonRecord, SyntheticPeople
from .scene import ScenePerson, SceneRecord, draw_scene
from .words import COCO_KEYPOINTS, COCO_SKELETON, LIP_CLASSES, LIP_PALETTE, PA100K_ATTRIBUTES
from .writers import GroundTruth, image_name, load_ground_truth, write_people

__all__ = [
    'COCO_KEYPOINTS', 'COCO_SKELETON', 'LIP_CLASSES', 'LIP_PALETTE', 'PA100K_ATTRIBUTES',
    'GroundTruth', 'PersonRecord', 'ScenePerson', 'SceneRecord', 'SyntheticPeople',
    'contact_sheet', 'draw_scene', 'image_name', 'load_ground_truth', 'write_citypersons',
    'write_coco_keypoints', 'write_cuhk_sysu', 'write_lip', 'write_market1501', 'write_pa100k',
    'write_people',
]
