"""Two processes and one place: nobody fails, nothing is lost or mixed, nothing is left behind."""

import json
import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from clasp_mm.apis.publish import publish_model
from clasp_mm.apis.quickstart.jobs import Job, run_jobs
from clasp_mm.apis.quickstart.training import Training
from clasp_mm.apis.search import FeatureIndex, clip_encoder
from clasp_mm.apis.search import index as index_module
from clasp_mm.apis.zoo_entry import write_entry
from clasp_mm.apis.zoo_index import TASKS
from clasp_mm.claims import CLAIM, HeldError, hold
from clasp_mm.compat import quiet_mmcv_lite
from clasp_mm.datasets import LUPerson
from clasp_mm.datasets.synthetic import (
    SyntheticPeople,
    load_ground_truth,
    write_lip,
    write_people,
    writers,
)
from clasp_mm.engine.hooks.run_record_hook import record_code
from clasp_mm.files import locked, partial_name, replacing, sweep, temporary_folder
from clasp_mm.processes import born, is_alive
from clasp_mm.pseudo_labels.store import LabelStore
from tests.source_tree import ROOT
from tests.test_apis.test_publish import run  # noqa: F401
from tests.test_apis.test_search import COLOURS, clip, folder  # noqa: F401
from tests.test_kill import data, write_config  # noqa: F401
from tests.test_pseudo_labels.fakes import make_labeler
from tests.test_pseudo_labels.test_make_store import People
from tests.test_pseudo_labels.test_make_store import make as label
from tests.test_pseudo_labels.test_store import make_labels, open_writer

linux = pytest.mark.skipif(sys.platform != 'linux', reason='only Linux ends children')


