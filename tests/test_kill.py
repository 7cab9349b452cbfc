"""kill -9 at random moments; what was started again ends as if nothing had been."""

import os
import random
import runpy
import shutil
import signal
import sys
import time
from functools import partial

import pytest

from clasp_mm.models.weights.find import verify_hash
from clasp_mm.pseudo_labels.store import LabelStore
from clasp_mm.synthetic import SyntheticPeople, write_people
from clasp_mm.zoo.publish import publish_model
from tests.source_tree import ROOT
from tests.test_engine.test_exact_resume import losses, make
from tests.test_labelling.test_make_store import People
from tests.test_labelling.test_make_store import make as label
from tests.test_pseudo_labels.fakes import make_labeler
from tests.two_at_once import begin

KILLS = 6
pytestmark = pytest.mark.slow


def write(out):
    write_people(out, SyntheticPeople(33, 8, seed=2, size=(64, 32)), workers=1, progress=False)


def make_labels(out):
    if not (out / 'store').exists():
        label(People(400, unreadable=(9,)), out / 'store', make_labeler())
    LabelStore(out / 'store').verify()


def train(config, out):
    sys.argv = ['train.py', str(config), '--work-dir', str(out), '--resume']
    runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')


def publish(checkpoint, config, out):
    publish_model(checkpoint, 'mini', out, config)


def content(folder):
    """Every file that is no leftover of a kill."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*')
            if path.is_file() and path.suffix not in ('.tmp', '.partial')}


def wait_for_work(process, out, progress):
    before = progress(out)
    while process.exitcode is None and progress(out) == before != 'at once':
        time.sleep(0.005)


def survive(job, tmp_path, equal, after_kill=lambda out: None, progress=lambda out: 'at once'):
    """Kill ``job(out)`` ``KILLS`` times; whenever it ends it must ``equal`` the whole run.

    The clock starts when ``progress`` first changes, so that kills meet the work itself.
    """
    moments = random.Random(0)
    process = begin(job, tmp_path / 'warm')
    process.join()
    process = begin(job, tmp_path / 'whole')
    wait_for_work(process, tmp_path / 'whole', progress)
    started = time.monotonic()
    process.join()
    duration = time.monotonic() - started
    assert process.exitcode == 0
    kills, out = 0, tmp_path / 'killed'
    while kills < KILLS:
        process = begin(job, out)
        wait_for_work(process, out, progress)
        process.join(moments.uniform(0, duration))
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += process.exitcode == -signal.SIGKILL
            after_kill(out)
        else:
            assert process.exitcode == 0
            equal(tmp_path / 'whole', out)
            shutil.rmtree(out)
    process = begin(job, out)
    process.join()
    assert process.exitcode == 0
    equal(tmp_path / 'whole', out)


def same_files(whole, killed):
    assert content(killed) == content(whole) != {}


def test_data_writing(tmp_path):
    survive(write, tmp_path, same_files)


def test_labelling(tmp_path):
    survive(make_labels, tmp_path, same_files)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('people')
    write_people(folder, SyntheticPeople(2, 4, seed=5, size=(64, 32)), workers=1, progress=False)
    return folder


def write_config(data, folder):
    cfg = make(data, 'unused', interval=2)
    cfg.custom_hooks[-1].pop('stop_at')
    cfg.custom_hooks[-1].priority = 'VERY_HIGH'  # no checkpoint without the row of its iteration
    cfg.pop('work_dir'), cfg.pop('experiment_name')
    cfg.custom_imports = dict(imports=['tests.test_engine.test_exact_resume'])
    cfg.train_cfg.max_epochs = 5
    cfg.dump(folder / 'config.py')
    return folder / 'config.py'


def same_losses(whole, killed):
    assert losses(killed) == losses(whole) and len(losses(whole)) == 20


def test_training(data, tmp_path):
    def rows(out):
        return (out / 'losses.txt').stat().st_size if (out / 'losses.txt').exists() else 0

    survive(partial(train, write_config(data, tmp_path)), tmp_path, same_losses, progress=rows)


def whole_or_absent(out):
    for path in out.glob('*.pth'):
        verify_hash(path)


def test_publishing(data, tmp_path):
    config = write_config(data, tmp_path)
    process = begin(partial(train, config), tmp_path / 'run')
    process.join()
    survive(partial(publish, tmp_path / 'run' / 'iter_20.pth', config), tmp_path, same_files,
            whole_or_absent)
