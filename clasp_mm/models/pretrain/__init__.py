from .clasp import CLASP, semantic_rows
from .dino import DINO
from .teacher import Teacher

__all__ = ['CLASP', 'DINO', 'Teacher', 'semantic_rows']
