"""PCMoESwin against mmpretrain's Swin, and how tasks, freezing and compilation act on it."""

import copy

import pytest
import torch
from mmpretrain.models import SwinTransformer

from clasp_mm.models import PCMoESwin, SemanticSwin
from clasp_mm.models.backbones import Embedded
from clasp_mm.models.backbones.archs import ARCHS
from clasp_mm.registry import MODELS

ALL = (0, 1, 2, 3)
ARCH = dict(embed_dims=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4))
SMALL = dict(embed_dims=8, depths=(2, 1), num_heads=(1, 2))
MOE = dict(num_experts=4, top_k=2, expert_hidden=4)


def random_weights(model, seed=0):
    torch.manual_seed(seed)
    for param in model.parameters():
        torch.nn.init.normal_(param, std=.3)
    return model


def small(task='part', moe=MOE, **kwargs):
    """A two-stage model with random weights everywhere."""
    kwargs = dict(dict(strides=(4, 2), out_indices=(0, 1), drop_path_rate=0.), **kwargs)
    return random_weights(PCMoESwin(SMALL, task, moe, **kwargs))


def mmpretrain_swin(strides=(4, 2, 2, 2)):
    cfgs = [dict(downsample_cfg=dict(stride=stride)) for stride in strides[1:]] + [{}]
    model = SwinTransformer(ARCH, pad_small_map=True, out_indices=ALL, drop_path_rate=0.,
                            stage_cfgs=cfgs)
    return random_weights(model)


@pytest.mark.parametrize('hw', [(256, 128), (384, 128), (128, 64), (96, 96), (64, 32), (224, 224),
                                (5, 3), (800, 1333)])
def test_equals_mmpretrain_at_every_size(hw):
    theirs = mmpretrain_swin()
    plain = PCMoESwin(ARCH, moe=None, out_indices=ALL, drop_path_rate=0.)
    plain.load_state_dict(theirs.state_dict())
    fresh = PCMoESwin(ARCH, 'part', out_indices=ALL, drop_path_rate=0.)
    missing = fresh.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing.unexpected_keys and all('.moe.' in key for key in missing.missing_keys)
    x = torch.randn(1, 3, *hw)
    with torch.no_grad():
        refs, outs, fresh_outs = theirs(x), plain(x), fresh(x)
    for ref, out, fresh_out in zip(refs, outs, fresh_outs, strict=True):
        torch.testing.assert_close(out, ref, rtol=1e-4, atol=1e-4)
        assert torch.equal(fresh_out, out)
        assert out.is_contiguous()


@pytest.mark.parametrize(('model', 'fixed'), [(PCMoESwin, dict(task='part')),
                                              (SemanticSwin, dict(semantic_weight=.5))])
def test_channels_last(model, fixed):
    torch.manual_seed(0)
    there = model(ARCH, out_indices=ALL, drop_path_rate=0., channels_last=True, **fixed)
    torch.manual_seed(0)
    usual = model(ARCH, out_indices=ALL, drop_path_rate=0., **fixed)
    x = torch.randn(2, 3, 64, 32)
    for out, ref in zip(there(x), usual(x), strict=True):
        assert out.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(out, ref)


@pytest.mark.parametrize(('hw', 'strides'), [((64, 32), (4, 2, 2, 2)), ((60, 90), (4, 2, 2, 2)),
                                             ((64, 32), (4, 2, 1, 1)), ((50, 50), (4, 2, 2, 1))])
