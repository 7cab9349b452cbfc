"""Files that were cut, or of which a byte changed: told by name, or harmless; never a signal.

Each trial runs in a process of its own. The short form makes a dozen trials of each kind of file;
the long one, ``pytest tests/test_damage.py -m slow -s``, makes 300 and prints the table.
"""

import errno
import http.server
import json
import os
import signal
import threading
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np
import pytest
import torch

from clasp_mm.apis.publish import _pth, _safetensors
from clasp_mm.apis.reid_index import ReIDIndex
from clasp_mm.apis.search import Encoder, FeatureIndex
from clasp_mm.compat import load_file
from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.images import UnreadableImageError, read_image
from clasp_mm.datasets.lmdb_file import LmdbError, LmdbFile
from clasp_mm.engine.checkpoints import checkpoint_to_resume
from clasp_mm.engine.hooks.run_record_hook import cut_metrics
from clasp_mm.engine.run_report import write_run_report
from clasp_mm.files import append_row, read_rows
from clasp_mm.models.download import download
from clasp_mm.models.weights_file import find_weights
from clasp_mm.pseudo_labels.store import LabelStore
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


def _search_index(folder):
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
    'search index': _search_index,
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


def test_lmdb_is_read_as_the_library_reads_it(tmp_path):
    """Deep trees, big values, deleted keys, an empty key's neighbours; against lmdb itself."""
    draw = np.random.default_rng(0)
    items = {f'{number * 7919 % 3000:05d}'.encode() * int(draw.integers(1, 9)):
             draw.bytes(int(draw.choice([0, 1, 20, 1900, 2100, 9000]))) for number in range(3000)}
    with lmdb.open(str(tmp_path), map_size=1 << 26) as environment:
        with environment.begin(write=True) as transaction:
            for key, value in items.items():
                transaction.put(key, value)
        with environment.begin(write=True) as transaction:
            for key in list(items)[::3]:
                transaction.delete(key)
                del items[key]
        assert environment.stat()['depth'] >= 3
    file = LmdbFile(tmp_path)
    assert list(file.keys()) == sorted(items)
    assert {key: file.get(key) for key in items} == items
    assert file.get(b'') is file.get(b'0') is file.get(b'zzz') is None


def test_lmdb_header_by_hand(tmp_path):
    """Two header pages of 4096 bytes and the last page's number decide the least size."""
    path = lmdb_of_people(tmp_path / 'people')
    data = path.read_bytes()
    last = max(int.from_bytes(data[at:at + 8], 'little') for at in (136, 4096 + 136))
    path.write_bytes(data[:(last + 1) * 4096])  # all that its header asks for
    assert len(LUPerson(str(path.parent))) == 300
    path.write_bytes(data[:(last + 1) * 4096 - 1])
    with pytest.raises(LmdbError, match=rf'data\.mdb: it is cut off.*{last + 1} pages of 4096'):
        LUPerson(str(path.parent))
    for at, byte, words in ((16, 0, 'no LMDB begins so'), (20, 9, 'format 9'),
                            (40, 7, 'pages of 4103 bytes')):
        path.write_bytes(data[:at] + bytes([byte]) + data[at + 1:])
        with pytest.raises(LmdbError, match=words):
            LUPerson(str(path.parent))


def test_lmdb_page_is_named(tmp_path):
    path = lmdb_of_people(tmp_path / 'people')
    dataset = LUPerson(str(path.parent))
    data, name = path.read_bytes(), dataset.names.raw(0)
    at = data.index(name) + len(name)  # a value in pages of its own: their number
    number = int.from_bytes(data[at:at + 8], 'little')
    path.write_bytes(data[:at] + (10 ** 6).to_bytes(8, 'little') + data[at + 8:])
    with pytest.raises(UnreadableImageError, match=r'0000/.*data\.mdb: it has no page 1000000'):
        LUPerson(str(path.parent)).load(0)
    start = number * 4096
    path.write_bytes(data[:start + 10] + b'\0' + data[start + 11:])  # its flags
    with pytest.raises(UnreadableImageError, match=rf'page {number} is damaged'):
        LUPerson(str(path.parent)).load(0)
    assert LUPerson(str(path.parent))[0]['skipped'] == dataset.names[0]


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_renamed_weights_are_held_against_their_side_car(suffix, tmp_path):
    """SHA-256 of b'abc' begins with ba7816bf (FIPS 180-2, B.1)."""
    path = tmp_path / f'mine{suffix}'
    path.write_bytes(b'abc')
    side_car = dict(sha256_8='ba7816bf', files=[
        'clasp_20260101-ba7816bf.pth', 'clasp_20260101-ba7816bf.safetensors'])
    for content in (side_car, {}, [], dict(files=3)):  # others are somebody else's
        path.with_suffix('.json').write_text(json.dumps(content))
        assert find_weights(path) == path
    path.with_suffix('.json').write_text('{')
    assert find_weights(path) == path
    path.with_suffix('.json').write_text(json.dumps(side_car))
    path.write_bytes(b'abd')
    with pytest.raises(ValueError, match=rf'mine{suffix} has hash .*, mine\.json says ba7816bf'):
        find_weights(path)


