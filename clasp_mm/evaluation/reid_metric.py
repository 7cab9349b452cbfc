"""mAP and CMC of re-identification as a metric of a runner."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from clasp_mm.registry import METRICS

from .functional import evaluate_reid
from .functional.reid_causes import score_causes, split_causes
from .functional.reid_ranking import Protocol, with_own_files

CROSS_CAMERA, NO_CAMERA = 'cross-camera', 'no-camera'


@METRICS.register_module()
class ReIDMetric(BaseMetric):
    """See :func:`~clasp_mm.evaluation.functional.evaluate_reid`.

    Of each data sample it reads ``feature`` ((C,), of ``clasp_mm.ReIDHead``) and the meta keys
    ``pid``, ``camera``, ``is_query`` and ``img_path``. Gives ``reid/mAP``, ``reid/rank1`` and so
    on in percent, with re-ranking ``reid/mAP_reranked`` too, and ``reid/num_skipped``.

    The protocol is in the log by its name: ``cross-camera``, where images of the query's identity
    and camera do not count, and, for data without cameras, ``no-camera``. Where a camera is not
    known (negative; the log says how many), only the query's own file is left out of the gallery.
    The log has the causes of a score that is zero, missing or odd, too; where no query can be
    scored, or a feature is not finite, the score is NaN.

    Args:
        ranks: Ranks of the CMC curve.
        rerank: Score a second ranking by k-reciprocal distances; True or their arguments.
        **kwargs: Arguments of MMEngine's BaseMetric.
    """

    default_prefix = 'reid'

    def __init__(self, ranks: Sequence[int] = (1, 5, 10), rerank: bool | Mapping = False,
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ranks, self.rerank = tuple(ranks), rerank
        self.names = ('mAP', *(f'rank{rank}' for rank in self.ranks))

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Keep the features of a batch.

        Raises:
            ValueError: A sample lacks a field.
        """
        for sample in data_samples:
            try:
                row = tuple(sample[key] for key in ('pid', 'camera', 'is_query', 'img_path'))
            except KeyError as error:
                raise ValueError(
                    f'a sample has no {error}: PackInputs needs meta_keys=("pid", "camera", '
                    '"is_query", "img_path"), and the data set split="test"') from error
            self.results.append((sample['feature'].float().cpu().numpy(), *row))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Score all images."""
        features, pids, cameras, is_query, paths = (np.array(column) for column in
                                                    zip(*results, strict=True))
        if is_query.all() or not is_query.any():
            what = 'gallery images' if is_query.all() else 'queries'
            _warn('no score', [f'there are no {what} among the {len(is_query)} images of the test '
                               'set: set split="test", which has both'])
            return self._nothing(int(is_query.sum()))
        unknown = int((cameras < 0).sum())
        name = NO_CAMERA if unknown == len(cameras) else CROSS_CAMERA
        cameras = with_own_files(cameras, paths)
        parts = [(features[rows], pids[rows], cameras[rows]) for rows in (is_query, ~is_query)]
        arrays = [part[i] for i in range(3) for part in parts]
        print_log(f'protocol {name}: {is_query.sum()} queries, {(~is_query).sum()} gallery images'
                  + (f'; the camera of {unknown} is not known' if 0 < unknown < len(paths) else ''),
                  logger='current')
        return self._scores(arrays, paths)

    def _scores(self, arrays: Sequence[np.ndarray], paths: np.ndarray) -> dict[str, float]:
        """Scores of queries and gallery, each (features, pids, cameras) in pairs; log causes."""
        queries, gallery, *labels = arrays
        protocol = Protocol(*labels, len(queries), len(gallery))
        bad = int((~np.isfinite(queries).all(axis=1)).sum()
                  + (~np.isfinite(gallery).all(axis=1)).sum())
        if bad or not any(len(matches) for matches in protocol.matches):
            causes = [f'{bad} of {len(paths)} images have features that are not finite'
                      ] * bool(bad) + split_causes(protocol)
            _warn('no score', causes)
            return self._nothing(len(queries))
        found = evaluate_reid(*arrays, ranks=self.ranks, max_rank=max(50, *self.ranks))
        scores = {key: found[key] for key in (*self.names, 'num_skipped')}
        shared = (self.dataset_meta or {}).get('shared_with_train', 0)
        causes = score_causes(found['mAP'], queries, gallery, protocol, shared)
        if causes:
            _warn(f'mAP {found["mAP"]:.2f}', causes)
        if self.rerank:
            again = evaluate_reid(*arrays, ranks=self.ranks, max_rank=max(50, *self.ranks),
                                  rerank=self.rerank)
            scores.update({f'{key}_reranked': again[key] for key in self.names})
        return scores

    def _nothing(self, num_queries: int) -> dict[str, float]:
        """The scores of queries that all are skipped."""
        names = [f'{name}{end}' for end in ('', '_reranked')[:1 + bool(self.rerank)]
                 for name in self.names]
        return {**dict.fromkeys(names, float('nan')), 'num_skipped': float(num_queries)}


def _warn(what: str, causes: Sequence[str]) -> None:
    print_log(f'{what}: ' + '; '.join(causes), logger='current', level=logging.WARNING)
