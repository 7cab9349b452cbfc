import numpy as np
import pytest
import torch

from clasp_mm.compat.operators import boxes


def drawn(rng, n, kind):
    """Boxes and scores: scattered, with many equal scores, or on a grid with IoUs like 1/3."""
    if kind == 'grid':
        low = rng.integers(0, 6, (n, 2)) * 10.0
        size = rng.integers(0, 4, (n, 2)) * 10.0
    else:
        low, size = rng.random((n, 2)) * 50, rng.random((n, 2)) * 40
    scores = rng.integers(0, 4, n) / 4 if kind == 'ties' else rng.random(n)
    return (torch.tensor(np.column_stack([low, low + size]), dtype=torch.float32),
            torch.tensor(scores, dtype=torch.float32))


LISTS = [(kind, n) for kind in ('scattered', 'ties', 'grid') for n in (0, 1, 2, 17, 60, 300)]


def same_lists(theirs, ours):
    assert len(theirs) == len(ours)
    for one, other in zip(theirs, ours, strict=True):
        assert torch.equal(one[1], other[1])
        torch.testing.assert_close(one[0], other[0], rtol=0, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize('offset', [0, 1])
def test_nms_keeps_what_compiled_mmcv_keeps(by_both, offset):
    from mmcv.ops import nms
    rng = np.random.default_rng(offset)
    lists = [(*drawn(rng, n, kind), threshold) for kind, n in LISTS
             for threshold in (0.3, 0.5, 0.6, 0.7, 1 / 3) for _ in range(4)]
    same_lists(*by_both(lambda: [nms(*one, offset=offset) for one in lists]))
    same_lists(*by_both(lambda: [nms(*one, offset=offset, score_threshold=0.3, max_num=5)
                                 for one in lists]))


def test_nms_per_class(by_both):
    from mmcv.ops import batched_nms
    box, score = drawn(np.random.default_rng(0), 300, 'ties')
    classes = torch.arange(300) % 7
    for split in (10000, 100):
        cfg = dict(type='nms', iou_threshold=0.5, split_thr=split)
        same_lists(*by_both(lambda cfg=cfg: [batched_nms(box, score, classes, cfg)]))


def test_nms_by_hand():
    # IoU of the first two: 5 * 10 / (100 + 100 - 50) = 1/3; the third is far away
    rows = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 60, 60]])
    scores = torch.tensor([0.5, 0.9, 0.1])
    assert boxes.nms(rows, scores, 0.3, 0).tolist() == [1, 2]
    assert boxes.nms(rows, scores, 0.34, 0).tolist() == [1, 0, 2]
    # 3 * 10 / (100 + 30 - 30) is float32's 0.3, and not above that; 0.3 of float64 is below it
    rows = torch.tensor([[0.0, 0, 10, 10], [0, 0, 3, 10]])
    assert boxes.nms(rows, scores[:2].flip(0), 0.3, 0).tolist() == [0, 1]
    # 3 x 3 and 3 x 3 pixels that share a column: 3 / (9 + 9 - 3) = 0.2; without offset they touch
    rows = torch.tensor([[0.0, 0, 2, 2], [2, 0, 4, 2]])
    assert boxes.nms(rows, scores[:2], 0.19, 1).tolist() == [1]
    assert boxes.nms(rows, scores[:2], 0.19, 0).tolist() == [1, 0]


def test_nms_takes_low_precision():
    rows = torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10], [50, 50, 60, 60]])
    scores = torch.tensor([0.5, 0.9, 0.1])
    for dtype in (torch.half, torch.bfloat16, torch.double):
        assert boxes.nms(rows.to(dtype), scores.to(dtype), 0.5, 0).tolist() == [1, 2]


def test_boxes_and_scores_with_gradients(ours):
    from mmcv.ops import nms, soft_nms
    rows = torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10]], requires_grad=True)
    scores = torch.tensor([0.5, 0.9], requires_grad=True)
    dets, kept = nms(rows, scores, 0.5)
    assert kept.tolist() == [1] and dets.requires_grad
    assert soft_nms(rows, scores, 0.5, min_score=0.2)[1].tolist() == [1]


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms_is_that_of_compiled_mmcv(by_both, method):
    from mmcv.ops import soft_nms
    rng = np.random.default_rng(1)
    lists = [(*drawn(rng, n, kind), threshold) for kind, n in LISTS if n < 100
             for threshold in (0.3, 0.5) for _ in range(4)]
    for offset, least in ((0, 1e-3), (1, 0.2)):
        same_lists(*by_both(lambda offset=offset, least=least: [
            soft_nms(*one, method=method, offset=offset, min_score=least) for one in lists]))


def test_soft_nms_by_hand():
    rows = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [50, 50, 60, 60]])
    scores = torch.tensor([0.6, 0.9, 0.1])
    dets = torch.zeros(3, 5)
    kept = boxes.softnms(rows, scores, dets, 0.3, 0.5, 1e-3, 1, 0)
    # IoU 1/3 is over 0.3: 0.6 * (1 - 1/3) = 0.4
    assert kept.tolist() == [1, 0, 2]
    torch.testing.assert_close(dets[:, 4], torch.tensor([0.9, 0.4, 0.1]))
    kept = boxes.softnms(rows, scores, dets, 0.3, 0.5, 0.45, 2, 0)
    # 0.6 exp(-(1/9) / 0.5) = 0.6 * 0.8007 = 0.4804 stays over 0.45; 0.1 goes
    assert kept.tolist() == [1, 0] and abs(dets[1, 4] - 0.4804) < 1e-4


def test_groups_of_nms_match(by_both):
    from mmcv.ops import nms_match
    rng = np.random.default_rng(2)
    for kind, n in LISTS:
        dets = torch.column_stack(drawn(rng, n, kind))
        for threshold in (0.3, 0.6):
            theirs, ours = by_both(lambda dets=dets, threshold=threshold: [
                one.tolist() for one in nms_match(dets, threshold)])
            assert theirs == ours


def test_nms_match_by_hand():
    dets = torch.tensor([[0.0, 0, 10, 10, 0.6], [5, 0, 15, 10, 0.9], [50, 50, 60, 60, 0.1]])
    assert boxes.nms_match(dets, 0.3) == [[1, 0], [2]]
    assert boxes.nms_match(dets, 0.34) == [[1], [0], [2]]


@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('offset', [0, 1])
def test_overlaps_are_those_of_compiled_mmcv(by_both, mode, aligned, offset):
    from mmcv.ops import bbox_overlaps
    rng = np.random.default_rng(3)
    for kind, n in LISTS:
        first, second = (drawn(rng, size, kind)[0] for size in (n, n if aligned else 31))
        theirs, ours = by_both(lambda first=first, second=second: bbox_overlaps(
            first, second, mode, aligned, offset))
        assert torch.equal(theirs.nan_to_num(-1), ours.nan_to_num(-1))


def test_overlaps_by_hand():
    first, second = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 0, 15, 20]])
    found = torch.empty(1, 1)
    boxes.bbox_overlaps(first, second, found, 0, False, 0)
    assert found.item() == pytest.approx(50 / (100 + 200 - 50))
    boxes.bbox_overlaps(first, second, found[0], 1, True, 1)
    assert found.item() == pytest.approx(6 * 11 / (11 * 11))
