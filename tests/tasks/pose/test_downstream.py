import json
import os
from pathlib import Path

import pytest

pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')

import torch
from mmengine.config import Config

from clasp_mm.engine.training import Training
from clasp_mm.experiments import downstream
from clasp_mm.experiments.downstream import (
    few_images,
    find_backbones,
    markdown,
    quickstart_starts,
    read_run,
    run_downstream,
    run_missing,
    system_starts,
)
from clasp_mm.experiments.quickstart.layout import WORK_DIR, point, published
from clasp_mm.models.backbones import PCMoESwin, SemanticSwin
from clasp_mm.zoo.get_model import get_model

from .conftest import QUICKSTART

MACHINE = dict(cores=2, gpu=None, torch='2.13')


def log(folder: Path, start: str, *rows: dict) -> None:
    path = folder / start / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(map(json.dumps, rows)) + '\n')


def test_scores_of_a_run_that_was_resumed(tmp_path):
    log(tmp_path, '20260101', dict(loss=1., time=.5, data_time=.2, step=10),
        {'coco/AP': .1, 'time': 9., 'step': 5}, {'coco/AP': .2, 'step': 10})
    log(tmp_path, '20260102', {'coco/AP': .25, 'step': 10}, {'coco/AP': .3, 'step': 15})
    run = read_run(tmp_path, 'coco/AP')
    assert (run['steps'], run['scores'], run['step_seconds']) == ([5, 10, 15], [.1, .25, .3], .3)
    with pytest.raises(ValueError, match='no mIoU in the logs'):
        read_run(tmp_path, 'mIoU')


def test_table_has_mean_and_deviation_of_each_start():
    runs = [dict(seed=seed, start=start, steps=[5, 10], scores=[score, 2 * score], step_seconds=.06)
            for seed, start, score in ((0, 'pretrained', .3), (1, 'pretrained', .1),
                                       (0, 'random', .1), (1, 'random', .1))]
    text = markdown(dict(runs=runs, metric='coco/AP', images=[4, 2], machine=MACHINE,
                         command='tool pose', config='c.py', backbones=['x/b.pth', 'x/c.pth']))
    lines = text.splitlines()
    assert lines[0] == '| coco/AP after epoch | 5 | 10 | ms a step |'
    assert lines[2] == '| pretrained | 0.2 ± 0.141 | 0.4 ± 0.283 | 60 ± 0 |'
    assert lines[3].startswith('| random | 0.1 ± 0 | 0.2 ± 0 |')
    for part in ('`tool pose`', 'c.py', 'seeds 0, 1', '4 synthetic', 'no GPU', 'x/b.pth, x/c.pth'):
        assert part in lines[5]


def test_each_seed_has_its_own_latest_backbone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'no backbone of seed 0.*clasp quickstart'):
        find_backbones(None, 1)
    with pytest.raises(FileNotFoundError, match='no backbone at none'):
        find_backbones(Path('none.pth'), 1)
    for time, name in (
            (9, 'seed0/published/a'), (1, 'seed0/published/b'), (5, 'seed1/published/c')):
        path = WORK_DIR / name / f'clasp_{name[-1]}.pth'
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (time, time))  # does not count
        point(published(WORK_DIR / name.split('/')[0]), path)
    assert [path.name for path in find_backbones(None, 2)] == ['clasp_b.pth', 'clasp_c.pth']
    assert find_backbones(path, 3) == [path] * 3
    with pytest.raises(FileNotFoundError, match=r'no backbone of seed 2.*--seeds 3'):
        find_backbones(None, 3)


def test_systems_of_a_folder_are_starts(tmp_path):
    for seed, keys in enumerate((('table1_a_dino', 'full'), ('full',))):
        for key in keys:
            run = tmp_path / f'seed{seed}' / key
            run.mkdir(parents=True)
            torch.save(dict(state_dict={}, meta=dict(epoch=4, iter=9)), run / 'epoch_4.pth')
    starts = system_starts(tmp_path, 2, ['random weights', 'CLASP'])
    assert starts['random weights'] == ('random', [None, None], None, ())
    assert starts['CLASP'] == ('full', [tmp_path / f'seed{seed}/full/epoch_4.pth'
                                        for seed in (0, 1)], None, ())
    assert list(system_starts(tmp_path, 1, ['DINO'])) == ['DINO']
    with pytest.raises(FileNotFoundError, match=r'DINO of seed 1 is not in .*--seeds 2 --out'):
        system_starts(tmp_path, 2, ['DINO'])
    with pytest.raises(FileNotFoundError, match='SOLIDER of seed 0'):
        system_starts(tmp_path, 1)
    with pytest.raises(ValueError, match=r'no system BYOL; there are random .*, CLASP'):
        system_starts(tmp_path, 1, ['BYOL'])


def test_fewer_images_are_seen_as_much_more_often():
    cfg = Config.fromfile(downstream.shipped_file(QUICKSTART))
    few = few_images(cfg, 'pose', 30)
    assert few.train_dataloader.dataset.type == 'RepeatDataset'
    assert few.train_dataloader.dataset.times == 8
    assert few.train_dataloader.dataset.dataset.data_root.endswith('data/pose-30/')
    assert few.val_dataloader.dataset.data_root.endswith('data/pose-30/')
    assert few.val_evaluator[0].ann_file.startswith('work_dirs/quickstart_downstream/data/pose-30/')
    assert few_images(cfg, 'pose', None) is cfg
    with pytest.raises(ValueError, match='240 images or a part of them'):
        run_downstream('pose', {}, train_images=100)


