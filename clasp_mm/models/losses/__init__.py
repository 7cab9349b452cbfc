from .dino_loss import DINOLoss
from .distributed import global_mean, upcast
from .load_balance import gate_entropy, load_balance_loss

__all__ = ['DINOLoss', 'gate_entropy', 'global_mean', 'load_balance_loss', 'upcast']
