"""``xtcocotools.cocoeval``."""

from ...coco_eval import COCOeval

__all__ = ['COCOeval']
