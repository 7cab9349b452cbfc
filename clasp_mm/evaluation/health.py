"""Signs of life of a pretraining run that need no label, and what they say.

The functions take tensors and keep nothing; ``clasp_mm.HealthHook`` gathers the tensors.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

STATUS = ('green', 'amber', 'red')


class Verdict(NamedTuple):
    """What the statistics of a moment say.

    Attributes:
        status: 'green', 'amber' or 'red'.
        causes: The likely cause of each thing that is wrong, the worst first; empty when green.
    """

    status: str
    causes: tuple[str, ...]


def effective_rank(features: Tensor) -> float:
    """How many directions features really use (Roy and Vetterli 2007; RankMe, Garrido et al. 2023).

    The exponential of the entropy of the singular values, normalised to sum 1, of the rows scaled
    to unit length. Rows are not centred: images that all look alike give 1, whatever noise is left.

    Args:
        features: (N, C), one row an image.

    Returns:
        1 to min(N, C).
    """
    values = torch.linalg.svdvals(F.normalize(features.float(), dim=1))
    return torch.special.entr(values / values.sum().clamp(min=1e-12)).sum().exp().item()


def target_entropies(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Entropy of the teacher's targets (N, K) in nats, and their mean.

    Returns:
        Mean entropy H(t) of the N targets, a scalar, and their mean (K,). The entropy H(mean) of
        that mean minus H(t) is what the targets tell about the image: 0 nats when all are alike,
        at most log N and log K.
    """
    targets = targets.float()
    return torch.special.entr(targets).sum(1).mean(), targets.mean(0)


def entropy(distribution: Tensor) -> float:
    """Entropy in nats of (K,) probabilities."""
    return torch.special.entr(distribution.float()).sum().item()


def prompt_distance(prompts: Sequence[Tensor]) -> float:
    """Mean over stages and pairs of prompts of their cosine distance; (M, C) prompts a stage."""
    distances = [1 - F.cosine_similarity(stage[a], stage[b], dim=0)
                 for stage in prompts for a, b in combinations(range(len(stage)), 2)]
    return torch.stack(distances).mean().item()


def expert_load(gates: Tensor) -> tuple[float, float]:
    """Load of the busiest expert, and share of the experts that no task uses.

    Args:
        gates: (T, S, n), mean gate of every expert for each task and stage; rows sum to 1.

    Returns:
        The largest share of a stage's load that one expert carries, the mean over tasks taken
        first; and the share of experts, over all stages, without any load.
    """
    load = gates.mean(0)
    return load.max().item(), (load <= 0).float().mean().item()


def judge(stats: Mapping[str, float]) -> Verdict:
    """Give a verdict on the statistics of :class:`clasp_mm.HealthHook`.

    Args:
        stats: ``effective_rank`` with its limit ``rank_limit``; ``target_entropy``,
            ``mean_target_entropy``, ``log_prototypes`` and ``log_images`` in nats; where targets
            are centred, ``centre_drift``; for a PC-MoE ``prompt_distance``, ``gate_distance``,
            ``largest_expert``, ``unused_experts``, ``num_experts``.
    """
    found = _bad_numbers(stats) or [
        *_bad_targets(stats), *_bad_features(stats), *_bad_experts(stats)]
    found.sort(key=lambda pair: -pair[0])
    return Verdict(STATUS[max((level for level, _ in found), default=0)],
                   tuple(cause for _, cause in found))


def _bad_numbers(stats: Mapping[str, float]) -> list[tuple[int, str]]:
    names = [name for name, value in stats.items() if not math.isfinite(value)]
    return [(2, f'{", ".join(names)} not finite: weights or inputs hold NaN or infinity; go back '
                'to the last good checkpoint')] if names else []


def _bad_targets(stats: Mapping[str, float]) -> list[tuple[int, str]]:
    """Targets without information, and a centre that jumps."""
    own, mean = stats['target_entropy'], stats['mean_target_entropy']
    log_k = stats['log_prototypes']
    most = min(log_k, stats['log_images'])  # 0 of one image, whose target tells nothing apart
    share = (mean - own) / most if most > 0 else 1.
    level = 2 if share < 0.03 else 1 if share < 0.10 else 0
    found = []
    if level:
        if own > 0.95 * log_k:
            cause = ('they are close to uniform: the centre outweighs the sharpening; lower '
                     "teacher_temp, or use centering='sinkhorn_knopp'")
        elif mean < 0.25 * log_k:
            cause = ('all images get one constant target: the centre does not keep up; lower '
                     "center_momentum or the learning rate, or use centering='sinkhorn_knopp'")
        else:
            cause = ('all images get nearly the same target: the head tells them apart no more; '
                     'lower the learning rate or raise the teacher momentum')
        found.append((level, f'targets carry {max(mean - own, 0):.3f} nats about the image, '
                             f'{cause}'))
    drift = stats.get('centre_drift', 0.)
    if drift > 2:
        found.append((1, f'the centre moved by {drift:.1f} teacher temperatures since the last '
                         'look: the teacher changes faster than targets should; raise its '
                         'momentum or lower the learning rate'))
    return found


def _bad_features(stats: Mapping[str, float]) -> list[tuple[int, str]]:
    rank, limit = stats['effective_rank'], stats['rank_limit']
    level = 2 if rank < min(1.5, 0.5 * limit) else 1 if rank < min(3, 0.5 * limit) else 0
    if not level:
        return []
    return [(level, f'effective rank {rank:.1f} of at most {limit:.0f}: the images\' features '
                    'fall onto few directions; the learning rate is too high or the targets '
                    'say nothing')]


def _bad_experts(stats: Mapping[str, float]) -> list[tuple[int, str]]:
    if 'largest_expert' not in stats:
        return []
    found = []
    distance = stats['prompt_distance']
    if distance < 0.1:
        found.append((2 if distance < 0.01 else 1,
                      f'the prompts are {distance:.3f} apart (cosine distance): the tasks share '
                      'one prompt in effect; check that part and attribute losses reach them'))
    largest, number = stats['largest_expert'], stats['num_experts']
    if number > 1 and largest > 0.7:
        found.append((2 if largest > 0.9 else 1,
                      f'one expert of {number:.0f} carries {largest:.0%} of its stage: take '
                      "balance='importance_load', or raise balance_weight"))
    unused = stats['unused_experts']
    if unused > 0.5:
        found.append((1, f'{unused:.0%} of the experts are used by no task: raise '
                         'balance_weight, or use fewer experts'))
    return found
