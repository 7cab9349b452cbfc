"""Pickles as RethinkPAR writes them, without EasyDict installed."""

import pickle
import sys
import types
from contextlib import contextmanager

import numpy as np


@contextmanager
def easydict():
    """A module as EasyDict's: a dict whose instances also keep their items as attributes."""
    class EasyDict(dict):
        def __init__(self, **items):
            super().__init__()
            for name, value in items.items():
                setattr(self, name, value)

        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            self[name] = value

    EasyDict.__module__, EasyDict.__qualname__ = 'easydict', 'EasyDict'
    module = types.ModuleType('easydict')
    module.EasyDict = EasyDict
    before = sys.modules.get('easydict')
    sys.modules['easydict'] = module
    try:
        yield EasyDict
    finally:
        sys.modules.pop('easydict')
        if before is not None:
            sys.modules['easydict'] = before


def write_rethink(path, protocol=4, labels=None, eval_=(3, 0, 2), splits=None, **changes):
    """A zero-shot pickle of 10 images and 4 attributes, of which 3 are evaluated."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (10, 4)) if labels is None else labels
    splits = splits or dict(train=np.arange(5), val=np.arange(5, 7), trainval=np.arange(7),
                            test=np.array([9, 8, 7]))
    with easydict() as EasyDict:
        content = EasyDict(
            description='peta', reorder='group_order', root='/elsewhere/images',
            image_name=[np.str_(f'{index:05d}.png') for index in range(1, 11)],  # of loadmat
            attr_name=[*map(np.str_, ('hat', 'bag', 'skirt', 'boots'))], label=labels,
            label_idx=EasyDict(eval=list(eval_), color=[1], extra=range(3, 4)),
            partition=EasyDict(**splits), weight_train=[labels.mean(0).astype(np.float32)])
        for name, value in changes.items():
            if value is None:
                del content[name]
            else:
                content[name] = value
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    return labels
