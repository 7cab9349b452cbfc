"""Building blocks that need nothing but torch."""

from .pc_moe import TASKS, Gates, PCMoE, task_index, task_weights
from .swin_block import FFN, DropPath, PatchEmbed, PatchMerging, SwinBlock
from .window_attention import ShiftedWindowAttention, resize_bias_table, window_layout

__all__ = [
    'FFN', 'TASKS', 'DropPath', 'Gates', 'PCMoE', 'PatchEmbed', 'PatchMerging',
    'ShiftedWindowAttention', 'SwinBlock', 'resize_bias_table', 'task_index', 'task_weights',
    'window_layout'
]
