"""Compiled backbones: how many graphs, what they compute, and that nothing else changes."""

import copy
import io
import os
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch._dynamo.utils import counters

from benchmarks.contest import Options
from benchmarks.step import peer_step, step_config
from clasp_mm.engine.hooks.load_balance_hook import add_load_balance_loss
from clasp_mm.engine.training_step import TrainingStep
from clasp_mm.models import PCMoESwin, SemanticSwin
from clasp_mm.models.compiling import Compilation, compile_backbones
from clasp_mm.registry import MODELS
from clasp_mm.utils.resources import shipped_file

ARCH = dict(embed_dims=8, depths=(1, 2), num_heads=(2, 2))
TWO_STAGES = dict(arch=ARCH, strides=(4, 2), out_indices=(1, ))
MOE = dict(num_experts=4, top_k=2, expert_hidden=4)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def training_step(name: str, **backbone) -> TrainingStep:
    """A step of 2 global views of 64x32 and 2 local ones of 32x16, two images."""
    cfg = step_config(name, quick=True)
    cfg.model.backbone.update(TWO_STAGES, drop_path_rate=0.1, **backbone)
    if name == 'clasp':
        cfg.model.backbone.moe = MOE
    for head in ('head', 'part_head', 'attr_head'):
        if head in cfg.model:
            cfg.model[head].in_channels = 16
    cfg.model.head.update(hidden_dim=16, bottleneck_dim=8, out_dim=32)
    return TrainingStep(cfg, 2, 'cpu')


def graphs() -> int:
    assert not counters['graph_break']
    return counters['stats']['unique_graphs']


@pytest.mark.parametrize(('name', 'with_cp'), [
    ('clasp', False), *(pytest.param(*case, marks=pytest.mark.slow) for case in (
        ('clasp', True), ('dino', False), ('dino', True)))])
def test_three_graphs_and_none_after_the_first_step(name, with_cp):
    step = training_step(name, with_cp=with_cp)
    assert compile_backbones(step.model, Compilation(dynamic=False, backend='eager')) == 2
    step()
    assert graphs() == 3  # the student's of each size of crop, and the teacher's
    for _ in range(2):
        step()
    step.model.eval()
    with torch.no_grad():
        for size in (1, 2, 3):  # evaluation has other batches
            step.model.backbone(step.views[0][:1].repeat(size, 1, 1, 1), 'part')
            step.model.extract_feat(step.views[0][:1].repeat(size, 1, 1, 1))
    step.model.train()
    step()
    assert graphs() == 3


def test_the_peer_of_the_benchmark_is_compiled_too():
    step = peer_step(step_config('dino', quick=True), 2, Options(device='cpu'))
    assert compile_backbones(step.model, Compilation()) == 2


@pytest.mark.parametrize('build', [
    lambda: PCMoESwin(task='part', moe=MOE, **TWO_STAGES),
    lambda: PCMoESwin(moe=None, **{**TWO_STAGES, 'out_indices': (0, 1)}),
    lambda: SemanticSwin(semantic_weight=.5, **TWO_STAGES)])
def test_downstream_one_graph_and_none_in_evaluation(build):
    model = nn.ModuleDict(dict(backbone=build()))
    compile_backbones(model, Compilation(backend='eager'))
    for _ in range(3):
        sum(x.sum() for x in model.backbone(torch.randn(2, 3, 64, 32))).backward()
    model.eval()
    for size in (32, 64, 96):
        with torch.no_grad():
            model.backbone(torch.randn(1, 3, size, size))
    assert graphs() == 1
    compile_backbones(model, None)
    model.train().backbone(torch.randn(3, 3, 64, 64))
    assert graphs() == 1

