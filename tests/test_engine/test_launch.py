import os

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from clasp_mm.engine import launch
from clasp_mm.engine.checkpoints import last_checkpoint


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)


def config(wrapper: str | None) -> Config:
    optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
    if wrapper:
        optim_wrapper['type'] = wrapper
    return Config(dict(optim_wrapper=optim_wrapper, work_dir='w'))


@pytest.mark.parametrize(('plain', 'amp'), [
    (None, 'AmpOptimWrapper'), ('OptimWrapper', 'AmpOptimWrapper'),
    ('AmpOptimWrapper', 'AmpOptimWrapper'),
    ('mmengine.OptimWrapper', 'mmengine.AmpOptimWrapper'),
    ('clasp_mm.DINOOptimWrapper', 'clasp_mm.DINOAmpOptimWrapper')])
def test_amp_swaps_the_wrapper_for_its_sibling(gpu, plain, amp):
    cfg = config(plain)
    launch.set_amp(cfg, 'fp16')
    assert cfg.optim_wrapper.type == amp
    assert (cfg.optim_wrapper.dtype, cfg.optim_wrapper.loss_scale) == ('float16', 'dynamic')
    assert cfg.optim_wrapper.optimizer.lr == 0.1


def test_bf16_needs_no_loss_scaling(gpu):
    cfg = config(None)
    launch.set_amp(cfg, 'bf16')
    scaler = torch.cuda.amp.GradScaler(**cfg.optim_wrapper.loss_scale)
    loss = torch.ones((), requires_grad=True)
    assert scaler.scale(loss) is loss
    assert cfg.optim_wrapper.dtype == 'bfloat16'


def test_every_sibling_is_registered():
    from mmengine.registry import OPTIM_WRAPPERS
    for plain, amp in launch._AMP_WRAPPERS.items():
        assert issubclass(OPTIM_WRAPPERS.get(amp), OPTIM_WRAPPERS.get('AmpOptimWrapper'))
        assert OPTIM_WRAPPERS.get(plain) is not None


def test_amp_names_what_it_cannot_do(gpu, monkeypatch):
    with pytest.raises(ValueError, match=r"'bf61'.*bf16 or fp16"):
        launch.set_amp(config(None), 'bf61')
    with pytest.raises(ValueError, match='ApexOptimWrapper'):
        launch.set_amp(config('ApexOptimWrapper'), 'bf16')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(RuntimeError, match='needs a GPU'):
        launch.set_amp(config(None), 'bf16')


def test_resume_from_a_file_or_from_the_last(tmp_path):
    cfg = config(None)
    cfg.work_dir = str(tmp_path)
    launch.set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, None)
    cfg.load_from = 'start.pth'
    launch.set_resume(cfg, 'auto')  # a first start goes from the config's weights
    assert (cfg.resume, cfg.load_from) == (False, 'start.pth')
    checkpoint = tmp_path / 'epoch_3.pth'
    torch.save(dict(meta={}, state_dict={}, optimizer={}, message_hub={}), checkpoint)
    launch.set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, str(checkpoint))
    launch.set_resume(cfg, str(checkpoint))
    assert (cfg.resume, cfg.load_from) == (True, str(checkpoint))
    with pytest.raises(FileNotFoundError, match=r'epoch_4\.pth'):
        launch.set_resume(cfg, str(tmp_path / 'epoch_4.pth'))


