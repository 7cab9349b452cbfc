"""Strict loading of backbone weights, from every family of Swin checkpoints.

Formats are told apart by their keys: OpenMMLab (mmpretrain, mmdet, mmsegmentation, mmpose),
Microsoft's own, timm's, SOLIDER's and DINO's training files, and ours. What does not cover the
model is an error with a count of every kind of key, never a warning.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clasp_mm.compat import load_file
from clasp_mm.utils.names import first_names

from ..backbones.archs import ARCHS
from ..layers.relative_bias import relative_position_index, resize_bias_table
from .coverage import check_finite
from .find import find_weights
from .trained_with import config_line, hidden_settings, stated_backbone, trained_settings

# What a file may hold in a backbone's place and no feature depends on: classifiers behind it, and
# masks, which follow from a map's size. (So do position indices, which are compared.)
_NOT_BACKBONE = ('head.*', '*.attn_mask')
_CONTAINERS = ('teacher', 'state_dict', 'model')
_PREFIXES = ('teacher.backbone.', 'backbone.', '')


@dataclass(frozen=True)
class LoadReport:
    """How the weights of a file cover a model.

    Attributes:
        source: The file, or 'a state dict'.
        format: 'clasp', 'openmmlab', 'solider', 'microsoft' or 'timm'.
        matched: Tensors of the model that the file gives.
        resized: Those of them whose relative-position table had another window size.
        expected_missing: Tensors that the file was not expected to give; they keep their values.
        missing: Tensors that it should have given.
        unexpected: Tensors of the file for which the model has no place.
        wrong_shape: Name, shape in the file and shape in the model.
        ignored: Keys of the file that belong to no backbone (heads, student, index buffers).
        trained_with: Settings that change the features and that no tensor shows, as far as the
            file says with what it was trained: ``pad_small_map``; of our files also ``strides``
            and some of ``moe``.
        here: The model's.
    """

    source: str
    format: str
    matched: tuple[str, ...]
    resized: tuple[str, ...]
    expected_missing: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    ignored: tuple[str, ...]
    trained_with: dict[str, Any]
    here: dict[str, Any]

    @property
    def differing(self) -> tuple[str, ...]:
        """Names of the settings that are not as in training."""
        return tuple(name for name, value in self.trained_with.items()
                     if name in self.here and self.here[name] != value)

    @property
    def complete(self) -> bool:
        """Whether the file gives all that was expected of it, and nothing else."""
        return not (self.missing or self.unexpected or self.wrong_shape)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        shapes = [f'{name} (file {list(file)}, model {list(model)})'
                  for name, file, model in self.wrong_shape]
        rows = [f'{self.source} ({self.format}): {len(self.matched)} tensors matched']
        for title, names in (('resized to the window', self.resized),
                             ('expected to be missing', self.expected_missing),
                             ('MISSING', self.missing), ('UNEXPECTED', self.unexpected),
                             ('WRONG SHAPE', shapes), ('ignored', self.ignored)):
            if names:
                rows.append(f'  {title}: {first_names(names)}')
        if self.trained_with:
            rows.append('  trained with: ' + _settings(self.trained_with))
        else:
            rows.append('  trained with: pad_small_map is not told (False by default in '
                        'mmpretrain, True in mmdet, mmsegmentation and mmpose)')
        if self.differing:
            rows.append('  BUT HERE: ' + _settings({k: self.here[k] for k in self.differing}))
        return '\n'.join(rows)


class CheckpointError(ValueError):
    """Weights do not fit a model; ``report`` says how."""

    def __init__(self, message: str, report: LoadReport) -> None:
        super().__init__(message)
        self.report = report


def load_backbone(model: nn.Module,
                  source: str | Path | Mapping,
                  prefix: str | None = None,
                  expected_missing: Iterable[str] = (),
                  allow_unexpected: Iterable[str] = ()) -> LoadReport:
    """Load the weights of a Swin into a :class:`PCMoESwin`, all of them or none.

    Where the file has no PC-MoE, or no semantic controller, at all, the model's is expected to be
    missing; where it has only the last output norm (Microsoft, timm, classifiers of mmpretrain),
    so are the other norms. Relative-position tables are resized to the model's window.

    Args:
        model: The backbone.
        source: What :func:`~clasp_mm.models.weights.find.find_weights` takes (a file, its
            address, a published name), or what :func:`torch.load` gave.
        prefix: What precedes the backbone's names in the file. None finds out; of a training
            checkpoint of DINO, SOLIDER or CLASP it takes the teacher.
        expected_missing: Patterns (``fnmatch``) of further tensors that the file need not give.
        allow_unexpected: Patterns of tensors in the file to leave aside.

    Returns:
        What was matched and what was expected to be missing.

    Raises:
        CheckpointError: If the weights do not cover the model, or do not fit; the model is left
            as it was.
        FileNotFoundError: If there is no such file or name.
        ValueError: If it is no checkpoint, is damaged, holds no Swin, or holds NaN or infinite
            values.
    """
    name = 'a state dict' if isinstance(source, Mapping) else str(source)
    checkpoint = source if isinstance(source, Mapping) else load_file(find_weights(source))
    found, layout, ignored = backbone_weights(checkpoint, prefix, name)
    state, own = dict(found), model.state_dict()

    unexpected = []
    spare = (*_NOT_BACKBONE, *allow_unexpected)
    if any(key.startswith('semantic_embed_') for key in own):  # SOLIDER throws its last pair away
        spare += (f'semantic_embed_?.{_depths(own)[0]}.*', )
    for key in [key for key in state if key not in own]:
        known = _matches(key, spare) or _is_index(key, state[key])
        (ignored if known else unexpected).append(key)
        del state[key]
    resized = []
    for key, value in state.items():
        table = key.endswith('relative_position_bias_table')
        if table and value.shape[0] != own[key].shape[0] and value.shape[1] == own[key].shape[1]:
            state[key] = resize_bias_table(value, round((own[key].shape[0]**0.5 + 1) / 2))
            resized.append(key)
    wrong_shape = tuple((key, tuple(value.shape), tuple(own[key].shape))
                        for key, value in state.items() if value.shape != own[key].shape)
    stated = stated_backbone(checkpoint)
    patterns = (*_expected_missing(found, own), *expected_missing)
    missing = [key for key in own if key not in state]
    report = LoadReport(
        source=name,
        format=layout,
        matched=tuple(key for key in state if state[key].shape == own[key].shape),
        resized=tuple(resized),
        expected_missing=tuple(key for key in missing if _matches(key, patterns)),
        missing=tuple(key for key in missing if not _matches(key, patterns)),
        unexpected=tuple(unexpected),
        wrong_shape=wrong_shape,
        ignored=tuple(ignored),
        trained_with=trained_settings(stated, layout, found),
        here=hidden_settings(model))
    if not report.complete:
        raise CheckpointError(
            f'the weights do not fit {type(model).__name__}:\n{report}\n'
            f'{_way_out(model, found, report, config_line(stated))}', report)
    check_finite(state, name)
    model.load_state_dict(state, strict=False)
    return report


def backbone_weights(checkpoint: Any,
                     prefix: str | None = None,
                     name: str = 'the checkpoint') -> tuple[dict[str, Tensor], str, list[str]]:
    """Find the Swin in a checkpoint and give it this project's names.

    Args:
        checkpoint: What :func:`torch.load` gave.
        prefix: See :func:`load_backbone`.
        name: What to call the checkpoint in errors.

    Returns:
        The tensors, the format as in :class:`LoadReport`, and the keys outside the backbone.

    Raises:
        ValueError: If it holds no tensors, nothing under ``prefix``, or no Swin.
    """
    tensors = _tensors(checkpoint, name)
    if prefix is None:
        prefix = next(p for p in _PREFIXES if any(key.startswith(p) for key in tensors))
    elif prefix and not prefix.endswith('.'):
        prefix += '.'
    inside = {key[len(prefix):]: value for key, value in tensors.items() if key.startswith(prefix)}
    if not inside:
        tops = sorted({key.split('.')[0] + '.' for key in tensors})
        raise ValueError(f'{name} has no key under prefix {prefix!r}; its keys start with '
                         f'{", ".join(tops[:8])}')
    ignored = [key for key in tensors if not key.startswith(prefix)]
    if 'patch_embed.proj.weight' in inside:
        inside, layout = _rename_official(inside)
    elif 'patch_embed.projection.weight' in inside and any(k.startswith('stages.') for k in inside):
        layout = 'openmmlab'
        if any('.moe.' in key for key in inside):
            layout = 'clasp'
        elif any(key.startswith('semantic_embed_') for key in inside):
            layout = 'solider'
    else:
        raise ValueError(f'{name} holds no Swin backbone under prefix {prefix!r}; its keys are '
                         f'{first_names(list(inside))}')
    last = _depths(inside)[0]
    inside = {re.sub(r'^norm\.', f'norm{last}.', key): value for key, value in inside.items()}
    return inside, layout, ignored


def _tensors(checkpoint: Any, name: str) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name, out of the containers that training scripts use."""
    if isinstance(checkpoint, Mapping):
        for container in _CONTAINERS:
            if isinstance(checkpoint.get(container), Mapping):
                return _tensors(checkpoint[container], name)
        tensors = {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}
        if tensors and all(key.startswith('module.') for key in tensors):
            tensors = {key.removeprefix('module.'): value for key, value in tensors.items()}
        if tensors:
            return tensors
        raise ValueError(f'{name} holds no weights; its keys are {first_names(list(checkpoint))}')
    raise ValueError(f'{name} holds no weights but a {type(checkpoint).__name__}')


