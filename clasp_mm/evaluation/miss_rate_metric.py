"""CityPersons' miss rate as a metric of a runner."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from clasp_mm.registry import METRICS

from .functional import MISS_RATE_SETUPS, log_average_miss_rate


@METRICS.register_module()
class MissRateMetric(BaseMetric):
    """Log-average miss rate in percent, lower is better; see :func:`log_average_miss_rate`.

    Of each data sample it reads ``pred_instances`` (``bboxes`` (D, 4) x1, y1, x2, y2 in pixels of
    the original image, ``scores`` and, where there are, ``labels``, of which 0 is the pedestrian)
    and ``instances`` as ``clasp_mm.CityPersons`` makes them: pack them as a meta key. Gives
    ``miss_rate/Reasonable`` and so on; a checkpoint hook that saves the best needs
    ``rule='less'``.

    Args:
        setups: Which of Reasonable, Small, Heavy and All to report.
        **kwargs: Arguments of MMEngine's BaseMetric.

    Raises:
        ValueError: An unknown setup.
    """

    default_prefix = 'miss_rate'

    def __init__(self, setups: Sequence[str] = tuple(MISS_RATE_SETUPS), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        unknown = [name for name in setups if name not in MISS_RATE_SETUPS]
        if unknown or not setups:
            raise ValueError(f'setups must be some of {list(MISS_RATE_SETUPS)}, got {setups}')
        self.setups = {name: MISS_RATE_SETUPS[name] for name in setups}

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Keep boxes and annotations of a batch.

        Raises:
            ValueError: A sample has no ``instances``, or one lacks a field.
        """
        for sample in data_samples:
            found = {name: values.double().cpu().numpy() for name, values
                     in sample['pred_instances'].items() if name in ('bboxes', 'scores', 'labels')}
            pedestrians = found.get('labels', np.zeros(len(found['scores']), int)) == 0
            try:
                real = [(one['bbox'], one['visibility'], one['ignore_flag'])
                        for one in sample['instances']]
            except KeyError as error:
                raise ValueError(
                    f'sample {sample.get("img_path", "")} has no {error}: the test data must be '
                    "clasp_mm.CityPersons and its packing transform have 'instances' among its "
                    'meta_keys') from error
            boxes, visibility, ignore = zip(*real, strict=True) if real else ((), (), ())
            self.results.append((
                found['bboxes'][pedestrians], found['scores'][pedestrians],
                np.array(boxes, np.float64), np.array(visibility, np.float64),
                np.array(ignore, bool)))

    def compute_metrics(self, results: list[tuple[np.ndarray, ...]]) -> dict[str, float]:
        """Score all images; a setup in which no pedestrian counts is NaN, and the log says so."""
        scores = log_average_miss_rate(*zip(*results, strict=True), self.setups)
        empty = [name for name in self.setups if not scores['num_pedestrians'][name]]
        if empty:
            print_log(f'{", ".join(empty)}: NaN, no pedestrian of {len(results)} images counts',
                      logger='current', level=logging.WARNING)
        return {name: scores[name] for name in self.setups}
