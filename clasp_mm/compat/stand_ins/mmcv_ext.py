"""``mmcv._ext`` where mmcv comes without it: torch and torchvision serve the operators."""

from clasp_mm.compat.operators import OPERATORS, raising

clasp_mm_operators = True
globals().update(OPERATORS)


def __getattr__(name):
    if name.startswith('__'):
        raise AttributeError(name)
    return raising(name)
