"""One pretraining of the quickstart: its config, its process, and whether it is done."""

import hashlib
import shutil
import sys
from pathlib import Path

import torch
from mmengine.config import Config

from clasp_mm.utils.claims import hold
from clasp_mm.utils.files import write_text
from clasp_mm.utils.resources import shipped_file

from .hooks.run_record_hook import record_code
from .jobs import ONE_THREAD, Job


class Training:
    """A run of ``tools/train.py`` by a resolved config, in a work directory of its own.

    A folder that holds a run of another config is cleared; one that was interrupted goes on from
    its last checkpoint.
    """

    def __init__(self, folder: Path, cfg: Config) -> None:
        self.name = folder.name
        self.folder = folder
        self.cfg = cfg
        self.epochs = cfg.train_cfg.max_epochs
        self.result = folder / f'epoch_{self.epochs}.pth'
        self.config_file = folder / f'{folder.name}.py'
        self._key_file = folder / 'config.sha256'

    def _key(self) -> str:
        return hashlib.sha256(self.cfg.pretty_text.encode()).hexdigest()

    def _held(self) -> str | None:
        """The key of the config whose run the folder holds."""
        return self._key_file.read_text('utf-8') if self._key_file.exists() else None

    def is_done(self) -> bool:
        """Whether this very config was trained to its end."""
        return self.result.exists() and self._held() == self._key()

    def holds_another(self) -> bool:
        """Whether the folder holds a run of another config."""
        return self._held() not in (None, self._key())

    def job(self, processes: int = 1, name: str | None = None) -> Job:
        """The process that trains, from the start or from the last checkpoint.

        Args:
            processes: With more than one, tools/dist_train.sh starts them.
            name: What the job is called; by default as the folder.

        Raises:
            HeldError: A run of another config is at work in the folder.
        """
        if self._held() != self._key():
            with hold(self.folder):  # no living run's is cleared
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(parents=True)
                self.cfg.dump(self.config_file)
                write_text(self._key_file, self._key())
        if all(hook['type'] != 'clasp_mm.RunRecordHook'
               for hook in self.cfg.get('custom_hooks') or ()):
            record_code(self.folder)  # which that hook does by itself
        start = [sys.executable, str(shipped_file('tools/train.py')), str(self.config_file)]
        if processes > 1:
            start = ['bash', str(shipped_file('tools/dist_train.sh')), str(self.config_file),
                     str(processes)]
        command = [*start, '--work-dir', str(self.folder), '--resume', 'auto']
        # On a GPU one process may use all cores; on the CPU jobs share them, one thread each.
        return Job(name or self.name, command, self.folder / 'train.log', self.epochs,
                   {} if torch.cuda.is_available() else ONE_THREAD)


def check_epochs(*epochs: int) -> None:
    """Raise a ValueError where a stage has less than two epochs."""
    if min(epochs) < 2:
        raise ValueError('a stage takes at least two epochs, the first warms up; got '
                         f'{", ".join(map(str, epochs))}')


def set_epochs(cfg: Config, epochs: int) -> None:
    """Stretch the schedules of a config whose first epoch is the warm-up.

    Raises:
        ValueError: For less than two epochs.
    """
    check_epochs(epochs)
    cfg.train_cfg.max_epochs = epochs
    for scheduler in cfg.param_scheduler:
        if 'Linear' in scheduler.type:
            continue
        scheduler.end = epochs
        if 'T_max' in scheduler:
            scheduler.T_max = epochs - scheduler.begin
