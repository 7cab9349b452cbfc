"""Layer-wise learning-rate decay against a listing made by hand."""

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from torch import nn

from clasp_mm.models import PCMoESwin

LR, DECAY, WD, LAYERS = 1e-3, .5, .05, 7
# Depths (1, 1, 2, 1): stem, five blocks, the rest.
DEPTHS = {
    'patch_embed.projection.weight': 0,
    'patch_embed.norm.bias': 0,
    'stages.0.blocks.0.attn.w_msa.qkv.weight': 1,
    'stages.0.moe.prompts': 1,
    'stages.0.moe.w1': 1,
    'stages.0.moe.global_gate.weight': 1,
    'stages.0.moe.noise_gate.weight': 1,
    'stages.0.moe.channel_gate.1.bias': 1,
    'stages.0.downsample.reduction.weight': 1,
    'stages.1.blocks.0.norm1.weight': 2,
    'stages.1.moe.prompt_fc.weight': 2,
    'stages.1.downsample.norm.weight': 2,
    'stages.2.blocks.0.ffn.layers.0.0.weight': 3,
    'stages.2.blocks.1.attn.w_msa.relative_position_bias_table': 4,
    'stages.2.moe.b2': 4,
    'stages.2.downsample.reduction.weight': 4,
    'stages.3.blocks.0.attn.w_msa.proj.bias': 5,
    'stages.3.moe.w2': 5,
    'norm3.weight': 6,
}
UNDECAYED = ('bias', 'prompts', 'relative_position_bias_table', 'b1', 'b2', 'norm1.weight',
             'norm2.weight', 'norm.weight', 'norm3.weight', 'bn.weight')


class Host(BaseModel):
    """A host's model: the backbone where the name says, a head beside it."""

    def __init__(self, place='backbone', **kwargs):
        super().__init__()
        inner = self
        *above, last = place.split('.')
        for name in above:
            inner.add_module(name, nn.Module())
            inner = getattr(inner, name)
        inner.add_module(last, PCMoESwin('nano', 'part', window_size=4, **kwargs))
        self.head = nn.Linear(256, 3)
        self.bn = nn.BatchNorm1d(3)

    def forward(self, inputs, mode='loss'):
        return inputs


def groups_of(model, paramwise=None, **optimizer):
    optimizer = dict(dict(type='AdamW', lr=LR, weight_decay=WD), **optimizer)
    wrapper = build_optim_wrapper(model, dict(
        constructor='clasp_mm.LayerDecayOptimWrapperConstructor', optimizer=optimizer,
        paramwise_cfg=dict(dict(decay_rate=DECAY), **(paramwise or {}))))
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    found = {names[p]: group for group in groups for p in group['params']}
    assert len(found) == sum(len(group['params']) for group in groups)
    return found, groups


@pytest.mark.parametrize('place', ['backbone', 'student.backbone', 'detector.inner.body'])
def test_every_parameter_has_the_rate_of_its_layer(place):
    model = Host(place)
    found, groups = groups_of(model)
    assert set(found) == {n for n, p in model.named_parameters() if p.requires_grad}
    for name, depth in DEPTHS.items():
        assert found[f'{place}.{name}']['lr'] == pytest.approx(LR * DECAY**(LAYERS - 1 - depth))
    for name in ('head.weight', 'head.bias', 'bn.weight'):
        assert found[name]['lr'] == LR
    for name, group in found.items():
        assert group['weight_decay'] == (0 if name.endswith(UNDECAYED) else WD), name
    assert len(groups) <= 2 * LAYERS


def test_the_backbone_alone_and_frozen_parts():
    model = PCMoESwin('nano', 'part', window_size=4, frozen_stages=1, out_indices=(2, ))
    found, _ = groups_of(model)
    assert {name.split('.')[1] for name in found if name.startswith('stages')} == {'2'}
    assert found['stages.2.blocks.1.norm1.weight']['lr'] == pytest.approx(LR * DECAY**2)
    assert found['norm2.weight']['lr'] == LR


def test_prompts_of_other_tasks_do_not_move():
    model = Host(out_indices=(0, 1, 2, 3))
    before = [stage.moe.prompts.detach().clone() for stage in model.backbone.stages]
    _, groups = groups_of(model, lr=.1)
    optimizer = torch.optim.AdamW(groups)
    for _ in range(3):
        maps = model.backbone(torch.randn(2, 3, 32, 32))
        sum((m * torch.randn_like(m)).sum() for m in maps).backward()
        optimizer.step()
    for old, stage in zip(before, model.backbone.stages, strict=True):
        assert torch.equal(old[[0, 2]], stage.moe.prompts[[0, 2]])  # appearance, attribute
        assert not torch.equal(old[1], stage.moe.prompts[1])


def test_own_factors_multiply_the_layer():
    found, _ = groups_of(Host(), dict(custom_keys={'backbone': dict(lr_mult=.1),
                                                   'head': dict(decay_mult=.5)}))
    assert found['backbone.patch_embed.projection.weight']['lr'] == pytest.approx(
        LR * .1 * DECAY**6)
    table = 'backbone.stages.0.blocks.0.attn.w_msa.relative_position_bias_table'
    assert found[table]['weight_decay'] == 0
    assert found['backbone.norm3.weight']['weight_decay'] == 0
    assert found['head.weight']['weight_decay'] == pytest.approx(WD * .5)
    assert found['head.bias']['weight_decay'] == pytest.approx(WD * .5)


def test_table_in_the_log(tmp_path):
    MMLogger.get_instance('table', log_file=str(tmp_path / 'table.log'))
    model = Host()
    _, groups = groups_of(model)
    rows = [line for line in (tmp_path / 'table.log').read_text().splitlines()
            if line.startswith('  layer')]
    assert len(rows) == len(groups)
    counts = [int(row.split('tensors, ')[1].split(' values')[0].replace(',', '')) for row in rows]
    assert sum(counts) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    stem = next(row for row in rows if 'layer  0' in row and '0.05' in row)
    assert f'lr {LR * DECAY**6:.3e}' in stem and 'backbone.patch_embed.projection.weight' in stem


@pytest.mark.parametrize('rate', [None, 0, 1.5])
def test_a_rate_out_of_range(rate):
    with pytest.raises(ValueError, match='decay_rate'):
        groups_of(Host(), dict(decay_rate=rate))


def test_a_model_without_the_backbone():
    class Plain(BaseModel):

        def __init__(self):
            super().__init__()
            self.line = nn.Linear(1, 1)

        def forward(self, inputs, mode='loss'):
            return inputs

    with pytest.raises(ValueError, match='has no clasp_mm'):
        groups_of(Plain())
