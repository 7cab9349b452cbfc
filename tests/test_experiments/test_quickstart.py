import argparse
import importlib
import io
import json
import runpy
import shlex
import sys
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from rich.console import Console

from clasp_mm.cli import main
from clasp_mm.engine.jobs import Job, run_jobs
from clasp_mm.engine.training import Training, set_epochs
from clasp_mm.evaluation.frozen.people import evaluate_backbone
from clasp_mm.experiments.quickstart import Options, run_quickstart
from clasp_mm.experiments.quickstart.report import _summarize, next_commands, write_report
from clasp_mm.experiments.quickstart.run import CLASP, Quickstart
from clasp_mm.mini_clip.architecture import build_mini_clip, save_mini_clip
from clasp_mm.models import PCMoESwin
from clasp_mm.synthetic import SyntheticPeople, load_ground_truth, write_people
from clasp_mm.utils.resources import shipped_file

CONFIG = 'configs/quickstart/dino_swin-nano_1xb32_synthetic-64x32.py'
TINY = dict(arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)), strides=(4, 2),
            window_size=4, out_indices=(0, 1))


def python_job(tmp_path, name, code, epochs=0):
    return Job(name, [sys.executable, '-c', code], tmp_path / f'{name}.log', epochs)


def test_jobs_run_side_by_side_and_their_cost_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr('clasp_mm.engine.jobs._POLL', .02)  # they are short
    meet = ('import time, pathlib; p = pathlib.Path({!r}); (p / {!r}).touch()\n'
            'end = time.time() + 20\n'
            'while not (p / {!r}).exists() and time.time() < end: time.sleep(.01)\n'
            'time.sleep(.1); assert (p / {!r}).exists()')
    jobs = [python_job(tmp_path, 'a', meet.format(str(tmp_path), 'a', 'b', 'b')),
            python_job(tmp_path, 'b', meet.format(str(tmp_path), 'b', 'a', 'a'))]
    usage = run_jobs(jobs)
    assert set(usage) == {'a', 'b'} and all(1 < u['peak_memory_mb'] < 100 for u in usage.values())


def test_a_failing_job_stops_the_others_and_shows_its_log(tmp_path):
    stays = tmp_path / 'finished'
    jobs = [python_job(tmp_path, 'bad', 'raise SystemExit("no such data")'),
            python_job(tmp_path, 'good', f'import time; time.sleep(30); open({str(stays)!r}, "w")')]
    with pytest.raises(RuntimeError, match=r'(?s)bad failed.*bad\.log.*no such data'):
        run_jobs(jobs)
    assert not stays.exists()


@pytest.mark.parametrize('text, share', [
    ('', 0.), ('Epoch(train)  [2][ 5/10] loss: 1', 0.375), ('draw  40%|####', 0.4)])
def test_progress_is_read_from_the_log(tmp_path, text, share):
    job = python_job(tmp_path, 'a', '', epochs=4)
    job.log.write_text(f'start\n{text}\n')
    assert job.progress() == pytest.approx(share)


def test_a_training_is_done_only_for_its_own_config(tmp_path):
    training = Training(tmp_path / 'run', Config.fromfile(shipped_file(CONFIG)))
    job = training.job()
    assert not training.is_done() and str(training.config_file) in job.command
    training.result.touch()
    assert training.is_done()
    other = Training(tmp_path / 'run', Config.fromfile(shipped_file(CONFIG)))
    other.cfg.optim_wrapper.optimizer.lr = 1.
    assert not other.is_done()
    other.job()
    assert not training.result.exists()


def test_schedules_stretch_with_the_epochs():
    cfg = Config.fromfile(shipped_file(CONFIG))
    set_epochs(cfg, 3)
    assert cfg.train_cfg.max_epochs == 3
    assert [(s.begin, s.end) for s in cfg.param_scheduler] == [(0, 1), (1, 3), (0, 3)]
    assert cfg.param_scheduler[1].T_max == 2
    with pytest.raises(ValueError, match='at least two'):
        set_epochs(cfg, 1)


def test_few_images_make_smaller_batches(tmp_path):
    for identities, batch in ((1, 8), (4, 32), (256, 32)):  # 8 images of each
        quickstart = Quickstart(Options(tmp_path, identities=identities))
        assert quickstart.stage1(0).cfg.train_dataloader.batch_size == batch
    for name in 'abcde':
        cv2.imwrite(str(tmp_path / f'{name}.png'), np.zeros((64, 32, 3), np.uint8))
    quickstart = Quickstart(Options(tmp_path / 'run', images=tmp_path))
    assert quickstart.stage1(0).cfg.train_dataloader.batch_size == 5


