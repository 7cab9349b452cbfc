import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from clasp_mm.models.reid import ReIDHead, batch_hard_triplet_loss
from tests.oracles import reid_losses as oracle

LABELS = [0, 0, 0, 1, 1, 2, 3, 3]


def features(seed=0, number=8, channels=5):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(number, channels)), requires_grad=True)


def samples(labels=LABELS, cameras=None):
    made = [DataSample().set_gt_label(label) for label in labels]
    for sample, camera in zip(made, cameras or (), strict=False):
        sample.set_field(camera, 'camera', field_type='metainfo')
    return made


@pytest.mark.parametrize('seed', range(5))
def test_triplet_loss_and_its_gradient_equal_the_loops(seed):
    x = features(seed)
    loss = batch_hard_triplet_loss(x, torch.tensor(LABELS))
    loss.backward()
    value, gradient = oracle.batch_hard_triplet(x.detach(), LABELS)
    assert loss.item() == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(x.grad, gradient, atol=1e-12)


def test_triplet_loss_of_equal_features_has_a_finite_gradient():
    x = torch.ones(6, 3, dtype=torch.float64, requires_grad=True)
    loss = batch_hard_triplet_loss(x, torch.tensor([0, 0, 1, 1, 2, 2]))
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2)) and x.grad.eq(0).all()


def test_triplet_loss_without_another_identity_is_zero():
    x = features(1)
    loss = batch_hard_triplet_loss(x, torch.zeros(8))
    loss.backward()
    assert loss.item() == 0 and x.grad.eq(0).all()


def test_triplet_loss_does_not_round_to_half():
    """Neither float16 features nor autocast lose the distances."""
    x = features(2).detach().half()
    expected = oracle.batch_hard_triplet(x.numpy(), LABELS)[0]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = batch_hard_triplet_loss(x, torch.tensor(LABELS))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('smoothing', [0., .1])
def test_losses_of_the_head_equal_the_formula(smoothing):
    head = ReIDHead(4, 5, id_weight=.7, triplet_weight=1.3, label_smoothing=smoothing).double()
    torch.nn.init.normal_(head.classifier.weight)
    torch.nn.init.uniform_(head.neck.weight, .5, 2)
    x = features(3)
    losses = head.loss((x, ), samples())
    normed = oracle.bnneck(x.detach(), head.neck.weight.tolist())
    logits = normed @ head.classifier.weight.detach().numpy().T
    expected = oracle.smoothed_cross_entropy(logits, LABELS, smoothing)
    assert losses['loss_id'].item() == pytest.approx(.7 * expected, rel=1e-5)
    triplet = oracle.batch_hard_triplet(x.detach(), LABELS)[0]
    assert losses['loss_triplet'].item() == pytest.approx(1.3 * triplet, rel=1e-9)
    assert losses['accuracy'] == pytest.approx(100 * (logits.argmax(1) == LABELS).mean())


def test_a_triplet_loss_without_weight_is_none():
    x = features(3).float()
    losses = ReIDHead(4, 5, triplet_weight=0.).loss((x, ), samples())
    assert set(losses) == {'loss_id', 'accuracy'}


def test_the_shift_of_the_neck_is_not_trained_and_the_classifier_has_none():
    head = ReIDHead(4, 5)
    sum(head.loss((features(4).float(), ), samples()).values()).backward()
    trained = {name for name, value in head.named_parameters() if value.grad is not None}
    assert trained == {'neck.weight', 'classifier.weight'}
    assert not head.neck.bias.requires_grad and head.neck.bias.eq(0).all()


def test_feature_before_and_after_the_norm():
    x = features(5).detach().float()
    before, after = ReIDHead(4, 5).eval(), ReIDHead(4, 5, test_feature='after').eval()
    for head in (before, after):
        head.neck.running_mean += 1.
        head.neck.running_var *= 4.
    found = [torch.stack([sample.feature for sample in head.predict((x, ), None)])
             for head in (before, after)]
    for rows, expected in zip(found, (x, (x - 1) / (4 + 1e-5)**.5), strict=True):
        expected = expected / expected.norm(dim=1, keepdim=True)
        torch.testing.assert_close(rows, expected)


def test_vectors_of_cameras_are_added():
    head = ReIDHead(4, 5, num_cameras=3, camera_weight=2.).eval()
    x, cameras = features(6).detach().float(), [0, 1, 2, 0, 1, 2, 0, 1]
    expected = x + 2 * head.cameras.weight.detach()[cameras]
    torch.testing.assert_close(head.embed((x, ), samples(cameras=cameras)).detach(), expected)
    plain = ReIDHead(4, 5)
    assert not hasattr(plain, 'cameras') and plain.embed((x, )) is x


@pytest.mark.parametrize('made, words', [
    (None, 'camera None .* cameras 0 to 2'), (samples(), 'camera None'),
    (samples(cameras=[0] * 7 + [3]), 'camera 3 of an image.*num_cameras'),
    (samples(cameras=[-1] * 8), 'camera -1')])
def test_a_camera_without_a_vector(made, words):
    with pytest.raises(ValueError, match=words):
        ReIDHead(4, 5, num_cameras=3).embed((features(), ), made)


def test_wrong_input():
    with pytest.raises(ValueError, match=r'label 4 with num_classes=4: .*num_classes'):
        ReIDHead(4, 5).loss((features().float(), ), samples([0, 0, 0, 1, 1, 2, 4, 4]))
    with pytest.raises(ValueError, match="'bnneck'"):
        ReIDHead(4, 5, test_feature='bnneck')
    with pytest.raises(ValueError, match='got 1 and 0'):
        ReIDHead(1, 5)
