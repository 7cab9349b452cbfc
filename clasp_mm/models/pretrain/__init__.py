from .clasp import CLASP, semantic_rows
from .dino import DINO
from .preprocessor import ViewPreprocessor
from .solider import SOLIDER
from .teacher import Teacher

__all__ = ['CLASP', 'DINO', 'SOLIDER', 'Teacher', 'ViewPreprocessor', 'semantic_rows']
