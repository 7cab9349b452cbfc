"""tools/make_quickstart_zoo.sh with an interpreter that only notes what it is asked to run."""

import os
import shutil
import stat
import subprocess

import pytest

from tests.source_tree import ROOT

PYTHON = r'''#!/usr/bin/env bash
echo "$@" | head -c 999 | tr '\n' ' ' >> calls; echo >> calls
case "$1 $2" in
    *git_state*) cat changes 2>/dev/null || true; exit ;;
    *last_checkpoint*) ls "$3"/*.pth; exit ;;
esac
case "$1" in
    -c) printf -- '--result\nreid/mAP=5.9\n' ;;
    tools/quickstart.py)
        mkdir -p work_dirs/quickstart/seed0/clasp
        touch work_dirs/quickstart/report.json
        touch work_dirs/quickstart/seed0/clasp/epoch_7.pth ;;
    tools/quickstart_downstream.py)
        mkdir -p work_dirs/quickstart_downstream/$2/seed0/pretrained
        touch work_dirs/quickstart_downstream/$2/seed0/pretrained/$2.pth ;;
    tools/publish_model.py)
        touch "$5/$3_20260101-01234567.pth"
        echo "  Weights: $3_20260101-01234567.pth" >> "$5/metafile.yml" ;;
    tools/make_model_zoo.py) echo '| the table |' > "$3/README.md" ;;
esac
'''


@pytest.fixture
def make(tmp_path):
    (tmp_path / 'tools').mkdir()
    shutil.copy2(ROOT / 'tools' / 'make_quickstart_zoo.sh', tmp_path / 'tools')
    shutil.copytree(ROOT / 'configs' / 'quickstart', tmp_path / 'configs' / 'quickstart')
    python = tmp_path / 'python'
    python.write_text(PYTHON)
    python.chmod(python.stat().st_mode | stat.S_IEXEC)

    def call(*args):
        calls = tmp_path / 'calls'
        calls.unlink(missing_ok=True)
        done = subprocess.run(
            ['bash', 'tools/make_quickstart_zoo.sh', '--python', './python', *args], cwd=tmp_path,
            capture_output=True, text=True, env={**os.environ, 'GIT_CEILING_DIRECTORIES': '/'})
        return done, calls.read_text().splitlines() if calls.is_file() else []
    return call


def test_makes_publishes_and_lists(make, tmp_path):
    done, calls = make('pose', 'reid')
    assert done.returncode == 0, done.stderr
    tools = [line.split()[0].removeprefix('tools/') for line in calls]
    assert tools == ['-c', 'quickstart.py', '-c', '-c', 'publish_model.py',
                     *['quickstart_downstream.py', '-c', 'publish_model.py'] * 2,
                     'make_model_zoo.py']
    zoo = tmp_path / 'work_dirs' / 'quickstart_zoo'
    assert calls[4].startswith(
        'tools/publish_model.py work_dirs/quickstart/seed0/clasp/epoch_7.pth '
        f'clasp_pcmoe-swin-nano_1xb32_synthetic-64x32 --out {zoo} '
        '--result reid/mAP=5.9 --scored-on work_dirs/quickstart/data/held_out/list.txt')
    assert calls[5] == 'tools/quickstart_downstream.py pose '
    assert 'pretrained/pose.pth pose_pcmoe-swin-nano_1xb32_synthetic-64x48' in calls[7]
    assert '| the table |' in done.stdout and 'all calls 0 min' in done.stdout
    done, calls = make('pose')
    assert done.returncode == 0 and not any('tools/quickstart.py' in line for line in calls)
    assert sum('publish_model' in line for line in calls) == 2  # which keeps what is the same


def test_code_that_is_not_committed_stops_it_first(make, tmp_path):
    (tmp_path / 'changes').write_text('changed since commit 0123456789: x.py')
    done, calls = make('pose')
    assert done.returncode == 1 and '--allow-dirty' in done.stderr and len(calls) == 1
    assert 'not published (changed since commit 0123456789: x.py)' in done.stderr
    done, calls = make('--allow-dirty', 'pose', '--zoo', 'mine')
    assert done.returncode == 0 and calls[3].rstrip().endswith('--allow-dirty')
    assert (tmp_path / 'mine' / 'README.md').is_file()
    done, calls = make('cooking')
    assert done.returncode == 2 and "'cooking'" in done.stderr and not calls
