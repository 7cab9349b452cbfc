import pytest
import torch
from mmengine.config import Config

from clasp_mm.models import PCMoESwin
from clasp_mm.models.backbones.prompt_tree import forward_tree, prompt_candidates

ARCH = dict(embed_dims=8, depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4))


def make(arch=ARCH, **kwargs):
    """A backbone whose prompts matter."""
    torch.manual_seed(0)
    moe = dict(num_experts=3, top_k=2, expert_hidden=4)
    backbone = PCMoESwin(arch, moe={**moe, **kwargs.pop('moe', {})},
                         **{'out_indices': (3, ), 'window_size': 4, **kwargs}).eval()
    for name, parameter in backbone.named_parameters():
        if '.moe.' in name:
            torch.nn.init.normal_(parameter, std=.5)
    return backbone


@torch.no_grad()
@pytest.mark.parametrize('kwargs', [
    dict(out_indices=(0, 1, 2, 3)), dict(out_indices=(3, )), dict(out_indices=(0, 2)),
    dict(out_indices=(1, 3), moe=dict(stages=(1, 3))), dict(moe=dict(num_prompts=2)),
    dict(moe=dict(num_prompts=6)),
    dict(arch=dict(embed_dims=8, depths=(1, 1, 1), num_heads=(1, 2, 2)), strides=(4, 2, 2),
         out_indices=(0, 2))])
def test_the_tree_equals_a_pass_for_each(kwargs):
    backbone, images = make(**kwargs), torch.randn(3, 3, 32, 24)
    candidates = prompt_candidates(backbone)
    maps = dict(forward_tree(backbone, images, [one.prompts for one in candidates]))
    distinct = set()
    for one in candidates:
        expected = backbone(images, one.value)
        for stage, own in zip(backbone.out_indices, expected, strict=True):
            torch.testing.assert_close(maps[one.prompts[:stage + 1]], own, rtol=0, atol=1e-6)
        distinct.add(tuple(expected[-1].flatten().tolist()))
    assert len(distinct) == len(candidates)  # no two tell the backbone the same


@torch.no_grad()
def test_every_stage_is_run_once_for_all_that_agree_up_to_it(monkeypatch):
    backbone, runs = make(), []
    run_stages = backbone.run_stages
    monkeypatch.setattr(backbone, 'run_stages', lambda x, task, first, stop: runs.append(first)
                        or run_stages(x, task, first, stop))
    prompts = [one.prompts for one in prompt_candidates(backbone)]
    assert len(list(forward_tree(backbone, torch.randn(1, 3, 32, 32), prompts))) == 85
    assert [runs.count(stage) for stage in range(4)] == [3 + 4, 9 + 4, 27 + 4, 81 + 4]


def test_candidates_are_all_there_is():
    values = [one.value for one in prompt_candidates(make())]
    assert values[:3] == ['appearance', 'part', 'attribute']
    assert values[3:7] == [('appearance', 'part'), ('appearance', 'attribute'),
                           ('part', 'attribute'), ('appearance', 'part', 'attribute')]
    assert len(values[7:]) == 3**4 - 3 and all(len(value) == 4 for value in values[7:])
    two = [one.value for one in prompt_candidates(make(moe=dict(num_prompts=2)))]
    assert two[:4] == ['appearance', 'part', ('appearance', 'part'),
                       ('appearance', 'part', 'attribute')]  # a half, a third of appearance
    assert len(two) == 4 + 2**4 - 2
    late = [one.value for one in prompt_candidates(make(moe=dict(stages=(2, 3))), ('tuple', ))]
    assert len(late) == 6 and ('part', 'part', 'part', 'appearance') in late


@torch.no_grad()
def test_the_line_to_paste_builds_that_backbone():
    backbone, images = make(), torch.randn(2, 3, 32, 32)
    for one in prompt_candidates(backbone)[::6]:
        config = Config.fromstring(f'task = {one.value!r}', '.py')
        other = make(task=config.task)
        other.load_state_dict(backbone.state_dict())
        torch.testing.assert_close(other(images)[0], backbone(images, one.value)[0])


def test_there_must_be_something_to_choose():
    plain = PCMoESwin(ARCH, moe=None)
    with pytest.raises(ValueError, match='PCMoESwin has no PC-MoE: there is no prompt to choose'):
        prompt_candidates(plain)
    with pytest.raises(ValueError, match='no PC-MoE in a stage that is computed'):
        prompt_candidates(make(moe=dict(stages=(3, )), out_indices=(1, )))
    with pytest.raises(ValueError, match='prompt, mix, tuple'):
        prompt_candidates(make(), ('tuples', ))