def test_one_epoch_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match='at least two epochs, the first warms up; got 2, 1'):
        Options(tmp_path, epochs=(2, 1))


@pytest.mark.parametrize('options, words', [
    (dict(clip='ViT-B-23', clip_pretrained='openai'), "no model 'ViT-B-23'; near: .*ViT-B-32"),
    (dict(clip='ViT-B-32', clip_pretrained='openia'), "did you mean 'openai'"),
    (dict(clip='ViT-B-32'), 'labels need trained weights'),
    (dict(clip='ViT-B-32', clip_pretrained='gone.pt'), "no CLIP weights file at 'gone.pt'"),
    (dict(clip_pretrained='openai'), "--clip-pretrained 'openai' are the weights of a --clip")])
def test_a_wrong_clip_is_told_before_anything_is_made(options, words, tmp_path, monkeypatch):
    arguments = [f'--{name.replace("_", "-")}={value}' for name, value in options.items()]
    monkeypatch.setattr(sys, 'argv', ['quickstart.py', f'--out={tmp_path}', *arguments])
    monkeypatch.setattr(Quickstart, 'make_data', lambda self: pytest.fail('it begins'))
    with pytest.raises(SystemExit, match=rf'quickstart\.py: .*{words}'):
        runpy.run_path(str(shipped_file('tools/quickstart.py')), run_name='__main__')
    assert not list(tmp_path.iterdir())


