"""The quirks of torch and of the host libraries, and what stands in for their compiled parts.

Importing this package loads nothing beyond Python's own library: the names below are imported on
first use, so that framework-free code may import it too.
"""

from importlib import import_module
from typing import Any

from .switch import install_operators, operators_in_use, switch_on

_HOMES = {
    'SAFETENSORS_META': 'checkpoints',
    'SAFETENSORS_SUM': 'checkpoints',
    'allow_mmengine_checkpoints': 'checkpoints',
    'check_operators': 'operators.unserved',
    'check_records': 'checkpoints',
    'load_file': 'checkpoints',
    'safetensors_sum': 'checkpoints',
    'is_compiling': 'quirks',
    'mend_draw_circles': 'quirks',
    'prepare_cpu_distributed': 'quirks',
    'quiet_mmcv_lite': 'quirks',
    'torch_at_least': 'quirks',
}

__all__ = ['install_operators', 'operators_in_use', 'switch_on', *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