def begin(job, *arguments):
    """A process that has imported everything already."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['tests.test_two_at_once'])
    process = context.Process(target=job, args=arguments)
    process.start()
    return process


def together(job, *arguments, count):
    """How many of ``count`` processes fail at ``job(number, *arguments)``, at the same time."""
    moment = time.time() + 1 + count / 10
    processes = [begin(_at, moment, job, number, *arguments) for number in range(count)]
    for process in processes:
        process.join()
    return sum(process.exitcode != 0 for process in processes)


def _at(moment, job, *arguments):
    time.sleep(max(0, moment - time.time()))
    job(*arguments)


def die(job, *arguments):
    """A process that has died while it did something; its id."""
    process = begin(job, *arguments)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return process.pid


def kill_me(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def gone(pid, seconds=10):
    end = time.monotonic() + seconds
    while is_alive(pid, born(pid)) and time.monotonic() < end:
        time.sleep(0.02)
    return not is_alive(pid, born(pid))


def left(place):
    """Names of all that lies in a folder."""
    return sorted(str(path.relative_to(place)) for path in Path(place).rglob('*'))


# One file, one folder of files


def write_often(number, path, sync):
    for _ in range(8):
        with replacing(path, sync) as partial_file:
            partial_file.write_text(f'{number}' * 1000)
        assert len(set(path.read_text())) == 1


@pytest.mark.parametrize('sync', [True, False])
def test_writers_of_one_file_do_not_meet(tmp_path, sync):
    assert together(write_often, tmp_path / 'file', sync, count=4) == 0
    assert left(tmp_path) == ['file'] and len((tmp_path / 'file').read_text()) == 1000


def leave_things(place):
    for name in ('model.pth', 'x' * 250):
        partial_name(place / name).write_text('half')
    with temporary_folder(place / 'features.npy') as inside:
        (inside / 'names.txt').write_text('half')
        Path(f'{partial_name(place / "film.mp4")}.mp4').write_text('half')
        kill_me()


def test_what_the_dead_left_goes_and_what_the_living_write_stays(tmp_path):
    die(leave_things, tmp_path)
    assert len(left(tmp_path)) == 5
    own = partial_name(tmp_path / 'own')
    _, pid, *rest = own.name.split('.')[1].split('-')
    other = own.with_name(f'own.{"0" * 8}-{pid}-{"-".join(rest)}.partial')  # another machine's
    for path in (own, other, tmp_path / 'mine.partial', tmp_path / 'a.1-2-3-4.partial'):
        path.write_text('here')
    with replacing(tmp_path / 'model.pth') as partial_file:
        partial_file.write_text('whole')
    assert left(tmp_path) == sorted(
        ['a.1-2-3-4.partial', 'mine.partial', 'model.pth', own.name, other.name])


def test_another_process_of_the_same_number_is_not_the_one_that_wrote(tmp_path):
    own = partial_name(tmp_path / 'own')
    when = own.name.split('-')[2]
    own.with_name(own.name.replace(when, '0' * 8)).write_text('half')
    own.write_text('here')
    sweep(tmp_path)
    assert left(tmp_path) == [own.name]
    assert is_alive(os.getpid(), when) and not is_alive(os.getpid(), '0' * 8)


def count_up(number, path):
    for _ in range(20):
        with locked(path):
            path.write_text(str(int(path.read_text()) + 1))


def test_a_change_under_a_lock_is_not_lost(tmp_path):
    (tmp_path / 'number').write_text('0')
    assert together(count_up, tmp_path / 'number', count=4) == 0
    assert (tmp_path / 'number').read_text() == '80' and left(tmp_path) == ['number']


def lock_and_die(path):
    with locked(path):
        kill_me()


def test_a_lock_ends_with_its_owner_and_says_whom_it_waits_for(tmp_path):
    die(lock_and_die, tmp_path / 'file')
    with locked(tmp_path / 'file', 'waiting'):
        waiter = begin(_at, 0, locked_once, tmp_path / 'file')
        time.sleep(0.5)
        assert waiter.is_alive()
    waiter.join()
    assert left(tmp_path) == ['said']
    assert (tmp_path / 'said').read_text() == 'waiting for the file\n'


def locked_once(path):
    with open(path.with_name('said'), 'w') as said, redirect_stderr(said), locked(
            path, 'waiting for the file'):
        pass


def record(number, place):
    record_code(place, dict(started=str(number)))


def test_starts_of_a_run_are_all_recorded(tmp_path):
    assert together(record, tmp_path, count=4) == 0
    starts = json.loads((tmp_path / 'git.json').read_text())
    assert sorted(start['started'] for start in starts) == ['0', '1', '2', '3']


# The zoo


def put(number, place):
    for row in range(5):
        write_entry(place, {
            'Name': f'model-{number}-{row}', 'In Collection': 'Published', 'Config': 'a.py',
            'Weights': 'a_20260101-01234567.pth', 'Metadata': {
                'Task': TASKS['pretrain'], 'Host': 'mmpretrain', 'Training Data': 'x',
                'Data Licence': 'y', 'Recipe': 'z', 'Input Size': '256x128', 'Parameters': 1,
                'FLOPs': 1}, 'Results': None})


def test_no_entry_of_a_metafile_is_lost(tmp_path):
    (tmp_path / 'a.py').write_text('model = dict()')
    assert together(put, tmp_path, count=4) == 0
    text = (tmp_path / 'metafile.yml').read_text()
    assert {f'model-{n}-{row}' for n in range(4) for row in range(5)} == {
        line.split()[-1] for line in text.splitlines() if 'Name: model' in line}
    assert left(tmp_path) == ['a.py', 'metafile.yml']


def publish(number, checkpoint, out):
    publish_model(checkpoint, 'mini', out, allow_dirty=True)


def test_the_same_model_published_at_the_same_time_is_published(run, tmp_path):  # noqa: F811
    assert together(publish, run[0] / 'epoch_3.pth', tmp_path / 'zoo', count=4) == 0
    assert sorted(path.suffix for path in (tmp_path / 'zoo').iterdir()) == [
        '.json', '.pth', '.py', '.safetensors']


# The search index


def make_space(folder, encoder):  # noqa: F811
    return FeatureIndex(folder.parent / 'index', LUPerson(str(folder)), encoder)


def make_clip():
    return clip.__wrapped__()


def update(number, folder, out):  # noqa: F811
    found = make_space(folder, clip_encoder(make_clip())).update(2, 0, False)
    (out / str(number)).write_text(str(found.new))


def test_updates_of_an_index_embed_every_image_once(folder, tmp_path):  # noqa: F811
    (tmp_path / 'out').mkdir()
    assert together(update, folder, tmp_path / 'out', count=8) == 0
    counts = [int(path.read_text()) for path in (tmp_path / 'out').iterdir()]
    assert sorted(counts) == [0] * 7 + [len(COLOURS)]
    space, = (tmp_path / 'index').iterdir()
    assert len(list(space.glob('*.npy'))) == 1 and len(left(space)) == 2


def read_scores(number, folder, directions, expected, until):  # noqa: F811
    space = make_space(folder, clip_encoder(make_clip()))
    while not until.exists():
        np.testing.assert_allclose(space.scores(directions), expected, atol=1e-4)


def compact(number, folder, times, until):  # noqa: F811
    """Split the index into segments of one image and bring them together again."""
    space = make_space(folder, clip_encoder(make_clip()))
    try:
        for _ in range(times):
            with locked(space.folder):
                index_module.SEGMENT_ROWS = 1
                space._compact()
                index_module.SEGMENT_ROWS = 100
                space._compact()
    finally:
        until.touch()


def read_during_compaction(folder, tmp_path, readers, times):  # noqa: F811
    directions = np.eye(3, dtype=np.float32)
    space = make_space(folder, clip_encoder(make_clip()))
    space.update(2, 0, False)
    expected, until = space.scores(directions), tmp_path / 'done'
    assert np.isfinite(expected).all()
    processes = [begin(read_scores, number, folder, directions, expected, until)
                 for number in range(readers)] + [begin(compact, 0, folder, times, until)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * (readers + 1)
    np.testing.assert_allclose(space.scores(directions), expected)  # of what it has mapped


def test_readers_of_an_index_outlive_its_compaction(folder, tmp_path):  # noqa: F811
    read_during_compaction(folder, tmp_path, readers=4, times=20)


def test_a_search_keeps_the_features_it_found(folder, tmp_path):  # noqa: F811
    space = make_space(folder, clip_encoder(make_clip()))
    space.update(2, 0, False)
    expected = space.scores(np.eye(3, dtype=np.float32))
    for name in list(COLOURS)[1:]:  # another process finds most files gone, and compacts
        (folder / f'{name} ü.png').unlink()
    assert make_space(folder, clip_encoder(make_clip())).update(2, 0, False).gone == 5
    np.testing.assert_array_equal(space.scores(np.eye(3, dtype=np.float32)), expected)


@pytest.mark.slow
def test_many_updates_publishings_and_readers(folder, run, tmp_path):  # noqa: F811
    (tmp_path / 'out').mkdir()
    read_during_compaction(folder, tmp_path, readers=25, times=200)
    assert together(update, folder, tmp_path / 'out', count=80) == 0
    assert together(publish, run[0] / 'epoch_3.pth', tmp_path / 'zoo', count=12) == 0
    (tmp_path / 'zoo' / 'a.py').write_text('model = dict()')
    assert together(put, tmp_path / 'zoo', count=12) == 0


# Who has a folder


def hold_for(place, seconds):
    with hold(place):
        time.sleep(seconds)


def hold_and_die(place):
    with hold(place):
        kill_me()


def wait_for(path):
    for _ in range(6000):
        if path.exists() and path.read_bytes():
            return
        time.sleep(0.01)
    raise AssertionError(f'no {path}')


def test_the_second_is_told_who_has_the_folder(tmp_path):
    holder = begin(hold_for, tmp_path / 'run', 60)
    try:
        wait_for(tmp_path / 'run' / CLAIM)
        with pytest.raises(HeldError, match=rf'{tmp_path}/run is held by process {holder.pid} on '
                           rf'{socket.gethostname()} since 20\d\d-.* UTC.*name another folder$'), \
                hold(tmp_path / 'run'):
            pass
        assert left(tmp_path) == ['run', f'run/{CLAIM}']
    finally:
        holder.kill()
        holder.join()
    with hold(tmp_path / 'run'):  # its owner is dead
        assert json.loads((tmp_path / 'run' / CLAIM).read_text())['pid'] == os.getpid()
    assert left(tmp_path / 'run') == []


def test_one_of_many_gets_a_dead_ones_folder(tmp_path):
    die(hold_and_die, tmp_path / 'run')
    assert together(begin_run, tmp_path / 'run', count=6) == 5


def begin_run(number, place):
    hold_for(place, 3)


def test_a_claim_of_another_machine_is_void_after_a_silence(tmp_path):
    with hold(tmp_path):
        claim = json.loads((tmp_path / CLAIM).read_text())
    other = dict(claim, machine='0' * 8, host='elsewhere', pid=7)
    (tmp_path / CLAIM).write_text(json.dumps(other))
    with pytest.raises(HeldError, match=r'process 7 on elsewhere.*in 5 minutes, or delete .*'
                       + CLAIM), hold(tmp_path):
        pass
    os.utime(tmp_path / CLAIM, (time.time() - 301,) * 2)
    with hold(tmp_path):
        pass
    for nothing in ('', '{"pid": 1}', '[]'):  # of a full disk
        (tmp_path / CLAIM).write_text(nothing)
        with hold(tmp_path):
            pass


def test_a_living_claim_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr('clasp_mm.claims._BEAT', 0.05)
    with hold(tmp_path):
        os.utime(tmp_path / CLAIM, (0, 0))
        for _ in range(200):
            if (tmp_path / CLAIM).stat().st_mtime:
                break
            time.sleep(0.02)
        assert (tmp_path / CLAIM).stat().st_mtime > time.time() - 60


def train(config, out):
    sys.argv = ['train.py', str(config), '--work-dir', str(out), '--resume']
    runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')


def state(place):
    return {str(path.relative_to(place)): path.read_bytes()
            for path in sorted(place.rglob('*')) if path.is_file()}


def test_a_second_training_stops_before_it_writes(data, tmp_path):  # noqa: F811
    config, out = write_config(data, tmp_path), tmp_path / 'run'
    out.mkdir()
    with hold(out):
        before = state(out)
        second = subprocess.run(
            [sys.executable, ROOT / 'tools/train.py', config, '--work-dir', out],
            capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})
        assert second.returncode == 1
        assert f'train.py: {out} is held by process {os.getpid()} on' in second.stderr
        assert 'Traceback' not in second.stderr and state(out) == before
    process = begin(train, config, out)
    process.join()
    assert process.exitcode == 0 and not (out / CLAIM).exists()
    rows = [json.loads(line)['step'] for line in (out / 'metrics.jsonl').read_text().splitlines()
            ] if (out / 'metrics.jsonl').exists() else []
    assert len(rows) == len(set(rows))


@pytest.mark.slow
def test_two_trainings_at_once_leave_one_run(data, tmp_path):  # noqa: F811
    config = write_config(data, tmp_path)
    assert together(train_number, config, tmp_path / 'run', count=3) == 2
    assert len(list((tmp_path / 'run').glob('*/vis_data'))) == 1


def train_number(number, config, out):
    train(config, out)


@pytest.mark.slow
def test_all_processes_of_a_launch_share_the_folder(data, tmp_path):  # noqa: F811
    config, out = write_config(data, tmp_path), tmp_path / 'run'
    out.mkdir()
    command = ['bash', ROOT / 'tools/dist_train.sh', config, '2', '--work-dir', out]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHON': sys.executable}
    with hold(out):
        before = state(out)
        second = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert second.returncode and 'is held by process' in second.stderr
        assert state(out) == before
    first = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert first.returncode == 0, first.stderr[-3000:]
    assert not (out / CLAIM).exists() and list(out.glob('iter_*.pth'))


def test_no_folder_of_a_living_run_is_cleared(tmp_path):
    training = Training(tmp_path / 'run', Config(dict(train_cfg=dict(max_epochs=2))))
    training.job()
    (tmp_path / 'run' / 'epoch_1.pth').write_text('weights')
    other = Training(tmp_path / 'run', Config(dict(train_cfg=dict(max_epochs=3))))
    with hold(tmp_path / 'run'), pytest.raises(HeldError):
        other.job()
    assert (tmp_path / 'run' / 'epoch_1.pth').exists()
    other.job()
    assert not (tmp_path / 'run' / 'epoch_1.pth').exists()


@pytest.mark.parametrize('tool, arguments', [
    ('quickstart.py', ['--work-dir', '{}']),
    ('run_ablation.py', ['--table', 'I', '--work-dir', '{}']),
    ('train_mini_clip.py', ['{}', '--people', '8', '--steps', '1', '--batch-size', '8'])])
def test_tools_say_who_has_their_folder(tmp_path, monkeypatch, tool, arguments):
    monkeypatch.setattr(sys, 'argv', [tool, *(one.format(tmp_path) for one in arguments)])
    with hold(tmp_path), pytest.raises(SystemExit, match=f'{tool}: {tmp_path} is held by process'):
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')


def test_a_downstream_task_has_its_folder_alone(tmp_path, monkeypatch):
    from clasp_mm.apis.quickstart import downstream
    monkeypatch.setattr(downstream, 'WORK_DIR', tmp_path)
    (tmp_path / 'backbone.pth').touch()
    with hold(tmp_path / 'pose'), pytest.raises(HeldError):
        downstream.run_downstream('pose', tmp_path / 'backbone.pth')
    assert not (tmp_path / 'data').exists()


# Children


SLEEPER = """import os, time
with open({!r}, 'w') as file:
    file.write(str(os.getpid()))
