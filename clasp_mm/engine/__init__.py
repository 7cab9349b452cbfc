from .hooks import SkippedImagesHook, TeacherHook
from .optim import DINOAmpOptimWrapper, DINOOptimWrapper, TrainableOptimWrapperConstructor

__all__ = [
    'DINOAmpOptimWrapper', 'DINOOptimWrapper', 'SkippedImagesHook', 'TeacherHook',
    'TrainableOptimWrapperConstructor'
]