def test_the_long_budget_is_the_table_of_the_systems(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr('clasp_mm.experiments.ablation.run.Ablation', lambda *given, **replaced: (
        asked.append((given, replaced)), Mock())[1])
    monkeypatch.setattr('clasp_mm.experiments.ablation.page.write_table', lambda *_: '')
    main(['quickstart', '--budget', 'long'])
    main(['quickstart', '--budget', 'long', '--out', str(tmp_path), '--seeds', '1', '--held-out',
          '8', '--identities', '4', '--epochs', '2', '3'])
    assert asked == [
        (('systems', Path('work_dirs/ablation/long'), 'long', 3, 2, 1), {}),
        (('systems', tmp_path, 'long', 1, 2, 1), dict(epochs=(2, 3), identities=4, held_out=8))]


def test_the_long_budget_takes_no_other_images_nor_labels(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(['quickstart', '--budget', 'long', '--out', str(tmp_path), '--clip', 'ViT-B-32'])
    assert '--clip ViT-B-32: --budget long compares systems' in capsys.readouterr().err


@pytest.fixture(scope='module')
def truth(tmp_path_factory):
    folder = tmp_path_factory.mktemp('people')
    write_people(folder, SyntheticPeople(8, 6, seed=5, size=(64, 32)), workers=1, progress=False)
    return load_ground_truth(folder)


@pytest.fixture(scope='module')
def other_people(tmp_path_factory):
    folder = tmp_path_factory.mktemp('others')
    write_people(folder, SyntheticPeople(24, 4, seed=6, size=(64, 32)), workers=1, progress=False)
    return load_ground_truth(folder)


def test_a_backbone_that_sees_colours_scores_above_one_that_sees_nothing(truth, other_people):
    torch.manual_seed(0)
    seeing = PCMoESwin(**TINY, moe=None).eval()
    blind = PCMoESwin(**TINY, moe=None).eval()
    with torch.no_grad():
        blind.patch_embed.projection.weight.zero_()
    seeing, blind = (evaluate_backbone(m, other_people, truth, (64, 32)).scores
                     for m in (seeing, blind))
    assert seeing['mIoU'] > blind['mIoU'] + 1 and set(seeing['part_iou']) == set(blind['part_iou'])


def test_summary_gives_mean_and_sample_spread():
    scores = [{'CLASP': dict(mAP=v, rank1=v, mIoU=v, mA=v)} for v in (1., 2., 6.)]
    assert _summarize(scores)['CLASP']['mAP'] == dict(mean=3., std=pytest.approx(7**.5))
    assert _summarize(scores[:1])['CLASP']['mA'] == dict(mean=1., std=None)
    assert _summarize([{}]) == {}


def make_report(folder, truth):
    shares = dict(accuracy=truth, kept=1., kept_accuracy=truth, balanced_accuracy=truth)
    labels = dict(clip='c', kept=dict(foreground=1., person=.5), foreground_iou=truth,
                  mean_iou=truth, attributes=shares)
    scores = {'CLASP': dict(mAP=9., rank1=9., mIoU=9., mA=9., part_iou=dict(hat=9.))}
    use = dict.fromkeys(('part', 'attribute'), np.ones((1, 2)))
    seed = dict(scores=scores if truth else {}, labels=labels, label_page=str(folder / 'x.html'),
                published={'CLASP': 'c.pth'}, expert_use=use)
    cost = dict(seconds=1., peak_memory_mb=1.)
    (folder / 'log').write_text('{"step": 1, "loss": 2.0, "loss_dino": 2.0}\n')
    quickstart = Quickstart(Options(folder, images=None if truth else folder / 'my <images>'))
    write_report(folder, [seed], dict(DINO=cost), {}, quickstart.setting(), {}, [], 7,
                 {'stage 1': folder / 'log'}, Console(file=io.StringIO()))
    return (folder / 'report.html').read_text()


def test_a_page_leaves_out_what_no_truth_is_known_of(tmp_path):
    told = ('foreground IoU', 'part IoU', 'balanced', 'Frozen features', 'Held-out people')
    page = make_report(tmp_path, .5)
    assert all(words in page for words in told) and 'Your images' not in page
    page = make_report(tmp_path, None)
    assert not any(words in page for words in told) and 'Your images and their' in page
    assert 'person filter</td><td>50.0 %' in page
    assert '/my &lt;images&gt;&#39; --task appearance --checkpoint c.pth' in page


def test_the_next_commands_can_be_called():
    setting = dict(images='my images', work_dir='w', input_size=(64, 32))
    for command in next_commands(setting, 'c.pth').values():
        program, verb, *arguments = shlex.split(command)
        parser = argparse.ArgumentParser()
        importlib.import_module(f'clasp_mm.cli.{verb}').add_arguments(parser)
        args = parser.parse_args(arguments)
        assert (program, args.folder, args.size) == ('clasp', 'my images', [64, 32])


def test_neighbours_are_of_the_images_at_hand(tmp_path):
    """Two pictures, each there twice: the nearest of each is its other, and not itself."""
    (tmp_path / 'my').mkdir()
    for seed, names in enumerate(('ac', 'bd')):
        image = np.random.default_rng(seed).integers(0, 256, (4, 2, 3), np.uint8)
        for name in names:
            cv2.imwrite(str(tmp_path / 'my' / f'{name}.png'), cv2.resize(image, (32, 64)))
    (tmp_path / 'my' / 'broken.png').write_text('no image')
    quickstart = Quickstart(Options(tmp_path, images=tmp_path / 'my'))
    rows, count = quickstart.neighbours(shipped_file(CLASP))
    assert count == 4 and [row.query.name for row in rows] == [f'{name}.png' for name in 'abcd']
    assert [row.hits[0].name for row in rows] == [f'{name}.png' for name in 'cdab']
    assert all(row.hits[0].score == 'cosine 1.000' and len(row.hits) == 3 for row in rows)
    assert rows[0].query.path == str(tmp_path / 'my' / 'a.png')


@pytest.mark.slow
@pytest.mark.parametrize('own_images', [False, True])
def test_the_main_job_end_to_end_and_again(tmp_path, own_images):
    (tmp_path / 'qs' / 'mini_clip').mkdir(parents=True)
    save_mini_clip(build_mini_clip(), tmp_path / 'qs' / 'mini_clip')
    options = Options(tmp_path / 'qs', identities=16, held_out=16, epochs=(2, 2))
    if own_images:
        write_people(tmp_path / 'people', SyntheticPeople(16, 4, seed=1), workers=1)
        options = Options(tmp_path / 'qs', images=tmp_path / 'people' / 'images', epochs=(2, 2))
    report = run_quickstart(options)
    assert bool(report['summary']) is not own_images
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / 'qs').rglob('*.pth')}
    assert len(stamps) > 5
    run_quickstart(options)
    assert stamps == {p: p.stat().st_mtime_ns for p in (tmp_path / 'qs').rglob('*.pth')}
    assert json.loads((tmp_path / 'qs' / 'report.json').read_text())['summary'] == report['summary']
