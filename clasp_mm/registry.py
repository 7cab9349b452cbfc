"""Registries of scope ``clasp_mm``, children of MMEngine's.

Every type is named with its prefix (``clasp_mm.PCMoESwin``) while ``default_scope`` stays the
host library's; MMEngine then imports this module and the packages below by itself.
"""

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry


def _child(parent: str, package: str) -> Registry:
    parent_registry = getattr(mmengine_registry, parent)
    return Registry(parent_registry.name, parent=parent_registry, scope='clasp_mm',
                    locations=[f'clasp_mm.{package}'])


MODELS = _child('MODELS', 'models')
WEIGHT_INITIALIZERS = _child('WEIGHT_INITIALIZERS', 'models')
DATASETS = _child('DATASETS', 'datasets')
DATA_SAMPLERS = _child('DATA_SAMPLERS', 'datasets')
TRANSFORMS = _child('TRANSFORMS', 'datasets')
HOOKS = _child('HOOKS', 'engine')
OPTIM_WRAPPERS = _child('OPTIM_WRAPPERS', 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child('OPTIM_WRAPPER_CONSTRUCTORS', 'engine')
PARAM_SCHEDULERS = _child('PARAM_SCHEDULERS', 'engine')
METRICS = _child('METRICS', 'evaluation')
