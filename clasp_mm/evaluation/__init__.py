from .attribute_metric import AttributeMetric
from .miss_rate_metric import MissRateMetric
from .person_search_metric import PersonSearchMetric
from .probes.linear import linear_probe_attributes, linear_probe_segmentation
from .reid_metric import ReIDMetric

__all__ = ['AttributeMetric', 'MissRateMetric', 'PersonSearchMetric', 'ReIDMetric',
           'linear_probe_attributes', 'linear_probe_segmentation']
