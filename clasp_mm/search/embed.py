"""Features of a folder of images, and a page of nearest neighbours."""

import argparse
import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.images import warn_unreadable
from clasp_mm.models.backbones import SemanticSwin
from clasp_mm.models.layers import TASKS
from clasp_mm.models.weights.find import find_weights
from clasp_mm.utils.claims import hold
from clasp_mm.utils.device import computes_in_bfloat16
from clasp_mm.utils.files import printable, temporary_folder, write_json
from clasp_mm.utils.shards import digest
from clasp_mm.visualization.neighbours import neighbour_rows
from clasp_mm.visualization.pages import write_page
from clasp_mm.zoo.get_model import get_model

from .index import Encoder, FeatureIndex, backbone_digest, pooled_features, share

_CHUNK = 1 << 16


def embed_images(model: nn.Module, source: LUPerson, out: str | os.PathLike,
                 size: tuple[int, int] = (256, 128), batch_size: int = 64, num_workers: int = 2,
                 num_queries: int = 24, num_neighbours: int = 8, meta: dict | None = None,
                 show_progress: bool = True, amp: bool | None = None, rank: int = 0,
                 world_size: int = 1) -> dict | None:
    """Write the features of every readable image of a source, and a page of neighbours.

    The feature is the mean over the last map. Beside ``OUT.npy``, (N, C) float32, lie
    ``OUT.names.txt`` with the name of each row, ``OUT.json`` with what was done, and
    ``OUT.html``; ``OUT.parquet`` has the columns ``name`` and ``feature`` itself. Every file is
    complete or not there, and memory does not grow with the number of images. A call that was
    killed goes on where it was when it is made again. Several processes (``rank`` of
    ``world_size``) may share the work on one file system; the last one to finish writes the files,
    which do not depend on their number.

    Args:
        model: Images (B, 3, H, W) to a tuple of maps.
        source: The images.
        out: ``*.npy`` or ``*.parquet``.
        size: (H, W) to which images are brought.
        batch_size: Images per forward.
        num_workers: Processes that read images.
        num_queries: Images whose neighbours are shown, spread evenly over the source.
        num_neighbours: Neighbours of each.
        meta: Added to ``OUT.json``.
        show_progress: Show a bar.
        amp: Precision of the model, see :func:`clasp_mm.utils.device.precision`.
        rank: Number of this process.
        world_size: Number of processes.

    Returns:
        What ``OUT.json`` holds: num_images, channels, size, unreadable (their names and why). None
        while other processes still have work to do.

    Raises:
        HeldError: Another launch's process of this rank is at work on it.
        ValueError: If ``out`` has another suffix, Parquet is not to be had, or no image can be
            read.
    """
    out = check_out(out)
    index = FeatureIndex(out.parent, source, _encoder(out, model, size, batch_size, amp))
    with hold(out, out.with_name(f'.{out.name}.{rank}.claim.json')):
        if share([index], index.folder, batch_size, num_workers, show_progress, rank,
                 world_size) is None:
            return None
        faults = index.update(batch_size, num_workers, show_progress).unreadable
        with temporary_folder(out) as folder:
            rows = index.export(folder / 'features.npy')
            if not len(rows):
                raise ValueError(f'none of the {len(source)} images of {source.source!r} could be '
                                 f'read; the first is {faults[0]}')
            features = np.load(folder / 'features.npy', mmap_mode='r')
            result = dict(meta or {}, size=list(size), num_images=len(rows),
                          channels=features.shape[1], unreadable=faults)
            _write(out, folder, features, source, rows, result)
        shutil.rmtree(index.folder, ignore_errors=True)
        neighbours = neighbour_rows(source, rows, features, num_queries, num_neighbours)
        named = [result.get('checkpoint', ''), *np.atleast_1d(result.get('task') or [])]
        write_page(
            out.with_suffix('.html'), 'neighbours', 'Nearest neighbours',
            f'{len(neighbours)} of {len(rows)} images with their nearest neighbours by cosine of '
            f'the {features.shape[1]} features.', ' '.join(map(str, named)), source.source,
            rows=neighbours)
    warn_unreadable(faults, len(source))
    return result


def _write(out: Path, folder: Path, features: np.ndarray, source: LUPerson, rows: np.ndarray,
           result: dict) -> None:
    """Give what lies in ``folder`` its place."""
    if out.suffix == '.parquet':
        _write_parquet(folder / 'features.parquet', features, source, rows)
        os.replace(folder / 'features.parquet', out)
    else:
        source.names.take(rows).save(out.with_suffix('.names.txt'))
        os.replace(folder / 'features.npy', out)
    write_json(out.with_suffix('.json'), result)


def _encoder(out: Path, model: nn.Module, size: tuple[int, int], batch_size: int,
             amp: bool | None) -> Encoder:
    """Means over the last map, under the name of all that decides them; of a folder beside out."""
    device = next(model.parameters()).device
    key = digest(backbone_digest(model), size, batch_size, computes_in_bfloat16(device, amp),
                 *(getattr(model, name, None) for name in ('task', 'semantic_weight')))
    return Encoder(f'.{out.name}.{key}.features', size, partial(pooled_features, model, amp=amp))


def check_out(out: str | os.PathLike) -> Path:
    """Where features may go.

    Raises:
        ValueError: The file has another suffix, or Parquet is not to be had.
    """
    out = Path(out)
    if out.suffix not in ('.npy', '.parquet'):
        raise ValueError(f'features go to a .npy or .parquet file, got {str(out)!r}')
    if out.suffix == '.parquet':
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise ValueError(f'Parquet needs pyarrow ({error}): pip install "clasp_mm[parquet]", '
                             f'or write {out.with_suffix(".npy").name} with its list '
                             'of names instead') from error
    return out


def _write_parquet(path: Path, features: np.ndarray, source: LUPerson, rows: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    width = features.shape[1]
    schema = pa.schema([('name', pa.string()), ('feature', pa.list_(pa.float32(), width))])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(rows), _CHUNK):
            names = [printable(source.names[row]) for row in rows[start:start + _CHUNK]]
            values = pa.array(features[start:start + _CHUNK].reshape(-1))
            writer.write_table(pa.table([pa.array(names, pa.string()),
                                         pa.FixedSizeListArray.from_arrays(values, width)],
                                        schema=schema))


def load_backbone(args: argparse.Namespace, default_task: str | None = None) -> nn.Module:
    """The backbone that the options of ``clasp embed`` ask for.

    Args:
        args: Has checkpoint, config, task, semantic_weight and device.
        default_task: Prompt of a backbone that has prompts, where ``args.task`` names none.

    Raises:
        ValueError: A prompt or a semantic weight must be chosen, or a prompt is given and the
            backbone has none.
    """
    path = find_weights(args.checkpoint)
    spec = dict(source=path) if args.config is None else dict(source=args.config, pretrained=path)
    if args.semantic_weight is not None:
        spec['semantic_weight'] = args.semantic_weight
    task = args.task[0] if args.task and len(args.task) == 1 else args.task
    model = get_model(**spec, task=task).to(args.device)
    if model.has_moe and not task and default_task:
        model.task = default_task
    if model.has_moe and model.task is None:
        raise ValueError(f'{path.name} has prompts: choose one with --task {"|".join(TASKS)}')
    if isinstance(model, SemanticSwin) and model.semantic_weight is None:
        raise ValueError(f'{path.name} has a semantic controller: choose --semantic-weight 0 '
                         '(appearance) to 1 (semantics)')
    return model
