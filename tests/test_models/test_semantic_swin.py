import pytest
import torch

from clasp_mm.models.backbones import PCMoESwin, SemanticSwin
from clasp_mm.models.weights.swin import CheckpointError, load_backbone
from clasp_mm.registry import MODELS
from tests.oracles.semantic_swin import semantic_swin

ALL = (0, 1, 2, 3)
DIMS = (64, 128, 256, 256)  # of nano's four pairs: SOLIDER has one more than it uses


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return PCMoESwin('nano', moe=None, out_indices=ALL, window_size=4).eval()


@pytest.fixture
def published(plain):
    """A file as SOLIDER publishes it: backbone under a prefix, four pairs, a DINO head."""
    state = {f'backbone.{name}': value.clone() for name, value in plain.state_dict().items()}
    for kind in 'wb':
        for i, dim in enumerate(DIMS):
            state[f'backbone.semantic_embed_{kind}.{i}.weight'] = torch.randn(dim, 2)
            state[f'backbone.semantic_embed_{kind}.{i}.bias'] = torch.randn(dim)
    return {**state, 'head.last_layer.weight': torch.randn(4, 4)}


def _controller(published):
    return {name.removeprefix('backbone.'): value for name, value in published.items()
            if 'semantic_embed' in name}


def _model(**kwargs):
    return SemanticSwin('nano', out_indices=ALL, window_size=4, **kwargs).eval()


@pytest.mark.parametrize('size', [(64, 32), (50, 39)])
def test_equals_its_definition_with_solider_weights(plain, published, size):
    model = _model(semantic_weight=0.3)
    report = load_backbone(model, published)
    assert report.format == 'solider' and not report.expected_missing
    assert sorted(k for k in report.ignored if 'semantic' in k) == [
        'semantic_embed_b.3.bias', 'semantic_embed_b.3.weight', 'semantic_embed_w.3.bias',
        'semantic_embed_w.3.weight']
    images = torch.randn(2, 3, *size)
    weights = _controller(published)
    with torch.no_grad():
        for given, lams in ((None, [0.3, 0.3]), (1.0, [1., 1.]),
                            (torch.tensor([0., 0.7]), [0., 0.7])):
            for ours, theirs in zip(model(images, given),
                                    semantic_swin(plain, weights, images, lams), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_stages_in_two_runs_are_controlled_as_in_one(published):
    model = _model()
    load_backbone(model, published)
    images, lams = torch.randn(2, 3, 64, 32), torch.tensor([0.2, 0.9])
    with torch.no_grad():
        maps, gates, rest = model.run_stages(model.embed(images), lams, stop=2)
        maps += model.from_embed(rest, lams, 2)[0]
        assert not gates
        for ours, theirs in zip(maps, model(images, lams), strict=True):
            assert torch.equal(ours, theirs)


def test_gradients_of_the_controller_equal_finite_differences(published):
    model = _model().double()
    load_backbone(model, published)
    images = torch.randn(2, 3, 32, 32, dtype=torch.double)
    lams = torch.tensor([0.2, 0.9], dtype=torch.double)
    for layer in (model.semantic_embed_w[0], model.semantic_embed_b[2]):
        model.zero_grad()
        model(images, lams)[-1].pow(2).mul(torch.arange(256)[:, None, None]).sum().backward()
        with torch.no_grad():
            values = []
            for step in (1e-5, -1e-5):
                layer.weight[5, 0] += step
                values.append(model(images, lams)[-1].pow(2).mul(
                    torch.arange(256)[:, None, None]).sum())
                layer.weight[5, 0] -= step
        assert layer.weight.grad[5, 0].item() == pytest.approx(
            (values[0] - values[1]).item() / 2e-5, rel=1e-4)


def test_a_new_controller_leaves_a_plain_swin_as_it_was(plain):
    model = _model(semantic_weight=0.8)
    report = load_backbone(model, plain.state_dict())
    assert len(report.expected_missing) == 12
    assert all('semantic_embed_' in name for name in report.expected_missing)
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        for ours, theirs in zip(model(images), plain(images), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_file_with_half_a_controller_is_refused(published):
    del published['backbone.semantic_embed_b.1.bias']
    with pytest.raises(CheckpointError, match=r'MISSING: semantic_embed_b\.1\.bias'):
        load_backbone(_model(semantic_weight=1.), published)


def test_one_line_swap_and_what_is_refused():
    model = MODELS.build(dict(type='clasp_mm.SemanticSwin', arch='nano', semantic_weight=0.2))
    assert model.semantic_weight == 0.2
    with pytest.raises(ValueError, match=r'semantic_weight=1\.2 must lie in'):
        SemanticSwin('nano', semantic_weight=1.2)
    with pytest.raises(ValueError, match='SemanticSwin has no task'):
        SemanticSwin('nano', task='part')
    with pytest.raises(ValueError, match='no semantic weight'):
        SemanticSwin('nano')(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match='3 semantic weights for 2 images'):
        SemanticSwin('nano')(torch.zeros(2, 3, 32, 32), torch.ones(3))


def test_unused_and_frozen_controllers_get_no_gradient():
    model = SemanticSwin('nano', semantic_weight=0., out_indices=(2,), frozen_stages=0)
    trained = [i for i, layer in enumerate(model.semantic_embed_w) if layer.weight.requires_grad]
    assert trained == [1]
    assert model.get_layer_depth('b.semantic_embed_w.1.bias', 'b.') == (2, 7)
    assert model.get_layer_depth('head.weight', 'b.') == (6, 7)
