import hashlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from mmengine.config import Config

from clasp_mm.models.weights.download import download
from clasp_mm.models.weights.find import find_weights, zoo_metafiles
from clasp_mm.zoo.index import read_zoo

DATA = bytes(range(256)) * 400
NAME = f'nano_20260101-{hashlib.sha256(DATA).hexdigest()[:8]}.pth'
METAFILE = f'Models:\n- Name: Nano of the zoo\n  Weights: {NAME}\n'


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.files``, with Range unless told not to; breaks after ``server.break_at``."""

    def do_GET(self):
        server, wanted = self.server, self.headers.get('Range')
        server.ranges.append(wanted)
        data = server.files.get(self.path.lstrip('/'))
        if data is None:
            return self.send_error(404)
        start = int(wanted.removeprefix('bytes=').rstrip('-')) if wanted and server.resumes else 0
        if start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header('Content-Length', str(len(data) - start))
        self.end_headers()
        end = server.break_at.pop(0) if server.break_at else len(data)
        self.wfile.write(data[start:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr('torch.hub.get_dir', lambda: str(tmp_path / 'hub'))
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.files, server.ranges = {NAME: DATA, 'plain.pth': DATA}, []
    server.resumes, server.break_at = True, []
    server.base = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=.02))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def silent():
    """An address where nobody answers."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return f'http://127.0.0.1:{free.getsockname()[1]}'


def leftovers(path):
    return sorted(p.name for p in path.parent.iterdir() if not p.name.endswith('.lock'))


def test_a_broken_download_goes_on_where_it_broke(server, tmp_path):
    server.break_at = [3000, 70000]
    download(f'{server.base}/{NAME}', tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == DATA and leftovers(tmp_path / NAME) == [NAME]
    assert server.ranges == [None, 'bytes=3000-', 'bytes=70000-']
    download(f'{server.base}/{NAME}', tmp_path / NAME)
    assert len(server.ranges) == 3, 'what is there is not fetched again'


def test_the_next_call_goes_on_too(server, tmp_path):
    path = tmp_path / NAME
    server.break_at = [1000, 2000, 3000]
    with pytest.raises(FileNotFoundError, match=f'3000 bytes are kept.*put it at {path}'):
        download(f'{server.base}/{NAME}', path)
    assert leftovers(path) == [f'{NAME}.download']
    download(f'{server.base}/{NAME}', path)
    assert path.read_bytes() == DATA and server.ranges[-1] == 'bytes=3000-'


@pytest.mark.parametrize('kept', [1000, len(DATA)])
def test_servers_that_cannot_resume_and_files_that_are_whole(server, tmp_path, kept):
    (tmp_path / f'{NAME}.download').write_bytes(DATA[:kept])
    server.resumes = kept == len(DATA)  # all is there: HTTP 416
    download(f'{server.base}/{NAME}', tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == DATA


def test_without_a_hash_nothing_is_resumed(server, tmp_path):
    (tmp_path / 'plain.pth.download').write_bytes(b'of another version')
    download(f'{server.base}/plain.pth', tmp_path / 'plain.pth')
    assert (tmp_path / 'plain.pth').read_bytes() == DATA


def test_wrong_bytes_are_thrown_away(server, tmp_path):
    path = tmp_path / NAME
    path.with_name(f'{NAME}.download').write_bytes(b'x' * 1000)
    with pytest.raises(ValueError, match='thrown away; try again') as error:
        download(f'{server.base}/{NAME}', path)
    assert NAME[-12:-4] in str(error.value) and leftovers(path) == []
    download(f'{server.base}/{NAME}', path)
    assert path.read_bytes() == DATA


def test_two_at_a_time_fetch_it_once(server, tmp_path):
    threads = [threading.Thread(target=download, args=(f'{server.base}/{NAME}', tmp_path / NAME))
               for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / NAME).read_bytes() == DATA and len(server.ranges) == 1


def test_an_address_is_a_zoo(server, monkeypatch):
    server.files['metafile.yml'] = METAFILE.encode()
    monkeypatch.setenv('CLASP_ZOO', server.base)
    for name in ('nano', 'Nano of the zoo', NAME.removesuffix('.pth'), NAME):
        path = find_weights(name)
        assert path.name == NAME and path.read_bytes() == DATA
    with pytest.raises(FileNotFoundError, match='near: nano'):
        find_weights('nana')
    server.files['metafile.yml'] = METAFILE.replace('Nano', 'Large').encode()
    metafiles = zoo_metafiles()
    assert 'Large' in metafiles[-1].read_text(), 'fetched anew'
    del server.files['metafile.yml']
    with pytest.warns(UserWarning, match='HTTP 404'):
        assert zoo_metafiles() == metafiles, 'the last one'


def test_offline_the_error_says_what_to_put_where(silent, tmp_path, monkeypatch):
    monkeypatch.setattr('torch.hub.get_dir', lambda: str(tmp_path / 'hub'))
    path = tmp_path / 'hub' / 'checkpoints' / NAME
    monkeypatch.setenv('CLASP_ZOO', silent)
    for source in (f'{silent}/{NAME}', NAME):
        with pytest.raises(FileNotFoundError, match=f'put it at {path}'):
            find_weights(source)
    path.write_bytes(DATA)
    assert find_weights(NAME) == path


def test_half_copied_file_is_refused(tmp_path):
    (tmp_path / NAME).write_bytes(DATA[:1000])
    with pytest.raises(ValueError, match='only partly copied'):
        find_weights(tmp_path / NAME)


def test_configs_of_an_address_are_fetched_and_not_run(server, monkeypatch, tmp_path):
    name = NAME.replace('.pth', '.py')
    metadata = {'Task': 'Pretraining', 'Host': 'mmpretrain', 'Training Data': 'drawn',
                'Data Licence': 'CC0', 'Recipe': 'none', 'Input Size': '64x32', 'Parameters': 1,
                'FLOPs': 1}
    server.files['metafile.yml'] = json.dumps({'Models': [
        {'Name': 'nano', 'In Collection': 'Published', 'Config': name, 'Weights': NAME,
         'Results': None, 'Metadata': metadata}]}).encode()
    server.files[name] = b"model = dict(backbone=dict(type='clasp_mm.PCMoESwin'))\n"
    monkeypatch.setenv('CLASP_ZOO', server.base)
    config = read_zoo()['nano']['Config']
    assert Config.fromfile(config).model.backbone.type == 'clasp_mm.PCMoESwin'
    monkeypatch.setattr('torch.hub.get_dir', lambda: str(tmp_path / 'another'))
    server.files[name] = f'open({str(tmp_path / "run")!r}, "w")\nmodel = dict()'.encode()
    with pytest.raises(ValueError, match=f'{name} would have to be run.*: line 1'):
        read_zoo()
    assert not (tmp_path / 'run').exists() and not list((tmp_path / 'another').rglob('*.py'))
    del server.files[name]
    with pytest.raises(FileNotFoundError, match=f'cannot download .*{name}'):
        read_zoo()