def test_gradients_and_strides_equal_mmpretrain(hw, strides):
    theirs = mmpretrain_swin(strides)
    ours = PCMoESwin(ARCH, moe=None, out_indices=ALL, strides=strides, drop_path_rate=0.)
    ours.load_state_dict(theirs.state_dict())
    images = [torch.randn(2, 3, *hw, requires_grad=True)]
    images.append(images[0].detach().clone().requires_grad_())
    outs, refs = ours(images[0]), theirs(images[1])
    cotangents = [torch.randn_like(ref) for ref in refs]
    torch.autograd.backward(outs, cotangents)
    torch.autograd.backward(refs, cotangents)
    for out, ref in zip(outs, refs, strict=True):
        torch.testing.assert_close(out, ref, rtol=1e-4, atol=1e-4)
    params, ref_params = dict(ours.named_parameters()), dict(theirs.named_parameters())
    assert params.keys() == ref_params.keys()
    pairs = [(images[0].grad, images[1].grad)]
    pairs += [(params[name].grad, ref.grad) for name, ref in ref_params.items()]
    for grad, ref in pairs:
        scale = ref.abs().max().clamp(min=1e-3)
        torch.testing.assert_close(grad / scale, ref / scale, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('arch', ['tiny', 'small', 'base'])
def test_named_sizes_are_mmpretrains_and_run_on_meta(arch):
    zoo = SwinTransformer.arch_zoo[arch]
    assert {key: tuple(value) if isinstance(value, list) else value
            for key, value in zoo.items()} == ARCHS[arch]
    with torch.device('meta'):
        maps = PCMoESwin(arch, 'part', out_indices=ALL)(torch.empty(2, 3, 256, 128))
    assert [m.shape for m in maps] == [(2, zoo['embed_dims'] << i, 64 >> i, 32 >> i)
                                       for i in range(4)]


def test_drop_path_rises_linearly_over_the_blocks():
    model = PCMoESwin(ARCH, moe=None, drop_path_rate=.7)
    rates = [block.drop_path.drop_prob for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([.1 * i for i in range(8)])


def test_task_by_name_by_weights_and_from_embed_agree():
    model = small(task=None).eval()
    x = torch.randn(3, 3, 40, 24)
    embedded = model.embed(x)
    rows = torch.tensor([0, 2, 2, 1])
    names = ['part', 'appearance', 'attribute', 'part']
    weights = model.task_rows[[1, 0, 2, 1]]
    maps, gates = model.from_embed(Embedded(embedded.tokens[rows], embedded.hw), weights)
    assert len(gates) == 2
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        for out, ref in zip(maps, model(x[row:row + 1], name), strict=True):
            torch.testing.assert_close(out[i:i + 1], ref, rtol=1e-4, atol=1e-5)
    part, attribute = model(x, 'part'), model(x, 'attribute')
    assert all((a - b).abs().max() > .01 for a, b in zip(part, attribute, strict=True))


def test_first_stage_blocks_see_no_prompt_and_its_output_does():
    model = small(task='part').eval()
    x = torch.randn(1, 3, 32, 16)
    changed = copy.deepcopy(model)
    torch.nn.init.normal_(changed.stages[0].moe.prompts)
    assert torch.equal(model.embed(x).tokens, changed.embed(x).tokens)
    assert not torch.allclose(model(x)[0], changed(x)[0])


def test_mean_of_tasks_and_one_task_per_stage():
    model = small(task=None).eval()
    x = torch.randn(2, 3, 32, 16)
    swapped = copy.deepcopy(model)
    with torch.no_grad():
        swapped.stages[1].moe.prompts[0] = model.stages[1].moe.prompts[1]
    for out, ref in zip(model(x, ('appearance', 'part')), swapped(x, 'appearance'), strict=True):
        torch.testing.assert_close(out, ref)
    mean = torch.tensor([[.5, .5, 0]])
    for task in (('appearance', 'part'), 'attribute'), [('appearance', 'part')] * 2:
        torch.testing.assert_close(model(x, task)[0], model(x, mean)[0])
    three = torch.full((1, 3), 1 / 3)
    torch.testing.assert_close(model(x, ('part', 'attribute', 'appearance')), model(x, three))
    fixed = PCMoESwin(SMALL, ('appearance', 'part'), MOE, strides=(4, 2), out_indices=(1, )).eval()
    fixed.load_state_dict(model.state_dict())
    torch.testing.assert_close(fixed(x)[0], model(x, ('appearance', 'part'))[1])


@pytest.mark.parametrize('num_prompts', [2, 3, 6])
def test_every_parameter_of_a_task_gets_a_gradient(num_prompts):
    model = small('attribute', dict(MOE, top_k=4, num_prompts=num_prompts)).train()
    outs = model(torch.randn(4, 3, 64, 32))
    sum((out * torch.randn_like(out)).sum() for out in outs).backward()
    used = {2: [1], 3: [2], 6: [4, 5]}[num_prompts]
    for name, param in model.named_parameters():
        assert param.grad is not None, name
        if name.endswith('prompts'):
            norms = param.grad.norm(dim=1)
            assert [i for i in range(num_prompts) if norms[i] > 0] == used
        else:
            assert param.grad.abs().max() > 0, name


@pytest.mark.parametrize('out_indices', [(0, ), (1, )])
def test_what_is_not_put_out_exists_but_is_neither_computed_nor_trained(out_indices):
    model, full = small(out_indices=out_indices), small()
    assert model.state_dict().keys() == full.state_dict().keys()
    x = torch.randn(1, 3, 32, 16)
    model.eval(), full.eval()
    torch.testing.assert_close(model(x)[0], full(x)[out_indices[0]])
    model.train()(x)[0].square().mean().backward()
    trained = {name for name, param in model.named_parameters() if param.requires_grad}
    assert {name for name, param in model.named_parameters() if param.grad is not None} == trained
    last = out_indices[0]
    assert f'norm{1 - last}.weight' not in trained and f'norm{last}.weight' in trained
    assert any(name.startswith(('stages.1', 'stages.0.downsample')) for name in trained) == last


@pytest.mark.parametrize(('stages', 'same'), [((1, ), 1), ((3, ), 3), ((1, 2), 1), ((), 4)])
def test_moe_on_some_stages_only(stages, same):
    """Up to the first of them the maps are those of a plain Swin, whatever the prompt."""
    kwargs = dict(out_indices=ALL, drop_path_rate=0.)
    plain = random_weights(PCMoESwin(ARCH, moe=None, **kwargs)).eval()
    moe = dict(MOE, stages=stages) if stages else None
    model = random_weights(PCMoESwin(ARCH, moe=moe, **kwargs)).eval()
    missing = model.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert {key.split('.moe.')[0] for key in missing} == {f'stages.{i}' for i in stages}
    x = torch.randn(2, 3, 64, 32)
    embedded, refs = model.embed(x), plain(x)
    for task in ('part', ('appearance', 'part'), ('part', 'part', 'attribute', 'appearance')):
        maps, gates = model.from_embed(embedded, task)
        assert len(gates) == len(stages) and all(g.probs.shape == (2, 4) for g in gates)
        equal = [torch.equal(out, ref) for out, ref in zip(maps, refs, strict=True)]
        assert equal == [i < same for i in range(4)]
    assert model.first_prompted == same
    shared, _, rest = model.run_stages(embedded, 'part', stop=same)
    maps = shared + model.from_embed(rest, 'attribute', same)[0]
    assert all(map(torch.equal, maps, model(x, 'attribute')))


def test_tasks_by_stage_reach_the_stages_that_have_a_moe():
    model = small(moe=dict(MOE, stages=(1, ))).eval()
    x = torch.randn(1, 3, 32, 16)
    ref = model(x, 'part')
    assert all(map(torch.equal, model(x, ('attribute', 'part')), ref))
    assert not torch.equal(model(x, ('part', 'attribute'))[1], ref[1])


@pytest.mark.parametrize(('switches', 'sees'), [
    ({}, True), (dict(prompt_embedding=False), True), (dict(prompt_residual=False), True),
    (dict(prompt_embedding=False, prompt_residual=False), False),
    (dict(prompt_embedding=False, prompt_residual=False, task_gates=True), True),
    (dict(prompt_embedding=False, prompt_residual=False, task_gates=True, global_gate=False),
     False)])
def test_first_prompted_tells_whether_tasks_differ(switches, sees):
    model = small(task=None, moe=dict(MOE, **switches)).eval()
    x = torch.randn(2, 3, 32, 16)
    assert torch.equal(model(x, 'part')[0], model(x, 'attribute')[0]) != sees
    assert model.first_prompted == (0 if sees else 2)


def test_checkpointing_changes_no_number():
    x = torch.randn(2, 3, 32, 16)
    results = []
    for with_cp in (False, True):
        model = small(with_cp=with_cp, drop_path_rate=.3, drop_rate=.1).train()
        torch.manual_seed(5)
        out = model(x)[-1]
        out.square().sum().backward()
        results.append([out] + [param.grad for param in model.parameters()])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_frozen_stages_stay_frozen_and_in_evaluation_mode():
    model = PCMoESwin(ARCH, 'part', MOE, out_indices=ALL, frozen_stages=1)
    assert model.train() is model and model.eval() is model
    model.train()
    for name, param in model.named_parameters():
        frozen = name.startswith(('patch_embed', 'stages.0', 'stages.1', 'norm0', 'norm1'))
        assert param.requires_grad != frozen, name
    assert not any(m.training for i in (0, 1) for m in model.stages[i].modules())
    assert all(m.training for i in (2, 3) for m in model.stages[i].modules())
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], .1)
    model(torch.randn(2, 3, 32, 16))[-1].square().sum().backward()
    optimizer.step()
    moved = {key.split('.')[0] + key.split('.')[1] for key, value in model.state_dict().items()
             if not torch.equal(value, before[key])}
    assert moved == {'stages2', 'stages3', 'norm3weight', 'norm3bias'}