@pytest.mark.slow
@pytest.mark.parametrize('config', [
    'reid/transreid_pcmoe-swin-tiny_1xb64-120e_market1501-384x128',
    'attribute/rethinkpar_pcmoe-swin-tiny_1xb64-30e_pa100k-256x128',
    'pose/td-hm_pcmoe-swin-tiny_8xb32-210e_coco-256x192',
    'parsing/schp_pcmoe-swin-tiny_8xb8-150e_lip-473x473',
    'parsing/upernet_pcmoe-swin-tiny_8xb2-160k_lip-572x384',
    'detection/faster-rcnn_pcmoe-swin-tiny_fpn_8xb2-1x_coco-person',
    'detection/csp_pcmoe-swin-tiny_8xb3-240e_citypersons-1024x2048',
    'person_search/seqnet_pcmoe-swin-tiny_1xb4-18e_prw-900x1500'])
def test_one_graph_for_each_of_our_tasks(config):
    cfg = Config.fromfile(shipped_file(f'configs/{config}.py')).model.backbone
    cfg.update(arch=dict(embed_dims=8, depths=(1, 2, 1, 1), num_heads=(2, ) * 4), init_cfg=None)
    model = nn.ModuleDict(dict(backbone=MODELS.build(cfg)))
    compile_backbones(model, Compilation(backend='eager'))
    for _ in range(3):
        sum(x.sum() for x in model.backbone(torch.randn(2, 3, 96, 64))).backward()
    assert graphs() == 1


@pytest.mark.slow
def test_rows_that_vary_are_compiled_once_more():
    cfg = Config.fromfile(
        shipped_file('configs/quickstart/solider_swin-nano_1xb32_synthetic-64x32.py')).model
    cfg.backbone.update(TWO_STAGES)
    cfg.head.in_channels = cfg.part_head.in_channels = 16
    model = MODELS.build(cfg).train()
    compile_backbones(model, Compilation(backend='eager'))
    numbers = []
    for step in range(6):
        views = [torch.randn(8, 3, 64, 32) for _ in range(2)]
        model.loss(views, dict(sample_idx=8 * step + torch.arange(8)))['loss_dino'].backward()
        numbers.append(graphs())
    assert numbers == [1, 2, 2, 2, 2, 2]


def test_copies_pickles_and_weights_are_those_of_a_plain_model():
    plain = PCMoESwin(task='part', moe=MOE, **TWO_STAGES)
    model = copy.deepcopy(plain)
    compile_backbones(model, Compilation(backend='eager'))
    images = torch.randn(2, 3, 64, 32)
    model.stages.eval(), plain.stages.eval()  # no draws
    model(images)
    assert graphs() == 1
    assert list(model.state_dict()) == list(plain.state_dict())

    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for twin in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        with torch.no_grad():
            for weight in twin.parameters():
                weight.zero_()
        assert not twin(images)[0].any()  # its own weights, not the first's
        torch.testing.assert_close(model(images), plain(images))


def test_balance_loss_sees_the_gates_inside():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = PCMoESwin(task='part', moe=MOE, drop_path_rate=0., **TWO_STAGES)

        def forward(self, images):
            return dict(loss=self.backbone(images)[0].square().mean())

    model = Model()
    for stage in model.backbone.stages:
        nn.init.zeros_(stage.moe.noise_gate.weight)
        stage.moe.training = False  # no noise, so that both see the same gates
    handles = add_load_balance_loss(model, 1.)
    batches = [torch.randn(4, 3, 64, 32) for _ in range(3)]
    plain = [model(images)['loss_balance'] for images in batches]
    compile_backbones(model, Compilation(backend='eager'))
    for images, expected in zip(batches, plain, strict=True):
        torch.testing.assert_close(model(images)['loss_balance'], expected)
    assert counters['stats']['unique_graphs'] == 1
    for handle in handles:
        handle.remove()


@pytest.mark.slow
def test_a_machine_without_a_compiler_is_told_so(tmp_path):
    code = ('from clasp_mm.models.compiling import check_compiler\n'
            'try:\n    check_compiler("cpu")\nexcept RuntimeError as error:\n    print(error)')
    env = {name: value for name, value in os.environ.items() if name not in ('CXX', 'CC')}
    env.update(PATH=str(tmp_path), TORCHINDUCTOR_CACHE_DIR=str(tmp_path / 'cache'))
    out = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, text=True,
                         check=True).stdout
    assert 'needs a C++ compiler (g++)' in out and 'train without --compile' in out
