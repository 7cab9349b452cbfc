"""Which prompt serves the images and labels at hand best: every one of them, probed and ranked."""

from .choice import Choice, choose_prompt, format_choice
from .labels import LABEL_KINDS, Labels, read_labels

__all__ = ['LABEL_KINDS', 'Choice', 'Labels', 'choose_prompt', 'format_choice', 'read_labels']
