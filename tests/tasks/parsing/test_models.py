import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

pytest.importorskip('mmseg', reason='needs mmseg: bash tools/setup.sh')

from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from clasp_mm.datasets.transforms import PersonAffine
from clasp_mm.models.losses.parsing import label_edges, refine_labels
from clasp_mm.models.parsing import (
    CE2PHead,
    ParsingTTAModel,
    SelfCorrectingParser,
    UPerHead,
)
from clasp_mm.models.parsing.ce2p_head import CE2POutput
from clasp_mm.models.parsing.human_parser import set_prediction
from tests.oracles import parsing_losses as oracle

WIDTHS = [8, 16, 32, 64]
HEAD = dict(in_channels=WIDTHS, channels=16, context_channels=8, detail_channels=4,
            edge_channels=8, num_classes=20, norm_cfg=dict(type='BN'), align_corners=True)


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


def resized(x, size):
    return nn.functional.interpolate(x, size, mode='bilinear', align_corners=True)


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
    parsing, edge, refined = (resized(x, label.shape[1:]) for x in head.forward_all(inputs))
    assert torch.equal(head(inputs), head.forward_all(inputs).refined)
    expected = dict(
        loss_parsing_ce=.5 * oracle.cross_entropy(parsing.tolist(), label.tolist()),
        loss_refined_ce=.5 * oracle.cross_entropy(refined.tolist(), label.tolist()),
        loss_edge=oracle.balanced_edge_loss(edge.tolist(), label_edges(label).tolist()))
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


@pytest.mark.parametrize('align_corners', [False, True])
def test_outputs_are_ce2ps(align_corners):
    """Its layers on maps that are resized and joined as SCHP's code does."""
    head, inputs = CE2PHead(**dict(HEAD, align_corners=align_corners)), maps(size=(52, 36))

    def join(block, maps):
        return block(torch.cat([nn.functional.interpolate(
            x, maps[0].shape[2:], mode='bilinear', align_corners=align_corners) for x in maps], 1))
    head.eval()
    first, last = inputs[0], inputs[-1]
    context = head.reduce(join(head.context, [last, *(pool(last) for pool in head.pooling)]))
    parsing = head.decoder[1](join(nn.Sequential(Turned(), head.decoder[0]),
                                   [head.detail(first), context]))
    edges = [one(x) for one, x in zip(head.edge_features, inputs[:3], strict=True)]
    edge = join(head.edge_seg, [head.edge_score(x) for x in edges])
    refined = head.conv_seg(join(head.fusion, [parsing, *edges]))
    out = head.forward_all(inputs)
    torch.testing.assert_close(out.parsing, head.parsing_seg(parsing))
    torch.testing.assert_close(out.edge, edge)
    torch.testing.assert_close(out.refined, refined)


class Turned(nn.Module):
    """The detail map, whose size is the decoder's, comes second in its channels."""

    def forward(self, x):
        return torch.cat([x[:, HEAD['detail_channels']:], x[:, :HEAD['detail_channels']]], 1)


def test_layers_start_as_pytorchs():
    """Uniform within 1 / sqrt(inputs of a unit): SGD's first steps are then the published ones."""
    head = CE2PHead(**HEAD)
    head.init_weights()
    for name, module in head.named_modules():
        if isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -.5
            assert .7 * bound < module.weight.abs().max() <= bound, name


@pytest.mark.parametrize('head', [
    CE2PHead, lambda **kwargs: UPerHead(in_index=[0, 1, 2, 3], in_channels=WIDTHS, channels=8,
                                        num_classes=20, norm_cfg=dict(type='BN'))],
    ids=['CE2P', 'UPerNet'])
def test_a_batch_of_one_names_the_way_out(head):
    head = head(**HEAD)
    with pytest.raises(ValueError, match=r'one image.*batch_size to 2.*drop_last=True'):
        head(maps(batch=1))
    assert torch.isfinite(head.eval()(maps(batch=1))).all()


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
        assert total == losses['loss_edge'] > 0  # without edges, as published


def test_soft_labels_come_from_the_averaged_model():
    model, averaged = tiny_parser(), tiny_parser().eval()  # for the same outputs at every call
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
        seen = averaged.decode_head.forward_all(averaged.extract_feat(images))
    edges = label_edges(label)
    expected = refine_labels(label, resized(seen.refined, (64, 32)), 2)
    expected_edges = refine_labels(edges, resized(seen.edge, (64, 32)), 2)
    for sample, target, edge in zip(soft, expected, expected_edges, strict=True):
        assert torch.equal(sample.soft_sem_seg.data, target) and not target.requires_grad
        assert torch.equal(sample.soft_edge.data, edge)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert all(p.grad is None for p in averaged.parameters())
    model.decode_head.eval()
    features = model.extract_feat(images)
    losses = model.decode_head.loss(features, soft, None)
    out = model.decode_head.forward_all(features)
    assert losses['loss_refined_ce'].item() == pytest.approx(.5 * oracle.cross_entropy(
        resized(out.refined, (64, 32)).tolist(), label.tolist(), expected.tolist()), rel=1e-4)
    assert losses['loss_edge'].item() == pytest.approx(oracle.cross_entropy(
        resized(out.edge, (64, 32)).tolist(), edges.tolist(), expected_edges.tolist()), rel=1e-4)


