from .dino_optim_wrapper import DINOAmpOptimWrapper, DINOOptimWrapper, clip_each_

__all__ = ['DINOAmpOptimWrapper', 'DINOOptimWrapper', 'clip_each_']
