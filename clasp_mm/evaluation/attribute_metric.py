"""Attribute recognition as a metric of a runner."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from clasp_mm.registry import METRICS

from .functional import attribute_metrics, attribute_table


@METRICS.register_module()
class AttributeMetric(BaseMetric):
    """mA, instance accuracy, precision, recall and F1; see :func:`attribute_metrics`.

    Of each data sample it reads ``pred_score`` and ``gt_score``, both (A,), and, where there is
    one, ``loss``, whose mean is ``attribute/bce`` (MMEngine would log the mean over several
    validations of what is called loss). ``attribute/num_undefined`` attributes have no positive or
    no negative in the set and no part in mA; the log names them. Where these are all, mA is NaN.

    Args:
        threshold: An attribute is predicted above it.
        per_attribute: Log the table of all attributes, and give ``attribute/mA/NAME`` of each.
        **kwargs: Arguments of MMEngine's BaseMetric.

    Attributes:
        selected_on_test: Whether the test split chose the checkpoint, set by
            ``clasp_mm.AttributeHook``. Then the result has ``attribute/selected_on_test: 1``.
    """

    default_prefix = 'attribute'

    def __init__(self, threshold: float = 0.5, per_attribute: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold
        self.per_attribute = per_attribute
        self.selected_on_test = False

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Keep probabilities, labels and losses of a batch.

        Raises:
            ValueError: A sample has no labels, another number of them, or a score that is NaN.
        """
        for sample in data_samples:
            where = sample.get('img_path', 'a sample')
            if 'gt_score' not in sample:
                raise ValueError(f'{where} has no gt_score: the data must be '
                                 'clasp_mm.AttributeDataset, packed by PackInputs')
            scores, labels = (sample[name].double().cpu().numpy()
                              for name in ('pred_score', 'gt_score'))
            if scores.shape != labels.shape:
                raise ValueError(f'{where}: the model knows {len(scores)} attributes, the data '
                                 f'have {len(labels)}')
            if np.isnan(scores).any():
                raise ValueError(f'{where}: the model gives NaN; its weights or the image are '
                                 'damaged')
            loss = float(sample['loss']) if 'loss' in sample else np.nan
            self.results.append((scores, labels, loss))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Score all images."""
        scores, labels, losses = (np.array(column) for column in zip(*results, strict=True))
        full = attribute_metrics(scores, labels, self.threshold)
        names = (self.dataset_meta or {}).get('classes') or range(labels.shape[1])
        result = {name: full[name] for name in
                  ('mA', 'accuracy', 'precision', 'recall', 'F1', 'num_undefined')}
        if not np.isnan(losses).any():
            result['bce'] = float(losses.mean())
        if self.selected_on_test:
            result['selected_on_test'] = 1
            print_log('the checkpoint was chosen by its score on the test split: this is no score '
                      'on unseen data', logger='current', level=logging.WARNING)
        if full['num_undefined'] == labels.shape[1]:
            print_log(f'mA is NaN: none of {labels.shape[1]} attributes has both an image with it '
                      f'and one without among the {len(labels)} images', logger='current',
                      level=logging.WARNING)
        if self.per_attribute:
            print_log('\n' + attribute_table(full, names), logger='current')
            result |= {f'mA/{name}': float(value) for name, value in
                       zip(names, full['per_attribute']['mA'], strict=True)}
        elif 0 < full['num_undefined'] < labels.shape[1]:
            lacking = [str(name) for name, value in
                       zip(names, full['per_attribute']['mA'], strict=True) if np.isnan(value)]
            print_log(f'mA leaves out what has no positive or no negative here: '
                      f'{", ".join(lacking)}', logger='current')
        return result
