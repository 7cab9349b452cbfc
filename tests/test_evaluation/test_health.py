import math

import pytest
import torch

from clasp_mm.evaluation import health
from clasp_mm.evaluation.functional import expert_activation_divergence
from tests.oracles import health as oracle

# Measured in a nano DINO run that learns (balanced targets), and typical gates of a CLASP run.
GOOD = dict(effective_rank=5.8, rank_limit=32., target_entropy=5.66, mean_target_entropy=6.82,
            log_prototypes=6.93, log_images=3.47, information=1.16, centre_drift=0.4,
            prompt_distance=0.98, gate_distance=0.2, largest_expert=0.2, unused_experts=0.1,
            num_experts=10.)


@pytest.mark.parametrize(('images', 'channels', 'rank'), [(20, 7, 3), (6, 30, 6), (9, 9, 1)])
def test_effective_rank_equals_the_oracle(images, channels, rank):
    features = torch.randn(images, rank) @ torch.randn(rank, channels)
    found = health.effective_rank(features)
    assert found == pytest.approx(oracle.effective_rank(features.numpy()), rel=1e-3)
    assert found <= rank + 0.02


def test_effective_rank_of_known_cases():
    assert health.effective_rank(torch.eye(5) * torch.arange(1, 6.)[:, None]) == pytest.approx(5)
    same = torch.randn(1, 16).expand(12, 16)
    assert health.effective_rank(same) == pytest.approx(1, abs=1e-3)
    # what float noise leaves of equal images is no direction
    assert health.effective_rank(same + 1e-5 * torch.randn(12, 16)) < 1.01
    two = torch.eye(2).repeat(8, 1)
    assert health.effective_rank(two.half()) == pytest.approx(2, abs=1e-3)


def test_information_is_the_divergence_of_targets_from_their_mean():
    targets = (3 * torch.randn(8, 20)).softmax(1)
    own, mean = health.target_entropies(targets)
    assert health.entropy(mean) - own.item() == pytest.approx(
        oracle.information(targets.double().numpy()), rel=1e-4)
    own, mean = health.target_entropies(torch.eye(8))
    assert (own.item(), health.entropy(mean)) == pytest.approx((0, math.log(8)))


def test_distances_of_prompts_and_gates():
    stage = torch.tensor([[1., 0, 0], [0, 2, 0], [3, 0, 0]])  # distances 1, 0, 1
    assert health.prompt_distance([stage, torch.eye(3)]) == pytest.approx((2 + 3) / 6)
    gates = torch.tensor([[[1., 0, 0]], [[.5, .5, 0]], [[0, 0, 1]]])
    assert expert_activation_divergence(gates) == pytest.approx((.5 + 1 + 1) / 3)


def test_expert_load_over_tasks_and_stages():
    gates = torch.tensor([[[.6, .4, 0, 0], [.25] * 4], [[.8, .2, 0, 0], [.25] * 4]])
    largest, unused = health.expert_load(gates)
    assert largest == pytest.approx(.7) and unused == pytest.approx(2 / 8)


def test_healthy_statistics_are_green():
    assert health.judge(GOOD) == ('green', ())
    plain = {name: GOOD[name] for name in list(GOOD)[:7]}
    assert health.judge(plain) == ('green', ())


@pytest.mark.parametrize(('change', 'status', 'cause'), [
    (dict(target_entropy=6.90, mean_target_entropy=6.92), 'red', 'uniform'),
    (dict(target_entropy=0.01, mean_target_entropy=0.05), 'red', 'one constant target'),
    (dict(target_entropy=3.0, mean_target_entropy=3.02), 'red', 'nearly the same target'),
    (dict(target_entropy=6.5, mean_target_entropy=6.7), 'amber', 'nearly the same target'),
    (dict(centre_drift=3.), 'amber', 'the centre moved'),
    (dict(effective_rank=1.01), 'red', 'effective rank 1.0 of at most 32'),
    (dict(effective_rank=2.2), 'amber', 'effective rank'),
    (dict(prompt_distance=0.001), 'red', 'share one prompt'),
    (dict(largest_expert=0.99), 'red', 'one expert of 10 carries 99%'),
    (dict(unused_experts=0.7), 'amber', '70% of the experts are used by no task'),
    (dict(effective_rank=math.nan), 'red', 'effective_rank not finite'),
])
def test_each_collapse_is_named(change, status, cause):
    verdict = health.judge({**GOOD, **change})
    assert verdict.status == status
    assert len(verdict.causes) == 1 and cause in verdict.causes[0]


def test_the_worst_cause_comes_first():
    verdict = health.judge({**GOOD, 'centre_drift': 5., 'largest_expert': 0.95})
    assert verdict.status == 'red'
    assert 'one expert' in verdict.causes[0] and 'centre' in verdict.causes[1]


def test_few_images_are_judged_by_what_they_can_show():
    two = {**GOOD, 'rank_limit': 2., 'log_images': math.log(2), 'effective_rank': 1.8,
           'target_entropy': 5.0, 'mean_target_entropy': 5.4}
    assert health.judge(two).status == 'green'
