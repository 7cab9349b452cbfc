from .attribute import attribute_metrics, attribute_table
from .miss_rate import MISS_RATE_SETUPS, MissRateSetup, log_average_miss_rate
from .parsing import ConfusionMatrix, parsing_iou
from .person_search import evaluate_person_search
from .reid import evaluate_reid

__all__ = ['MISS_RATE_SETUPS', 'ConfusionMatrix', 'MissRateSetup', 'attribute_metrics',
           'attribute_table', 'evaluate_person_search', 'evaluate_reid', 'log_average_miss_rate',
           'parsing_iou']