def test_checkpoints_without_checksums_load(tmp_path):
    """torch.serialization.set_crc32_options(False), and safetensors of others or of earlier."""
    from safetensors.torch import save_file
    path = tmp_path / 'mine.pth'
    torch.save(dict(x=torch.arange(9.)), path)
    with zipfile.ZipFile(path) as archive:
        sums = [part.CRC.to_bytes(4, 'little') for part in archive.infolist()]
    data = path.read_bytes()
    for stated in sums:
        data = data.replace(stated, bytes(4))
    path.write_bytes(data)
    assert load_file(path)['x'].tolist() == list(range(9))
    save_file(dict(x=torch.arange(9.)), tmp_path / 'b.safetensors', {'clasp_mm': '{"name": "b"}'})
    assert load_file(tmp_path / 'b.safetensors')['meta'] == dict(name='b')


def test_segments_without_a_checksum_load(tmp_path):
    kind = _search_index(tmp_path)
    intact, path = kind.read(), kind.files[0]
    path.rename(path.with_name(f'{path.stem.partition("-")[0]}.npy'))
    assert kind.read() == intact


def test_a_row_that_is_cut_off_is_no_row(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    path.write_text('{"loss": 2.0, "step": 1}\n{"loss": 1.5, "st')
    assert read_rows(path) == [dict(loss=2.0, step=1)]
    path.write_text('{"loss": 2.0, "step": 1}\n{"loss": 1.5, "st\n{"loss": 1.0, "step": 3}\n')
    with pytest.raises(ValueError, match=r'metrics\.jsonl:2: no JSON object with a step'):
        write_run_report(tmp_path)
    path.write_bytes(path.read_bytes() + b'7\n\xff\0\0\n{"step"')
    assert cut_metrics(path, 3) == 3  # lines 2, 4 and 5; the last one a kill left
    assert read_rows(path) == [dict(loss=2.0, step=1), dict(loss=1.0, step=3)]


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with the bytes of the path's name."""

    answers = {'/status.pth': b'SPDY nonsense\r\n\r\n', '/length.pth':
               b'HTTP/1.0 200 OK\r\nContent-Length: many\r\n\r\nabc'}

    def handle_one_request(self):
        line = self.rfile.readline().decode().split()
        self.wfile.write(self.answers[line[1]])
        self.close_connection = True


@pytest.fixture
def server():
    with http.server.HTTPServer(('127.0.0.1', 0), Server) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f'http://127.0.0.1:{found.server_port}'
        found.shutdown()


@pytest.mark.parametrize('address, words', [
    ('SERVER/status.pth', 'BadStatusLine'), ('SERVER/length.pth', 'many'),
    ('http://127.0.0.1:port/a.pth', 'nonnumeric port'), ('http://[::1/a.pth', 'URL'),
    ('http://127.0.0.1/a b.pth', 'control characters'), ('http://.a/b.pth', 'a')])
def test_downloads_that_are_none(address, words, server, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf'cannot download .*{words}.*here\.pth'):
        download(address.replace('SERVER', server), tmp_path / 'here.pth')


def test_a_full_disk_is_named(server, tmp_path, monkeypatch):
    """/dev/full takes the place of the file: every write finds no space."""
    monkeypatch.setitem(Server.answers, '/a.pth', b'HTTP/1.0 206 OK\r\n\r\nabc')
    (tmp_path / 'a.pth.download').symlink_to('/dev/full')
    monkeypatch.setattr('pathlib.Path.unlink', lambda *args, **kwargs: None)
    with pytest.raises(OSError, match=r'No space left .*a\.pth') as found:
        download(f'{server}/a.pth', tmp_path / 'a.pth')
    assert found.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match=r'No space left .*/dev/full'):
        append_row('/dev/full', dict(step=1))
