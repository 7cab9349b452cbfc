from .dino_optim_wrapper import DINOAmpOptimWrapper, DINOOptimWrapper, clip_each_
from .trainable_constructor import TrainableOptimWrapperConstructor

__all__ = [
    'DINOAmpOptimWrapper', 'DINOOptimWrapper', 'TrainableOptimWrapperConstructor', 'clip_each_'
]
