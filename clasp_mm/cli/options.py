"""What several verbs share: arguments, and how errors end; nothing heavy is imported for it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from clasp_mm.utils.device import PRECISIONS, announce_device, set_matmul_precision

if TYPE_CHECKING:
    from torch import nn

PROMPTS = ('appearance', 'part', 'attribute')
TASKS = ('pose', 'parsing', 'detection', 'attribute', 'reid', 'person_search')
LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
# What was asked for, or what it needs, is wrong: the message names the way out.
USER_ERRORS = (ValueError, OSError, ImportError, RuntimeError)


class CfgOptions(argparse.Action):
    """MMEngine's ``DictAction`` with another reader of values: ``engine.cfg_options``'."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: Sequence[str], option_string: str | None = None) -> None:
        """Add what was given to the dict of options; what cannot be read ends the program."""
        from clasp_mm.engine.cfg_options import parse_value
        options = dict(getattr(namespace, self.dest, None) or {})
        for text in values:
            key, equals, value = text.partition('=')
            if not key or not equals:
                raise argparse.ArgumentError(self, f'{text!r} is no KEY=VALUE; a value with a '
                                             'space goes into quotes')
            try:
                options[key] = parse_value(value)
            except ValueError as error:
                raise argparse.ArgumentError(self, f'{text!r}: {error}') from error
        setattr(namespace, self.dest, options)


def add_config_arguments(parser: argparse.ArgumentParser, example: str, script: str) -> None:
    """Add ``--cfg-options`` and ``--launcher``."""
    parser.add_argument(
        '--cfg-options', nargs='+', action=CfgOptions, metavar='KEY=VALUE',
        help=f'override config keys, such as {example}; an unknown key is an error')
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help=f'set by {script}')


def add_device(parser: argparse._ActionsContainer) -> None:
    parser.add_argument('--device',
                        help='cpu, cuda, cuda:1 (default: the GPU where there is one)')


def add_float32_precision(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        '--float32-precision', choices=PRECISIONS, default=PRECISIONS[0],
        help='of products of float32 matrices on GPUs: TF32, float32 or bfloat16 (%(default)s)')


def add_device_and_precision(parser: argparse._ActionsContainer) -> None:
    """Add ``--device``, ``--amp`` (None where it is not given) and ``--float32-precision``."""
    add_device(parser)
    parser.add_argument(
        '--amp', action=argparse.BooleanOptionalAction,
        help='networks in bfloat16, or in float32 (default: bfloat16 on GPUs that compute in it)')
    add_float32_precision(parser)


def set_device(args: argparse.Namespace) -> None:
    """Make the device and the precision that were asked for those of the program."""
    if 'float32_precision' in args:
        set_matmul_precision(args.float32_precision)
    if 'device' in args:
        args.device = announce_device(args.device)


def pixels(text: str) -> int:
    """A side of the input, at least 1."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f'must be at least 1 pixel, got {value}')
    return value


def add_size(parser: argparse._ActionsContainer, default: Sequence[int] | None = (256, 128),
             more: str = '') -> None:
    parser.add_argument('--size', type=pixels, nargs=2, default=default, metavar=('H', 'W'),
                        help='of the input in pixels' + (
                            f' ({default[0]} {default[1]})' if default else more))


def add_size_of_model(parser: argparse._ActionsContainer) -> None:
    """Add ``--size``, whose default :func:`size_of_model` finds."""
    add_size(parser, None, '; default: what the model was trained at, else 256 128')


def size_of_model(args: argparse.Namespace) -> tuple[int, int]:
    """``--size``, or what the file that is named was trained at, or (256, 128)."""
    if args.size:
        return tuple(args.size)
    from clasp_mm.compat import load_file
    from clasp_mm.models.weights.find import find_weights
    from clasp_mm.models.weights.trained_with import trained_size
    weights, stated = args.checkpoint or args.model, None
    if weights and not weights.endswith('.py'):
        with suppress(FileNotFoundError):  # a model of the zoo without weights
            stated = trained_size(load_file(find_weights(weights)))
    return stated or (256, 128)


def add_clip(parser: argparse._ActionsContainer) -> None:
    parser.add_argument('--clip', default='ViT-B-32', help='open_clip model, local-dir:DIR or an '
                        'architecture file (.json); %(default)s')
    parser.add_argument('--clip-pretrained', default='openai', metavar='TAG|FILE',
                        help='tag of open_clip or weights file (%(default)s)')


def clip_weights(args: argparse.Namespace) -> str | None:
    """``--clip-pretrained``, unless ``--clip`` brings its own."""
    own = args.clip.startswith(('local-dir:', 'hf-hub:'))
    return None if own else args.clip_pretrained


def add_backbone(parser: argparse.ArgumentParser) -> None:
    """Add a backbone's model and ``--checkpoint``."""
    parser.add_argument('model', help='published backbone, checkpoint of a run, name of the '
                        'zoo, or a config')
    parser.add_argument('--checkpoint', metavar='FILE', help='weights of a config')


