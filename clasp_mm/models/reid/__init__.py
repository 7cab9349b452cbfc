from .reid_head import ReIDHead, batch_hard_triplet_loss

__all__ = ['ReIDHead', 'batch_hard_triplet_loss']
