"""Features of a source's images in blocks, which processes share, and those put together."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.inputs import normalize
from clasp_mm.datasets.readable import readable_batches
from clasp_mm.pseudo_labels.clip_model import state_digest
from clasp_mm.pseudo_labels.hashing import hash_names
from clasp_mm.pseudo_labels.store import list_digest
from clasp_mm.pseudo_labels.transfer import late
from clasp_mm.utils.device import computes_in_bfloat16, precision
from clasp_mm.utils.shards import Blocks, digest

_NPY_HEADER_BYTES = 128
_BLOCK_BATCHES = 16


def feature_blocks(out: Path, model: nn.Module, source: LUPerson, size: tuple[int, int],
                   batch_size: int, amp: bool | None, rank: int, world_size: int) -> Blocks:
    """Blocks of images beside ``out``, under the name of all that decides their features."""
    key = digest(
        list_digest(hash_names(source.names)), state_digest(model), size, batch_size,
        *(getattr(model, name, None) for name in ('task', 'semantic_weight')),
        computes_in_bfloat16(next(model.parameters()).device, amp))
    count = -(-len(source) // (_BLOCK_BATCHES * batch_size))
    return Blocks(out.with_name(f'.{out.name}.{key}.blocks'), count, rank, world_size)


def embed_blocks(blocks: Blocks, model: nn.Module, source: LUPerson, size: tuple[int, int],
                 batch_size: int, num_workers: int, amp: bool | None, show_progress: bool) -> None:
    """Do this process's blocks: of each the rows that were read, features, and what is wrong."""
    step = _BLOCK_BATCHES * batch_size
    spans = [range(block * step, min((block + 1) * step, len(source))) for block in blocks.own()]
    todo = np.concatenate([np.zeros(0, np.int64), *(np.arange(s.start, s.stop) for s in spans)])
    done = _features(model, source, todo, size, batch_size, num_workers, amp)
    unreadable = 0
    with torch.inference_mode(), tqdm(total=len(todo), unit='img', desc='embed',
                                      disable=not show_progress) as bar:
        for span in spans:
            pieces, kept, faults = [], [], []
            while len(kept) + len(faults) < len(span):
                rows, features, wrong = next(done)
                pieces += [features.cpu().numpy()] if rows else []
                kept += rows
                faults += wrong
                bar.update(len(rows) + len(wrong))
                bar.set_postfix(unreadable=unreadable + len(faults), refresh=False)
            unreadable += len(faults)
            file = io.BytesIO()
            np.savez(file, rows=np.array(kept, np.int64), features=np.concatenate(
                pieces or [np.zeros((0, 0))]).astype('<f4'), faults=np.frombuffer(
                    json.dumps(faults).encode(), np.uint8))
            blocks.write(span.start // step, file.getvalue())


def _features(model: nn.Module, source: LUPerson, rows: Sequence[int], size: tuple[int, int],
              batch_size: int, num_workers: int, amp: bool | None
              ) -> Iterator[tuple[list[int], Tensor, list[str]]]:
    """Rows of each batch that were read, their features on the device, and what is wrong."""
    device = next(model.parameters()).device

    def computed() -> Iterator[tuple[list[int], Tensor, list[str]]]:
        for kept, images, wrong in readable_batches(source, rows, size, batch_size, num_workers,
                                                    pin_memory=device.type == 'cuda'):
            if kept:
                with precision(device, amp):
                    last = model(normalize(images.to(device, non_blocking=True)))[-1]
                images = last.float().mean((2, 3))
            yield kept, images, wrong
    return late(computed())


def put_together(paths: Sequence[Path], source: LUPerson, table: Path, names: Path
                 ) -> tuple[np.ndarray, list[str]]:
    """Write the features and names of all blocks; the rows, (n,) int64, and what is wrong."""
    done, faults, channels = [], [], 0
    with table.open('wb') as file, names.open('wb') as name_file:
        file.write(npy_header(0, channels))
        for path in paths:
            with np.load(path, allow_pickle=False) as block:
                rows, features = block['rows'], block['features']
                faults += json.loads(block['faults'].tobytes())
            if len(rows):
                channels = features.shape[1]
                file.write(features.tobytes())
            name_file.write(b''.join(source.names.raw(row) + b'\n' for row in rows))
            done.append(rows)
        done = np.concatenate(done)
        file.seek(0)
        file.write(npy_header(len(done), channels))
    return done, faults


def npy_header(rows: int, columns: int) -> bytes:
    """Header of a float32 array in NumPy's format 1.0, of the same length for any shape."""
    spec = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    length = _NPY_HEADER_BYTES - 10
    return (b'\x93NUMPY\x01\x00' + length.to_bytes(2, 'little')
            + spec.ljust(length - 1).encode() + b'\n')
