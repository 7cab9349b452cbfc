"""``xtcocotools.coco``."""

from ...coco_eval import COCO

__all__ = ['COCO']
