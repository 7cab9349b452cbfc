from .hooks import SkippedImagesHook, TeacherHook
from .optim import DINOAmpOptimWrapper, DINOOptimWrapper

__all__ = ['DINOAmpOptimWrapper', 'DINOOptimWrapper', 'SkippedImagesHook', 'TeacherHook']
