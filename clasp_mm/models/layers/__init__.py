"""Building blocks that need nothing but torch."""

from .pc_moe import Gates, PCMoE
from .relative_bias import resize_bias_table
from .swin_block import FFN, DropPath, PatchEmbed, PatchMerging, SwinBlock
from .tasks import TASKS, task_index, task_weights
from .window_attention import ShiftedWindowAttention
from .windows import window_layout

__all__ = [
    'FFN', 'TASKS', 'DropPath', 'Gates', 'PCMoE', 'PatchEmbed', 'PatchMerging',
    'ShiftedWindowAttention', 'SwinBlock', 'resize_bias_table', 'task_index', 'task_weights',
    'window_layout'
]
