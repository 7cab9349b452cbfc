import pickle
from collections import OrderedDict
from functools import partial

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from clasp_mm import compat
from clasp_mm.compat import checkpoints

modern = pytest.mark.skipif(
    not compat.torch_at_least(2, 6), reason='torch < 2.6 has no such allow-list')


def load(path):
    compat.allow_mmengine_checkpoints()
    return torch.load(path, weights_only=True)


# The second reads for torch < 2.6; it is held to the same everywhere.
READERS = [pytest.param(load, marks=modern, id='torch'),
           pytest.param(checkpoints._load_with_own_list, id='own-list'),
           pytest.param(partial(compat.load_file, mmap=True), id='mapped')]


@pytest.mark.parametrize('load', [*READERS, pytest.param(
    partial(checkpoints._load_with_own_list, mmap=True), id='own-list, mapped')])
def test_message_hub_of_a_checkpoint_survives(load, tmp_path):
    history = HistoryBuffer([1.0, 2.0, 6.0], [1, 1, 2])
    hub = dict(log_scalars=OrderedDict(loss=history), runtime_info=OrderedDict(iter=3),
               resumed_keys=OrderedDict(loss=True))
    meta = dict(seed=np.int64(7), lr=np.float32(0.5), palette=np.arange(6).reshape(2, 3),
                names=np.array(['hat', 'shoe']), kept=np.array([True, False]))
    weight = torch.nn.Parameter(torch.randn(3, 2, dtype=torch.bfloat16))
    torch.save(dict(message_hub=hub, meta=meta, weight=weight), tmp_path / 'c.pth')
    loaded = load(tmp_path / 'c.pth')
    assert torch.equal(loaded['weight'], weight)
    buffer = loaded['message_hub']['log_scalars']['loss']
    assert buffer.mean() == history.mean() and buffer.current() == 6.0
    assert buffer.statistics('max') == 6.0
    assert (loaded['meta']['seed'], loaded['meta']['lr']) == (7, 0.5)
    for name in ('palette', 'names', 'kept'):
        np.testing.assert_array_equal(loaded['meta'][name], meta[name])


class Evil:

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('load', READERS)
@pytest.mark.parametrize('evil', [
    Evil(getattr, HistoryBuffer, '__init__'),
    Evil(getattr, np.ndarray, 'tofile'),
    Evil(getattr, 'text', 'format'),
    Evil(print, 'ran'),
    Evil(eval, '1'),
], ids=['method', 'tofile', 'str', 'print', 'eval'])
@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
def test_the_allow_list_opens_no_door(load, evil, legacy, tmp_path):
    torch.save(dict(x=evil), tmp_path / 'c.pth', _use_new_zipfile_serialization=not legacy)
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        load(tmp_path / 'c.pth')


@modern
def test_allowing_twice_changes_nothing():
    compat.allow_mmengine_checkpoints()
    before = set(torch.serialization.get_safe_globals())
    compat.allow_mmengine_checkpoints()
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    joined = []
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: bool(joined))
    monkeypatch.setattr(torch.distributed, 'init_process_group', joined.append)
    return joined


def test_cpu_processes_join_over_gloo_without_a_device_id(no_gpu):
    cfg = Config(dict(launcher='pytorch', find_unused_parameters=True))
    compat.prepare_cpu_distributed(cfg)
    compat.prepare_cpu_distributed(cfg)
    assert no_gpu == ['gloo']
    assert cfg.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=True,
        device_ids=None)


def test_a_wrapper_of_the_config_is_kept(no_gpu):
    cfg = Config(dict(launcher='pytorch', model_wrapper_cfg=dict(type='X', static_graph=True)))
    compat.prepare_cpu_distributed(cfg)
    assert cfg.model_wrapper_cfg.type == 'X' and cfg.model_wrapper_cfg.static_graph
    assert cfg.model_wrapper_cfg.device_ids is None


def test_one_process_and_gpus_are_left_alone(no_gpu, monkeypatch):
    cfg = Config(dict(launcher='none'))
    compat.prepare_cpu_distributed(cfg)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    gpu = Config(dict(launcher='pytorch'))
    compat.prepare_cpu_distributed(gpu)
    assert no_gpu == [] and 'model_wrapper_cfg' not in cfg and 'model_wrapper_cfg' not in gpu


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_other_launchers_name_the_way_out(no_gpu, launcher):
    with pytest.raises(RuntimeError, match=r'dist_train\.sh'):
        compat.prepare_cpu_distributed(Config(dict(launcher=launcher)))
