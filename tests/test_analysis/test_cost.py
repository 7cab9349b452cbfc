import pytest
import torch
from mmengine.config import Config
from torch import nn

from clasp_mm.analysis.cost import cost_table, measure_cost
from clasp_mm.models.backbones import PCMoESwin
from clasp_mm.models.macs import OneMap, count_macs
from tests.oracles.cost import pcmoe_macs, swin_macs


class Products(nn.Module):

    def __init__(self):
        super().__init__()
        self.linear, self.conv = nn.Linear(5, 7), nn.Conv2d(3, 4, 2, stride=2)

    def forward(self, x):
        rows = self.linear(self.conv(x).flatten(2)[..., :5])      # (1, 4, 5) x (5, 7)
        return torch.baddbmm(rows, rows, rows.new_zeros(1, 7, 7))  # (4, 7) x (7, 7)


def test_macs_are_those_counted_by_hand():
    macs = count_macs(Products(), torch.zeros(1, 3, 8, 8))
    assert macs == 4 * 3 * 2 * 2 * 16 + 4 * 5 * 7 + 4 * 7 * 7


@pytest.mark.parametrize('arch, giga', [('tiny', 4.49), ('small', 8.74), ('base', 15.43)])
def test_a_swin_costs_what_its_products_are(arch, giga):
    """By hand for Swin-T at 224x224: 4.49 G; its paper says 4.5, 8.7 and 15.4 G."""
    swin = PCMoESwin(arch, moe=None)
    macs = count_macs(OneMap(swin), torch.zeros(1, 3, 224, 224))
    assert macs == swin_macs(224, 224, swin.embed_dims, swin.depths)
    assert macs / 1e9 == pytest.approx(giga, abs=.005)


def test_a_pc_moe_costs_what_its_products_are():
    backbone = dict(type='clasp_mm.PCMoESwin', strides=(4, 2), out_indices=(1,), window_size=4,
                    arch=dict(embed_dims=16, depths=(1, 1), num_heads=(1, 2)))
    moe = dict(num_experts=4, top_k=2, expert_hidden=8)
    configs = {name: Config(dict(model=dict(backbone=dict(backbone, moe=value))))
               for name, value in (('plain', None), ('moe', moe),
                                   ('last', dict(moe, stages=(1,))))}
    plain, ours, last = measure_cost(configs, (64, 32), repeats=1, steps=False)
    assert last['macs'] - plain['macs'] == pcmoe_macs(32, 32, **moe)
    assert plain['parameters'] < last['parameters'] < ours['parameters']
    expected = sum(pcmoe_macs(tokens, dim, **moe) for tokens, dim in ((128, 16), (32, 32)))
    assert ours['macs'] - plain['macs'] == expected
    assert ours['flops'] == 2 * ours['macs'] and ours['parameters'] > plain['parameters']
    assert f'{ours["macs"] / 1e9:.4g}' in cost_table([plain, ours])


def test_a_config_without_backbone_is_named():
    with pytest.raises(ValueError, match='bare has no'):
        measure_cost({'bare': Config(dict(model=dict(type='x')))})
