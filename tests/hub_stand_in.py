"""A stand-in for the Hugging Face hub on the loopback address: what huggingface_hub asks of it."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = 'hf_of_the_tests'


class Handler(BaseHTTPRequestHandler):
    """``server.repos`` has the files of each repository; the commit is the hash of them all."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition('?')[0].removeprefix('/api/models')
        repo, kind, revision, file = re.fullmatch(
            '/([^/]+/[^/]+)(?:/(revision|resolve)/([^/]+)/?(.*))?', path).groups()
        files = self.server.repos.get(repo)
        if files is None:
            return self.refuse(401, 'RepoNotFound')
        if revision not in (None, 'main', commit(files)):
            return self.refuse(404, 'RevisionNotFound')
        if kind != 'resolve':
            return self.answer(dict(id=repo, sha=commit(files), siblings=[
                dict(rfilename=name) for name in files]))
        if repo in self.server.gated and not self.is_logged_in():
            return self.refuse(403, 'GatedRepo')
        if file not in files:
            return self.refuse(404, 'EntryNotFound')
        data, etag = files[file], hashlib.sha256(files[file]).hexdigest()
        if self.command == 'GET':
            self.server.fetched.append(file)
            data = self.server.spoil(data)
        self.send_response(200)
        for name, value in (('ETag', f'"{etag}"'), ('X-Repo-Commit', commit(files)),
                            ('Content-Length', str(len(data)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command == 'GET':
            self.wfile.write(data)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        if 'validate-yaml' in self.path:
            return self.answer(dict(errors=[], warnings=[]))
        if not self.is_logged_in():
            return self.refuse(401, 'Unauthorized')
        if self.path == '/api/repos/create':
            asked = json.loads(body)
            repo = f'{asked["organization"]}/{asked["name"]}'
            self.server.repos.setdefault(repo, {})
            return self.answer(dict(url=f'{self.server.base}/{repo}'))
        repo, kind = re.match(r'/api/models/([^/]+/[^/]+)/(\w+)/main', self.path).groups()
        if kind == 'preupload':
            return self.answer(dict(files=[
                dict(path=file['path'], uploadMode='regular', shouldIgnore=False)
                for file in json.loads(body)['files']]))
        for line in map(json.loads, body.splitlines()):
            if line['key'] == 'file':
                self.server.repos[repo][line['value']['path']] = base64.b64decode(
                    line['value']['content'])
        oid = commit(self.server.repos[repo])
        self.answer(dict(commitUrl=f'{self.server.base}/{repo}/commit/{oid}', commitOid=oid))

    def is_logged_in(self):
        return self.headers.get('Authorization') == f'Bearer {TOKEN}'

    def answer(self, content):
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status, code):
        self.send_response(status)
        self.send_header('X-Error-Code', code)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def log_message(self, *args):
        pass


def commit(files):
    return hashlib.sha1(b''.join(files.values())).hexdigest()


@contextmanager
def hub_stand_in(folder, monkeypatch):
    """The server; this process asks it, and keeps what it fetches below ``folder``."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.repos, server.gated, server.fetched, server.spoil = {}, set(), [], bytes
    server.base = f'http://127.0.0.1:{server.server_port}'
    template = server.base + '/{repo_id}/resolve/{revision}/{filename}'
    for name, value in dict(ENDPOINT=server.base, HUGGINGFACE_CO_URL_TEMPLATE=template,
                            HF_HUB_CACHE=str(folder / 'hub'), HF_TOKEN_PATH=str(folder / 'token')
                            ).items():
        monkeypatch.setattr(f'huggingface_hub.constants.{name}', value)
    monkeypatch.delenv('HF_TOKEN', raising=False)
    thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=.02))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
