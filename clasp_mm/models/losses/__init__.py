from .dino_loss import DINOLoss
from .distributed import (
    GlobalLoss,
    average_together,
    global_mean,
    global_means,
    named,
    share_of_mean,
    upcast,
)
from .load_balance import gate_entropy, importance_load_term, load_balance_term
from .oim import OIMLoss

__all__ = [
    'DINOLoss',
    'GlobalLoss',
    'OIMLoss',
    'average_together',
    'gate_entropy',
    'global_mean',
    'global_means',
    'importance_load_term',
    'load_balance_term',
    'named',
    'share_of_mean',
    'upcast',
]
