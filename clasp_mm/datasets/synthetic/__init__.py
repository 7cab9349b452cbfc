"""Synthetic people: procedurally drawn persons whose labels are exact."""

from .people import PersonRecord, SyntheticPeople
from .scene import ScenePerson, SceneRecord, draw_scene
from .words import COCO_KEYPOINTS, COCO_SKELETON, LIP_CLASSES, LIP_PALETTE, PA100K_ATTRIBUTES

__all__ = [
    'COCO_KEYPOINTS', 'COCO_SKELETON', 'LIP_CLASSES', 'LIP_PALETTE', 'PA100K_ATTRIBUTES',
    'PersonRecord', 'ScenePerson', 'SceneRecord', 'SyntheticPeople', 'draw_scene',
]
