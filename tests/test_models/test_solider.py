import numpy as np
import pytest
import torch

from benchmarks.launches import Counter
from clasp_mm.evaluation.task_conflict import task_gradients
from clasp_mm.models import DINO, SOLIDER
from clasp_mm.models.pretrain.solider import semantic_draws
from clasp_mm.pseudo_labels import clustering
from clasp_mm.pseudo_labels.regions import find_regions
from tests.oracles.solider import solider_losses

BATCH, PARTS = 4, 3
ARCH = dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2))
BACKBONE = dict(type='clasp_mm.SemanticSwin', arch=ARCH, strides=(4, 2), out_indices=(1,),
                window_size=4, drop_path_rate=0.)
HEAD = dict(type='clasp_mm.DINOHead', in_channels=16, out_dim=12, hidden_dim=16, bottleneck_dim=8)
INDEX = torch.tensor([0, 1, 2, 7])


def make(**kwargs):
    torch.manual_seed(0)
    part_head = dict(type='clasp_mm.PartSegHead', in_channels=16, num_classes=PARTS + 1)
    model = SOLIDER(BACKBONE, HEAD, part_head, **kwargs)
    model.init_weights()
    with torch.no_grad():  # away from the identity, so that the semantic weight matters
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for parameter in model.teacher.parameters():  # norms that differ from token to token
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def make_views(local=2, seed=3):
    """8x1 tokens in the global views; with this seed k-means finds the best partition of all."""
    torch.manual_seed(seed)
    return ([torch.randn(BATCH, 3, 64, 8) for _ in range(2)]
            + [torch.randn(BATCH, 3, 16, 8) for _ in range(local)])


def draws(epoch, index=INDEX):
    keys = np.array([int(i) + epoch * 2**32 for i in index], np.uint64)
    weights, erased = semantic_draws(keys, PARTS)
    return weights.tolist(), erased.tolist()


