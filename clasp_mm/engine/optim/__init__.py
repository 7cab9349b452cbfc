from .dino_optim_wrapper import DINOAmpOptimWrapper, DINOOptimWrapper, clip_each_
from .layer_decay_constructor import LayerDecayOptimWrapperConstructor
from .trainable_constructor import TrainableOptimWrapperConstructor

__all__ = [
    'DINOAmpOptimWrapper', 'DINOOptimWrapper', 'LayerDecayOptimWrapperConstructor',
    'TrainableOptimWrapperConstructor', 'clip_each_'
]
