from .dino_optim_wrapper import DINOAmpOptimWrapper, DINOOptimWrapper, clip_each_
from .layer_decay_constructor import LayerDecayOptimWrapperConstructor
from .trainable_constructor import TrainableOptimWrapperConstructor
from .warmup_cosine_lr import WarmupCosineLR

__all__ = [
    'DINOAmpOptimWrapper', 'DINOOptimWrapper', 'LayerDecayOptimWrapperConstructor',
    'TrainableOptimWrapperConstructor', 'WarmupCosineLR', 'clip_each_'
]