def test_soft_losses_by_hand():
    """One pixel class at even odds against targets 3/4 and 1/4: ln 2 - H(3/4) = 0.130812."""
    head = CE2PHead(**dict(HEAD, num_classes=2))
    even = torch.zeros(1, 2, 2, 2)
    target = torch.tensor([.75, .25]).view(2, 1, 1).expand(2, 2, 2)
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.zeros(1, 2, 2, dtype=torch.long)),
                           soft_sem_seg=PixelData(data=target), soft_edge=PixelData(data=target))
    losses = head.loss_by_feat(CE2POutput(even, even, even), [sample])
    assert losses['loss_refined_ce'].item() == pytest.approx(.5 * .130812, abs=1e-6)
    assert losses['loss_edge'].item() == pytest.approx(.130812, abs=1e-6)


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


def fitted_sample(picture, size, label=None, **meta):
    """A sample as the test pipeline packs it, and the label in the network's size."""
    results = dict(img=np.zeros((*picture, 3), np.uint8), seg_fields=[])
    if label is not None:
        results.update(gt_seg_map=label, seg_fields=['gt_seg_map'])
    results = PersonAffine(size, seg_pad_val=0).transform(results)
    return SegDataSample(metainfo=dict(affine=results['affine'], ori_shape=picture, **meta)), \
        results.get('gt_seg_map')


@pytest.mark.parametrize('flip', [None, 'horizontal', 'vertical'])
@pytest.mark.parametrize('picture', [(30, 12), (21, 30), (32, 16), (1, 1), (40, 2)])
def test_predictions_return_to_the_pixel_they_came_from(picture, flip):
    label = np.random.default_rng(0).integers(0, 20, picture).astype(np.uint8)
    sample, fitted = fitted_sample(picture, (64, 32), label, flip=bool(flip), flip_direction=flip)
    logits = nn.functional.one_hot(torch.from_numpy(fitted).long(), 20).permute(2, 0, 1).float()
    model = tiny_parser()
    seen = logits.flip({'horizontal': 2, 'vertical': 1}[flip]) if flip else logits
    result, = model.postprocess_result(seen[None], [sample])
    assert torch.equal(result.pred_sem_seg.data[0], torch.from_numpy(label).long())
    assert torch.equal(result.seg_logits.data, logits)


def test_large_pictures_take_the_nearest_prediction():
    sample, _ = fitted_sample((90, 37), (64, 32))
    labels = torch.randint(0, 20, (64, 32))
    set_prediction(sample, nn.functional.one_hot(labels, 20).permute(2, 0, 1).float())
    zoom = 31 / (89 * 32 / 64)
    expected = [[labels[round(31.5 + (y - 44.5) * zoom), round(15.5 + (x - 18) * zoom)].item()
                 for x in range(37)] for y in range(90)]
    same = sample.pred_sem_seg.data[0] == torch.tensor(expected)
    assert same.float().mean() > .98  # but for ties


def test_the_way_back_is_the_nearest_pixel_by_hand():
    """Two columns into five: pixel 1 of the picture is column 4, pixel 0 column 0; row 0 row 2."""
    sample, _ = fitted_sample((1, 2), (5, 5))
    logits = torch.zeros(3, 5, 5)
    logits[1, 2, 4], logits[2, 2, 0] = 1, 1
    set_prediction(sample, logits)
    assert sample.pred_sem_seg.data.tolist() == [[[2, 1]]]


def test_tta_averages_at_the_firsts_size_and_brings_that_back():
    samples = [fitted_sample((20, 10), size, flip=False)[0] for size in ((64, 32), (32, 16))]
    logits = [torch.randn(20, 64, 32), torch.randn(20, 32, 16)]
    for sample, one in zip(samples, logits, strict=True):
        sample.set_data(dict(seg_logits=PixelData(data=one)))
    mean = (logits[0] + resized(logits[1][None], (64, 32))[0]) / 2
    merged, = ParsingTTAModel(module=Mirrored(), swap_seg_labels=[]).merge_preds([samples])
    assert torch.allclose(merged.seg_logits.data, mean, atol=1e-6)
    expected, _ = fitted_sample((20, 10), (64, 32))
    set_prediction(expected, mean)
    assert torch.equal(merged.pred_sem_seg.data, expected.pred_sem_seg.data)
    assert merged.pred_sem_seg.data.shape == (1, 20, 10)
