"""Person search as a metric of a runner."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from clasp_mm.registry import METRICS

from .functional import evaluate_person_search


@METRICS.register_module()
class PersonSearchMetric(BaseMetric):
    """mAP and top-k of CUHK-SYSU and PRW; see :func:`evaluate_person_search`.

    Of each data sample it reads ``pred_instances`` (``bboxes`` in pixels of the original image,
    ``scores``, ``features``), ``query_features`` (one for each query of the frame), and
    ``instances`` and ``queries`` as ``clasp_mm.CUHKSYSU`` and ``clasp_mm.PRW`` make them: pack
    them as meta keys. Gives ``search/mAP`` and so on.

    Args:
        topk: Which k to report.
        score_threshold: Detections of less confidence are left out.
        cbgm: Context bipartite graph matching: (detections, people), (10, 3) on CUHK-SYSU and
            (30, 4) on PRW in SeqNet; None leaves it out.
        **kwargs: Arguments of MMEngine's BaseMetric.
    """

    default_prefix = 'search'

    def __init__(self, topk: Sequence[int] = (1, 5, 10), score_threshold: float = 0.5,
                 cbgm: tuple[int, int] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.options = dict(topk=topk, score_threshold=score_threshold, cbgm=cbgm)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Keep what was found and what is true of a batch.

        Raises:
            ValueError: A sample has no ``instances`` or no ``queries``.
        """
        for sample in data_samples:
            missing = [key for key in ('instances', 'queries') if key not in sample]
            if missing:
                raise ValueError(
                    f'sample {sample.get("img_path", "")} has no {" and no ".join(missing)}: the '
                    "packing transform needs 'instances' and 'queries' among its meta_keys")
            found = sample['pred_instances']
            self.results.append(dict(
                img_id=sample['img_id'],
                **{key: found[key].float().cpu().numpy()
                   for key in ('bboxes', 'scores', 'features')},
                gt_boxes=np.array([one['bbox'] for one in sample['instances']]).reshape(-1, 4),
                gt_pids=np.array([one['bbox_label'] for one in sample['instances']], np.int64),
                queries=sample['queries'],
                query_features=sample['query_features'].float().cpu().numpy()))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Score all queries; without any that can be scored, NaN, and the log says why.

        Raises:
            ValueError: Frames are missing.
        """
        results = sorted(results, key=lambda one: one['img_id'])
        if [one['img_id'] for one in results] != list(range(len(results))):
            raise ValueError(f'{len(results)} frames, of which the last has number '
                             f'{results[-1]["img_id"]}: galleries need the whole test split')
        queries = sorted(((query, frame['img_id'], feature) for frame in results for query, feature
                          in zip(frame['queries'], frame['query_features'], strict=True)),
                         key=lambda one: one[0]['query'])
        galleries = [query['gallery'] for query, _, _ in queries]
        scores = evaluate_person_search(
            *([one[key] for one in results] for key in ('bboxes', 'scores', 'features')),
            query_features=np.array([feature for _, _, feature in queries]).reshape(
                len(queries), results[0]['features'].shape[1]),
            query_images=[image for _, image, _ in queries],
            query_boxes=np.array([query['bbox'] for query, _, _ in queries]).reshape(-1, 4),
            query_pids=[query['pid'] for query, _, _ in queries],
            gt_boxes=[one['gt_boxes'] for one in results],
            gt_pids=[one['gt_pids'] for one in results],
            galleries=None if None in galleries else galleries, **self.options)
        del scores['average_precision']
        if not scores['num_valid']:
            print_log('mAP and top-k are NaN: '
                      + (f'none of the {len(queries)} queries is shown by a frame of its gallery; '
                         'check identities and galleries' if queries else 'no frame has a query; '
                         'person search is scored on the test split'),
                      logger='current', level=logging.WARNING)
        return scores
