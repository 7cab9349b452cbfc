import pytest
import torch
import torchvision

from clasp_mm.compat.operators import sampling


def grads(output, *inputs):
    """The output, and the gradients of a weighted sum of it."""
    torch.manual_seed(1)
    weights = torch.randint(4, output.shape).to(output.dtype)
    return [output.detach(), *torch.autograd.grad((output * weights).sum(), inputs)]


def close(theirs, ours, output=0.0, gradient=1e-5):
    """Outputs and gradients agree, relative to the largest of each."""
    for index, (one, other) in enumerate(zip(theirs, ours, strict=True)):
        assert one.dtype == other.dtype
        bound = gradient if index else output
        scale = max(1.0, one.abs().max().item() if one.numel() else 1.0)
        torch.testing.assert_close(other, one, rtol=0, atol=bound * scale)


# inside, of odd sizes, without area, across the border, outside, one cell, the whole map
BOXES = [[0, 3.3, 4.1, 17.9, 25.2], [1, 0, 0, 7, 7], [0, 5, 5, 5, 5], [1, -9, -9, 11, 9],
         [0, 90, 90, 120, 130], [1, 8, 8, 9, 9], [0, 0, 0, 39, 31], [1, 20.5, 3, 22, 30]]


def align(mode, ratio, aligned, size, boxes=BOXES, dtype=torch.float32, scale=0.5):
    from mmcv.ops import roi_align
    maps = torch.randn(2, 3, 17, 21, dtype=dtype, requires_grad=True)
    rois = torch.tensor(boxes, dtype=dtype).reshape(-1, 5)
    return grads(roi_align(maps, rois, size, scale, ratio, mode, aligned), maps)


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 1, 2, 3])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_mean_roi_align_is_that_of_compiled_mmcv(by_both, aligned, ratio, dtype):
    for size in (7, (2, 5), 1):
        close(*by_both(lambda size=size: align('avg', ratio, aligned, size, dtype=dtype)))
    close(*by_both(lambda: align('avg', ratio, aligned, 7, boxes=[], dtype=dtype)))


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 1, 2, 3])
def test_max_roi_align_is_that_of_compiled_mmcv(by_both, aligned, ratio):
    boxes = BOXES if ratio or not aligned else [box for box in BOXES if box[1] < box[3]]
    for size in (7, (2, 5), 1):
        close(*by_both(lambda size=size: align('max', ratio, aligned, size, boxes,
                                               torch.float64)), output=1e-9)
    close(*by_both(lambda: align('max', ratio, aligned, 7, boxes)), output=2e-5)
    close(*by_both(lambda: align('max', ratio, aligned, 7, [])))


def test_boxes_without_a_point_have_the_maximum_0(ours):
    output, gradient = align('max', 0, True, 2, [[0, 5, 5, 5, 5]])
    assert not output.any() and not gradient.any()


def test_roi_align_by_hand(ours):
    from mmcv.ops import roi_align
    maps = torch.arange(16.0).reshape(1, 1, 4, 4)  # value 4 y + x
    box = torch.tensor([[0.0, 0, 0, 4, 4]])
    # one bin, 2 x 2 points at 1 and 3, less 0.5 by `aligned`: y and x in 0.5, 2.5
    assert roi_align(maps, box, 1, 1.0, 2, 'avg', True).item() == 4 * 1.5 + 1.5
    assert roi_align(maps, box, 1, 1.0, 2, 'max', True).item() == 4 * 2.5 + 2.5
    # not aligned: y and x in 1 and 3
    assert roi_align(maps, box, 1, 1.0, 2, 'avg', False).item() == 4 * 2 + 2
    assert roi_align(maps, box, 1, 1.0, 2, 'max', False).item() == 4 * 3 + 3


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_roi_align_rounds_low_precision_once(ours, mode, dtype):
    from mmcv.ops import roi_align
    maps = torch.randn(1, 2, 9, 9).to(dtype).requires_grad_()
    rois = torch.tensor(BOXES[:1])
    found = grads(roi_align(maps, rois.to(dtype), 3, 0.25, 2, mode, True), maps)
    exact = maps.detach().float().requires_grad_()
    wanted = grads(roi_align(exact, rois.to(dtype).float(), 3, 0.25, 2, mode, True), exact)
    for low, high in zip(found, wanted, strict=True):
        assert torch.equal(low, high.to(dtype))