def test_resuming_counts_iterations_not_the_times_of_files(tmp_path, monkeypatch):
    """After a copy without times: epoch 9 is the newest file, best_* has no optimizer's state."""
    warned = []
    monkeypatch.setattr(MMLogger, 'warning', lambda logger, text: warned.append(text))
    cfg = config(None)
    cfg.work_dir = str(tmp_path)
    for name, iteration, time in (('epoch_10', 50, 1), ('iter_47', 47, 2), ('epoch_9', 45, 9),
                                  ('best_mAP_epoch_10', 51, 8)):
        optimizer = {} if name.startswith('best') else dict(optimizer={})
        torch.save(dict(meta=dict(iter=iteration), state_dict={}, message_hub={}, **optimizer),
                   tmp_path / f'{name}.pth')
        os.utime(tmp_path / f'{name}.pth', (time, time))
    (tmp_path / 'last_checkpoint').write_text('/gone/epoch_9.pth')
    launch.set_resume(cfg, 'auto')
    assert cfg.load_from == str(tmp_path / 'epoch_10.pth')
    whole = (tmp_path / 'epoch_10.pth').read_bytes()
    (tmp_path / 'epoch_10.pth').write_bytes(whole[:len(whole) // 2])
    launch.set_resume(cfg, 'auto')
    assert cfg.load_from == str(tmp_path / 'iter_47.pth')
    assert len(warned) == 1 and 'epoch_10.pth is damaged' in warned[0]


def test_after_a_change_of_the_batch_size_the_epoch_counts_before_the_iteration(tmp_path):
    """9 epochs of 100 iterations, then a tenth of a run whose epochs have 50: 10 x 50 = 500."""
    cfg = config(None)
    cfg.work_dir = str(tmp_path)
    for epoch, iteration in ((9, 900), (10, 500)):
        torch.save(dict(meta=dict(epoch=epoch, iter=iteration), state_dict={}, message_hub={},
                        optimizer={}), tmp_path / f'epoch_{epoch}.pth')
    launch.set_resume(cfg, 'auto')
    assert cfg.load_from == str(tmp_path / 'epoch_10.pth')


def test_the_last_checkpoint_goes_by_epoch_and_iteration(tmp_path, monkeypatch):
    old, new = tmp_path / 'old', tmp_path / 'new'
    for folder in (old, new):
        folder.mkdir()
        for epoch in (2, 3, 11):
            torch.save(dict(meta=dict(iter=epoch), state_dict=dict(x=torch.arange(9.))),
                       folder / f'epoch_{epoch}.pth')
    # Killed while it saved: the file is whole, and MMEngine's note names the one before.
    (new / 'last_checkpoint').write_text(f'{old}/epoch_3.pth\n')
    assert last_checkpoint(new) == new / 'epoch_11.pth'
    path, values = new / 'epoch_11.pth', torch.arange(9.).numpy().tobytes()
    path.write_bytes(path.read_bytes().replace(values, values[:-1] + b'\0'))  # a weight
    warned = []
    monkeypatch.setattr(MMLogger, 'warning', lambda logger, text: warned.append(text))
    assert last_checkpoint(new) == new / 'epoch_3.pth'
    assert len(warned) == 1 and 'epoch_11.pth is damaged' in warned[0]
    assert last_checkpoint(tmp_path) is None


def test_tensorboard_is_added_once_and_keeps_what_is_there():
    cfg = Config(dict(visualizer=dict(type='X', vis_backends=[dict(type='LocalVisBackend')])))
    launch.add_tensorboard(cfg)
    launch.add_tensorboard(cfg)
    assert [backend.type for backend in cfg.visualizer.vis_backends] == [
        'LocalVisBackend', 'mmengine.TensorboardVisBackend']
    assert cfg.visualizer.type == 'X'
    empty = Config({})
    launch.add_tensorboard(empty)
    assert [backend.type for backend in empty.visualizer.vis_backends] == [
        'mmengine.LocalVisBackend', 'mmengine.TensorboardVisBackend']


def test_resuming_runs_no_code(tmp_path):
    class RunsCode:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'was_run'),)

    torch.save(dict(meta={}, state_dict=RunsCode()), tmp_path / 'code.pth')
    with pytest.raises(ValueError, match=r'code\.pth holds more than weights.*mkdir'):
        launch.set_resume(config(None), str(tmp_path / 'code.pth'))
    (tmp_path / 'page.pth').write_text('<html>')
    with pytest.raises(ValueError, match=r'page\.pth is no PyTorch checkpoint'):
        launch.set_resume(config(None), str(tmp_path / 'page.pth'))
    assert not (tmp_path / 'was_run').exists()


@pytest.mark.parametrize(('options', 'expected'), [
    ({}, ['high']), ({'float32_matmul_precision': 'highest'}, ['highest'])])
def test_gpus_multiply_in_tf32_unless_told_otherwise(tmp_path, monkeypatch, options, expected):
    path = tmp_path / 'plain.py'
    path.write_text("model = dict(type='clasp_mm.DINO')\n", 'utf-8')
    set_to = []
    monkeypatch.setattr(torch, 'set_float32_matmul_precision', set_to.append)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    launch.load_config(str(path), options=options)
    assert not set_to  # a CPU keeps float32
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    launch.load_config(str(path), options=options)
    assert set_to == expected
    with pytest.raises(ValueError, match=r"float32_matmul_precision must be one of .*'tf32'"):
        launch.load_config(str(path), options={'float32_matmul_precision': 'tf32'})


@pytest.mark.parametrize(('model', 'dynamic'), [
    ('clasp_mm.DINO', False), ('clasp_mm.CLASP', False), ('ImageClassifier', None)])
def test_compile_adds_its_hook(monkeypatch, model, dynamic):
    monkeypatch.setattr(launch, 'check_compiler', lambda device: None)
    cfg = Config(dict(model=dict(type=model), custom_hooks=[dict(type='EMAHook')]))
    launch.set_compile(cfg)
    assert cfg.custom_hooks == [dict(type='EMAHook'),
                                dict(type='clasp_mm.CompileHook', dynamic=dynamic)]


def test_compile_is_mmengines_or_ours():
    cfg = Config(dict(model=dict(type='ImageClassifier'), compile=dict(mode='default')))
    with pytest.raises(ValueError, match='leave one of them out'):
        launch.set_compile(cfg)


def test_compile_refuses_backbones_of_others():
    from types import SimpleNamespace

    from torch import nn

    from clasp_mm.engine import CompileHook
    model = nn.ModuleDict(dict(backbone=nn.Conv2d(1, 1, 1)))
    with pytest.raises(ValueError, match=r'ModuleDict.*compile=True'):
        CompileHook().before_train(SimpleNamespace(model=model))
