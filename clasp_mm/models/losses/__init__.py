from .dino_loss import DINOLoss
from .distributed import global_mean, upcast
from .load_balance import gate_entropy, load_balance_loss
from .oim import OIMLoss

__all__ = ['DINOLoss', 'OIMLoss', 'gate_entropy', 'global_mean', 'load_balance_loss', 'upcast']
