"""Files that were cut, or of which a byte changed: told by name, or harmless; never a signal.

Each trial runs in a process of its own. The short form makes a dozen trials of each kind of file;
the long one, ``pytest tests/test_damage.py -m slow -s``, makes 300 and prints the table.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np
import pytest
import torch

from clasp_mm.compat import load_file
from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.images import UnreadableImageError, read_image
from clasp_mm.engine.checkpoints import checkpoint_to_resume
from clasp_mm.inferencers.gallery import ReIDIndex
from clasp_mm.pseudo_labels.store import LabelStore
from clasp_mm.search import Encoder, FeatureIndex
from clasp_mm.utils.files import append_row, read_rows
from clasp_mm.zoo.publish import _pth, _safetensors
from tests.source_tree import ROOT
from tests.test_pseudo_labels.test_store import make_store

REFUSED, HARMLESS, CHANGED, UNCLEAR, SIGNAL = (
    'refused by name', 'harmless', 'changed silently', 'another error', 'killed by a signal')


class Kind(NamedTuple):
    """A kind of file: what is damaged, what reads it, and which errors its reader promises.

    ``read`` gives something to compare; what it takes for damaged itself it leaves out. ``open``
    are kinds whose format has no checksum, so that a wrong pixel or digit cannot be told.
    """

    files: list[Path]
    read: Callable[[], object]
    promised: tuple[type[Exception], ...] = (ValueError, )
    open: bool = False


def jpeg(seed=0, size=(24, 12)):
    import cv2
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return cv2.imencode('.jpg', pixels)[1].tobytes()


def lmdb_of_people(folder, count=300):
    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=1 << 24) as environment, \
            environment.begin(write=True) as transaction:
        for number in range(count):  # in a page, and in pages of their own
            transaction.put(f'{number:04d}/{"person" * 9}.jpg'.encode(),
                            jpeg(number, (100, 50) if number % 7 == 0 else (24, 12)))
    return folder / 'data.mdb'


def _people(folder):
    def read():
        dataset, found, told = LUPerson(str(folder)), [], ''
        for index in range(len(dataset)):
            try:
                found.append(dataset.load(index)['img'].sum())
            except UnreadableImageError as error:
                assert dataset.names[index] in str(error)
                told = str(error)
        if told:
            raise UnreadableImageError(f'{folder}: {told}')
        return found
    return Kind([lmdb_of_people(folder)], read, open=True)


def _weights(folder, name):
    folder.mkdir()
    draw = np.random.default_rng(0)
    state = {f'backbone.layer{i}.weight': torch.tensor(draw.random((8, 40), np.float32))
             for i in range(9)}
    meta = dict(name='mini', results={'reid': {'mAP': 5.9}}, names={3: 'nose'})
    pack = _safetensors if name.endswith('.safetensors') else _pth
    (folder / name).write_bytes(pack(state, meta))

    def read():
        content = load_file(folder / name)
        return content['meta'], {name: x.tolist() for name, x in content['state_dict'].items()}
    return Kind([folder / name], read)


def _run(folder):
    """The checkpoints of a run: the last whole one is resumed from."""
    folder.mkdir()
    for epoch in (1, 2):
        torch.save(dict(meta=dict(epoch=epoch, iter=9 * epoch), message_hub={}, optimizer={},
                        state_dict=dict(x=torch.arange(99.) * epoch)),
                   folder / f'epoch_{epoch}.pth')

    def read():
        path = checkpoint_to_resume(folder)
        if path.name == 'epoch_2.pth':
            return torch.load(path, weights_only=True)['state_dict']['x'].tolist()
        raise ValueError('epoch_2.pth was passed over, with a warning')
    return Kind([folder / 'epoch_2.pth'], read)


def _reid_index(folder):
    draw = np.random.default_rng(0).normal(size=(200, 16))
    index = ReIDIndex(draw / np.linalg.norm(draw, axis=1, keepdims=True),
                      [f'{number}.jpg' for number in range(200)], 'here')
    index.save(folder / 'people.npz')

    def read():
        found = ReIDIndex.load(folder / 'people.npz')
        return found.features.tolist(), found.names, found.root
    return Kind([folder / 'people.npz'], read)


def search_index(folder):
    (folder / 'images').mkdir(parents=True)
    for number in range(20):
        (folder / 'images' / f'{number}.jpg').write_bytes(jpeg(number))
    encoder = Encoder('mean', (24, 12), lambda images: images.float().mean((2, 3)))

    def open_index():
        return FeatureIndex(folder / 'index', LUPerson(str(folder / 'images')), encoder)
    open_index().update(num_workers=0, progress=False)
    return Kind(sorted((folder / 'index').rglob('*.npy')),
                lambda: open_index().scores(np.eye(3)).tolist())


def _metrics(folder):
    folder.mkdir()
    path = folder / 'metrics.jsonl'
    for step in range(1, 60):
        append_row(path, dict(loss=1 / step, lr=0.1, step=step, epoch=1))
    return Kind([path], lambda: read_rows(path), open=True)


def _label_store(folder, verify):
    make_store(folder, 60)

    def read():
        store = LabelStore(folder)
        if verify:
            store.verify()
        return [{name: x.tolist() for name, x in vars(store.lookup(f'person{i}.jpg')).items()}
                for i in range(60)]
    return Kind(sorted(folder.iterdir()), read, (ValueError, KeyError), open=not verify)


def _image(folder):
    folder.mkdir()
    (folder / 'a.jpg').write_bytes(jpeg(size=(100, 50)))
    return Kind([folder / 'a.jpg'], lambda: read_image(folder / 'a.jpg').tolist(), open=True)


KINDS = {
    'LMDB of people': _people,
    'weights, renamed': partial(_weights, name='mine.pth'),
    'safetensors, renamed': partial(_weights, name='mine.safetensors'),
    'checkpoint to resume from': _run,
    'ReIDIndex': _reid_index,
    'search index': search_index,
    'metrics.jsonl': _metrics,
    'label store, verified': partial(_label_store, verify=True),
    'label store, read only': partial(_label_store, verify=False),
    'image': _image,
}


def outcome(kind: Kind, path: Path, intact: object) -> str:
    """What a fresh process makes of the damaged file."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = UNCLEAR
        try:
            os.close(reading)
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            code = HARMLESS if kind.read() == intact else CHANGED
        except kind.promised as error:
            said = str(error)
            code = REFUSED if path.name in said or str(path.parent) in said else \
                f'{UNCLEAR}: without a name: {said:.200}'
        except BaseException as error:
            code = f'{UNCLEAR}: {type(error).__name__}: {error!s:.200}'
        finally:
            os.write(writing, code.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, 'rb') as pipe:
        said = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said if status == 0 else f'{SIGNAL}: {signal.Signals(-status).name}'