@pytest.mark.parametrize('epoch, local', [(0, 2), (1, 0), (5, 2)])
def test_losses_equal_their_definition_gradients_included(epoch, local):
    model = make(part_weight=0.7)
    model.set_progress(0, 10, epoch)
    views = make_views(local)
    weights, erased = draws(epoch)
    assert set(weights) == {0., 1.}
    dino, part, kept = solider_losses(model, views, weights, erased, 0.5)
    assert 0 < kept < 2 * BATCH
    parameters = [p for p in model.parameters() if p.requires_grad]
    expected = torch.autograd.grad(dino + 0.7 * part, parameters)
    losses = model.loss(views, dict(sample_idx=INDEX))
    torch.testing.assert_close(losses['loss_dino'], dino, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses['loss_part'], 0.7 * part, rtol=1e-4, atol=1e-5)
    assert losses['accepted'].item() == pytest.approx(kept / (2 * BATCH))
    total = losses['loss_dino'] + losses['loss_part']
    for mine, theirs in zip(torch.autograd.grad(total, parameters), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_draws_are_fair_and_those_of_an_image_alone():
    keys = np.arange(20000, dtype=np.uint64)
    weights, erased = semantic_draws(keys, PARTS)
    assert weights.mean() == pytest.approx(0.5, abs=0.02)
    joint = np.bincount((4 * weights + erased).astype(int), minlength=8)
    assert joint[[0, 4]].sum() == 0
    assert joint[[1, 2, 3, 5, 6, 7]] / len(keys) == pytest.approx(1 / 6, abs=0.02)
    some = semantic_draws(keys[[5, 3]], PARTS)
    assert [draw.tolist() for draw in some] == [weights[[5, 3]].tolist(), erased[[5, 3]].tolist()]
    assert draws(0, range(40)) != draws(1, range(40))


def test_where_no_view_counts_it_trains_on_dino_alone():
    model = make(min_foreground=0.99)
    losses = model.loss(make_views(), dict(sample_idx=INDEX))
    assert losses['loss_part'] == 0 and losses['accepted'] == 0
    (losses['loss_dino'] + losses['loss_part']).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    assert model.backbone.patch_embed.projection.weight.grad.abs().sum() > 0


def test_a_batch_without_semantic_weight_has_no_part_loss():
    model = make()
    model.set_progress(0, 1, 0)
    index = torch.tensor([i for i, weight in enumerate(draws(0, range(40))[0]) if weight == 0])
    losses = model.loss(make_views(), dict(sample_idx=index[:BATCH]))
    assert losses['loss_part'] == 0 and losses['accepted'] > 0


def test_half_precision_does_not_reach_the_clustering():
    model = make()
    images = torch.cat([make_views(0, seed)[0] for seed in range(8)])
    keys = np.arange(len(images), dtype=np.uint64)
    weight = np.ones(len(images), np.float32)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = model.label(images, weight, keys)[1]
        feature = model.teacher.backbone(images, 1.)[-1]
    expected = find_regions(feature.detach().float(), (PARTS,), keys)
    assert torch.equal(found.flatten(1), expected[:, 0].long())
    assert len(found.unique()) == PARTS + 1


def test_gradients_of_both_tasks_without_a_random_number():
    model = make().train()
    views, state = make_views(), torch.get_rng_state()
    gradients = task_gradients(model, views, dict(sample_idx=INDEX))
    assert torch.equal(torch.get_rng_state(), state)
    assert set(gradients) == {'appearance', 'part'}
    assert all(gradients[task]['stages.1.blocks.0.attn.w_msa.qkv'].abs().sum() > 0
               for task in gradients)


def test_it_starts_where_stage1_ended_whatever_the_semantic_weight(tmp_path):
    torch.manual_seed(0)
    dino = DINO({**BACKBONE, 'type': 'clasp_mm.PCMoESwin', 'moe': None}, HEAD)
    dino.init_weights()
    torch.save(dict(state_dict=dino.state_dict()), tmp_path / 'dino.pth')
    part_head = dict(type='clasp_mm.PartSegHead', in_channels=16, num_classes=PARTS + 1)
    model = SOLIDER(BACKBONE, HEAD, part_head, stage1=str(tmp_path / 'dino.pth'))
    model.init_weights()
    images = make_views()[0]
    for weight in (0., 1., torch.tensor([0., 1., 1., 0.])):
        torch.testing.assert_close(model.backbone(images, weight)[-1], dino.backbone(images)[-1])
        torch.testing.assert_close(model.teacher(images, weight), dino.teacher(images, None))


@pytest.mark.parametrize('kwargs, message', [
    (dict(foreground='norms'), "foreground must be one of.*'norms'"),
    (dict(min_foreground=1.5), r'min_foreground must be in \[0, 1\), got 1.5'),
    (dict(momentum=1.5), 'momentum must be in'),
])
def test_bad_settings_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(**kwargs)


def test_a_backbone_without_a_controller_is_refused():
    with pytest.raises(ValueError, match=r'clasp_mm\.SemanticSwin, got PCMoESwin'):
        SOLIDER({**BACKBONE, 'type': 'clasp_mm.PCMoESwin', 'moe': None}, HEAD,
                dict(type='clasp_mm.PartSegHead', in_channels=16, num_classes=4))


def test_a_step_does_not_ask_the_device(monkeypatch):
    monkeypatch.setitem(clustering._WAYS, 'cpu', clustering._WAYS['cuda'])
    model, views = make(), make_views()
    with Counter() as counted:
        losses = model.loss(views, dict(sample_idx=INDEX))
        (losses['loss_dino'] + losses['loss_part']).backward()
    assert losses['loss_part'] > 0
    assert not counted.waits


def test_the_index_stays_where_the_loader_put_it():
    model = make()
    model.data_preprocessor.to('meta')
    data = dict(inputs=make_views(), data_samples=dict(sample_idx=INDEX, other=INDEX))
    batch = model.data_preprocessor(data, True)
    assert batch['inputs'][0].is_meta and batch['data_samples']['other'].is_meta
    assert batch['data_samples']['sample_idx'] is INDEX