def _rename_official(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Rename the keys of Microsoft's or timm's Swin and re-order its patch merging.

    Both concatenate the four tokens (0, 0), (1, 0), (0, 1), (1, 1) with their channels together;
    ``nn.Unfold`` keeps the tokens (0, 0), (0, 1), (1, 0), (1, 1) of each channel together.
    Microsoft's layer i ends with the merging that timm's layer i + 1 begins with.
    """
    timm = not any(re.match(r'layers[._]0\.downsample\.', key) for key in state)
    renamed = {}
    for key, value in state.items():
        key = re.sub(r'^layers[._](\d+)\.', r'stages.\1.', key)
        key = key.replace('patch_embed.proj.', 'patch_embed.projection.')
        key = re.sub(r'\.attn\.(?!w_msa)(qkv|proj|relative)', r'.attn.w_msa.\1', key)
        key = key.replace('.mlp.fc1.', '.ffn.layers.0.0.').replace('.mlp.fc2.', '.ffn.layers.1.')
        if '.downsample.' in key:
            if timm:
                key = re.sub(r'^stages\.(\d+)', lambda m: f'stages.{int(m[1]) - 1}', key)
            value = value.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :].transpose(-1, -2)
            value = value.flatten(-2)
        renamed[key] = value
    return renamed, 'timm' if timm else 'microsoft'


def _depths(state: Iterable[str]) -> tuple[int, tuple[int, ...]]:
    """Last stage of a Swin and the depth of each stage, from its keys."""
    blocks = {(int(m[1]), int(m[2])) for m in
              (re.match(r'stages\.(\d+)\.blocks\.(\d+)\.', key) for key in state) if m}
    last = max((stage for stage, _ in blocks), default=0)
    return last, tuple(sum(s == stage for s, _ in blocks) for stage in range(last + 1))


def _expected_missing(state: Mapping[str, Tensor], own: Iterable[str]) -> list[str]:
    """Patterns of what a plain Swin, or one with a final norm only, does not have."""
    patterns = []
    if not any('.moe.' in key for key in state):
        patterns.append('stages.*.moe.*')
    if not any(key.startswith('semantic_embed_') for key in state):
        patterns.append('semantic_embed_*')
    norms = {key.split('.')[0] for key in own if re.match(r'norm\d+\.', key)}
    inner = norms - {f'norm{_depths(own)[0]}'}
    if not any(key.split('.')[0] in inner for key in state):
        patterns += [f'{norm}.*' for norm in inner]
    return patterns


def _way_out(model: nn.Module, state: Mapping[str, Tensor], report: LoadReport,
             line: str | None) -> str:
    """Advice to whoever met the error; ``line`` is the file's backbone in a config."""
    semantic = ''
    if any(key.startswith('semantic_embed_') for key in report.unexpected):
        semantic = ("The file has SOLIDER's semantic controller, which changes the features: load "
                    'it into clasp_mm.SemanticSwin(semantic_weight=0 to 1), or pass '
                    "allow_unexpected=['semantic_embed_*'] to leave it aside.")
    if line is not None:
        return (f'{semantic}\nThe backbone that it was trained in:\n    {line}\nGive the model '
                'these settings, or take another file.').lstrip()
    dim, depths = state['patch_embed.projection.weight'].shape[0], _depths(state)[1]
    own = model.state_dict()
    own_dim, own_depths = own['patch_embed.projection.weight'].shape[0], _depths(own)[1]
    if (dim, depths) != (own_dim, own_depths):
        arch = next((repr(name) for name, a in ARCHS.items()
                     if (a['embed_dims'], tuple(a['depths'])) == (dim, depths)), 'that one')
        return (f'The file holds embed_dims={dim}, depths={depths}; the model has {own_dim}, '
                f'{own_depths}: build it with arch={arch} or take another file.')
    if any('.moe.' in key for key in (*report.unexpected, *report.missing)) or any(
            '.moe.' in name for name, *_ in report.wrong_shape):
        return ('The PC-MoE differ: build the model with the `moe` settings of the file, or pass '
                "allow_unexpected=['stages.*.moe.*'] to leave the file's aside.")
    if semantic:
        return semantic
    return ('If this is meant, name what may be missing in `expected_missing` and what to leave '
            'aside in `allow_unexpected`.')


def _is_index(key: str, value: Tensor) -> bool:
    """Whether it is the table of relative positions that Swin's attention has by itself."""
    if not key.endswith('.relative_position_index') or value.dim() != 2:
        return False
    window = round(len(value)**0.5)
    return torch.equal(value.long(), relative_position_index(window))


def _settings(settings: Mapping[str, Any]) -> str:
    return ', '.join(f'{name}={value!r}' for name, value in settings.items())


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)
