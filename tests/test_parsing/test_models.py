import pytest
import torch
from mmengine.config import Config
from torch import nn

pytest.importorskip('mmcv._ext', reason='needs compiled mmcv: bash tools/setup.sh --with-ops')

from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from clasp_mm.models.losses.parsing import label_edges, refine_labels
from clasp_mm.models.parsing import (
    CE2PHead,
    ParsingTTAModel,
    SelfCorrectingParser,
)
from tests.oracles import parsing_losses as oracle

WIDTHS = [8, 16, 32, 64]
HEAD = dict(in_channels=WIDTHS, channels=16, context_channels=8, detail_channels=4,
            edge_channels=8, num_classes=20, norm_cfg=dict(type='BN'))


def maps(batch=2, size=(64, 32)):
    """What PCMoESwin gives with strides (4, 2, 2, 1)."""
    return [torch.randn(batch, width, size[0] // stride, size[1] // stride)
            for width, stride in zip(WIDTHS, (4, 8, 16, 16), strict=True)]


def samples(label):
    return [SegDataSample(gt_sem_seg=PixelData(data=one[None])) for one in label]


def blocks(batch=2, size=(64, 32)):
    label = torch.randint(0, 20, (batch, size[0] // 8, size[1] // 8))
    label = label.repeat_interleave(8, 1).repeat_interleave(8, 2)
    label[:, :4] = 255
    return label


def tiny_parser():
    backbone = dict(type='clasp_mm.PCMoESwin', task='part', strides=(4, 2, 2, 1), window_size=4,
                    arch=dict(embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)),
                    moe=dict(num_experts=4, top_k=2, num_prompts=3, expert_hidden=4),
                    out_indices=(0, 1, 2, 3))
    return SelfCorrectingParser(
        backbone=backbone, decode_head=dict(type='clasp_mm.CE2PHead', **HEAD),
        test_cfg=Config(dict(mode='whole')))


def test_losses_are_their_oracles_weighted():
    head, label = CE2PHead(**HEAD).eval(), blocks(size=(32, 16))
    inputs = maps(size=(32, 16))
    losses = head.loss(inputs, samples(label), None)
    parsing, edge, refined = (
        nn.functional.interpolate(x, label.shape[1:], mode='bilinear')
        for x in head.forward_all(inputs))
    assert torch.equal(head(inputs), head.forward_all(inputs).refined)
    expected = dict(
        loss_parsing_ce=.5 * oracle.cross_entropy(parsing.tolist(), label.tolist()),
        loss_refined_ce=.5 * oracle.cross_entropy(refined.tolist(), label.tolist()),
        loss_edge=oracle.balanced_edge_loss(edge[:, 0].tolist(), label_edges(label).tolist()),
        loss_consistency=.1 * oracle.consistency(
            refined.softmax(1).tolist(), edge[:, 0].tolist(), label.tolist()))
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-4), name
    for name, logits in (('parsing', parsing), ('refined', refined)):
        assert losses[f'loss_{name}_lovasz'].item() == pytest.approx(
            .5 * lovasz_oracle(logits.softmax(1), label), rel=1e-4)


def lovasz_oracle(probs, label):
    """Berman et al. 2018, eq. 8: errors times the growth of the Jaccard loss they cause."""
    total, classes = 0., 0
    flat = probs.permute(0, 2, 3, 1)[label != 255]
    truth = label[label != 255]
    for c in range(20):
        if not (truth == c).any():
            continue
        real = (truth == c).tolist()
        errors = [abs(r - p) for r, p in zip(real, flat[:, c].tolist(), strict=True)]
        order = sorted(range(len(errors)), key=lambda i: -errors[i])
        missed, wrong, before = 0, 0, 0.
        for i in order:
            missed += real[i]
            wrong += not real[i]
            loss = 1 - (sum(real) - missed) / (sum(real) + wrong)
            total += errors[i] * (loss - before)
            before = loss
        classes += 1
    return total / classes


def test_every_parameter_learns():
    head = CE2PHead(**HEAD)
    losses = head.loss(maps(), samples(blocks()), None)
    sum(value for name, value in losses.items() if name.startswith('loss')).backward()
    assert not [name for name, p in head.named_parameters()
                if p.grad is None or not p.grad.abs().sum()]


@pytest.mark.parametrize('value', [0, 255])
@pytest.mark.parametrize('pixels', ['all', 'all but one'])
def test_an_image_without_people_or_labels(value, pixels):
    label = torch.full((2, 64, 32), value)
    if pixels == 'all but one':
        label[0, 5, 5] = 7
    head = CE2PHead(**HEAD)
    losses = head.loss(maps(), samples(label), None)
    total = sum(loss for name, loss in losses.items() if name.startswith('loss'))
    total.backward()
    assert torch.isfinite(total) and all(p.grad.isfinite().all() for p in head.parameters())
    if value == 255 and pixels == 'all':
        assert total == 0


def test_soft_labels_come_from_the_averaged_model():
    model, averaged = tiny_parser(), tiny_parser().eval()
    names = set(model.state_dict())
    label, images = blocks(), torch.randn(2, 3, 64, 32)
    hard = samples(label)
    model.loss(images, hard)
    assert 'soft_sem_seg' not in hard[0]
    model.correct_labels(averaged, 2)
    assert set(model.state_dict()) == names
    soft = samples(label)
    losses = model.loss(images, soft)
    with torch.no_grad():
        logits = nn.functional.interpolate(averaged(images), (64, 32), mode='bilinear')
    expected = refine_labels(label, logits.softmax(1), 2)
    for sample, target in zip(soft, expected, strict=True):
        assert torch.equal(sample.soft_sem_seg.data, target) and not target.requires_grad
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert all(p.grad is None for p in averaged.parameters())
    model.decode_head.eval()
    features = model.extract_feat(images)
    ce = model.decode_head.loss(features, soft, None)['loss_refined_ce']
    refined = nn.functional.interpolate(model.decode_head(features), (64, 32), mode='bilinear')
    assert ce.item() == pytest.approx(.5 * oracle.cross_entropy(
        refined.tolist(), label.tolist(), expected.tolist()), rel=1e-4)


def test_another_ignored_label_is_refused():
    with pytest.raises(ValueError, match='ignore_index=19'):
        CE2PHead(**HEAD, ignore_index=19)


class Mirrored(nn.Module):
    """Logits that are a fixed function of the image, so that a flip is answered exactly."""

    def test_step(self, data):
        return data['data_samples']


def test_tta_flips_back_and_swaps_left_and_right():
    pairs = [(14, 15), (16, 17), (18, 19)]
    swap = {**{a: b for a, b in pairs}, **{b: a for a, b in pairs}}
    first = []
    for _ in range(2):  # images
        plain, flipped = torch.randn(2, 20, 6, 5)
        first.append([SegDataSample(
            seg_logits=PixelData(data=logits), metainfo=dict(flip=flip, img_path='a'),
            gt_sem_seg=PixelData(data=torch.zeros(1, 6, 5)))
            for logits, flip in ((plain, False), (flipped, True))])
    data = dict(inputs=[None, None], data_samples=[[image[aug] for image in first]
                                                   for aug in (0, 1)])
    wanted = []
    for plain, flipped in first:
        a, b = plain.seg_logits.data, flipped.seg_logits.data
        wanted.append(torch.stack([(a[c] + b[swap.get(c, c)]) / 2 for c in range(20)]))
    merged = ParsingTTAModel(module=Mirrored(), swap_seg_labels=pairs).test_step(data)
    for sample, mean in zip(merged, wanted, strict=True):
        assert torch.allclose(sample.seg_logits.data, mean)
        assert torch.equal(sample.pred_sem_seg.data, mean.argmax(0, keepdim=True))
        assert 'gt_sem_seg' in sample
