"""The balance loss beside the losses of any model, against the formula on gates seen directly."""

import pytest
import torch
from mmengine.model import BaseModel

from clasp_mm.engine.hooks.load_balance_hook import add_load_balance_loss
from clasp_mm.models import PCMoESwin
from tests.oracles.losses import load_balance_loss

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
TOP_K = 6  # PCMoE's default


class Host(BaseModel):
    """As a host's model: a dict of losses, or a prediction."""

    def __init__(self, passes=1, **kwargs):
        super().__init__()
        torch.manual_seed(5)
        self.passes = passes
        self.backbone = PCMoESwin('nano', 'part', window_size=4, **kwargs)
        for stage in self.backbone.stages:
            if stage.moe is not None and stage.moe.global_gate is not None:
                torch.nn.init.normal_(stage.moe.global_gate.weight)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        maps = [self.backbone(inputs)[-1] for _ in range(self.passes)]
        return dict(loss=maps[0].square().mean()) if mode == 'loss' else maps[0]


def gradients(model):
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return grads


@pytest.mark.parametrize('settings', [dict(), dict(passes=2), dict(with_cp=True),
                                      dict(frozen_stages=1)])
def test_loss_and_gradient_are_those_of_the_formula(settings):
    model = Host(**settings).eval()  # no gate noise
    frozen = settings.get('frozen_stages', -1) + 1
    _, gates = model.backbone.from_embed(model.backbone.embed(IMAGES))
    repeat = settings.get('passes', 1)
    want = load_balance_loss([g.probs.repeat(repeat, 1) for g in gates[frozen:]],
                             [g.gates.repeat(repeat, 1) for g in gates[frozen:]],
                             torch.zeros(len(IMAGES) * repeat, dtype=torch.long), TOP_K)
    (model(IMAGES, mode='loss')['loss'] + .3 * want).backward()
    expected = gradients(model)

    handles = add_load_balance_loss(model, .3)
    for _ in range(2):  # nothing is left over from the step before
        losses = model(IMAGES, mode='loss')
        torch.testing.assert_close(losses['loss_balance'], .3 * want)
        sum(losses.values()).backward()
        found = gradients(model)
        assert found.keys() == expected.keys()
        for name, grad in found.items():
            torch.testing.assert_close(grad, expected[name], msg=name)
    for handle in handles:
        handle.remove()
    assert set(model(IMAGES, mode='loss')) == {'loss'}


def test_a_stage_may_see_regions_in_place_of_images():
    model = Host(out_indices=(2, 3)).eval()
    forward, last = model.forward, model.backbone.stages[-1].moe
    tokens, weights = torch.randn(7, 4, 256), torch.eye(3)[:1]

    def with_regions(inputs, *args, **kwargs):
        losses = forward(inputs, *args, **kwargs)
        last(tokens, weights)
        return losses

    _, gates = model.backbone.from_embed(model.backbone.embed(IMAGES))
    _, more = last(tokens, weights)
    rows = [[g.probs, g.gates] for g in gates]
    rows[-1] = [torch.cat(pair) for pair in zip(rows[-1], (more.probs, more.gates), strict=True)]
    want = sum(load_balance_loss([probs], [chosen], torch.zeros(len(probs)).long(), TOP_K)
               for probs, chosen in rows) / len(rows)
    model.forward = with_regions
    add_load_balance_loss(model, 1.)
    torch.testing.assert_close(model(IMAGES, mode='loss')['loss_balance'], want)


def test_predictions_stay_as_they_are():
    model = Host().eval()
    before = model(IMAGES)
    add_load_balance_loss(model, 1.)
    assert torch.equal(model(IMAGES), before)
    with torch.no_grad():
        assert set(model(IMAGES, mode='loss')) == {'loss'}


@pytest.mark.parametrize('settings', [dict(moe=None), dict(moe=dict(global_gate=False)),
                                      dict(frozen_stages=3)])
def test_nothing_to_balance(settings):
    with pytest.raises(ValueError, match='trainable gate'):
        add_load_balance_loss(Host(**settings), .01)
