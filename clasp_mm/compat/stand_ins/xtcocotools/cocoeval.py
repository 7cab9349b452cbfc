"""``xtcocotools.cocoeval``."""

from clasp_mm.compat.coco_eval import COCOeval

__all__ = ['COCOeval']
