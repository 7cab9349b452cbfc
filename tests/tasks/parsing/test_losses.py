import math

import pytest
import torch

from clasp_mm.models.losses.parsing import (
    balanced_edge_loss,
    label_edges,
    parsing_loss,
    refine_labels,
)
from tests.oracles import parsing_losses as oracle

CLASSES = 4


def labels(batch=2, size=(9, 11), blocks=3):
    """Patches of labels, some of them ignored."""
    coarse = torch.randint(0, CLASSES, (batch, -(-size[0] // blocks), -(-size[1] // blocks)))
    label = coarse.repeat_interleave(blocks, 1).repeat_interleave(blocks, 2)
    label = label[:, :size[0], :size[1]].contiguous()
    label[torch.rand(label.shape) < .08] = 255
    return label


@pytest.mark.parametrize('width', [1, 3, 5])
@pytest.mark.parametrize('size, blocks', [((9, 11), 3), ((1, 7), 2), ((6, 1), 1), ((8, 8), 1)])
def test_edges_equal_loops_over_pixels(size, blocks, width):
    label = labels(size=size, blocks=blocks)
    found = label_edges(label, width)
    assert found.tolist() == [oracle.edges(image.tolist(), width) for image in label]


def test_edges_by_hand():
    """Of 0 and 5 the left pixel is marked, no pair with 255 is; the mark spreads by one pixel."""
    label = torch.tensor([[[0, 5, 255, 255, 255]]])
    assert label_edges(label, 1).tolist() == [[[1, 0, 0, 0, 0]]]
    assert label_edges(label).tolist() == [[[1, 1, 0, 0, 0]]]
    pair = torch.tensor([[[255, 255, 0, 5, 255]]])
    assert label_edges(pair).tolist() == [[[0, 1, 1, 1, 0]]]  # where nothing is labelled, too


def test_edges_equal_those_of_mmseg():
    pytest.importorskip('mmseg', reason='needs mmseg: bash tools/setup.sh')
    from mmseg.datasets.transforms import GenerateEdge
    label = labels(1, (40, 30), 7)
    theirs = GenerateEdge(edge_width=3)(
        dict(img_shape=(40, 30), gt_seg_map=label[0].numpy()))['gt_edge_map']
    ours = label_edges(label)[0]
    assert ours[label[0] != 255].tolist() == theirs[label[0].numpy() != 255].tolist()


def test_balanced_edge_loss_is_schps_weighted_mean():
    edges, logits = label_edges(labels()), torch.randn(2, 2, 9, 11, dtype=torch.float64)
    assert set(edges.flatten().tolist()) == {0, 1}
    expected = oracle.balanced_edge_loss(logits.tolist(), edges.tolist())
    assert balanced_edge_loss(logits, edges).item() == pytest.approx(expected)


def test_balanced_edge_loss_by_hand():
    """An edge at probability 3/4, three other pixels at 1/2: (ln 4/3 + ln 2) / 2."""
    logits = torch.zeros(1, 2, 1, 4)
    logits[0, 1, 0, 0] = math.log(3)
    loss = balanced_edge_loss(logits, torch.tensor([[[1, 0, 0, 0]]]))
    assert loss.item() == pytest.approx((.287682 + .693147) / 2, abs=1e-6)


def test_a_class_of_edges_that_is_absent_is_left_out():
    logits = torch.randn(1, 2, 4, 4)
    background = torch.zeros(1, 4, 4, dtype=torch.long)
    expected = -logits.log_softmax(1)[:, 0].mean()  # SCHP's weights would give 0 / 0
    assert torch.allclose(balanced_edge_loss(logits, background), expected)


def test_cross_entropy_and_kl():
    label, logits = labels(), torch.randn(2, CLASSES, 9, 11, dtype=torch.float64)
    target = torch.rand(2, CLASSES, 9, 11, dtype=torch.float64).softmax(1)
    assert parsing_loss(logits, label).item() == pytest.approx(
        oracle.cross_entropy(logits.tolist(), label.tolist()))
    assert parsing_loss(logits, label, target).item() == pytest.approx(
        oracle.cross_entropy(logits.tolist(), label.tolist(), target.tolist()))
    one_hot = torch.nn.functional.one_hot(label % 255, CLASSES).permute(0, 3, 1, 2).double()
    assert parsing_loss(logits, label, one_hot).item() == pytest.approx(
        parsing_loss(logits, label).item())


@pytest.mark.parametrize('soft', [False, True])
def test_nothing_labelled_costs_nothing(soft):
    logits = torch.randn(1, CLASSES, 3, 3, requires_grad=True)
    loss = parsing_loss(logits, torch.full((1, 3, 3), 255), logits.softmax(1).detach() * soft
                        if soft else None)
    loss.backward()
    assert loss == 0 and logits.grad.abs().max() == 0


@pytest.mark.parametrize('cycle', [1, 2, 5])
def test_refined_labels(cycle):
    label, logits = labels(), torch.randn(2, CLASSES, 9, 11, dtype=torch.float64)
    refined = refine_labels(label, logits, cycle)
    for b, y, x in torch.cartesian_prod(*map(torch.arange, label.shape)).tolist():
        expected = oracle.refine(int(label[b, y, x]), logits[b, :, y, x].tolist(), cycle)
        assert refined[b, :, y, x].tolist() == pytest.approx(expected)


def test_refined_labels_by_hand():
    """Cycle 1, logits (2, 0), label 1: (1, 0.5), of which the softmax is 1 / (1 + e^-0.5), ..."""
    logits = torch.tensor([2., 0.]).view(1, 2, 1, 1)
    refined = refine_labels(torch.tensor([[[1]]]), logits, 1).flatten().tolist()
    assert refined == pytest.approx([.622459, .377541], abs=1e-6)
    # cycle 3: (1.5, 0.25), 1 / (1 + e^-1.25)
    refined = refine_labels(torch.tensor([[[1]]]), logits, 3).flatten().tolist()
    assert refined == pytest.approx([.777300, .222700], abs=1e-6)
