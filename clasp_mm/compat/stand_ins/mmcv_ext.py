"""``mmcv._ext`` where mmcv comes without it: torch and torchvision serve the operators."""

from clasp_mm.compat.operators import OPERATORS

clasp_mm_operators = True
globals().update(OPERATORS)
