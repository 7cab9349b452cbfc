"""Count operators and what makes the host wait for a GPU."""

import re

from torch.utils._python_dispatch import TorchDispatchMode


class Operators(TorchDispatchMode):
    """Count what is launched, without views and allocations, and name what waits."""

    FREE = re.compile('view|empty|expand|slice|select|squeeze|transpose|permute|^t$|detach|split|'
                      'unbind|alias|diagonal|as_strided|lift_fresh')
    WAITS = re.compile('_local_scalar_dense|nonzero|unique|masked_select|item|is_nonzero|equal$')

    def __init__(self):
        super().__init__()
        self.launches, self.waits = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.launches += not self.FREE.search(name)
        if self.WAITS.search(name):
            self.waits.append(name)
        return func(*args, **(kwargs or {}))
