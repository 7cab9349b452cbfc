import pytest
import torch
from mmpretrain.structures import DataSample

from clasp_mm.models import AttributeHead
from clasp_mm.registry import MODELS
from tests.oracles import attribute_losses as oracle


def samples_of(labels):
    return [DataSample().set_gt_score(row.float()) for row in labels]


def make_head(labels, ratios, channels=6):
    torch.manual_seed(0)
    head = MODELS.build(dict(type='clasp_mm.AttributeHead', num_attributes=labels.shape[1],
                             in_channels=channels))
    torch.nn.init.normal_(head.fc.weight)
    head.positive_ratios.copy_(ratios)
    return head


@pytest.mark.parametrize('values', [(0, 1), (-1, 0, 1), (-1, ), (0, ), (1, )])
@pytest.mark.parametrize('batch', [1, 7])
def test_loss_and_gradients_equal_the_oracle(values, batch):
    generator = torch.Generator().manual_seed(batch)
    labels = torch.tensor(values)[torch.randint(len(values), (batch, 5), generator=generator)]
    ratios = torch.tensor([0., 1., .5, .03, .9])
    head = make_head(labels, ratios).double()
    pooled = torch.randn(batch, 6, generator=generator).double().requires_grad_()
    logits = head([pooled.detach() * 0, pooled])
    expected, slopes = oracle.attribute_loss(logits.tolist(), labels.tolist(), ratios.tolist())
    losses = head.loss([pooled.detach() * 0, pooled], samples_of(labels))
    losses['loss'].backward()
    assert list(losses) == ['loss'] and losses['loss'].item() == pytest.approx(expected)
    slopes = torch.tensor(slopes, dtype=torch.float64)
    torch.testing.assert_close(head.fc.bias.grad, slopes.sum(0), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(head.fc.weight.grad, slopes.T @ pooled, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(pooled.grad, slopes @ head.fc.weight, rtol=1e-6, atol=1e-9)


def test_a_rare_attribute_weighs_more_where_it_is_there():
    """exp(1 - r) against exp(r): the ratio of both slopes at logit 0 is exp(1 - 2 r)."""
    for ratio in (.1, .7):
        slopes = []
        for label in (0, 1):
            labels = torch.full((1, 1), label)
            head = make_head(labels, torch.tensor([ratio]))
            torch.nn.init.zeros_(head.fc.weight)
            torch.nn.init.zeros_(head.fc.bias)
            head.loss([torch.ones(1, 6)], samples_of(labels))['loss'].backward()
            slopes.append(abs(head.fc.bias.grad.item()))
        assert slopes[1] / slopes[0] == pytest.approx(torch.tensor(1 - 2 * ratio).exp().item())


def test_half_precision_features_have_a_loss_in_single():
    labels = torch.ones(2, 3, dtype=torch.long)
    head = make_head(labels, torch.zeros(3)).to(torch.bfloat16)
    loss = head.loss([torch.full((2, 6), 3., dtype=torch.bfloat16)], samples_of(labels))['loss']
    assert loss.dtype == torch.float32


def test_predictions_have_probabilities_and_each_its_loss():
    labels = torch.tensor([[1, 0, -1], [0, 1, 1]])
    head = make_head(labels, torch.tensor([.2, .4, .6]))
    pooled = torch.randn(2, 6)
    samples = head.predict([pooled], samples_of(labels))
    torch.testing.assert_close(torch.stack([one.pred_score for one in samples]),
                               head([pooled]).sigmoid())
    mean = torch.stack([one.loss for one in samples]).mean()
    torch.testing.assert_close(mean, head.loss([pooled], samples_of(labels))['loss'])
    assert 'loss' not in head.predict([pooled])[0]
    head.positive_ratios.fill_(torch.nan)
    assert 'loss' not in head.predict([pooled], samples_of(labels))[0]


def test_begins_as_rethinkpars_linear_layer():
    """Uniform within 1 / sqrt(C), weights and biases: C = 48 gives 0.1443, deviation 0.0833."""
    torch.manual_seed(0)
    head = AttributeHead(2000, 48)
    head.init_weights()
    for values in (head.fc.weight, head.fc.bias):
        assert values.abs().max().item() == pytest.approx(.1443, abs=2e-3)
        assert values.std().item() == pytest.approx(.0833, abs=2e-3)


def test_ratios_must_be_known_and_go_with_the_weights():
    labels = torch.ones(1, 3, dtype=torch.long)
    head = AttributeHead(3, 6)
    with pytest.raises(ValueError, match=r"clasp_mm\.AttributeHook"):
        head.loss([torch.zeros(1, 6)], samples_of(labels))
    head.load_state_dict(make_head(labels, torch.tensor([.1, .2, .3])).state_dict())
    assert head.loss([torch.zeros(1, 6)], samples_of(labels))['loss'] > 0


@pytest.mark.parametrize('run', ['loss', 'predict'])
def test_another_number_of_attributes(run):
    head = make_head(torch.ones(1, 3), torch.zeros(3))
    with pytest.raises(ValueError, match='the data have 4 attributes, the head 3'):
        getattr(head, run)([torch.zeros(1, 6)], samples_of(torch.ones(1, 4)))
