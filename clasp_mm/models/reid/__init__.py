from .reid_head import ReIDHead
from .triplet_loss import batch_hard_triplet_loss

__all__ = ['ReIDHead', 'batch_hard_triplet_loss']
