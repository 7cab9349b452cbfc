"""Networks as files that run without clasp_mm: ONNX, or a torch.export program."""

import io
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from clasp_mm.compat import load_file, torch_at_least
from clasp_mm.models.backbones import PCMoESwin, SemanticSwin
from clasp_mm.models.layers import TASKS
from clasp_mm.models.weights.find import find_weights
from clasp_mm.registry import MODELS
from clasp_mm.utils.files import replacing
from clasp_mm.utils.resources import config_file
from clasp_mm.version import __version__
from clasp_mm.zoo.config import entry_config
from clasp_mm.zoo.get_model import entry_weights, get_model, trained_task
from clasp_mm.zoo.index import TASKS as TITLES
from clasp_mm.zoo.index import model_task, read_zoo

from .run import METADATA, ExportedModel

TOLERANCE = 1e-4
SUFFIXES = {'onnx': '.onnx', 'torch': '.pt2'}
_OPSET = 20  # the first with Gelu
_RESIZE = dict(backend='cv2', interpolation='area', enlarging='bicubic')  # as load_images
_WITH_HEADS = tuple(TITLES[task] for task in ('pose', 'attribute', 'reid'))


class Report(NamedTuple):
    """What was written.

    Attributes:
        path: The file.
        difference: Largest absolute difference of an output from torch's, over batches of 1 and 3
            random images under every prompt.
        meta: See :class:`~clasp_mm.export.run.ExportedModel`.
    """

    path: Path
    difference: float
    meta: dict[str, Any]