def trials(kind: Kind, count: int, seed: int = 0) -> Counter:
    """Outcomes of ``count`` trials: of three, two change a byte and one cuts the end off."""
    draw, intact, found = np.random.default_rng(seed), kind.read(), Counter()
    for trial in range(count):
        path = kind.files[draw.integers(len(kind.files))]
        data = path.read_bytes()
        damaged, at = bytearray(data), int(draw.integers(len(data)))
        if trial % 3 == 0:
            del damaged[at:]
        elif trial % 3 == 1:
            damaged[at] ^= 1 << int(draw.integers(8))
        else:  # in the head, where structure lies
            at = int(draw.integers(min(len(data), 4096)))
            damaged[at] ^= int(draw.integers(1, 256))
        try:
            path.write_bytes(damaged)
            found[outcome(kind, path, intact)] += 1
        finally:
            path.write_bytes(data)
    assert kind.read() == intact
    return found


def check(kind: Kind, found: Counter) -> None:
    allowed = {REFUSED, HARMLESS} | ({CHANGED} if kind.open else set())
    assert set(found) <= allowed, dict(found)


@pytest.mark.parametrize('name', KINDS)
def test_damage_is_told(name, tmp_path):
    kind = KINDS[name](tmp_path / 'here')
    found = trials(kind, 12)
    check(kind, found)
    assert found[REFUSED]


@pytest.mark.slow
def test_table_of_damage(tmp_path):
    rows = {}
    for number, (name, make) in enumerate(KINDS.items()):
        kind = make(tmp_path / str(number))
        rows[name] = kind, trials(kind, 300, seed=1)
    head = (REFUSED, HARMLESS, CHANGED, UNCLEAR, SIGNAL)
    print('\n| file | ' + ' | '.join(head) + ' |\n|---' + '|---:' * len(head) + '|')
    for name, (_, found) in rows.items():
        cells = [sum(n for said, n in found.items() if said.startswith(title)) for title in head]
        print(f'| {name} | ' + ' | '.join(map(str, cells)) + ' |')
    for kind, found in rows.values():
        check(kind, found)


def test_the_table_has_a_row_of_300_for_each_kind():
    rows = {cells[0]: cells[1:] for line in (ROOT / 'SECURITY.md').read_text('utf-8').splitlines()
            if (cells := [cell.strip() for cell in line.strip('|').split('|')])[0] in KINDS}
    assert list(rows) == list(KINDS)
    for name, cells in rows.items():
        *_, unclear, killed = counts = list(map(int, cells))
        assert sum(counts) == 300 and unclear == killed == 0, name
