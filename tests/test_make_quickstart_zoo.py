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
    -c) [ ! -e no_scores ] || exit 1
        printf -- '--result\nreid/mAP=%s\n' "${#3}" ;;
    tools/run_ablation.py)
        mkdir -p work_dirs/ablation/long/{results,seed0/{full,table1_a_dino}}
        touch work_dirs/ablation/long/results/full-seed0.json
        touch work_dirs/ablation/long/seed0/{full,table1_a_dino}/epoch_4.pth ;;
    tools/quickstart_downstream.py)
        mkdir -p work_dirs/quickstart_downstream/$2-long/seed0/full
        touch work_dirs/quickstart_downstream/$2-long/seed0/full/$2.pth ;;
    tools/publish_model.py)
        file="$5/$3_20260101-$(cat hash 2>/dev/null || echo 01234567)"
        touch "$file".{safetensors,json,py}
        echo "$file.safetensors" ;;
    tools/make_model_zoo.py) [ -z "${3-}" ] || echo '| the table |' > "$3/README.md" ;;
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
    assert tools == ['-c', 'run_ablation.py', *['-c', '-c', 'publish_model.py'] * 2,
                     *['quickstart_downstream.py', '-c', 'publish_model.py'] * 2,
                     'make_model_zoo.py', 'make_model_zoo.py']
    zoo = tmp_path / 'zoo'
    for line, run, name in ((4, 'table1_a_dino', 'dino_nano'), (7, 'full', 'clasp_nano')):
        digits = len(f'work_dirs/ablation/long/results/{run}-seed0.json')
        assert calls[line].startswith(
            f'tools/publish_model.py work_dirs/ablation/long/seed0/{run}/epoch_4.pth {name} --out '
            f'{zoo} --no-pth --half --result reid/mAP={digits} --data synthetic people')
        assert '--scored-on work_dirs/ablation/long/data/held_out/list.txt' in calls[line]
    assert calls[8] == ('tools/quickstart_downstream.py pose --systems work_dirs/ablation/long '
                        '--only CLASP ')
    assert 'pose-long/seed0/full/pose.pth pose_nano --out' in calls[10]
    assert '--recipe bash tools/make_quickstart_zoo.sh pose --dataset' in calls[10]
    assert '| the table |' in done.stdout and 'all calls 0 min' in done.stdout
    assert len(list(zoo.glob('*.safetensors'))) == 4
    (tmp_path / 'hash').write_text('89abcdef')
    done, calls = make('pose')
    assert done.returncode == 0 and not any('run_ablation.py' in line for line in calls)
    assert sum('publish_model' in line for line in calls) == 3  # which keeps what is the same
    assert sorted(path.name for path in zoo.glob('[dp]*')) == [
        f'{name}_20260101-89abcdef.{suffix}' for name in ('dino_nano', 'pose_nano')
        for suffix in ('json', 'py', 'safetensors')], 'in place of the old'
    assert len(list(zoo.glob('reid_nano_*-01234567.*'))) == 3, 'which was not made anew'


def test_a_row_without_scores_stops_it(make, tmp_path):
    (tmp_path / 'no_scores').touch()
    done, calls = make('pose')
    assert done.returncode == 1 and not any('publish_model' in line for line in calls)


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
