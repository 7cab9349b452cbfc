"""Registries of scope ``clasp_mm``, children of MMEngine's.

Every type is named with its prefix (``clasp_mm.PCMoESwin``) while ``default_scope`` stays the
host library's; MMEngine then imports this module and the ``locations`` below by itself.
"""

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry

_MODELS = ['clasp_mm.models']
_DATASETS = ['clasp_mm.datasets']
_ENGINE = ['clasp_mm.engine']
_EVALUATION = ['clasp_mm.evaluation']


def _child(parent: str, locations: list[str]) -> Registry:
    parent_registry = getattr(mmengine_registry, parent)
    return Registry(
        parent_registry.name, parent=parent_registry, scope='clasp_mm', locations=locations)


MODELS = _child('MODELS', _MODELS)
WEIGHT_INITIALIZERS = _child('WEIGHT_INITIALIZERS', _MODELS)
DATASETS = _child('DATASETS', _DATASETS)
DATA_SAMPLERS = _child('DATA_SAMPLERS', _DATASETS)
TRANSFORMS = _child('TRANSFORMS', _DATASETS)
HOOKS = _child('HOOKS', _ENGINE)
OPTIM_WRAPPERS = _child('OPTIM_WRAPPERS', _ENGINE)
OPTIM_WRAPPER_CONSTRUCTORS = _child('OPTIM_WRAPPER_CONSTRUCTORS', _ENGINE)
PARAM_SCHEDULERS = _child('PARAM_SCHEDULERS', _ENGINE)
METRICS = _child('METRICS', _EVALUATION)
