"""``xtcocotools.coco``."""

from clasp_mm.compat.coco_eval import COCO

__all__ = ['COCO']
