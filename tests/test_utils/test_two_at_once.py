"""Two processes and one file, zoo or index: nobody fails, nothing is lost or left behind."""

import json
import os
import time
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
import pytest

from clasp_mm.datasets import LUPerson
from clasp_mm.engine.hooks.run_record_hook import record_code
from clasp_mm.models.weights.find import verify_hash
from clasp_mm.search import FeatureIndex, clip_encoder
from clasp_mm.search import index as index_module
from clasp_mm.utils.files import locked, partial_name, read_yaml, replacing, sweep, temporary_folder
from clasp_mm.utils.processes import is_alive
from clasp_mm.zoo.entry import write_entry
from clasp_mm.zoo.index import TASKS
from clasp_mm.zoo.publish import publish_model
from tests.test_search.test_search import COLOURS, clip, folder  # noqa: F401
from tests.test_zoo.test_publish import run  # noqa: F401
from tests.two_at_once import at, begin, die, kill_me, left, together

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
        waiter = begin(at, 0, locked_once, tmp_path / 'file')
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


def entries(place):
    return {entry['Name'] for entry in read_yaml(place / 'metafile.yml')['Models']}


def test_no_entry_of_a_metafile_is_lost(tmp_path):
    (tmp_path / 'a.py').write_text('model = dict()')
    assert together(put, tmp_path, count=4) == 0
    assert entries(tmp_path) == {f'model-{n}-{row}' for n in range(4) for row in range(5)}
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


def embedded(out):
    """Images that each update embedded, in order of their number."""
    return sorted(int(path.read_text()) for path in out.iterdir())


def test_updates_of_an_index_embed_every_image_once(folder, tmp_path):  # noqa: F811
    (tmp_path / 'out').mkdir()
    assert together(update, folder, tmp_path / 'out', count=8) == 0
    assert embedded(tmp_path / 'out') == [0] * 7 + [len(COLOURS)]
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
    """How many of the ``readers`` of an index fail while it is split and compacted ``times``."""
    directions = np.eye(3, dtype=np.float32)
    space = make_space(folder, clip_encoder(make_clip()))
    space.update(2, 0, False)
    expected, until = space.scores(directions), tmp_path / 'done'
    assert np.isfinite(expected).all()
    processes = [begin(read_scores, number, folder, directions, expected, until)
                 for number in range(readers)]
    compacting = begin(compact, 0, folder, times, until)
    for process in [*processes, compacting]:
        process.join()
    assert compacting.exitcode == 0
    np.testing.assert_allclose(space.scores(directions), expected)  # of what it has mapped
    return sum(process.exitcode != 0 for process in processes)


def test_readers_of_an_index_outlive_its_compaction(folder, tmp_path):  # noqa: F811
    assert read_during_compaction(folder, tmp_path, readers=4, times=20) == 0


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
    """Prints the table of SECURITY.md."""
    (tmp_path / 'out').mkdir()
    zoo, rows = tmp_path / 'zoo', []
    failed = together(update, folder, tmp_path / 'out', count=80)
    rows.append(('updates of a search index', 80, failed, 'images embedded', len(COLOURS),
                 sum(embedded(tmp_path / 'out'))))
    failed = read_during_compaction(folder, tmp_path, readers=25, times=200)
    rows.append(('readers of a search index in 200 compactions', 25, failed,
                 'readers with the same scores', 25, 25 - failed))
    failed = together(publish, run[0] / 'epoch_3.pth', zoo, count=12)
    files = [path for suffix in ('pth', 'safetensors') for path in zoo.glob(f'*.{suffix}')]
    for path in files:
        verify_hash(path)
    rows.append(('publishings of a model', 12, failed, 'whole files of weights', 2, len(files)))
    (zoo / 'a.py').write_text('model = dict()')
    failed = together(put, zoo, count=12)
    rows.append(('writers of 5 entries of a metafile', 12, failed, 'entries', 60,
                 len(entries(zoo))))
    print('\n| at the same time | processes | failed | what there must be | there is |\n'
          '|---|---:|---:|---|---:|')
    for title, count, failed, what, must, found in rows:
        print(f'| {title} | {count} | {failed} | {must} {what} | {found} |')
    assert all(failed == 0 and must == found for *_, failed, _, must, found in rows)
