"""How MMEngine, and the hosts by it, read checkpoint files."""

import os
from collections.abc import Mapping
from typing import Any

from mmengine.runner.checkpoint import CheckpointLoader

from clasp_mm.compat import load_file

from .find import find_weights

SCHEME = 'clasp_zoo://'


def guard_checkpoints() -> None:
    """Let MMEngine read no checkpoint but by :func:`load_from_clasp_mm`, of files and addresses.

    Its own readers leave it to torch's version and environment whether a pickle is run.
    """
    CheckpointLoader.register_scheme(('', 'http://', 'https://', SCHEME), load_from_clasp_mm,
                                     force=True)


def load_from_clasp_mm(filename: str, map_location: str | None = None) -> Any:
    """Read a file for MMEngine, which logs the name of this function.

    Args:
        filename: What :func:`find_weights` takes, which ``clasp_zoo://`` may precede.
        map_location: Not used: what is read is on the CPU, as mmpretrain asks for.

    Returns:
        What the file holds, without a text that ``Runner.resume`` would run: ``meta['config']``,
        which no checkpoint of MMEngine has.
    """
    content = load_file(find_weights(os.path.expanduser(filename.removeprefix(SCHEME))))
    if isinstance(content, Mapping) and isinstance(content.get('meta'), Mapping):
        content['meta'].pop('config', None)
    return content