time.sleep(60)"""


def run_sleepers(place):
    run_jobs([Job(name, [sys.executable, '-c', SLEEPER.format(str(place / name))], place / 'log')
              for name in ('one', 'two')])


def ends_with_its_parent(job, place, how):
    parent, children = begin(job, place), []
    try:
        for name in ('one', 'two'):
            wait_for(place / name)
            children.append(int((place / name).read_text()))
            assert not gone(children[-1], 0)
        os.kill(parent.pid, how)
        parent.join()
        assert all(gone(child) for child in children)
    finally:
        parent.kill()
        for child in children:
            if not gone(child, 0):
                os.kill(child, signal.SIGKILL)


@linux
@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM])
def test_jobs_end_with_who_started_them(tmp_path, how):
    ends_with_its_parent(run_sleepers, tmp_path, how)


def draw_slowly(place):
    with writers.mapper(2, 2) as run_all:  # exec needs no import of this module
        list(run_all(exec, [SLEEPER.format(str(place / name)) for name in ('one', 'two')]))


@linux
def test_workers_that_draw_end_with_who_started_them(tmp_path):
    ends_with_its_parent(draw_slowly, tmp_path, signal.SIGKILL)


# Drawing and labelling

PEOPLE = SyntheticPeople(5, 2, seed=2, size=(64, 32))


def draw(number, out, lmdb=False):
    write_people(out, PEOPLE, lmdb=lmdb, workers=1, progress=False)


def die_before_the_marker(out, lmdb):
    os.replace = kill_me
    draw(0, out, lmdb)


@pytest.mark.parametrize('lmdb', [False, True])
def test_drawing_that_was_killed_before_its_marker_goes_on(tmp_path, lmdb):
    die(die_before_the_marker, tmp_path / 'out', lmdb)
    assert len(os.listdir(tmp_path / 'out')) == 1  # the marker under another name
    draw(0, tmp_path / 'out', lmdb)
    assert len(load_ground_truth(tmp_path / 'out').names) == 10
    assert not [name for name in left(tmp_path) if 'partial' in name or '.parts' in name]


@pytest.mark.parametrize('size', [0, 1, 4096])
def test_an_lmdb_that_was_killed_as_it_was_made_goes_on(tmp_path, size):
    settings = writers._settings(PEOPLE, True, True)
    writers.write_marker(tmp_path / writers.MARKER, settings, complete=False)
    (tmp_path / 'lmdb').mkdir()
    (tmp_path / 'lmdb' / 'data.mdb').write_bytes(b'\0' * size)
    draw(0, tmp_path, lmdb=True)
    assert len(LUPerson(str(tmp_path), 'list.txt')) == 10
    assert LUPerson(str(tmp_path), 'list.txt').load(9)['img'].shape == (64, 32, 3)


def die_at_an_image(out):
    write_bytes = writers.write_bytes

    def half(path, content):
        if '0000003.jpg' in path.name:
            partial_name(path).write_bytes(content[:9])
            kill_me()
        write_bytes(path, content)

    writers.write_bytes = half
    draw(0, out)


def test_half_images_of_a_killed_drawing_go(tmp_path):
    die(die_at_an_image, tmp_path / 'out')
    assert [name for name in left(tmp_path) if 'partial' in name]
    draw(0, tmp_path / 'out')
    draw(0, tmp_path / 'whole')
    assert left(tmp_path / 'out') == left(tmp_path / 'whole')


def die_at_the_end(out, kind):
    rmtree = shutil.rmtree
    shutil.rmtree = lambda path, **kwargs: kill_me() if '.parts' in str(path) else rmtree(
        path, **kwargs)
    kind(0, out)


def draw_lip(number, out):
    write_lip(out, 'train', 3, size=(64, 32), workers=1, progress=False)


@pytest.mark.parametrize('kind', [draw, draw_lip])
def test_parts_of_a_drawing_that_was_killed_at_its_end_go(tmp_path, kind):
    die(die_at_the_end, tmp_path / 'out', kind)
    assert [name for name in left(tmp_path) if '.parts' in name]
    kind(0, tmp_path / 'out')
    assert not [name for name in left(tmp_path) if '.parts' in name]


@pytest.mark.parametrize('kind', [draw, partial(draw, lmdb=True), draw_lip])
def test_two_drawings_of_one_folder(tmp_path, kind):
    assert together(kind, tmp_path / 'out', count=3) == 0
    kind(0, tmp_path / 'whole')
    ours, whole = (
        {name: content for name, content in state(tmp_path / place).items()
         if not name.endswith('.mdb')} for place in ('out', 'whole'))
    assert ours == whole != {} and left(tmp_path / 'out') == left(tmp_path / 'whole')


def die_as_a_store_is_made(out):
    np.save = kill_me
    open_writer(out / 'store')


def test_a_store_that_was_killed_as_it_was_made(tmp_path):
    die(die_as_a_store_is_made, tmp_path)
    assert len(os.listdir(tmp_path)) == 1
    open_writer(tmp_path / 'store')
    assert os.listdir(tmp_path) == ['store.partial']


def test_who_finishes_a_store_second_finds_it(tmp_path):
    labels = make_labels(20)
    first, second = open_writer(tmp_path / 'store'), open_writer(tmp_path / 'store')
    first.write(np.arange(20), labels, np.ones(20, bool))
    assert first.finish() is not None and second.finish() is not None
    assert os.listdir(tmp_path) == ['store']
    LabelStore(tmp_path / 'store').verify()


def make_part(number, out):
    label(People(45), out / 'store', make_labeler(), rank=number, world_size=4)


def test_the_processes_of_a_labelling_finish_it_together(tmp_path):
    assert together(make_part, tmp_path, count=4) == 0
    assert os.listdir(tmp_path) == ['store']
    LabelStore(tmp_path / 'store').verify()


def test_a_second_labelling_is_told(tmp_path):
    claim = tmp_path / '.store.0.claim.json'
    with hold(tmp_path / 'store', claim), pytest.raises(HeldError, match='store is held by'):
        label(People(9), tmp_path / 'store', make_labeler())
    assert os.listdir(tmp_path) == []


# Checkpoints

CONFIGS = sorted(path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_config_saves_whole_checkpoints_and_keeps_two(path):
    quiet_mmcv_lite()
    hook = Config.fromfile(path).default_hooks.checkpoint
    assert hook.type == 'clasp_mm.SafeCheckpointHook' and hook.get('max_keep_ckpts', -1) != 1
