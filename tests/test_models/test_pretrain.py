from copy import deepcopy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from clasp_mm.models import CLASP, DINO
from clasp_mm.models.layers import TASKS
from clasp_mm.models.pretrain import semantic_rows
from tests.oracles import losses as oracle

BATCH, PARTS, SIZES = 4, 3, (2, 3)
ARCH = dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2))
BACKBONE = dict(type='clasp_mm.PCMoESwin', arch=ARCH, strides=(4, 2), out_indices=(0, 1),
                drop_path_rate=0.)
HEAD = dict(type='clasp_mm.DINOHead', in_channels=16, out_dim=12, hidden_dim=16, bottleneck_dim=8)


def make_dino(**kwargs):
    torch.manual_seed(0)
    model = DINO(dict(BACKBONE, moe=None, out_indices=(1,)), HEAD, **kwargs)
    model.init_weights()
    return model


MOE = dict(num_experts=4, top_k=2, num_prompts=3, expert_hidden=4)
PART_HEAD = dict(type='clasp_mm.PartSegHead', in_channels=8, num_classes=PARTS, in_index=0)
ATTR_HEAD = dict(type='clasp_mm.AttrHead', in_channels=16, attribute_sizes=SIZES)


def make_clasp(moe=MOE, part_head=PART_HEAD, attr_head=ATTR_HEAD, **kwargs):
    torch.manual_seed(0)
    model = CLASP(dict(BACKBONE, moe=moe), HEAD, part_head=part_head, attr_head=attr_head, **kwargs)
    model.init_weights()
    with torch.no_grad():  # away from the identity, so that prompts and gates matter
        for module in (model.backbone, model.head, model.teacher):
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def make_batch(rejected=()):
    torch.manual_seed(1)
    views = [torch.randn(BATCH, 3, 32, 16) for _ in range(2)]
    views += [torch.randn(BATCH, 3, 16, 8) for _ in range(2)]
    part_map = torch.randint(0, PARTS, (BATCH, 2, 8, 4))
    attr_target = torch.stack([torch.randint(-1, size, (BATCH,)) for size in SIZES], 1)
    accepted = torch.ones(BATCH, dtype=torch.bool)
    for image in rejected:
        part_map[image], attr_target[image], accepted[image] = 255, -1, False
    return views, dict(part_map=part_map.byte(), attr_target=attr_target, label_accepted=accepted,
                       sample_idx=torch.tensor([0, 1, 2, 7]), skipped=[''] * BATCH)


