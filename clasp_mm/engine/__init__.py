from .hooks import HealthHook, SkippedImagesHook, TeacherHook
from .optim import DINOAmpOptimWrapper, DINOOptimWrapper, TrainableOptimWrapperConstructor

__all__ = [
    'DINOAmpOptimWrapper', 'DINOOptimWrapper', 'HealthHook', 'SkippedImagesHook', 'TeacherHook',
    'TrainableOptimWrapperConstructor'
]
