"""Run a file that :func:`clasp_mm.export.write.export_model` wrote."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

METADATA = 'clasp_mm.json'  # the entry beside a torch.export program

Prompt = str | Sequence[str] | Mapping[str, float] | np.ndarray


class ExportedModel:
    """An exported network, by onnxruntime or torch on the CPU, whose inputs are checked.

    Args:
        path: A ``.onnx`` or ``.pt2`` file.
        threads: CPU threads of onnxruntime; torch's own number by default. (Those of a ``.pt2``
            are torch's.)

    Attributes:
        meta: What the file says about itself: ``kind``, ``input_size`` (H, W),
            ``channels``, ``mean``, ``std``, ``resize``, ``outputs``, ``prompts`` (columns of the
            prompt input, [] where the prompt is fixed), ``task`` and, of heads, what their outputs
            mean; of the backbone of another task ``without_head_of``, that task. ``resize`` has
            ``backend`` and ``interpolation``; of a backbone ``enlarging``, that of images that are
            less high than ``input_size``; of pose ``padding`` and ``use_udp`` of mmpose's affine
            crop of a box.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It was not written by ``clasp export``, or is damaged.
        ModuleNotFoundError: It needs onnxruntime, which is not installed.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f'no exported model at {path} (relative to {Path.cwd()}): '
                                    'write it with clasp export')
        data = path.read_bytes()
        zipped = data.startswith(b'PK')
        if zipped and path.suffix.lower() == '.onnx':
            raise ValueError(f'{path} is no ONNX model but a zip, as a torch.export program is, '
                             'which can run code of its own: name it .pt2 if you trust its writer')
        open_file = _open_torch if zipped else _open_onnx
        self._run, self.meta = open_file(path, data, threads or torch.get_num_threads())
        if 'input_size' not in self.meta:
            raise ValueError(f'{path} has no input_size in its metadata: it was not written by '
                             'clasp export')

    def __call__(self, images: np.ndarray, prompt: Prompt | None = None) -> dict[str, np.ndarray]:
        """Run the network.

        Args:
            images: (B, 3, H, W) floats of the file's own size, resized and normalised by ``meta``'s
                ``resize``, ``channels``, ``mean`` and ``std`` (of a backbone as
                ``clasp_mm.load_images`` does, given the model).
            prompt: Only where it is an input: a name of ``meta['prompts']``, several (their
                mean), a weight for each name, or an array of weights, (P,), or (B, P) for each
                image its own.

        Returns:
            An array for each name of ``meta['outputs']``.

        Raises:
            ValueError: The images have another size or are no floats, or the prompt is missing,
                unknown, or not asked for.
        """
        images = np.asarray(images)
        size = tuple(self.meta['input_size'])
        if images.ndim != 4 or images.shape[1:] != (3, *size) or not len(images):
            raise ValueError(
                f'images of shape {images.shape}: the model was exported for (B, 3, {size[0]}, '
                f'{size[1]}), B at least 1; resize them, or export it again with --size')
        if images.dtype.kind != 'f':
            raise ValueError(f'images of {images.dtype}: normalised floats are needed, by the '
                             f'mean {self.meta["mean"]} and std {self.meta["std"]}')
        inputs = [np.ascontiguousarray(images, np.float32)]
        if self.meta['prompts']:
            inputs.append(prompt_weights(prompt, self.meta['prompts'], len(images)))
        elif prompt is not None:
            raise ValueError(f'prompt={prompt!r}, but the prompt of this file is fixed (task '
                             f'{self.meta["task"]!r}); export it with --prompt-input')
        return dict(zip(self.meta['outputs'], self._run(inputs), strict=True))


def prompt_weights(prompt: Prompt | None, names: Sequence[str], batch: int) -> np.ndarray:
    """The prompt input of an exported model.

    Args:
        prompt: See :class:`ExportedModel`.
        names: What the columns are called.
        batch: Images B.

    Returns:
        (B, P) float32.

    Raises:
        ValueError: The prompt is None, names what is no column, or has another shape.
    """
    if prompt is None:
        raise ValueError(f'no prompt: name one of {", ".join(names)}, or give weights ({batch}, '
                         f'{len(names)})')
    if isinstance(prompt, Mapping):
        given = {name: float(weight) for name, weight in prompt.items()}
    elif isinstance(prompt, str):
        given = {prompt: 1.}
    elif not isinstance(prompt, np.ndarray) and len(prompt) and isinstance(prompt[0], str):
        given = dict.fromkeys(prompt, 1 / len(set(prompt)))
    else:
        weights = np.asarray(prompt, np.float32)
        if weights.shape not in ((len(names), ), (1, len(names)), (batch, len(names))):
            raise ValueError(f'prompt weights of shape {weights.shape}: ({len(names)},) or '
                             f'({batch}, {len(names)}) are needed, of {", ".join(names)}')
        return np.ascontiguousarray(np.broadcast_to(weights, (batch, len(names))))
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ValueError(f'unknown prompt {unknown[0]!r}: the file has {", ".join(names)}')
    row = np.array([given.get(name, 0.) for name in names], np.float32)
    return np.tile(row, (batch, 1))


def _open_onnx(path: Path, data: bytes, threads: int) -> tuple[Any, dict[str, Any]]:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f'{path} needs onnxruntime: pip install "clasp_mm[export]"',
                                  name=error.name) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(data, options, ['CPUExecutionProvider'])
    except Exception as error:  # its own types
        raise ValueError(f'{path} is damaged or no ONNX model ({type(error).__name__}): export it '
                         'again') from error
    entries = session.get_modelmeta().custom_metadata_map
    names = [value.name for value in session.get_inputs()]
    return (lambda inputs: session.run(None, dict(zip(names, inputs, strict=True))),
            {key: json.loads(value) for key, value in entries.items()}
            if 'input_size' in entries else {})


def _open_torch(path: Path, data: bytes, threads: int) -> tuple[Any, dict[str, Any]]:
    entries = {METADATA: ''}
    try:
        program = torch.export.load(io.BytesIO(data), extra_files=entries)
    except Exception as error:  # torch raises many types for damaged files
        raise ValueError(f'{path} is damaged or no torch.export program '
                         f'({type(error).__name__}): export it again') from error
    module = program.module()

    @torch.no_grad()
    def run(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [out.numpy() for out in module(*map(torch.tensor, inputs))]
    return run, json.loads(entries[METADATA] or '{}')