def views_of(mode, epoch, tasks=('part', 'attribute')):
    """(image, view, task) of every semantic row, spelled out."""
    if mode == 'all':
        return [(b, v, t) for t in tasks for v in (0, 1) for b in range(BATCH)]
    if mode == 'one':
        return ([(b, 0, 'part') for b in range(BATCH) if 'part' in tasks]
                + [(b, 1, 'attribute') for b in range(BATCH) if 'attribute' in tasks])
    turns = [i + epoch for i in (0, 1, 2, 7)]
    if len(tasks) < 2:
        return [(b, t % 2, task) for task in tasks for b, t in enumerate(turns)]
    return [(b, (t // 2) % 2, tasks[t % 2]) for b, t in enumerate(turns)]


def test_built_in_any_scope():
    with DefaultScope.overwrite_default_scope('mmengine'):
        model = make_clasp(data_preprocessor=dict(mean=(1., 2., 3.), std=(1., 1., 1.)))
    assert model.data_preprocessor.mean.flatten().tolist() == [1., 2., 3.]


@pytest.mark.parametrize('epoch', [0, 1, 2])
@pytest.mark.parametrize('mode', ['all', 'one', 'alternate'])
@pytest.mark.parametrize('there', [('part', 'attribute'), ('part',), ('attribute',), ()])
def test_semantic_rows_are_the_stated_views(mode, epoch, there):
    rows, tasks = semantic_rows(mode, torch.tensor([0, 1, 2, 7]), epoch,
                                tasks=[TASKS.index(task) for task in there])
    expected = [(v * BATCH + b, TASKS.index(t)) for b, v, t in views_of(mode, epoch, there)]
    assert list(zip(rows.tolist(), tasks.tolist(), strict=True)) == expected


def test_alternate_gives_every_image_both_tasks_and_both_views_in_four_epochs():
    index = torch.arange(10)
    seen = [set(zip(*(x.tolist() for x in semantic_rows('alternate', index, e)), strict=True))
            for e in range(4)]
    assert len(set.union(*seen)) == 4 * len(index)


def naive_losses(model, views, samples, mode):
    """CLASP's losses from one separate forward for each view, prompt and image."""
    maps = {}

    def forward(b, v, task):
        if (b, v, task) not in maps:
            maps[b, v, task] = model.backbone.from_embed(
                model.backbone.embed(views[v][b:b + 1]), task)
        return maps[b, v, task]

    def logits(backbone_maps):
        return model.head(backbone_maps[-1].mean((2, 3)))[0]

    student = torch.stack([torch.stack([logits(forward(b, v, 'appearance')[0])
                                        for b in range(BATCH)]) for v in range(len(views))])
    teacher = torch.stack([model.teacher(views[v], 'appearance') for v in (0, 1)])
    losses = dict(loss_dino=oracle.dino_loss(student, teacher, model.dino_loss.center, 0.1, 0.04))
    rows = views_of(mode, model.epoch, [task for task, head in (
        ('part', model.part_head), ('attribute', model.attr_head)) if head is not None])
    part = [(b, v) for b, v, t in rows if t == 'part']
    attr = [(b, v) for b, v, t in rows if t == 'attribute']
    if model.part_head is not None:
        losses['loss_part'] = oracle.part_loss(
            torch.cat([model.part_head(forward(b, v, 'part')[0]) for b, v in part]),
            torch.stack([samples['part_map'][b, v] for b, v in part]))
    if model.attr_head is not None:
        losses['loss_attr'] = oracle.attr_loss(
            torch.cat([model.attr_head(forward(b, v, 'attribute')[0][-1].mean((2, 3)))
                       for b, v in attr]), SIZES,
            torch.stack([samples['attr_target'][b] for b, v in attr]))
    order = ([(b, v, 'appearance') for v in range(len(views)) for b in range(BATCH)] + rows)
    gates = [forward(*row)[1] for row in order]
    stages = range(len(gates[0]))
    if stages:
        probs, chosen, load = ([torch.cat([getattr(g[s], name) for g in gates]) for s in stages]
                               for name in ('probs', 'gates', 'load'))
        task = torch.tensor([TASKS.index(t) for _, _, t in order])
        if model.balance_fields == ('gates', 'load'):
            losses['loss_moe'] = 0.01 * oracle.importance_load_loss(chosen, load, task)
        else:
            losses['loss_moe'] = 0.01 * oracle.load_balance_loss(
                probs, chosen, task, MOE['top_k'] if model.backbone.stages[-1].moe.global_gate
                else MOE['num_experts'])
    return losses


NO_PROMPT = dict(MOE, prompt_embedding=False, prompt_residual=False)


@pytest.mark.parametrize('mode, epoch, form', [
    ('all', 0, {}), ('one', 0, {}), ('alternate', 0, {}), ('alternate', 3, {}),
    ('all', 0, dict(balance='importance_load')),
    ('alternate', 0, dict(balance='importance_load')),
    ('all', 1, dict(moe=None)), ('one', 1, dict(moe=None)),
    ('one', 0, dict(moe=dict(MOE, stages=(1,)))),
    ('all', 0, dict(moe=NO_PROMPT)), ('alternate', 0, dict(moe=NO_PROMPT)),
    ('alternate', 0, dict(moe=dict(NO_PROMPT, task_gates=True))),
    ('all', 0, dict(moe=dict(MOE, self_embedding=False, channel_gate=False))),
    ('alternate', 0, dict(moe=dict(MOE, global_gate=False, prompt_residual=False))),
    ('alternate', 1, dict(part_head=None)), ('one', 1, dict(attr_head=None)),
    ('alternate', 0, dict(moe=None, part_head=None)),
    ('alternate', 0, dict(moe=None, part_head=None, attr_head=None)),
], ids=str)
def test_clasp_losses_equal_separate_forwards_gradients_included(mode, epoch, form):
    model = make_clasp(semantic_views=mode, **form).eval()  # no gate noise
    model.set_progress(0, 10, epoch)
    views, samples = make_batch(rejected=[2])
    expected = naive_losses(model, views, samples, mode)
    parameters = [p for p in model.parameters() if p.requires_grad]
    grads = torch.autograd.grad(sum(expected.values()), parameters, allow_unused=True)
    losses = model.loss(views, samples)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-5)
    assert {name for name in losses if 'loss' in name} == set(expected)
    total = sum(value for name, value in losses.items() if 'loss' in name)
    for mine, theirs in zip(torch.autograd.grad(total, parameters, allow_unused=True), grads,
                            strict=True):
        if theirs is None:
            assert mine is None or not mine.any()
        else:
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
    assert losses.get('accepted') == (0.75 if model.semantic_tasks else None)


@pytest.mark.parametrize('moe, seen', [
    (None, [8, 8]), (NO_PROMPT, [8, 8]), (dict(MOE, stages=(1,)), [8, 8]), (MOE, [8, 24])])
def test_what_no_prompt_touches_is_computed_once(moe, seen):
    model = make_clasp(moe, semantic_views='all')
    views, samples = make_batch()
    rows = []
    for stage in model.backbone.stages:
        stage.blocks[0].register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
    model.loss(views[:2], samples)                     # no local crops
    assert rows == seen


def test_without_semantic_tasks_and_pc_moe_it_is_dino():
    clasp = make_clasp(moe=None, part_head=None, attr_head=None)
    dino = make_dino()
    dino.load_state_dict({name: value for name, value in clasp.state_dict().items()
                          if name in dino.state_dict()})
    views, samples = make_batch()
    del samples['part_map'], samples['attr_target'], samples['label_accepted']
    losses = clasp.eval().loss(views, samples)
    torch.testing.assert_close(losses, dino.eval().loss(views, samples))


def test_dino_loss_equals_its_definition_and_moves_the_centre():
    model = make_dino()
    views, samples = make_batch()
    student = torch.stack([model.head(model.backbone(v)[-1].mean((2, 3))) for v in views])
    teacher = torch.stack([model.teacher(v, None) for v in views[:2]])
    expected = oracle.dino_loss(student, teacher, model.dino_loss.center, 0.1, 0.04)
    center = oracle.dino_center(model.dino_loss.center, teacher, 0.9)
    torch.testing.assert_close(model.loss(views, samples)['loss_dino'], expected,
                               rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.dino_loss.center, center, rtol=1e-4, atol=1e-6)


def make_importance():
    return make_clasp(balance='importance_load')


def test_an_unknown_balance_is_refused():
    with pytest.raises(ValueError, match=r"balance must be one of .*'importance_load'.*'shazeer'"):
        make_clasp(balance='shazeer')


@pytest.mark.parametrize('make', [make_dino, make_clasp, make_importance])
def test_two_processes_of_one_batch_give_its_losses_with_one_all_reduce(monkeypatch, make):
    """Tested with real processes in tests/test_engine/test_processes.py."""
    expected, model = make(), make().eval()
    values = expected.eval().loss(*make_batch(rejected=[2]))
    sent = []

    def double(tensor):
        sent.append(tensor.numel())
        tensor.mul_(2)

    monkeypatch.setattr('clasp_mm.models.losses.distributed.get_world_size', lambda: 2)
    monkeypatch.setattr('clasp_mm.models.losses.distributed.all_reduce', double)
    torch.testing.assert_close(model.loss(*make_batch(rejected=[2])), values)
    torch.testing.assert_close(model.dino_loss.center, expected.dino_loss.center)
    # centre; tokens; values and attributes; experts by stage and task, images by task, gates
    kinds = {make_dino: 0, make_clasp: 1, make_importance: 2}[make]
    assert sent == [HEAD['out_dim'] + bool(kinds) * (1 + 2 + kinds * 2 * 3 * 4 + 3 + 2 * 4)]


@pytest.mark.parametrize('mode', ['all', 'one', 'alternate'])
def test_every_trained_parameter_gets_a_gradient(mode):
    model = make_clasp(semantic_views=mode).train()
    losses = model.loss(*make_batch())
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


def test_a_batch_of_rejected_images_trains_on_dino_alone():
    model = make_clasp()
    losses = model.loss(*make_batch(rejected=range(BATCH)))
    assert losses['loss_part'] == 0 and losses['loss_attr'] == 0 and losses['accepted'] == 0
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert model.backbone.patch_embed.projection.weight.grad.abs().sum() > 0


def test_teacher_follows_by_the_moving_average_and_never_trains():
    model = make_dino(momentum=0.9)
    before = deepcopy(model.teacher.state_dict())
    with torch.no_grad():
        for parameter in (*model.backbone.parameters(), *model.head.parameters()):
            parameter.add_(torch.randn_like(parameter))
    student = {**{f'backbone.{k}': v for k, v in model.backbone.state_dict().items()},
               **{f'head.{k}': v for k, v in model.head.state_dict().items()}}
    model.set_progress(5, 10, 0)
    momentum = 1 - oracle.cosine(0.1, 0, 5, 10)
    model.update_teacher()
    for name, value in model.teacher.state_dict().items():
        torch.testing.assert_close(value, momentum * before[name] + (1 - momentum) * student[name])
    model.train()
    assert not model.teacher.training and not model.teacher.backbone.training
    assert not any(p.requires_grad for p in model.teacher.parameters())


@pytest.mark.parametrize('warm_up, expected', [
    # numpy.linspace(0.04, 0.07, warm_up), as main_dino.py has it, then 0.07
    (0, [0.07, 0.07, 0.07]),
    (1, [0.04, 0.07, 0.07]),
    (2, [0.04, 0.07, 0.07]),
    (3, [0.04, 0.055, 0.07, 0.07]),
    (4, [0.04, 0.05, 0.06, 0.07, 0.07, 0.07])])
def test_temperature_warms_up_linearly_over_epochs(warm_up, expected):
    model = make_dino(warmup_teacher_temp=0.04, teacher_temp=0.07,
                      warmup_teacher_temp_epochs=warm_up)
    temps = []
    for epoch in range(len(expected)):
        model.set_progress(epoch, len(expected), epoch)
        temps.append(model.teacher_temp)
    assert temps == pytest.approx(expected)


def test_prototypes_are_frozen_in_the_first_epoch_and_every_gradient_is_clipped_by_itself():
    model = make_dino()
    wrapper = build_optim_wrapper(model, dict(
        type='clasp_mm.DINOOptimWrapper', clip_each=1e-3,
        optimizer=dict(type='SGD', lr=1., weight_decay=0.)))
    for epoch, frozen in ((0, True), (1, False)):
        model.set_progress(epoch, 2, epoch)
        wrapper.frozen = model.frozen_parameters()
        before = deepcopy(dict(model.named_parameters()))
        loss, _ = model.parse_losses(model.loss(*make_batch()))
        grads = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad],
                                    retain_graph=True)
        wrapper.update_params(loss)
        trained = [n for n, p in model.named_parameters() if p.requires_grad]
        for name, grad in zip(trained, grads, strict=True):
            step = before[name] - model.get_parameter(name)
            if frozen and 'last_layer' in name:
                assert (step == 0).all()
            else:
                scale = min(1., 1e-3 / (grad.norm().item() + 1e-6))
                torch.testing.assert_close(step, grad * scale, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize('mode, message', [
    (dict(semantic_views='some'), "semantic_views must be one of.*'some'"),
    (dict(semantic_views='one', num_global=3), 'num_global=2, got 3'),
    (dict(momentum=1.5), 'momentum must be in'),
])
def test_bad_settings_are_named(mode, message):
    with pytest.raises(ValueError, match=message):
        make_clasp(**mode)


def test_missing_labels_name_the_transform():
    views, samples = make_batch()
    del samples['part_map']
    with pytest.raises(KeyError, match='CLIPPseudoLabeler'):
        make_clasp().loss(views, samples)


def save_stage1(tmp_path):
    dino = make_dino()
    with torch.no_grad():
        for parameter in dino.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        dino.dino_loss.center.normal_()
    torch.save(dict(state_dict=dino.state_dict()), tmp_path / 'dino.pth')
    return dino, str(tmp_path / 'dino.pth')


def make_stage2(stage1, **head):
    model = CLASP(dict(BACKBONE, moe=dict(num_experts=4, top_k=2)), dict(HEAD, **head),
                  part_head=None, attr_head=None, stage1=stage1)
    model.init_weights()
    return model


def test_stage2_starts_where_stage1_ended(tmp_path):
    dino, path = save_stage1(tmp_path)
    clasp = make_stage2(path)
    images = make_batch()[0][0]
    for task in ('appearance', 'part', 'attribute'):
        torch.testing.assert_close(clasp.backbone(images, task)[-1], dino.backbone(images)[-1])
    torch.testing.assert_close(clasp.teacher(images, 'appearance'), dino.teacher(images, None))
    torch.testing.assert_close(clasp.head.last_layer.weight, dino.head.last_layer.weight)
    torch.testing.assert_close(clasp.dino_loss.center, dino.dino_loss.center)


def test_stage1_that_does_not_fit_is_an_error(tmp_path):
    _, path = save_stage1(tmp_path)
    with pytest.raises(ValueError, match='DINO head'):
        make_stage2(path, out_dim=13)
    state = torch.load(path, weights_only=True)
    del state['state_dict']['teacher.backbone.stages.0.blocks.0.norm1.weight']
    torch.save(state, path)
    with pytest.raises(ValueError, match='norm1'):
        make_stage2(path)
