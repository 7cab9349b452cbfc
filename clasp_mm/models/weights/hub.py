"""Files of weights in repositories of the Hugging Face hub."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from clasp_mm.utils.files import file_hash

SCHEME = 'hf-hub:'
WEIGHTS = 'model.safetensors'
_SOURCE = re.compile(rf'{SCHEME}([\w.-]+/[\w.-]+)(?:@(.+))?', re.ASCII)
_SUFFIXES = ('.safetensors', '.bin', '.pth', '.pt', '.ckpt')  # best first
_FIRST = (WEIGHTS, 'pytorch_model.bin')


def fetch_from_hub(source: str) -> Path:
    """The file of weights of a repository, in huggingface_hub's cache; offline, the one kept there.

    It is ``model.safetensors``, or else ``pytorch_model.bin``, or else the only one of its suffix,
    safetensors first. Side-car and config of a published model come with it.

    Args:
        source: ``hf-hub:OWNER/NAME`` or ``hf-hub:OWNER/NAME@REVISION``.

    Raises:
        FileNotFoundError: There is no such repository, revision or file, it is gated, or it cannot
            be reached.
        ValueError: ``source`` is of another form, several files may be meant, or what was fetched
            does not have the hash that the hub states.
    """
    match = _SOURCE.fullmatch(source)
    if match is None:
        raise ValueError(f'{source!r:.200} is not as {SCHEME}OWNER/NAME or '
                         f'{SCHEME}OWNER/NAME@REVISION')
    repo, revision = match.groups()
    import huggingface_hub as hub  # slow
    api = hub.HfApi()
    try:
        siblings = api.model_info(repo, revision=revision).siblings or ()
        names = [file.rfilename for file in siblings]
    except Exception as error:  # huggingface_hub's, or of its HTTP library, which changes
        names = _kept(hub, repo, revision)
        if not names:
            raise FileNotFoundError(_refusal(hub, source, repo, error)) from error
    name = _choose(source, names)
    stem = name.rpartition('.')[0]
    for file in (*(f'{stem}{suffix}' for suffix in ('.json', '.py')), name):
        if file not in names:
            continue
        try:
            path = Path(api.hf_hub_download(repo, file, revision=revision))
        except Exception as error:
            raise FileNotFoundError(_refusal(hub, f'{file} of {source}', repo, error)) from error
        _verify(path, source)
    return path


def reason(hub: ModuleType, error: Exception) -> str:
    """Why the hub did not answer as it was asked to, in one line."""
    errors = hub.utils
    if isinstance(error, errors.GatedRepoError):
        return 'it is gated: ask for access on its page, and log in by `hf auth login` or HF_TOKEN'
    if isinstance(error, errors.RevisionNotFoundError):
        return 'there is no such revision: correct what stands behind the @'
    if isinstance(error, errors.RepositoryNotFoundError):
        return ('there is no such repository, or it is private: check the name, or log in by `hf '
                'auth login` or HF_TOKEN')
    return f'{type(error).__name__}: {" ".join(str(error).split())[:300]}'


def _refusal(hub: ModuleType, what: str, repo: str, error: Exception) -> str:
    text = f'cannot fetch {what} from {hub.constants.ENDPOINT}/{repo} ({reason(hub, error)})'
    if isinstance(error, (hub.utils.RepositoryNotFoundError, hub.utils.RevisionNotFoundError)):
        return text
    return (f'{text}: try again, or fetch it on a connected machine (hf download {repo}) and name '
            'the local file')


def _choose(source: str, names: Sequence[str]) -> str:
    for name in _FIRST:
        if name in names:
            return name
    for suffix in _SUFFIXES:
        found = [name for name in names if name.endswith(suffix) and '/' not in name]
        if len(found) == 1:
            return found[0]
        if found:
            repo = _SOURCE.fullmatch(source)[1]
            raise ValueError(f'{source} holds {len(found)} files of weights, '
                             f'{", ".join(found[:4])}: fetch one (hf download {repo} {found[0]}) '
                             'and name that file')
    raise FileNotFoundError(f'{source} holds no file of weights ({", ".join(_SUFFIXES)}), but '
                            f'{", ".join(sorted(names)[:6]) or "nothing"}: check the name')


def _kept(hub: ModuleType, repo: str, revision: str | None) -> list[str]:
    """Names of the files of a revision that are in the cache."""
    try:
        repos = hub.scan_cache_dir(hub.constants.HF_HUB_CACHE).repos
    except (hub.CacheNotFound, OSError):
        return []
    wanted = revision or hub.constants.DEFAULT_REVISION
    return [str(file.file_path.relative_to(one.snapshot_path)) for kept in repos
            if kept.repo_id == repo and kept.repo_type == 'model' for one in kept.revisions
            if wanted in one.refs or one.commit_hash == wanted for file in one.files]


def _verify(path: Path, source: str) -> None:
    """Compare a file with the hash that the hub states, by which its cache calls what it links to.

    That is the SHA-256, or of a small file git's SHA-1.
    """
    blob = path.parent / os.readlink(path) if path.is_symlink() else path
    if re.fullmatch('[0-9a-f]{64}', blob.name):
        found = file_hash(path, 64)
    elif re.fullmatch('[0-9a-f]{40}', blob.name):
        content = path.read_bytes()
        found = hashlib.sha1(b'blob %d\0%b' % (len(content), content)).hexdigest()
    else:
        return  # the cache copies where links cannot be made
    if found != blob.name:
        blob.unlink()
        path.unlink()
        raise ValueError(f'{path.name} of {source} has hash {found[:8]}, the hub says '
                         f'{blob.name[:8]}: it was thrown away; try again')
