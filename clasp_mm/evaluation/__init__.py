from .miss_rate_metric import MissRateMetric
from .probes import linear_probe_attributes, linear_probe_segmentation

__all__ = ['MissRateMetric', 'linear_probe_attributes', 'linear_probe_segmentation']
