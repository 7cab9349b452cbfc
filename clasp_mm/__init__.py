"""CLASP on MMEngine: human-centric pretraining, and its backbone for every OpenMMLab library."""

from importlib import import_module
from typing import Any

from .compat.switch import switch_on
from .version import __version__

_PUBLIC = {
    'PCMoESwin': 'models',
    'SemanticSwin': 'models',
    'DINOHead': 'models',
    'PartSegHead': 'models',
    'AttrHead': 'models',
    'DINO': 'models',
    'CLASP': 'models',
    'SOLIDER': 'models',
    'LUPerson': 'datasets',
    'CLIPPseudoLabeler': 'datasets',
    'MultiCrop': 'datasets',
    'get_model': 'apis',
    'list_models': 'apis',
    'publish_model': 'apis',
    'export_model': 'apis',
    'register_with_mmpretrain': 'apis',
    'load_images': 'apis',
    'ReIDIndex': 'apis',
    'match': 'apis',
    'Inferencer': 'apis',
    'inference': 'apis',
}

__all__ = ['__version__', *_PUBLIC]

switch_on()


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``import clasp_mm`` loads nothing heavy."""
    if name in _PUBLIC:
        try:
            return getattr(import_module(f'{__name__}.{_PUBLIC[name]}'), name)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f'{__name__}.{name} needs the package {error.name!r}, which is not installed; run '
                '`clasp doctor` for the pip line', name=error.name) from error
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    """The public names, and what modules have."""
    return sorted({*__all__, *(name for name in globals() if name.startswith('__'))})