def test_layer_depth():
    model = PCMoESwin(dict(embed_dims=8, depths=(2, 3), num_heads=(1, 2)), 'part', MOE,
                      out_indices=(1, ), strides=(4, 2))
    depths = {
        'patch_embed.projection.weight': 0, 'stages.0.blocks.0.norm1.weight': 1,
        'stages.0.blocks.1.ffn.layers.1.bias': 2, 'stages.0.moe.prompts': 2,
        'stages.0.moe.channel_gate.0.weight': 2, 'stages.0.downsample.reduction.weight': 2,
        'stages.1.blocks.0.norm1.weight': 3, 'stages.1.blocks.2.attn.w_msa.proj.weight': 5,
        'stages.1.moe.w1': 5, 'norm0.weight': 6, 'norm1.bias': 6
    }
    assert depths.keys() <= dict(model.named_parameters()).keys()
    for name, depth in depths.items():
        assert model.get_layer_depth(name) == (depth, 7)
        assert model.get_layer_depth('backbone.' + name, 'backbone.') == (depth, 7)
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (6, 7)
    for name, _ in model.named_parameters():
        model.get_layer_depth(name)


@pytest.mark.parametrize('grad', [False, True])
def test_autocast_keeps_the_gates_in_float32(grad):
    model = small().eval()
    x = torch.randn(2, 3, 32, 16)
    with torch.autocast('cpu', torch.bfloat16), torch.set_grad_enabled(grad):
        outs, gates = model.from_embed(model.embed(x))
    assert all(g.gates.dtype is g.probs.dtype is torch.float32 for g in gates)
    for out, ref in zip(outs, model(x), strict=True):
        assert (out.float() - ref).abs().mean() < .05 * ref.abs().mean()


