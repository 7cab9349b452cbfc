import errno
import os

import pytest

from clasp_mm.utils.files import locked, replacing


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, 'No space left on device')


def test_what_was_there_stays_until_all_is_written(tmp_path):
    path = tmp_path / 'new folder' / 'file'
    for text in ('old', 'new'):
        with replacing(path) as partial:
            partial.write_text(text)
            assert not path.exists() or path.read_text() == 'old'
        assert path.read_text() == text
    with pytest.raises(KeyError), replacing(path) as partial:
        partial.write_text('half')
        raise KeyError('broken off')
    assert path.read_text() == 'new' and os.listdir(path.parent) == ['file']


def test_the_current_folder_can_be_locked(tmp_path, monkeypatch):
    """By the lock of its own name."""
    (tmp_path / 'here/below').mkdir(parents=True)
    monkeypatch.chdir(tmp_path / 'here')
    for name in ('.', 'below/..', tmp_path / 'here'):
        with locked(name):
            assert (tmp_path / '.here.lock').exists()


@pytest.mark.parametrize('where', ['write', 'sync'])
def test_full_disk_names_the_file_and_leaves_nothing(tmp_path, monkeypatch, where):
    path = tmp_path / 'model.pth'
    path.write_text('old')
    if where == 'sync':
        monkeypatch.setattr(os, 'fsync', full_disk)
    with pytest.raises(OSError, match=r'No space left.*model\.pth') as error, \
            replacing(path) as partial:
        partial.write_text('half')
        if where == 'write':
            full_disk()
    assert error.value.errno == errno.ENOSPC
    assert path.read_text() == 'old' and os.listdir(tmp_path) == ['model.pth']
