import json
import re

import pytest
import torch
from mmengine.runner import Runner

from clasp_mm.engine import HealthHook
from clasp_mm.evaluation.health import judge
from tests.test_engine.test_teacher_hook import make_config, people, read_scalars  # noqa: F401
from tests.test_models.test_pretrain import make_clasp, make_dino


def stats_of(model, images=None):
    """Statistics of 16 images of very different brightness and pattern."""
    hook = HealthHook()
    hook.model = model
    if images is None:
        torch.manual_seed(3)
        images = torch.randn(16, 3, 1, 1) * 2 + torch.randn(16, 3, 32, 16)
    return hook.statistics(images)


@pytest.fixture
def model():
    """A CLASP whose targets tell images apart."""
    model = make_clasp()
    with torch.no_grad():
        for parameter in model.teacher.backbone.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for layer in model.teacher.head.mlp:
            if isinstance(layer, torch.nn.Linear):
                torch.nn.init.orthogonal_(layer.weight)
    return model


def test_a_healthy_teacher_is_green(model):
    verdict = judge(stats_of(model))
    assert verdict.status == 'green', verdict


def test_uniform_targets_turn_red(model):
    model.teacher_temp = 50.
    verdict = judge(stats_of(model))
    assert verdict.status == 'red' and 'uniform' in verdict.causes[0]


def test_one_constant_target_turns_red(model):
    model.dino_loss.center[4] = -100.
    verdict = judge(stats_of(model))
    assert verdict.status == 'red' and 'one constant target' in verdict.causes[0]


def test_constant_features_turn_red(model):
    model.teacher.backbone.norm1.weight.data.zero_()
    verdict = judge(stats_of(model))
    assert verdict.status == 'red'
    assert any('effective rank 1.0' in cause for cause in verdict.causes)


def test_equal_prompts_turn_red(model):
    for stage in model.teacher.backbone.stages:
        stage.moe.prompts.data[:] = stage.moe.prompts.data[0]
    stats = stats_of(model)
    assert stats['gate_distance'] == pytest.approx(0, abs=1e-6)
    verdict = judge(stats)
    assert verdict.status == 'red' and 'share one prompt' in verdict.causes[0]


def test_one_expert_for_all_turns_red(model):
    for stage in model.teacher.backbone.stages:
        stage.moe.top_k = 1
        stage.moe.global_gate.weight.data.zero_()
    stats = stats_of(model)
    assert stats['largest_expert'] == 1 and stats['unused_experts'] == 3 / 4
    verdict = judge(stats)
    assert verdict.status == 'red' and 'one expert of 4' in verdict.causes[0]


def test_not_a_number_turns_red(model):
    model.teacher.head.mlp[0].weight.data[0, 0] = torch.nan
    assert judge(stats_of(model)).status == 'red'


def test_centre_drift_is_in_teacher_temperatures():
    model = make_dino(teacher_temp=0.5, warmup_teacher_temp=0.5)
    hook = HealthHook()
    hook.model = model
    assert hook._centre_drift() == 0
    model.dino_loss.center += 0.25
    assert hook._centre_drift() == pytest.approx(0.5)


def test_statistics_are_those_of_the_training_targets():
    model = make_dino()
    images = torch.randn(6, 3, 32, 16)
    logits = model.teacher(images, None)
    p = ((logits - model.dino_loss.center) / model.teacher_temp).softmax(1)
    stats = stats_of(model, images)
    assert stats['target_entropy'] == pytest.approx(-(p * p.log()).sum(1).mean().item(), rel=1e-4)
    assert 'largest_expert' not in stats


def test_a_run_logs_one_line_and_trains_as_without(people, tmp_path, capfd):  # noqa: F811
    losses = []
    for name in ('with', 'without'):
        cfg = make_config(people, tmp_path / name)
        if name == 'with':
            cfg.custom_hooks.append(dict(type='clasp_mm.HealthHook', interval=2, num_images=3))
        runner = Runner.from_cfg(cfg)
        runner.train()
        rows = read_scalars(tmp_path / name)
        losses.append([row['loss_dino'] for row in rows if 'loss_dino' in row])
        if name == 'with':
            health = [row for row in rows if 'health/status' in row]
            log = (next((tmp_path / name).glob('*/*.log'))).read_text()
    assert losses[0] == losses[1]
    assert [row['step'] for row in health] == [2, 4, 6]
    assert all(row['health/rank_limit'] == 3 for row in health)
    lines = re.findall(r'Health (green|amber|red): .*rank [\d.]+/3, targets', log)
    assert len(lines) == 3
    json.dumps(health, allow_nan=False)


def test_red_waits_for_the_first_steps(people, tmp_path):  # noqa: F811
    """Ten steps of a teacher that tells nothing: amber in the first, red from then on."""
    cfg = make_config(people, tmp_path / 'run', **{
        'train_cfg.max_epochs': 10, 'model.teacher_temp': 90., 'model.warmup_teacher_temp': 90.})
    cfg.custom_hooks.append(dict(type='clasp_mm.HealthHook', interval=1, num_images=4))
    runner = Runner.from_cfg(cfg)
    runner.train()
    status = [row['health/status'] for row in read_scalars(tmp_path / 'run')
              if 'health/status' in row]
    assert status == [1, 1] + [2] * 18


def test_one_image_tells_nothing_of_targets(people, tmp_path):  # noqa: F811
    cfg = make_config(people, tmp_path / 'run', **{
        'train_dataloader.batch_size': 1, 'train_cfg.max_epochs': 1})
    cfg.custom_hooks.append(dict(type='clasp_mm.HealthHook', interval=4))
    Runner.from_cfg(cfg).train()
    health = [row for row in read_scalars(tmp_path / 'run') if 'health/status' in row]
    assert [row['step'] for row in health] == [4, 8] and health[0]['health/log_images'] == 0


def test_only_our_algorithms_are_watched():
    with pytest.raises(TypeError, match='HealthHook watches'):
        HealthHook().before_train(type('Runner', (), dict(model=torch.nn.Linear(1, 1)))())
    with pytest.raises(ValueError, match='interval=0'):
        HealthHook(interval=0)
