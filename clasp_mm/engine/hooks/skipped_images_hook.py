"""Counts and names the images that could not be read."""

from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from clasp_mm.registry import HOOKS
from clasp_mm.utils.files import write_text

FILE = 'skipped_images.txt'


@HOOKS.register_module()
class SkippedImagesHook(Hook):
    """Collects what the data set skipped into ``work_dir/skipped_images.txt`` and the log.

    The data set packs the names of unreadable images with the sample that took their place. Each
    process adds a new name to the file at once, so a run that goes on from a checkpoint, in the
    middle of an epoch too, keeps those it has found before; after an epoch the file is sorted.
    """

    priority = 'LOW'

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.logged = 0

    def before_train(self, runner: Runner) -> None:
        """Take over the names from before a resume; a run that starts anew starts the file anew."""
        path = Path(runner.work_dir) / FILE
        if not is_main_process():
            return
        if not runner.iter:
            path.unlink(missing_ok=True)
        elif path.exists():
            # Not splitlines: a name may hold characters that it takes for ends of lines.
            self.names.update(filter(None, path.read_text('utf-8', 'replace').split('\n')))
            self.logged = len(self.names)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                         outputs: dict | None = None) -> None:
        for names in data_batch['data_samples'].get('skipped', ()):
            for name in set(filter(None, names.split('\n'))) - self.names:
                self.names.add(name)
                with open(Path(runner.work_dir) / FILE, 'ab', buffering=0) as file:
                    file.write(f'{name}\n'.encode())

    def after_train_epoch(self, runner: Runner) -> None:
        gathered: list[set[str]] = all_gather_object(self.names)
        self.names = set().union(*gathered)
        if len(self.names) == self.logged or not is_main_process():
            return
        path = Path(runner.work_dir) / FILE
        write_text(path, '\n'.join(sorted(self.names)) + '\n')
        runner.logger.warning(
            f'{len(self.names)} images could not be read and were skipped so far, for example '
            f'{min(self.names)}; all names are in {path}')
        self.logged = len(self.names)
