import math

import pytest
import torch
from mmengine.runner import Runner

from clasp_mm.engine import TaskConflictHook
from clasp_mm.evaluation.functional.conflict import (
    expert_activation_divergence,
    gradient_conflict_ratio,
    gradient_cosines,
    harmonic_mean,
)
from clasp_mm.evaluation.task_conflict import LOSS_OF_TASK, expert_use, task_gradients
from tests.oracles import conflict as oracle
from tests.test_engine.test_teacher_hook import make_config, people, read_scalars  # noqa: F401
from tests.test_models.test_pretrain import make_batch, make_clasp, make_dino


def test_gcr_is_the_oracle_and_leaves_out_what_is_not_shared():
    for _ in range(5):
        gradients = {task: {f'l{i}': torch.randn(3, 2) for i in range(9)} for task in 'abc'}
        gradients['a']['l0'].zero_()
        del gradients['b']['l1']
        plain = {task: {name: g.flatten().tolist() for name, g in layers.items()}
                 for task, layers in gradients.items()}
        assert gradient_conflict_ratio(gradients) == oracle.gcr(plain)
    assert 'l0' not in gradient_cosines(gradients)['a', 'b']
    assert math.isnan(gradient_conflict_ratio({'a': {'l': torch.ones(2)}}))


def test_gcr_of_gradients_that_are_known():
    one = torch.tensor([1., 0.])
    gradients = {'a': {'x': one, 'y': one}, 'b': {'x': -one, 'y': torch.tensor([0., 1.])}}
    assert gradient_conflict_ratio(gradients) == 0.5  # at right angles is no conflict
    assert gradient_cosines(gradients)['a', 'b'] == {'x': -1., 'y': 0.}


def test_ead_is_the_oracle_and_has_its_extremes():
    use = torch.rand(3, 4, 6, dtype=torch.float64)
    assert expert_activation_divergence(use) == pytest.approx(oracle.ead(use.tolist()))
    assert expert_activation_divergence(use[:1].repeat(3, 1, 1)) == pytest.approx(0)
    alike = torch.rand(1, 200, 10).repeat(2, 1, 1)  # rounded shares can add up to more than 1
    assert expert_activation_divergence(alike[:, alike[0].div(
        alike[0].sum(1, keepdim=True)).sum(1) > 1]) == 0
    assert expert_activation_divergence(torch.eye(3)[:, None]) == 1
    with pytest.raises(ValueError, match='two tasks'):
        expert_activation_divergence(use[:1])
    with pytest.raises(ValueError, match='not all 0'):
        expert_activation_divergence(torch.zeros(2, 1, 3))


def test_harmonic_mean():
    assert harmonic_mean(90., 60.) == pytest.approx(oracle.harmonic(90., 60.))
    assert harmonic_mean(0., 60.) == 0
    with pytest.raises(ValueError, match='mAP=-1'):
        harmonic_mean(-1, 60)


def test_gradients_of_a_model_are_those_of_backward_and_it_is_left_as_it_was():
    model = make_clasp(semantic_views='one').train()
    views, samples = make_batch()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    gradients = task_gradients(model, views, samples)
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in model.backbone.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert set(gradients) == set(LOSS_OF_TASK)
    assert not any('prompts' in name for layers in gradients.values() for name in layers)
    model.eval()
    for task, key in LOSS_OF_TASK.items():
        model.load_state_dict(before)
        model.zero_grad()
        model.loss(views, samples)[key].backward()
        for name, gradient in gradients[task].items():
            own = [torch.zeros_like(p) if p.grad is None else p.grad for n, p in
                   model.backbone.get_submodule(name).named_parameters(recurse=False)
                   if p.requires_grad and n != 'prompts']
            torch.testing.assert_close(gradient, torch.cat([g.flatten() for g in own]))


def test_expert_use_is_the_mean_of_the_gates():
    model = make_clasp().train()
    images = torch.randn(4, 3, 32, 16)
    use = expert_use(model.backbone, images)
    assert use.shape == (3, 2, 4) and model.backbone.training
    model.backbone.eval()
    one_by_one = [model.backbone.from_embed(model.backbone.embed(images[i:i + 1]), 'part')[1]
                  for i in range(4)]
    for stage in range(2):
        expected = sum(gates[stage].gates[0] for gates in one_by_one) / 4
        torch.testing.assert_close(use[1, stage], expected)
    assert expert_use(make_dino().backbone, images) is None


def turn_into_clasp(cfg):
    """CLASP in the place of a config's DINO."""
    backbone = dict(cfg.model.backbone, out_indices=(0, 1),
                    moe=dict(num_experts=4, top_k=2, num_prompts=3, expert_hidden=4))
    cfg.model = dict(cfg.model, type='clasp_mm.CLASP', backbone=backbone, part_head=dict(
        type='clasp_mm.PartSegHead', in_channels=8, num_classes=3, in_index=0),
        attr_head=dict(type='clasp_mm.AttrHead', in_channels=16, attribute_sizes=(2, 3)))
    cfg.train_dataloader.dataset.pipeline.insert(
        0, dict(type='clasp_mm.PlaceholderLabels', num_attributes=2))


def run(people, work_dir, hooks, clasp):  # noqa: F811
    cfg = make_config(people, work_dir)
    if clasp:
        turn_into_clasp(cfg)
    cfg.custom_hooks = [*cfg.custom_hooks, *hooks]
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner.model.state_dict(), read_scalars(work_dir)


@pytest.mark.parametrize('clasp', [False, True])
def test_the_hook_changes_nothing_and_logs_what_is_defined(people, tmp_path, clasp):  # noqa: F811
    hook = dict(type='clasp_mm.TaskConflictHook', interval=2, num_images=2)
    without, _ = run(people, tmp_path / 'without', [], clasp)
    weights, rows = run(people, tmp_path / 'with', [hook], clasp)
    assert all(torch.equal(weights[key], value) for key, value in without.items())
    measured = [row for row in rows if 'conflict/gcr' in row and 'conflict/ead' in row]
    assert bool(measured) == clasp
    assert all(0 <= row[f'conflict/{name}'] <= 1 for row in measured for name in ('gcr', 'ead'))


def test_the_hook_names_bad_settings():
    with pytest.raises(ValueError, match='interval=0'):
        TaskConflictHook(interval=0)