class Network(nn.Module):
    """A backbone and the modules that follow it, such as neck and head."""

    def __init__(self, backbone: PCMoESwin, rest: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.backbone = backbone
        self.rest = nn.ModuleList(rest)

    def forward(self, images: Tensor, prompt: Tensor | None = None) -> tuple[Tensor, ...]:
        """Outputs for images (B, 3, H, W), normalised.

        Their prompt is (B, P) weights of :func:`prompt_names`; None takes the backbone's own.
        """
        if prompt is not None and self.backbone.has_moe:
            prompt = prompt @ self.backbone.task_rows
        out = self.backbone(images, prompt)
        for module in self.rest:
            out = module(out)
        return out if isinstance(out, tuple) else (out, )


class _Source(NamedTuple):
    """A network with what its file says about it; ``size`` is None where any will do."""

    network: Network
    outputs: list[str]
    size: tuple[int, int] | None
    meta: dict[str, Any]


def export_model(source: str | Path, out: str | Path, checkpoint: str | Path | None = None,
                 size: Sequence[int] | None = None, task: str | Sequence | None = None,
                 prompt_input: bool = False, out_indices: Sequence[int] | None = None,
                 format: str = 'onnx', semantic_weight: float | None = None) -> Report:
    """Write a network for one size of image and any batch, having compared it with torch.

    It is traced on the CPU, so that the file is bound to no device.

    Args:
        source: A published file or a run's checkpoint (see :func:`clasp_mm.get_model`), the name of
            a model in the zoo, or a config. Of pose, attributes and re-identification the whole
            model is written, by the config that lies beside a file; of anything else the backbone.
        out: The file, ``.onnx`` or ``.pt2``.
        checkpoint: Weights for a config, which needs them; with a head, of the whole model.
        size: (H, W) of the images; by default the one of a task's config.
        task: The prompt that is built in, as ``PCMoESwin``'s; by default the config's.
        prompt_input: The prompt is a second input ``prompt`` instead, (B, 3) weights over
            ``TASKS``; for a ``SemanticSwin`` (B, 1), its semantic weight.
        out_indices: Stages whose maps a backbone puts out; by default its config's.
        format: ``'onnx'`` or ``'torch'`` (torch.export).
        semantic_weight: Weight of a ``SemanticSwin``, built in; by default the config's.

    Raises:
        FileNotFoundError: There is no such source or checkpoint, or no config beside a file whose
            head is to be built.
        ModuleNotFoundError: onnx, onnxscript or onnxruntime is not installed.
        ValueError: An argument does not fit the model, or the model cannot be exported.
        RuntimeError: torch is before 2.6, or the file does not compute what the model does; no
            file is left.

    Example:
        >>> report = export_model('small.pth', 'small.pt2', size=(32, 16), task='part',
        ...                       format='torch')
        >>> report.path.name, report.difference < TOLERANCE
        ('small.pt2', True)
    """
    out = Path(out)
    if SUFFIXES.get(format) != out.suffix:
        kinds = ', '.join(f'{name} ({suffix})' for name, suffix in SUFFIXES.items())
        raise ValueError(f'format={format!r} and a file {out.name!r} do not go together: the '
                         f'formats are {kinds}')
    if not torch_at_least(2, 6):
        raise RuntimeError(f'export needs torch 2.6 or later, this is {torch.__version__}')
    if format == 'onnx':
        _check_onnx()
    overrides = {} if out_indices is None else dict(out_indices=tuple(out_indices))
    if semantic_weight is not None:
        overrides['semantic_weight'] = semantic_weight
    loaded = _load(source, checkpoint, overrides)
    size = _image_size(size, loaded)
    network = loaded.network.eval().requires_grad_(False)
    prompts = _set_prompt(network.backbone, task, prompt_input)
    meta = dict(
        loaded.meta, input_size=list(size), outputs=loaded.outputs, prompts=prompts,
        task=None if prompts else _plain_task(network.backbone), clasp_mm_version=__version__,
        torch_version=torch.__version__)
    example = [torch.randn(2, 3, *size)]
    if prompts:
        example.append(torch.full((2, len(prompts)), 1 / len(prompts)))
    data = _write[format](network, tuple(example), meta)
    with replacing(out) as partial:
        partial.write_bytes(data)
        difference = _compare(network, ExportedModel(partial))
    return Report(out, difference, meta)


def prompt_names(backbone: PCMoESwin) -> list[str]:
    """Columns of the prompt input of a backbone; [] where it has none."""
    if isinstance(backbone, SemanticSwin):
        return ['semantic_weight']
    return list(TASKS) if backbone.has_moe else []


def trace(network: Network, example: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """The program of a network for any batch of the example's images."""
    batch = torch.export.Dim('batch', min=1)
    with torch.no_grad():
        return torch.export.export(network, example,
                                   dynamic_shapes=tuple({0: batch} for _ in example))


def _load(source: str | Path, checkpoint: str | Path | None,
          overrides: dict[str, Any]) -> _Source:
    named = Path(source).suffix != '.py'
    if named and checkpoint is not None:
        raise ValueError(f'{source} has its weights; a checkpoint goes with a config')
    if not named and checkpoint is None:
        raise ValueError(f'{source} is a config, which has no weights: name the checkpoint of its '
                         'training (--checkpoint), or export a published model')
    entry = read_zoo().get(str(source)) if named and not Path(source).is_file() else None
    if not named:
        cfg, weights = Config.fromfile(config_file(source)), checkpoint
    elif entry is not None:
        cfg, weights = entry_config(entry), entry_weights(entry)
    else:
        weights = find_weights(source)
        task = trained_task(load_file(weights, mmap=True))
        if task not in _WITH_HEADS:
            return _backbone(source, None, overrides, task)
        cfg = _config_beside(weights, task)
    model = cfg.get('model', {})
    load_task = _TASKS_OF_HEADS.get(model.get('head', {}).get('type'))
    if load_task is None:
        kind = model.get('backbone', {}).get('type')
        _check_backbone(MODELS.get(str(kind)), kind)
        return _backbone(source, checkpoint, overrides, model_task(model) or model.get('type'))
    for name, value in overrides.items():
        raise ValueError(f'{name}={value} is for a backbone; the head of {source} needs its own '
                         'maps')
    return load_task(cfg, find_weights(weights))


def _config_beside(weights: Path, task: str) -> Config:
    from clasp_mm.inferencers.loading import find_model
    try:
        return find_model(task, None, weights)[0]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f'{weights} is of {task}, and its head is built by a config, which does not lie beside '
            f'it: export that config with --checkpoint {weights}') from error


def _check_backbone(found: Any, kind: str | None) -> None:
    if not (isinstance(found, type) and issubclass(found, PCMoESwin)):
        raise ValueError(f'the model has a backbone of type {kind}: only clasp_mm.PCMoESwin and '
                         'clasp_mm.SemanticSwin are exported here')


def _backbone(source: str | Path, checkpoint: str | Path | None, overrides: dict[str, Any],
              task: str | None) -> _Source:
    backbone = get_model(source, checkpoint, **overrides)
    without = {} if task in (None, TITLES['pretrain']) else dict(without_head_of=task)
    return _Source(
        Network(backbone), [f'stage{index + 1}' for index in backbone.out_indices], None,
        dict(kind='backbone', channels='RGB', mean=list(backbone.mean), std=list(backbone.std),
             resize=_RESIZE, **without))


def _pose(cfg: Config, checkpoint: str | Path) -> _Source:
    from clasp_mm.inferencers import pose
    model = pose.load(cfg, checkpoint, 'cpu')
    codec = cfg.model.head.decoder
    names = model.dataset_meta.get('keypoint_id2name', {})
    meta = dict(codec=json.loads(json.dumps(codec)),
                keypoints=[names[index] for index in sorted(names)])
    return _Source(_joined(model), ['heatmaps'], tuple(codec.input_size[::-1]),
                   dict(_preprocessing(model, backend='cv2', interpolation='bilinear'),
                        kind='pose', **meta))


def _attribute(cfg: Config, checkpoint: str | Path) -> _Source:
    from clasp_mm.inferencers import attribute
    model = attribute.load(cfg, checkpoint, 'cpu')
    return _Source(_joined(model, nn.Sigmoid()), ['probabilities'], _resized(cfg),
                   dict(_preprocessing(model), kind='attribute',
                        classes=list(model.dataset_meta['classes'])))


def _reid(cfg: Config, checkpoint: str | Path) -> _Source:
    from clasp_mm.inferencers import reid
    model = reid.load(cfg, checkpoint, 'cpu')
    if model.head.num_cameras:
        raise ValueError(f'{cfg.filename}: a head with num_cameras={model.head.num_cameras} needs '
                         'the camera of each image, which has no input here; train with '
                         'num_cameras=0')
    return _Source(_joined(model), ['features'], _resized(cfg),
                   dict(_preprocessing(model), kind='reid'))


_TASKS_OF_HEADS = {'HeatmapHead': _pose, 'clasp_mm.AttributeHead': _attribute,
                   'clasp_mm.ReIDHead': _reid}


def _joined(model: nn.Module, *after: nn.Module) -> Network:
    _check_backbone(type(model.backbone), type(model.backbone).__name__)
    necks = [model.neck] if model.with_neck else []
    return Network(model.backbone, [*necks, model.head, *after])


def _preprocessing(model: nn.Module, **resize: Any) -> dict[str, Any]:
    """How images become inputs, by the model's own pipeline and preprocessor; its images are BGR.

    ``resize`` is what no step of the pipeline says.
    """
    own = model.data_preprocessor
    swaps = getattr(own, 'to_rgb', False) or getattr(own, '_channel_conversion', False)
    mean, std = ([round(one, 4) for one in value.flatten().tolist()]
                 for value in (own.mean, own.std))
    resize |= {name: getattr(step, name) for step in model.pipeline.transforms
               for name in ('backend', 'interpolation', 'padding', 'use_udp')
               if hasattr(step, name)}
    return dict(channels='RGB' if swaps else 'BGR', mean=mean, std=std, resize=resize)


def _resized(cfg: Config) -> tuple[int, int]:
    width, height = next(step.scale for step in cfg.test_dataloader.dataset.pipeline
                         if step.type.endswith('Resize'))
    return height, width


def _image_size(size: Sequence[int] | None, loaded: _Source) -> tuple[int, int]:
    if size is None:
        if loaded.size is None:
            raise ValueError('no size: a backbone takes any, so name (H, W) in pixels, as '
                             '--size 256 128')
        return loaded.size
    size = tuple(size)
    if len(size) != 2 or any(side < 1 for side in size):
        raise ValueError(f'size={size} must be (H, W) in pixels, both at least 1')
    if loaded.meta['kind'] == 'pose' and size != loaded.size:
        raise ValueError(f'size={size}: the heatmaps of this model are decoded for input_size '
                         f'{loaded.size}; train it for another')
    return size


def _set_prompt(backbone: PCMoESwin, task: str | Sequence | None, as_input: bool) -> list[str]:
    """Fix the prompt, or name the columns of its input."""
    names = prompt_names(backbone)
    if as_input:
        if task is not None:
            raise ValueError(f'task={task!r} fixes the prompt, prompt_input=True leaves it open: '
                             'choose one')
        if not names:
            raise ValueError('prompt_input=True, but the backbone has no PC-MoE, so no prompt')
        return names
    if isinstance(backbone, SemanticSwin):
        if task is not None or backbone.semantic_weight is None:
            raise ValueError(f'task={task!r}, semantic_weight={backbone.semantic_weight}: a '
                             'SemanticSwin is exported with a semantic_weight, its config\'s or '
                             'one that is given, or with prompt_input=True')
    elif names:
        backbone.task = backbone.task if task is None else task
        backbone.rows_of(backbone.task)  # raises when it names no task
    elif task is not None:
        raise ValueError(f'task={task!r}, but the backbone has no PC-MoE, so no prompt')
    return []


def _plain_task(backbone: PCMoESwin) -> Any:
    if isinstance(backbone, SemanticSwin):
        return backbone.semantic_weight
    return json.loads(json.dumps(backbone.task))


def _to_torch(network: Network, example: tuple[Tensor, ...], meta: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(trace(network, example), buffer, extra_files={METADATA: json.dumps(meta)})
    return buffer.getvalue()


def _to_onnx(network: Network, example: tuple[Tensor, ...], meta: dict[str, Any]) -> bytes:
    names = ['images', 'prompt'][:len(example)]
    logger = logging.getLogger('onnxscript')
    level = logger.level
    logger.setLevel('ERROR')  # it tells of every value it does not fold
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            model = torch.onnx.export(
                trace(network, example), dynamo=True, input_names=names, verbose=False,
                output_names=meta['outputs'], opset_version=_OPSET).model_proto
    finally:
        logger.setLevel(level)
    values = [*model.graph.input, *model.graph.output]
    for value in values:
        value.type.tensor_type.shape.dim[0].dim_param = 'batch'
    model.graph.ClearField('value_info')  # is inferred again on loading
    for item in (model.graph, *model.graph.node, *values, *model.graph.initializer):
        item.ClearField('metadata_props')  # stack traces, with the paths of this machine
    for key, value in meta.items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    return model.SerializeToString()


_write = {'onnx': _to_onnx, 'torch': _to_torch}


@torch.no_grad()
def _compare(network: Network, exported: ExportedModel) -> float:
    """Largest difference from torch; RuntimeError if it is above the tolerance."""
    columns = len(exported.meta['prompts'])
    worst = 0.
    generator = torch.Generator().manual_seed(0)
    for prompt in torch.eye(columns) if columns else (None, ):
        for batch in (1, 3):
            images = torch.randn(batch, 3, *exported.meta['input_size'], generator=generator)
            weights = None if prompt is None else prompt.expand(batch, -1)
            outs = exported(images.numpy(), None if prompt is None else prompt.numpy())
            for (name, out), own in zip(outs.items(), network(images, weights), strict=True):
                difference = np.abs(out - own.numpy())
                if not np.allclose(out, own.numpy(), rtol=TOLERANCE, atol=TOLERANCE):
                    raise RuntimeError(
                        f'{name} differs from torch by {difference.max():.2g}, more than '
                        f'{TOLERANCE:g}, for a batch of {batch}: the file was not written')
                worst = max(worst, float(difference.max()))
    return worst


def _check_onnx() -> None:
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        try:
            __import__(name)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f'export to ONNX needs {name}: pip install "clasp_mm[export]"', name=name
            ) from error