LAYOUTS = [  # kernel, stride, padding, dilation, groups, groups of offsets
    (3, 1, 1, 1, 1, 1), (3, 2, 1, 1, 1, 1), (1, 1, 0, 1, 1, 1), (3, 1, 2, 2, 2, 2),
    ((3, 5), (1, 2), (0, 2), (1, 2), 1, 4)]


def deformed(layout, modulated, bias, dtype=torch.float32, finer=False):
    from mmcv.ops import deform_conv2d, modulated_deform_conv2d
    kernel, stride, padding, dilation, groups, offset_groups = layout
    plain = torch.nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, bias=bias).to(dtype)
    maps = torch.randn(2, 4, 11, 13, dtype=dtype, requires_grad=True)
    size = plain(maps).shape[2:]
    if finer:
        size = [2 * side for side in size]
    cells = plain.weight[0, 0].numel() * offset_groups
    # some points far outside the map
    offset = (torch.randn(2, 2 * cells, *size, dtype=dtype) * 4).requires_grad_()
    if not modulated:
        output = deform_conv2d(maps, offset, plain.weight, stride, padding, dilation, groups,
                               offset_groups)
        return grads(output, maps, offset, plain.weight)
    mask = torch.rand(2, cells, *size, dtype=dtype, requires_grad=True)
    output = modulated_deform_conv2d(maps, offset, mask, plain.weight, plain.bias, stride, padding,
                                     dilation, groups, offset_groups)
    return grads(output, maps, offset, mask, *plain.parameters())


@pytest.mark.parametrize('layout', LAYOUTS)
def test_deformable_convolution_is_that_of_compiled_mmcv(by_both, layout):
    close(*by_both(lambda: deformed(layout, False, False)), output=1e-6)
    close(*by_both(lambda: deformed(layout, False, False, torch.float64)), output=1e-12)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('bias', [True, False])
def test_modulated_convolution_is_that_of_compiled_mmcv(by_both, layout, bias):
    close(*by_both(lambda: deformed(layout, True, bias)), output=1e-6)
    close(*by_both(lambda: deformed(layout, True, bias, torch.float64)), output=1e-12)


def test_offsets_of_a_finer_map_are_read_as_compiled_mmcv_reads_them(by_both):
    theirs, ours = by_both(lambda: deformed(LAYOUTS[0], True, True, finer=True))
    close(theirs, ours, output=1e-6, gradient=5e-5)
    assert not ours[2][:, -1].any() and ours[2][:, 0].any()


def test_offsets_of_a_coarser_map_are_refused(ours):
    from mmcv.ops import modulated_deform_conv2d
    with pytest.raises(ValueError, match=r'offsets or masks of \(3, 3\) cells'):
        modulated_deform_conv2d(torch.zeros(1, 1, 5, 5), torch.zeros(1, 18, 3, 3),
                                torch.zeros(1, 9, 5, 5), torch.zeros(1, 1, 3, 3), None, 1, 1)


def test_deformable_convolution_by_hand(ours):
    from mmcv.ops import deform_conv2d, modulated_deform_conv2d
    maps = torch.arange(9.0).reshape(1, 1, 3, 3)  # value 3 y + x
    offset = torch.tensor([0.5, 1]).reshape(1, 2, 1, 1).expand(1, 2, 3, 3).contiguous()
    weight = torch.full((1, 1, 1, 1), 2.0)
    # half a row down, one column right; half of the last row and all of the last column are gone
    wanted = 2 * torch.tensor([[2.5, 3.5, 0], [5.5, 6.5, 0], [3.5, 4, 0]])
    assert torch.equal(deform_conv2d(maps, offset, weight)[0, 0], wanted)
    mask = torch.full((1, 1, 3, 3), 0.25)
    found = modulated_deform_conv2d(maps, offset, mask, weight, torch.ones(1))
    assert torch.equal(found[0, 0], wanted / 4 + 1)


@pytest.mark.parametrize('modulated', [True, False])
def test_offsets_without_end_are_outside(by_both, modulated):
    from mmcv.ops import deform_conv2d, modulated_deform_conv2d

    def run(value):
        maps, offset, mask, weight = (torch.rand(shape, requires_grad=True) for shape in (
            (1, 2, 5, 5), (1, 18, 5, 5), (1, 9, 5, 5), (3, 2, 3, 3)))
        with torch.no_grad():
            offset[0, 3, 1, 2] = value
        if modulated:
            return grads(modulated_deform_conv2d(maps, offset, mask, weight, None, 1, 1), maps,
                         offset, mask, weight)
        return grads(deform_conv2d(maps, offset, weight, 1, 1), maps, offset, weight)

    for value in (torch.inf, -torch.inf, 1e9):
        close(*by_both(lambda value=value: run(value)), output=1e-6)


