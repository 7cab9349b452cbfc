from .attribute import attribute_metrics
from .parsing import ConfusionMatrix, parsing_iou
from .reid import evaluate_reid

__all__ = ['ConfusionMatrix', 'attribute_metrics', 'evaluate_reid', 'parsing_iou']