def read_backbone(args: argparse.Namespace) -> tuple[nn.Module, tuple[int, int]]:
    """The backbone that :func:`add_backbone` asked for, on ``--device``, and its ``--size``."""
    from clasp_mm.zoo.get_model import get_model
    return get_model(args.model, args.checkpoint).to(args.device), size_of_model(args)


def add_semantic_weight(parser: argparse._ActionsContainer, of: str = '') -> None:
    """Add ``--semantic-weight``, ``SemanticSwin``'s argument."""
    parser.add_argument(f'--{of}semantic-weight', type=float, metavar='W',
                        help='of a backbone of SOLIDER: 0 (appearance) to 1 (semantics); default: '
                        "its config's")


def add_any_swin(parser: argparse._ActionsContainer, required: bool = False,
                 default: str = '') -> None:
    """Add ``--checkpoint`` of a backbone, and what it needs; ``default`` is of ``--task``."""
    parser.add_argument('--checkpoint', required=required,
                        help='published model (file or name), checkpoint of a run, or any other '
                        'Swin file with --config')
    parser.add_argument('--config', help='config of a file that does not say its own')
    parser.add_argument('--task', nargs='+', choices=PROMPTS,
                        help=f'prompt of a backbone with PC-MoE; several: their mean{default}')
    add_semantic_weight(parser)
    add_size_of_model(parser)


def add_out(parser: argparse._ActionsContainer, default: str = 'work_dirs/analysis') -> None:
    """Add ``--out``, the folder that a verb writes its files to."""
    parser.add_argument('--out', type=Path, default=Path(default), metavar='DIR',
                        help='folder to write (%(default)s)')


def add_epochs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--epochs', type=int, nargs=2, metavar=('STAGE1', 'STAGE2'),
                        help='epochs of both stages; by default those of the configs')


def check_counts(args: argparse.Namespace, *names: str, least: int = 1) -> None:
    """Refuse numbers below ``least``, and stages of a single epoch.

    Raises:
        argparse.ArgumentError: The command line is wrong.
    """
    for name in names:
        if (value := getattr(args, name)) is not None and value < least:
            usage(f'--{name.replace("_", "-")} must be at least {least}, got {value}')
    epochs = getattr(args, 'epochs', None)
    if epochs and min(epochs) < 2:
        usage(f'--epochs: a stage takes at least 2, the first warms up; got {epochs}')


def usage(message: str) -> Any:
    """Say that the command line is wrong: the verb's usage is shown, the exit code is 2."""
    raise argparse.ArgumentError(None, message)


def find_clone(what: str) -> Path:
    """The clone that this package runs from.

    Raises:
        FileNotFoundError: It was installed from a wheel.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / 'setup.py').is_file():
        raise FileNotFoundError(f'{what} lies beside the package, in a clone of its repository '
                                f'alone; this package is at {root}')
    return root


def import_from_clone(name: str) -> ModuleType:
    """A module of ``benchmarks/``, which stands beside the package.

    Raises:
        FileNotFoundError: See :func:`find_clone`.
    """
    root = str(find_clone('benchmarks/'))
    if root not in sys.path:
        sys.path.insert(0, root)
    return import_module(name)


@contextmanager
def work() -> Iterator[None]:
    """Inside it is no longer what was asked for that fails: errors keep their traceback."""
    try:
        yield
    except USER_ERRORS as error:
        error.of_the_work = True
        raise