def test_an_offset_that_is_no_number_is_seen_in_the_output(ours):
    from mmcv.ops import deform_conv2d, modulated_deform_conv2d
    offset = torch.zeros(1, 18, 5, 5)
    offset[0, 3, 1, 2] = torch.nan
    for output in (deform_conv2d(torch.ones(1, 1, 5, 5), offset, torch.ones(2, 1, 3, 3), 1, 1),
                   modulated_deform_conv2d(torch.ones(1, 1, 5, 5), offset, torch.ones(1, 9, 5, 5),
                                           torch.ones(2, 1, 3, 3), None, 1, 1)):
        assert output.isnan().sum() == 2 and output[0, :, 1, 2].isnan().all()


def test_the_gradient_of_the_weight_is_of_its_own_backward():
    maps, offset, weight = torch.randn(1, 1, 4, 4), torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 1, 1)
    layout = dict(kW=1, kH=1, dW=1, dH=1, padW=0, padH=0, dilationW=1, dilationH=1, group=1,
                  deformable_group=1, im2col_step=1)
    first, second, columns = torch.ones(1, 1, 4, 4), torch.full((1, 1, 4, 4), 2.0), torch.zeros(0)
    found = torch.zeros(2, 1, 1, 1, 1)
    for wanted, result in ((first, found[0]), (second, found[1])):
        sampling.deform_conv_backward_input(
            maps, offset, first, torch.zeros_like(maps), torch.zeros_like(offset), weight, columns,
            **layout)
        sampling.deform_conv_backward_parameters(
            maps, offset, wanted, result, columns, torch.zeros(0), scale=1, **layout)
    # without offsets: the sum of gradient times value
    torch.testing.assert_close(found.flatten(), torch.stack([maps.sum(), 2 * maps.sum()]))
    assert not columns.__dict__


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_modulated_convolution_rounds_low_precision_once(ours, dtype):
    from mmcv.ops import modulated_deform_conv2d

    def run(convert):
        tensors = [convert(one).requires_grad_() for one in drawn]
        return grads(modulated_deform_conv2d(*tensors, 1, 1), *tensors)

    drawn = [torch.randn(shape).to(dtype) for shape in (
        (1, 2, 5, 5), (1, 18, 5, 5), (1, 9, 5, 5), (3, 2, 3, 3), (3,))]
    for low, high in zip(run(torch.clone), run(torch.Tensor.float), strict=True):
        assert torch.equal(low, high.to(dtype))


def test_autocast_changes_no_types(ours):
    from mmcv.ops import carafe, modulated_deform_conv2d, roi_align
    shapes = (1, 2, 5, 5), (1, 18, 5, 5), (1, 9, 5, 5), (3, 2, 3, 3)
    convolved, masks = [torch.randn(shape) for shape in shapes], torch.randn(1, 9, 10, 10)
    rois = torch.tensor([[0.0, 0, 0, 4, 3]])

    def run():
        return (modulated_deform_conv2d(*convolved, None, 1, 1),
                carafe(convolved[0], masks, 3, 1, 2),
                roi_align(convolved[0].bfloat16(), rois.bfloat16(), 2))

    plain = run()
    with torch.autocast('cpu', torch.bfloat16):
        for one, other in zip(plain, run(), strict=True):
            assert one.dtype == other.dtype and torch.equal(one, other)


def test_bare_calls_of_torchvision_are_as_we_know_them():
    ops, keys = torch.ops.torchvision, ' '.join
    names = {name: keys(argument.name for argument in getattr(ops, name).default._schema.arguments)
             for name in ('_roi_align_backward', '_deform_conv2d_backward')}
    assert names == {
        '_roi_align_backward': 'grad rois spatial_scale pooled_height pooled_width batch_size '
                               'channels height width sampling_ratio aligned',
        '_deform_conv2d_backward': 'grad input weight offset mask bias stride_h stride_w pad_h '
                                   'pad_w dilation_h dilation_w groups offset_groups use_mask',
    }, torchvision.__version__
    assert len(ops._deform_conv2d_backward.default._schema.returns) == 5
    assert sampling.widened(torch.zeros(1)).dtype == torch.float32
