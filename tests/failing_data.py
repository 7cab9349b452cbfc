"""The data of tests.tiny_task, with a disk that goes in one process."""

import os

from mmengine.registry import DATASETS

from tests.tiny_task import TinyData, TinyError, TinyModel

__all__ = ['FailingData', 'TinyData', 'TinyError', 'TinyModel']


@DATASETS.register_module(force=True)
class FailingData(TinyData):

    def __getitem__(self, index):
        if os.environ.get('RANK') == '1' and index > 8:
            raise OSError('the disk of process 1 has gone')
        return super().__getitem__(index)