@pytest.mark.parametrize('pad_small_map', [True, False])
def test_compiled_whole_and_trained(pad_small_map):
    arch = dict(embed_dims=8, depths=(2, ), num_heads=(2, ))
    model = random_weights(PCMoESwin(arch, 'part', MOE, strides=(4, ), out_indices=(0, ),
                                     window_size=5, pad_small_map=pad_small_map)).eval()
    for param in model.stages[0].moe.noise_gate.parameters():
        param.requires_grad_(False)
    x = torch.randn(2, 3, 36, 20)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    results = []
    for run in (model, compiled):
        model.zero_grad()
        outs = run(x)
        sum(out.square().sum() for out in outs).backward()
        results.append([*outs, *(p.grad for p in model.parameters() if p.requires_grad)])
    for eager, fused in zip(*results, strict=True):
        torch.testing.assert_close(fused, eager, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('pad_small_map', [True, False])  # maps of 9x5
def test_exported_with_any_batch_size(pad_small_map):
    model = small(window_size=5, strides=(4, 1), pad_small_map=pad_small_map).eval()
    batch = torch.export.Dim('batch', min=1, max=64)
    with torch.no_grad():
        program = torch.export.export(model, (torch.randn(2, 3, 36, 20), ),
                                      dynamic_shapes=({0: batch}, ))
        x = torch.randn(5, 3, 36, 20)
        for out, ref in zip(program.module()(x), model(x), strict=True):
            torch.testing.assert_close(out, ref, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('pad_small_map', [True, False])
def test_traced(pad_small_map):
    model = small(window_size=5, strides=(4, 1), pad_small_map=pad_small_map).eval()
    traced = torch.jit.trace(model, torch.randn(2, 3, 36, 20))
    x = torch.randn(5, 3, 36, 20)
    for out, ref in zip(traced(x), model(x), strict=True):
        torch.testing.assert_close(out, ref, rtol=1e-4, atol=1e-5)


def test_initialisation_by_a_parent_keeps_the_moe_neutral():
    from mmengine.model import BaseModule

    class Parent(BaseModule):
        def __init__(self):
            super().__init__(init_cfg=dict(type='TruncNormal', layer='Linear', std=.02, bias=.5))
            self.backbone = MODELS.build(dict(type='clasp_mm.PCMoESwin', arch=SMALL, task='part',
                                              moe=MOE, strides=(4, 2), out_indices=(1, )))

    parent = Parent()
    parent.init_weights()
    backbone = parent.backbone.eval()
    assert backbone.stages[0].blocks[0].attn.w_msa.qkv.bias.eq(.5).all()
    plain = PCMoESwin(SMALL, moe=None, strides=(4, 2), out_indices=(1, )).eval()
    plain.load_state_dict(backbone.state_dict(), strict=False)
    x = torch.randn(1, 3, 32, 16)
    assert torch.equal(backbone(x)[0], plain(x)[0])


def test_without_moe_no_task_is_needed():
    model = small(task=None, moe=None)
    x = torch.randn(1, 3, 32, 16)
    assert torch.equal(model(x)[0], model(x, 'part')[0])
    assert model.from_embed(model.embed(x))[1] == []


def test_no_task_is_an_error():
    with pytest.raises(ValueError, match=r'no task.*appearance, part, attribute'):
        small(task=None)(torch.randn(1, 3, 32, 16))


@pytest.mark.parametrize(('kwargs', 'words'), [
    (dict(arch='bsae'), "'bsae'.*nano, tiny, small, base.*did you mean 'base'"),
    (dict(arch=dict(embed_dims=8, depths=(1, ))), 'num_heads'),
    (dict(arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, ))), 'differ in length'),
    (dict(task='prat'), "'prat'.*did you mean 'part'"),
    (dict(task=('part', 'atribute')), "'atribute'.*did you mean 'attribute'"),
    (dict(task=()), 'no task named'),
    (dict(moe=dict(topk=3)), "'topk'.*did you mean 'top_k'"),
    (dict(moe=dict(num_experts=3, top_k=4)), 'top_k=4.*num_experts=3'),
    (dict(moe=dict(num_experts=3, top_k=0)), 'top_k=0'),
    (dict(moe=dict(stages=(4, ))), r'moe\.stages=\(4,\).*stages 0 to 3'),
    (dict(out_indices=()), 'out_indices names no stage'),
    (dict(out_indices=(0, 4)), r'out_indices=\(0, 4\).*4'),
    (dict(strides=(4, 2, 2)), r'\(4, 2, 2\).*4'),
    (dict(strides=(4, 2, 3, 1)), 'stride 1 or 2'),
    (dict(frozen_stages=4), 'frozen_stages=4.*-1 and 3'),
])
def test_bad_arguments_are_named(kwargs, words):
    with pytest.raises(ValueError, match=words):
        PCMoESwin(**dict(dict(arch='nano'), **kwargs))


def test_prompt_weights_of_another_batch_are_an_error():
    with pytest.raises(ValueError, match=r'\(3, 3\) for 2 images and 3 prompts'):
        small()(torch.randn(2, 3, 32, 16), torch.rand(3, 3))
