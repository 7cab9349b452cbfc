"""The quirks of torch and of the host libraries, and what stands in for their compiled parts.

Importing this package loads nothing beyond Python's own library: the names below are imported on
first use, so that framework-free code may import it too.

Faults of the hosts on current versions, mended in memory:

=================  ==========================================  =================================
since              fault                                       mend
=================  ==========================================  =================================
Python 3.13,       mmpose's xtcocotools has no wheel           ``stand_ins/xtcocotools``
numpy 2
numpy 2.4          mmpose's OpenCV visualizer takes ``int()``  :func:`mend_draw_circles`
                   of an array of one element
Python 3.14        mmengine and mmcv ask ``pkgutil`` for the   :func:`switch_on`
                   ``find_loader`` it no longer has
torch 2.6          mmengine cannot resume from its own         :func:`allow_mmengine_checkpoints`
                   checkpoints
torch 2.14         mmcv's operators do not compile             ``operators``
any, without GPU   mmengine's launcher asks for a GPU          :func:`prepare_cpu_distributed`
=================  ==========================================  =================================

setuptools stays below 82: mmengine and mim import ``pkg_resources``, which later ones lack.
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
    'is_compiling': 'private_torch',
    'mend_draw_circles': 'quirks',
    'prepare_cpu_distributed': 'quirks',
    'torch_at_least': 'quirks',
}

__all__ = ['install_operators', 'operators_in_use', 'switch_on', *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f'{__name__}.{_HOMES[name]}'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
