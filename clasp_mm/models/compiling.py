"""Compiled training: which functions ``torch.compile`` may take, and whose."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, NamedTuple

import torch
from torch import nn

from clasp_mm.compat import is_compiling, torch_at_least
from clasp_mm.compat.private_torch import compile_whole_graphs


class Compilation(NamedTuple):
    """Options of ``torch.compile``.

    Attributes:
        dynamic: False compiles anew for every size of the images; None takes the first size as
            it is and, once another comes, lets sizes vary.
        backend: Who compiles.
    """

    dynamic: bool | None = None
    backend: str = 'inductor'


def compilable(function: Callable | None = None, *, evaluation: bool = True) -> Callable:
    """Let :func:`compile_backbones` compile a function of a backbone, or a method of one.

    A backbone carries its options, not the compiled code: it is copied, pickled and saved as one
    that is not compiled, and so are the functions that call each other inside.

    Args:
        function: Its first argument is the backbone.
        evaluation: Whether it is compiled in evaluation mode too.
    """
    if function is None:
        return lambda function: compilable(function, evaluation=evaluation)

    @wraps(function)
    def call(backbone: nn.Module, *args: Any, **kwargs: Any) -> Any:
        options = getattr(backbone, 'compilation', None)
        if options is None or is_compiling() or not (evaluation or backbone.training):
            return function(backbone, *args, **kwargs)
        return _compiled(function, options)(backbone, *args, **kwargs)

    return call


@cache
def _compiled(function: Callable, options: Compilation) -> Callable:
    return torch.compile(function, **options._asdict())


def compile_backbones(model: nn.Module, options: Compilation | None) -> int:
    """Let the backbones of a model compute by compiled code from now on, or no more.

    Nothing is compiled before the first step. What a backbone computes in training is one graph
    for each size of the images, and the same for the teacher; heads, losses, the optimizer and
    evaluation stay as they are.

    Args:
        model: Holds backbones of clasp_mm, at any depth.
        options: None: no more.

    Returns:
        How many backbones there are.
    """
    if options is not None:
        compile_whole_graphs()
    backbones = [module for module in model.modules() if hasattr(type(module), 'compilation')]
    for backbone in backbones:
        backbone.compilation = options
    return len(backbones)


def check_compiler(device: torch.device | str) -> None:
    """Compile a line for a device.

    Raises:
        RuntimeError: It fails; the message says what is missing.
    """
    if not torch_at_least(2, 4):
        raise RuntimeError(f'compiling needs torch 2.4 or newer, this is {torch.__version__}')
    try:
        torch.compile(lambda x: x.sin() + 1, dynamic=False)(torch.ones(8, device=device))
    except Exception as error:  # torch's own types, by version; those of compilers and of triton
        need = ('triton (a package that comes with torch\'s builds for GPUs) and a C compiler (gcc)'
                if torch.device(device).type == 'cuda' else 'a C++ compiler (g++)')
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error))
        raise RuntimeError(
            f'torch.compile does not work on {device} ({reason}): it needs {need}, in PATH or '
            'named by the variable CXX (C++) or CC (C); install it, or train without --compile'
        ) from error