def test_a_run_killed_in_its_last_validation_goes_on_from_the_checkpoint_before(
        tmp_path, monkeypatch):
    cfg = Config(dict(train_cfg=dict(max_epochs=4, val_interval=3)))
    training = Training(tmp_path / 'run', cfg)
    training.job()
    log = tmp_path / 'run/1/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 1, "time": 1, "step": 3}\n{"PCK": 0.1, "step": 3}\n')
    for epoch in (3, 4):
        (tmp_path / f'run/epoch_{epoch}.pth').touch()
    ran = []

    def run_jobs(jobs, parallel):
        ran.append([path.name for path in (tmp_path / 'run').glob('*.pth')])
        if jobs:
            training.result.touch()
            with open(log, 'a') as file:
                file.write('{"PCK": 0.2, "step": 4}\n')

    monkeypatch.setattr(downstream, 'run_jobs', run_jobs)
    for _ in range(2):
        run_missing({'': training}, 'PCK', 1)
    assert ran[0] == ['epoch_3.pth'] and len(ran[1]) == 2
    assert downstream.read_run(training.folder, 'PCK')['scores'] == [.1, .2]


@pytest.mark.slow
def test_both_starts_are_trained_and_compared(tmp_path, monkeypatch):
    """The whole comparison on six images: data, two runs of tools/train.py, table."""
    monkeypatch.chdir(tmp_path)
    backbone = get_model(Config.fromfile(downstream.shipped_file(QUICKSTART)).filename)
    torch.save(backbone.state_dict(), 'weights.pth')
    short = Path('pose_short.py')
    short.write_text(f"_base_ = '{downstream.shipped_file(QUICKSTART)}'\n"
                     "train_cfg = dict(max_epochs=2, val_interval=1)\n"
                     "default_hooks = dict(checkpoint=dict(interval=1))\n")
    write = downstream.DATA['pose'][0]
    monkeypatch.setattr(downstream, 'DATA', dict(pose=(write, 6, 3)))
    monkeypatch.setattr(downstream, 'find_config', lambda task: short.resolve())
    starts = quickstart_starts(Path('weights.pth'), 1)
    report = run_downstream('pose', starts)
    first, second = report['runs']
    assert (first['start'], second['start']) == ('pretrained', 'random')
    assert first['steps'] == [1, 2] and len(first['scores']) == 2
    folder = Path('work_dirs/quickstart_downstream')
    configs = [Config.fromfile(folder / f'pose/seed0/{start}/{start}.py')
               for start in ('pretrained', 'random')]
    assert configs[0].model.backbone.init_cfg.checkpoint == 'weights.pth'
    assert configs[1].model.backbone.init_cfg is None
    for cfg in configs:
        cfg.model.backbone.pop('init_cfg')
        cfg.pop('work_dir')
    assert configs[0].to_dict() == configs[1].to_dict(), 'the same but for the start'
    before = (folder / 'pose/seed0/random/epoch_2.pth').stat().st_mtime_ns
    assert run_downstream('pose', starts)['runs'] == report['runs']
    assert (folder / 'pose/seed0/random/epoch_2.pth').stat().st_mtime_ns == before
    assert 'ms a step' in (folder / 'pose.md').read_text()


def test_soliders_weights_start_the_same_network(tmp_path, monkeypatch):
    """Its controller is left aside; the others' configs name nothing to leave."""
    monkeypatch.setattr(downstream, 'WORK_DIR', tmp_path / 'work')
    monkeypatch.setattr(downstream, 'DATA', dict(pose=(lambda *_, **__: None, 1, 1)))
    monkeypatch.setattr(downstream, 'read_run', lambda *_: dict(
        steps=[1], scores=[0.], step_seconds=0))
    started = {}
    monkeypatch.setattr(downstream, 'run_missing', lambda runs, *_: started.update(runs))
    nano = dict(arch='nano', window_size=4)
    for key, backbone in (('table1_a_dino', PCMoESwin(**nano, moe=None)), (
            'solider_swin-nano_1xb32_synthetic-64x32', SemanticSwin(**nano))):
        run = tmp_path / 'seed0' / key
        run.mkdir(parents=True)
        torch.save(dict(state_dict=backbone.state_dict(), meta=dict(epoch=4, iter=9)),
                   run / 'epoch_4.pth')
    run_downstream('pose', system_starts(tmp_path, 1, ['DINO', 'SOLIDER']), systems=tmp_path)
    for title, training in started.items():
        init = training.cfg.model.backbone.init_cfg
        assert init.get('allow_unexpected') == (
            ['semantic_embed_*'] if title == 'SOLIDER' else None)
        model = PCMoESwin(**nano, moe=dict(num_experts=10, top_k=6, num_prompts=3, expert_hidden=8),
                          init_cfg=dict(init, type='clasp_mm.Pretrained'))
        model.init_weights()
        weights = torch.load(init.checkpoint, weights_only=True)['state_dict']
        torch.testing.assert_close(model.patch_embed.projection.weight,
                                   weights['patch_embed.projection.weight'])
