import pytest
import torch

from clasp_mm.models import PCMoESwin
from clasp_mm.models.backbones.branched import forward_tasks, stage_tasks
from clasp_mm.models.layers import TASKS

ARCH = dict(embed_dims=8, depths=(1, 2, 1, 1), num_heads=(1, 1, 2, 2))


@pytest.fixture(scope='module')
def backbone():
    """Its experts are not silent, as those of a new backbone are."""
    torch.manual_seed(0)
    model = PCMoESwin(ARCH, out_indices=(0, 1, 2, 3)).eval()
    for name, parameter in model.named_parameters():
        if '.moe.' in name:
            torch.nn.init.normal_(parameter, std=.2)
    return model


@torch.no_grad()
def test_the_exact_pass_is_separate_passes(backbone):
    images = torch.randn(2, 3, 64, 40)
    found = forward_tasks(backbone, images, TASKS)
    assert list(found) == list(TASKS)
    for task, maps in found.items():
        for ours, alone in zip(maps, backbone(images, task), strict=True):
            torch.testing.assert_close(ours, alone)
    differ = (found['part'][-1] - found['appearance'][-1]).abs().mean()
    assert differ > .1  # the prompts matter


@torch.no_grad()
@pytest.mark.parametrize('shared', [None, 'part'])
@pytest.mark.parametrize('stage', [1, 2, 3])
def test_a_late_branch_is_passes_with_shared_prompts_before_it(backbone, stage, shared):
    images = torch.randn(2, 3, 64, 40)
    found = forward_tasks(backbone, images, ('part', 'attribute'), stage, shared)
    for task, maps in found.items():
        entries = stage_tasks(backbone, task, stage, shared or ('part', 'attribute'))
        for ours, alone in zip(maps, backbone(images, entries), strict=True):
            torch.testing.assert_close(ours, alone)
    for number in range(4):
        same = torch.equal(found['part'][number], found['attribute'][number])
        assert same == (number < stage)


def test_what_precedes_the_branch_runs_once(backbone):
    calls = []
    hooks = [stage.blocks[0].register_forward_hook(lambda *_, i=i: calls.append(i))
             for i, stage in enumerate(backbone.stages)]
    with torch.no_grad():
        forward_tasks(backbone, torch.randn(1, 3, 32, 32), TASKS, 1)
    for hook in hooks:
        hook.remove()
    assert [calls.count(i) for i in range(4)] == [1, 1, 3, 3]


@pytest.mark.parametrize('change, words', [
    (dict(tasks=('part', 'pose')), 'pose'), (dict(tasks=()), 'one or several names'),
    (dict(tasks='part'), 'one or several names'), (dict(branch_stage=4), 'between 0 and 3'),
    (dict(shared=('part', 'nose'), branch_stage=1), 'nose')])
def test_wrong_arguments(backbone, change, words):
    with pytest.raises(ValueError, match=words):
        forward_tasks(backbone, torch.zeros(1, 3, 32, 32), **{'tasks': TASKS, **change})


def test_a_plain_swin_has_nothing_to_branch():
    with pytest.raises(ValueError, match='no PC-MoE'):
        forward_tasks(PCMoESwin(ARCH, moe=None), torch.zeros(1, 3, 32, 32), TASKS)
