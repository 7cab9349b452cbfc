"""Files from an address: resumed, checked by the hash in their name, whole or not there."""

import errno
import http
import http.client
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from clasp_mm.utils.files import file_hash, locked

HASHED_NAME = re.compile(r'-([0-9a-f]{8})\.(?:pth|safetensors)\Z')
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
_CHUNK, _ATTEMPTS, _TIMEOUT = 1 << 20, 3, 30


def download(address: str, path: Path, anew: bool = False) -> None:
    """Fetch a file unless it is there.

    What arrives is kept as ``{path}.download`` until it is whole. A file with its hash in its name
    goes on from there, in this call and in the next; any other starts again. Several processes may
    ask for the same file: one fetches it.

    Args:
        address: http or https.
        path: Where to put it.
        anew: Fetch it even so, and replace it.

    Raises:
        FileNotFoundError: It cannot be fetched; the error says which file to put where.
        OSError: It cannot be written, as on a full disk; names the file.
        ValueError: What was fetched does not have the hash in its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path, f'another process fetches {path}: waiting for it'):
        if path.is_file() and not anew:
            return
        partial, hashed = path.with_name(f'{path.name}.download'), HASHED_NAME.search(path.name)
        if not hashed:
            partial.unlink(missing_ok=True)
        _fetch(address, partial, path)
        if hashed and (found := file_hash(partial)) != hashed[1]:
            partial.unlink()
            raise ValueError(f'what {address} gave has hash {found}, its name says {hashed[1]}: '
                             f'it was thrown away; try again, or put the right file at {path}')
        os.replace(partial, path)


def _fetch(address: str, partial: Path, path: Path) -> None:
    """Append to ``partial`` until the server has no more."""
    for attempt in range(_ATTEMPTS):
        try:
            if _append(address, partial):
                return
            reason = 'the connection broke'
        except urllib.error.HTTPError as error:
            reason = f'HTTP {error.code} {error.reason}'
            if error.code < 500:
                break
        except urllib.error.URLError as error:
            reason = str(error.reason)
            if attempt == 0 and not partial.is_file():  # offline, most likely
                break
        except OSError as error:
            if error.errno in _OF_THE_DISK:
                raise OSError(error.errno,
                              f'{error.strerror} (writing {str(partial)!r})') from error
            reason = str(error)
        except (http.client.InvalidURL, ValueError) as error:  # or a length that is no number
            reason = str(error)
            break
        except http.client.HTTPException as error:  # an answer that is none of HTTP
            reason = f'{type(error).__name__}: {" ".join(str(error).split())}'
    got = f'; {partial.stat().st_size} bytes are kept, and the next call goes on from there' if (
        partial.is_file() and HASHED_NAME.search(path.name)) else ''
    raise FileNotFoundError(
        f'cannot download {address} ({reason}){got}: fetch it on a connected machine and put it '
        f'at {path}, or name the local file instead')


def _append(address: str, partial: Path) -> bool:
    """Go on where ``partial`` ends; return whether it is whole."""
    start = partial.stat().st_size if partial.is_file() else 0
    request = urllib.request.Request(address, headers={'Range': f'bytes={start}-'} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return True  # nothing is left; the hash tells whether that is right
        raise
    with response, open(partial, 'ab') as file:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            file.truncate(0)  # the server begins at the beginning
            start = 0
        length = response.headers.get('Content-Length')
        end = start + int(length) if length else None
        try:  # the bar only shows on a terminal
            with tqdm(desc=partial.stem, total=end, initial=start, unit='B', unit_scale=True,
                      disable=None) as bar:
                while chunk := response.read(_CHUNK):
                    start += file.write(chunk)
                    bar.update(len(chunk))
        except http.client.IncompleteRead as error:
            file.write(error.partial)
            return False
        file.flush()
        os.fsync(file.fileno())
    return end is None or start == end
