"""A small open_clip model trained on synthetic people, where no CLIP weights can be had."""

from .architecture import ARCHITECTURE, CHECKPOINT_FILE, MODEL_NAME
from .evaluate import evaluate_mini_clip
from .report import report_tables
from .train import NOTE, REPORT_FILE, read_report, train_mini_clip

__all__ = [
    'ARCHITECTURE', 'CHECKPOINT_FILE', 'MODEL_NAME', 'NOTE', 'REPORT_FILE', 'evaluate_mini_clip',
    'read_report', 'report_tables', 'train_mini_clip',
]
