from .dino_loss import DINOLoss
from .distributed import (
    GlobalLoss,
    global_mean,
    global_sums,
    named,
    share_of_mean,
    sum_together,
    upcast,
)
from .load_balance import gate_entropy, load_balance_loss, load_balance_term
from .oim import OIMLoss

__all__ = [
    'DINOLoss', 'GlobalLoss', 'OIMLoss', 'gate_entropy', 'global_mean', 'global_sums',
    'load_balance_loss', 'load_balance_term', 'named', 'share_of_mean', 'sum_together', 'upcast']
