import pytest
import torch
from torch import nn

pytest.importorskip('mmseg', reason='needs mmseg: bash tools/setup.sh')

from mmcv.cnn import ConvModule
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmseg.models import UPerHead as HostUPerHead

from clasp_mm.models.parsing import UPerHead
from clasp_mm.models.parsing.resized_conv import resized_conv
from clasp_mm.utils.resources import shipped_file
from tests.oracles import resized_conv as oracle

CONFIG = 'configs/parsing/upernet_pcmoe-swin-tiny_8xb2-160k_lip-572x384.py'
HEAD = dict(in_channels=[8, 16, 32, 64], in_index=[0, 1, 2, 3], channels=12, num_classes=5,
            dropout_ratio=0., norm_cfg=dict(type='BN'))
PYRAMID = [(11, 8), (6, 4), (3, 2), (2, 1)]
SIZES = {  # channels and sizes of maps, and the size they are brought to
    'pyramid': ([(2, PYRAMID[0]), (3, PYRAMID[1]), (1, PYRAMID[2]), (2, PYRAMID[3])], PYRAMID[0]),
    'pooling': ([(3, (5, 4)), (2, (1, 1)), (2, (2, 2)), (2, (6, 6))], (5, 4)),
    'twice, last': ([(2, (3, 2)), (2, (7, 5)), (1, (7, 5))], (7, 5)),
    'all equal': ([(2, (4, 3)), (1, (4, 3))], (4, 3)),
    'one': ([(2, (3, 4))], (3, 4)),
}


def maps_of(sizes=SIZES['pyramid'][0], batch=2):
    return [torch.randn(batch, channels, *size, dtype=torch.float64, requires_grad=True)
            for channels, size in sizes]


def direct(block, maps, size, align_corners=False):
    return block(torch.cat([nn.functional.interpolate(
        x, size=size, mode='bilinear', align_corners=align_corners) for x in maps], 1))


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('taps', [1, 3, 5])
@pytest.mark.parametrize(('sizes', 'size'), SIZES.values(), ids=SIZES)
def test_it_is_the_convolution_of_the_resized_maps(sizes, size, taps, align_corners):
    torch.manual_seed(0)
    block = ConvModule(sum(channels for channels, _ in sizes), 3, taps, padding=taps // 2,
                       act_cfg=None).double()
    maps = maps_of(sizes)
    out = resized_conv(block, maps, size, align_corners)
    expected = [oracle.conv(
        [oracle.resize(channel, *size, align_corners)
         for x in maps for channel in x[image].tolist()],
        block.conv.weight.tolist(), block.conv.bias.tolist()) for image in range(2)]
    torch.testing.assert_close(out, torch.tensor(expected, dtype=torch.float64))
    inputs = [*maps, *block.parameters()]
    aim = torch.randn_like(out)
    grads = [torch.autograd.grad((one * aim).sum(), inputs)
             for one in (out, direct(block, maps, size, align_corners))]
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_corners_by_hand():
    """(0, 4) to four pixels: 0, 4/3, 8/3, 4 with corners aligned; 0, 1, 3, 4 without, from -1/4
    (held at 0), 1/4, 3/4 and 5/4 (held at 1). The kernel sums three neighbours in a row."""
    block = ConvModule(2, 1, 3, padding=1, act_cfg=None, bias=False)
    block.conv.weight.data.zero_()
    block.conv.weight.data[0, 0, 1] = 1.
    maps = [torch.tensor([[[[0., 4.]]]]), torch.zeros(1, 1, 1, 4)]
    for align_corners, sums in ((True, [4 / 3, 4, 8, 20 / 3]), (False, [1, 4, 8, 7])):
        found = resized_conv(block, maps, (1, 4), align_corners).flatten()
        torch.testing.assert_close(found, torch.tensor(sums, dtype=torch.float))


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('settings', [
    dict(norm_cfg=dict(type='BN')), dict(norm_cfg=dict(type='BN'), act_cfg=None), dict()],
    ids=['norm and activation', 'norm', 'activation'])
def test_norm_and_activation_follow(settings, align_corners):
    block = ConvModule(8, 4, 3, padding=1, **settings).double()
    maps = maps_of()
    torch.testing.assert_close(resized_conv(block, maps, PYRAMID[0], align_corners),
                               direct(block, maps, PYRAMID[0], align_corners))


def test_channels_last_maps_and_autocast():
    block = ConvModule(8, 4, 3, padding=1)
    maps = [x.detach().float() for x in maps_of()]
    aim = direct(block, maps, PYRAMID[0])
    last = [x.contiguous(memory_format=torch.channels_last) for x in maps]
    torch.testing.assert_close(resized_conv(block, last, PYRAMID[0]), aim)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        torch.testing.assert_close(
            resized_conv(block, maps, PYRAMID[0]).float(), aim, rtol=.03, atol=.03)


def test_what_is_no_plain_convolution_gets_the_resized_maps():
    class Doubled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)
    block = ConvModule(8, 4, 3, padding=1).double()
    maps, shapes = maps_of(), []
    handle = block.conv.register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape))
    resized_conv(block, maps, PYRAMID[0])
    handle.remove()
    resized_conv(block, maps, PYRAMID[0])
    assert shapes == [(2, 8, *PYRAMID[0])]
    block.conv.__class__ = Doubled
    torch.testing.assert_close(
        resized_conv(block, maps, PYRAMID[0]), direct(block, maps, PYRAMID[0]))


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('training', [False, True])
def test_upernet_is_the_hosts(training, align_corners):
    torch.manual_seed(0)
    ours, theirs = (head(**HEAD, align_corners=align_corners).double().train(training)
                    for head in (UPerHead, HostUPerHead))
    ours.load_state_dict(theirs.state_dict())
    maps = maps_of(zip(HEAD['in_channels'], PYRAMID, strict=True), batch=4)
    outs = [head(maps) for head in (ours, theirs)]
    torch.testing.assert_close(*outs)
    aim = torch.randn_like(outs[0])
    grads = [torch.autograd.grad((out * aim).sum(), [*maps, *head.parameters()])
             for out, head in zip(outs, (ours, theirs), strict=True)]
    for own, host in zip(*grads, strict=True):
        torch.testing.assert_close(own, host)


def test_our_upernet_config_has_it_and_the_hosts_weights_fit():
    cfg = Config.fromfile(shipped_file(CONFIG)).model
    with DefaultScope.overwrite_default_scope('mmseg'), torch.device('meta'):
        ours = MODELS.build(cfg.decode_head)
        theirs = MODELS.build(dict(cfg.decode_head, type='UPerHead'))
    assert type(ours) is UPerHead
    assert {name: x.shape for name, x in ours.state_dict().items()} == {
        name: x.shape for name, x in theirs.state_dict().items()}
