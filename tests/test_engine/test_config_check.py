from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict

import clasp_mm.models  # noqa: F401
from clasp_mm.engine.config_check import ConfigError, check_config
from tests.source_tree import ROOT

CONFIGS = sorted(path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)
DINO = ROOT / 'configs' / 'pretrain' / 'dino_swin-tiny_8xb96-100e_luperson-256x128.py'
BASE = dict(
    default_scope='mmengine',
    train_cfg=dict(by_epoch=True, max_epochs=3),
    train_dataloader=dict(batch_size=2, sampler=dict(type='DefaultSampler', shuffle=True)),
    optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(type='value')),
    param_scheduler=[dict(type='CosineAnnealingLR', T_max=3, convert_to_iter_based=True)],
    default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, priority='LOW')),
    log_processor=dict(window_size=20),
    env_cfg=dict(cudnn_benchmark=True),
    randomness=dict(seed=0))


def problems(overrides: dict, **base) -> str:
    cfg = Config(ConfigDict({**BASE, **base}))
    cfg.merge_from_dict(overrides)
    with pytest.raises(ConfigError) as caught:
        check_config(cfg)
    return str(caught.value)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_have_no_key_that_nothing_reads(path):
    if any(path.stem.startswith(task) or path.parent.name == task
           for task in ('pose', 'parsing', 'detection', 'person_search')):
        pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')
    check_config(Config.fromfile(path))


def test_a_right_config_passes():
    check_config(Config(BASE))


@pytest.mark.parametrize(('key', 'place', 'nearest'), [
    ('train_cfg.max_epoch', 'train_cfg.max_epoch', "'max_epochs'"),
    ('model.backbone.drop_path_rat', 'model.backbone.drop_path_rat', "'drop_path_rate'"),
    ('model.backbone.init_cfgs', 'model.backbone.init_cfgs', "'init_cfg'"),
    ('train_dataloader.num_worker', 'train_dataloader.num_worker', "'num_workers'"),
    ('train_dataloader.sampler.shufle', 'train_dataloader.sampler.shufle', "'shuffle'"),
    ('optim_wrapper.optimizer.weight_decays', 'optim_wrapper.optimizer', "'weight_decay'"),
    ('optim_wrapper.accumulative_count', 'optim_wrapper', "'accumulative_counts'"),
    ('param_scheduler.0.T_maxx', 'param_scheduler[0]', "'T_max'"),
    ('default_hooks.checkpoint.max_keep_ckpt', 'default_hooks.checkpoint', "'max_keep_ckpts'"),
    ('log_processor.window_sizes', 'log_processor', "'window_size'"),
    ('env_cfg.cudnn_benchmarks', 'env_cfg', "'cudnn_benchmark'"),
    ('randomness.sed', 'randomness', "'seed'"),
    ('train_dataloders', 'train_dataloders', "'train_dataloader'"),
    ('resum', 'resum', "'resume'"),
])
def test_a_misspelt_key_is_named_with_its_place_and_the_nearest(key, place, nearest):
    text = problems({key: 1}, model=dict(backbone=dict(type='clasp_mm.PCMoESwin', arch='tiny')))
    assert place in text
    assert nearest in text
    assert text.count('\n') == 1, 'one wrong key, one line'


def test_all_wrong_keys_are_listed_at_once():
    text = problems({'train_cfg.max_epoch': 1, 'env_cfg.x': 2})
    assert 'max_epoch' in text and 'env_cfg.x' in text


def test_a_misspelt_type_of_ours_is_named():
    text = problems({}, model=dict(type='clasp_mm.CLAPS'))
    assert "model: no type 'clasp_mm.CLAPS' is registered (did you mean clasp_mm.CLASP?)" in text


def test_the_train_loop_is_the_one_that_by_epoch_names():
    assert 'max_epochs' in problems({}, train_cfg=dict(by_epoch=False, max_iters=3, max_epochs=1))


def test_variables_of_the_file_may_stand_but_not_be_overridden():
    cfg = Config({**BASE, 'data_root': 'data/', 'max_epochs': 3, 'train_pipeline': []})
    check_config(cfg)
    with pytest.raises(ConfigError, match=r"'max_epochs'.*did you mean train_cfg\.max_epochs"):
        check_config(cfg, overrides=['max_epochs'])


def test_scope_of_a_subtree_is_respected():
    check_config(Config({**BASE, 'model': dict(
        _scope_='mmpretrain', type='ImageClassifier', backbone=dict(type='ResNet', depth=50))}))
    assert 'depths' in problems({}, model=dict(
        _scope_='mmpretrain', type='ImageClassifier', backbone=dict(type='ResNet', depths=50)))


def test_configs_of_a_host_library_pass():
    """Its builders take keys out before the class sees them; none of that may be an error."""
    import mmpretrain
    folder = Path(mmpretrain.__file__).parent / '.mim' / 'configs'
    for name in ('swin_transformer/swin-tiny_16xb64_in1k.py', 'mae/mae_vit-base-p16_8xb512-amp-'
                 'coslr-300e_in1k.py', 'resnest/resnest50_32xb64_in1k.py',
                 'arcface/resnet50-arcface_8xb32_inshop.py'):
        check_config(Config.fromfile(folder / name))
