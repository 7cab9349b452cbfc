from .attribute import attribute_metrics, attribute_table
from .conflict import expert_activation_divergence, gradient_conflict_ratio, harmonic_mean
from .miss_rate import MISS_RATE_SETUPS, MissRateSetup, log_average_miss_rate
from .parsing import ConfusionMatrix, parsing_iou
from .person_search import detection_average_precision, evaluate_person_search
from .reid import evaluate_reid

__all__ = ['MISS_RATE_SETUPS', 'ConfusionMatrix', 'MissRateSetup', 'attribute_metrics',
           'attribute_table', 'detection_average_precision', 'evaluate_person_search',
           'evaluate_reid', 'expert_activation_divergence', 'gradient_conflict_ratio',
           'harmonic_mean', 'log_average_miss_rate', 'parsing_iou']
