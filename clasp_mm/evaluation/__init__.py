from .probes import linear_probe_attributes, linear_probe_segmentation

__all__ = ['linear_probe_attributes', 'linear_probe_segmentation']
