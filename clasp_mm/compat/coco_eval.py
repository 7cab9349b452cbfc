"""COCO's evaluation by the rules of xtcocotools, scored by pycocotools.

mmpose asks for xtcocotools, which has no wheel for numpy 2 or Python 3.13. Its rules for keypoints
differ from pycocotools' in what is counted, not in how it is scored: so the annotations are laid
out by them, as copies, and pycocotools scores these.
"""

import copy
import json
import warnings
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import coco, cocoeval

# The part of a whole body that each kind of evaluation reads, in the order of its sigmas.
_HANDS = ('lefthand_kpts', 'righthand_kpts')
_PARTS = {
    'keypoints': ('keypoints',),
    'keypoints_crowd': ('keypoints',),
    'keypoints_body': ('keypoints',),
    'keypoints_foot': ('foot_kpts',),
    'keypoints_face': ('face_kpts',),
    'keypoints_lefthand': _HANDS[:1],
    'keypoints_righthand': _HANDS[1:],
    'keypoints_wholebody': ('keypoints', 'foot_kpts', 'face_kpts', *_HANDS),
}
# ... and those whose detections may have a score of their own, `foot_score` for the feet.
_OWN_SCORE = ('foot', 'face', 'lefthand', 'righthand', 'wholebody')
# A person's area from that of its box, where the file has none.
_AREA_OF_BOX = 0.53
# CrowdPose's crowdIndex: below the first an image is easy, from the second on hard.
_EASY, _HARD = 0.2, 0.8


class COCO(coco.COCO):
    """Annotations of a file in COCO's format; those without ``iscrowd`` are no crowd."""

    def createIndex(self) -> None:
        for ann in self.dataset.get('annotations', ()):
            ann.setdefault('iscrowd', 0)
        super().createIndex()

    def loadRes(self, resFile: str | list[dict] | np.ndarray) -> coco.COCO:
        """Read detections; there may be none."""
        if isinstance(resFile, str):
            with open(resFile, encoding='utf-8') as file:
                resFile = json.load(file)
        if len(resFile):
            return super().loadRes(resFile)
        result = COCO()
        result.dataset = dict(images=list(self.dataset['images']), annotations=[])
        result.createIndex()
        return result


class COCOeval(cocoeval.COCOeval):
    """Scores boxes, masks and keypoints.

    For keypoints, an object counts by its keypoints with v > 0 (CrowdPose: by the file's
    ``num_keypoints``), a detection whose keypoints all have the score 0 is left out, and ids are
    free, 0 included.

    Args:
        cocoGt: The annotations, of :class:`COCO`.
        cocoDt: The detections, of its ``loadRes``.
        iouType: ``bbox``, ``segm``, ``keypoints``, ``keypoints_crowd``, or ``keypoints_`` and
            ``body``, ``foot``, ``face``, ``lefthand``, ``righthand`` or ``wholebody``.
        sigmas: Per keypoint, OKS's tolerance; default: of COCO's 17.
        use_area: Take the objects' areas from the file. If False, or where the file has none, an
            area is 0.53 times that of the box.

    Raises:
        ValueError: ``iouType`` is none of these.
    """

    def __init__(self, cocoGt: coco.COCO | None = None, cocoDt: coco.COCO | None = None,
                 iouType: str = 'keypoints', sigmas: Sequence[float] | None = None,
                 use_area: bool = True) -> None:
        if iouType not in ('bbox', 'segm', *_PARTS):
            raise ValueError(f'iouType is {iouType!r}; known: bbox, segm, {", ".join(_PARTS)}')
        super().__init__(cocoGt, cocoDt, 'keypoints' if iouType in _PARTS else iouType)
        self.kind = iouType
        self.use_area = use_area
        if sigmas is not None:
            self.params.kpt_oks_sigmas = np.asarray(sigmas)

    def _prepare(self) -> None:
        if self.params.iouType != 'keypoints':
            super()._prepare()
            return
        wanted = dict(imgIds=self.params.imgIds)
        if self.params.useCats:
            wanted['catIds'] = self.params.catIds
        objects, detections = (side.loadAnns(side.getAnnIds(**wanted))
                               for side in (self.cocoGt, self.cocoDt))
        self._gts, self._dts = (_by_image(map(lay_out, anns)) for lay_out, anns in (
            (self._object, objects), (self._detection, detections)))
        self.evalImgs = defaultdict(list)
        self.eval = {}
        own = self._own_score()
        if any(own not in ann for ann in detections):
            warnings.warn(f'{own!r} not found, use "score" instead.', stacklevel=2)

    def _own_score(self) -> str:
        part = self.kind.partition('_')[2]
        return f'{part}_score' if part in _OWN_SCORE else 'score'

    def _keypoints(self, ann: dict) -> list:
        return [value for part in _PARTS[self.kind] for value in ann[part]]

    def _object(self, ann: dict) -> dict:
        keypoints = self._keypoints(ann)
        seen = ann['num_keypoints'] if self.kind == 'keypoints_crowd' else np.count_nonzero(
            np.array(keypoints[2::3]) > 0)
        crowd = ann.get('iscrowd', 0)
        area = ann.get('area') if self.use_area else None
        if area is None:
            area = ann['bbox'][3] * ann['bbox'][2] * _AREA_OF_BOX
        return {**ann, 'keypoints': keypoints, 'num_keypoints': seen, 'iscrowd': crowd,
                'area': area, 'ignore': int(bool(crowd) or seen == 0)}

    def _detection(self, ann: dict) -> dict | None:
        keypoints = self._keypoints(ann)
        if not np.any(np.array(keypoints[2::3]) > 0):
            return None
        return {**ann, 'keypoints': keypoints, 'score': ann.get(self._own_score(), ann['score'])}

    def summarize(self) -> None:
        """Print and keep ``stats``: COCO's ten of keypoints, CrowdPose's nine, twelve of boxes."""
        super().summarize()
        if self.kind == 'keypoints_crowd':
            everything = self.stats[[0, 1, 2, 5, 6, 7]]  # AP and AR: all, 0.50, 0.75
            levels = []
            for name, low, up in (('easy', -np.inf, _EASY), ('medium', _EASY, _HARD),
                                  ('hard', _HARD, np.inf)):
                levels.append(self._precision([
                    image['id'] for image in self.cocoGt.dataset['images']
                    if low <= image['crowdIndex'] < up]))
                print(f' Average Precision  (AP) @[ type={name:>6s} | maxDets= 20 ] = '
                      f'{levels[-1]:0.3f}')
            self.stats = np.array([*everything, *levels])

    def _precision(self, images: list[int]) -> float:
        """CrowdPose's AP over ``images``: what cannot be scored counts as -1, to 4 digits."""
        part = COCOeval(self.cocoGt, self.cocoDt, self.kind, use_area=self.use_area)
        part.params = copy.copy(self.params)
        part.params.imgIds = images
        part.evaluate()
        part.accumulate()
        return round(np.mean(part.eval['precision'][:, :, :, 0, :]), 4)


def _by_image(anns: Any) -> dict[tuple, list[dict]]:
    """By image and category, under ids from 1: pycocotools reads 0 as "not matched"."""
    groups = defaultdict(list)
    for new, ann in enumerate(filter(None, anns), 1):
        groups[ann['image_id'], ann['category_id']].append({**ann, 'id': new})
    return groups
