"""Files that were cut or changed, each by hand: what is said of it, and what is still read."""

import errno
import http.server
import json
import threading
import zipfile

import lmdb
import numpy as np
import pytest
import torch

from clasp_mm.analysis.convergence import read_validations
from clasp_mm.compat import load_file
from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.images import UnreadableImageError
from clasp_mm.datasets.lmdb_file import LmdbError, LmdbFile
from clasp_mm.engine.checkpoints import checkpoint_to_resume, last_checkpoint
from clasp_mm.engine.hooks.run_record_hook import cut_metrics
from clasp_mm.engine.run_report import write_run_report
from clasp_mm.experiments.ablation.score import step_seconds
from clasp_mm.experiments.downstream import read_run
from clasp_mm.models.weights.download import download
from clasp_mm.models.weights.find import find_weights
from clasp_mm.utils.files import append_row, read_rows
from clasp_mm.visualization.figures import draw_losses
from clasp_mm.zoo.passport import logged_results
from tests.test_damage import lmdb_of_people, search_index


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


def test_a_checkpoint_with_one_other_byte_in_a_tensor_is_passed_over(tmp_path, said):
    """torch reads it as if nothing were: only the archive's CRC-32 tells."""
    for epoch in (1, 2):
        torch.save(dict(meta=dict(epoch=epoch, iter=epoch), message_hub={}, optimizer={},
                        state_dict=dict(x=torch.arange(99.) * epoch)),
                   tmp_path / f'epoch_{epoch}.pth')
    path = tmp_path / 'epoch_2.pth'
    data = bytearray(path.read_bytes())
    data[data.index((torch.arange(99.) * 2).numpy().tobytes()) + 7] ^= 1
    path.write_bytes(data)
    changed = torch.load(path, weights_only=True)['state_dict']['x']
    assert (changed != torch.arange(99.) * 2).sum() == 1
    for find in (checkpoint_to_resume, last_checkpoint):
        said.clear()
        assert find(tmp_path) == tmp_path / 'epoch_1.pth'
        assert len(said) == 1 and 'epoch_2.pth is damaged' in said[0]


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
    kind = search_index(tmp_path)
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


def cut_last_line(path):
    path.write_bytes(path.read_bytes() + b'{"loss": 1.5, "st')


def damage_first_line(path):
    path.write_bytes(path.read_bytes().replace(b'{', b'', 1))


LOG = [dict(loss=2., loss_dino=2., lr=.1, time=.5, step=1),
       dict(loss=1., loss_dino=1., lr=.1, time=.5, step=2),
       dict(mAP=5., step=2)]


@pytest.mark.parametrize('name, read, expected', [
    ('metrics.jsonl', lambda run: write_run_report(run).name, 'report.html'),
    ('x/vis_data/scalars.json', lambda run: read_validations(run, 'mAP')[0]['score'], 5),
    ('x/vis_data/scalars.json', lambda run: read_run(run, 'mAP')['scores'], [5]),
    ('x/vis_data/scalars.json', lambda run: logged_results(run, 2, 'mAP'), {'mAP': 5}),
    ('x/vis_data/scalars.json', step_seconds, .5),
    ('x/vis_data/scalars.json',
     lambda run: draw_losses({'a': run / 'x/vis_data/scalars.json'}).ndim, 3)])
def test_every_reader_of_a_log_leaves_out_what_a_kill_cut_off(name, read, expected, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / 'cost.json').write_text('{}')
    for row in LOG:
        append_row(path, row)
    cut_last_line(path)
    assert read(tmp_path) == expected
    damage_first_line(path)
    with pytest.raises(ValueError, match=rf'{path.name}:1: no JSON object with a step'):
        read(tmp_path)


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with the bytes of the path's name."""

    answers = {'/status.pth': b'SPDY nonsense\r\n\r\n', '/nothing.pth': b'', '/length.pth':
               b'HTTP/1.0 200 OK\r\nContent-Length: many\r\n\r\nabc', '/header.pth':
               b'HTTP/1.0 200 OK\r\nX: ' + b'a' * 99999 + b'\r\n\r\nabc', '/cut.pth':
               b'HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nabc', '/chunk.pth':
               b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc'}

    def handle_one_request(self):
        line = self.rfile.readline().decode().split()
        while self.rfile.readline().strip():  # what is unread would reset the connection
            pass
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
    ('SERVER/header.pth', 'LineTooLong'), ('SERVER/nothing.pth', 'without response'),
    ('SERVER/cut.pth', 'the connection broke'), ('SERVER/chunk.pth', 'the connection broke'),
    ('http://127.0.0.1:port/a.pth', 'nonnumeric port'), ('http://[::1/a.pth', 'URL'),
    ('http://127.0.0.1/a b.pth', 'control characters'), ('http://.a/b.pth', 'a')])
def test_downloads_that_are_none(address, words, server, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf'cannot download .*{words}.*here\.pth'):
        download(address.replace('SERVER', server), tmp_path / 'here.pth')
    assert not (tmp_path / 'here.pth').exists()


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
