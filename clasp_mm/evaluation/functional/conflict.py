"""How much the tasks of one network get into each other's way (CLASP section IV-A)."""

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor

Gradients = Mapping[str, Mapping[str, Tensor]]


def gradient_cosines(gradients: Gradients) -> dict[tuple[str, str], dict[str, float]]:
    """Cosine of the gradients of each pair of tasks in each layer they share.

    A layer is shared by two tasks where both have a gradient there that is not zero.

    Args:
        gradients: Task -> layer -> gradient, of any shape, the same for all tasks.

    Returns:
        (task, task) -> layer -> cosine, -1 to 1.
    """
    pairs = list(combinations(gradients, 2))
    norms = {task: {name: g.double().norm() for name, g in layers.items()}
             for task, layers in gradients.items()}
    found: dict[tuple[str, str], dict[str, float]] = {}
    for a, b in pairs:
        shared = [name for name in gradients[a] if name in gradients[b]]
        values = [torch.dot(gradients[a][name].double().flatten(),
                            gradients[b][name].double().flatten())
                  / (norms[a][name] * norms[b][name]) for name in shared]
        values = torch.stack(values).tolist() if values else []  # 0 / 0 is NaN: not shared
        found[a, b] = {name: value for name, value in zip(shared, values, strict=True)
                       if value == value}
    return found


def gradient_conflict_ratio(gradients: Gradients) -> float:
    """Share of the layers and task pairs whose gradients point apart, GCR (CLASP eq. 15, 16).

    Args:
        gradients: See :func:`gradient_cosines`.

    Returns:
        0 to 1; NaN where no two tasks share a layer.

    Example:
        >>> one, other = torch.tensor([1., 0.]), torch.tensor([-1., 1.])
        >>> gradient_conflict_ratio({'part': {'stage1': one, 'stage2': one},
        ...                          'attribute': {'stage1': one, 'stage2': other}})
        0.5
    """
    cosines = [value for layers in gradient_cosines(gradients).values()
               for value in layers.values()]
    return sum(value < 0 for value in cosines) / len(cosines) if cosines else float('nan')


def expert_divergences(use: Tensor) -> dict[tuple[int, int], Tensor]:
    """``1 - sum_j min(p_a(j), p_b(j))`` of each pair of tasks a, b in each stage.

    Args:
        use: See :func:`expert_activation_divergence`.

    Returns:
        Places of the two tasks -> (S,).
    """
    if use.dim() != 3 or len(use) < 2:
        raise ValueError(f'the use of experts has shape {tuple(use.shape)}; it needs '
                         '(tasks, stages, experts) and at least two tasks')
    if (use < 0).any() or (use.sum(2) <= 0).any():
        raise ValueError('the use of experts must be at least 0 and not all 0 in any stage')
    share = use / use.sum(2, keepdim=True)
    return {(a, b): (1 - torch.minimum(share[a], share[b]).sum(1)).clamp(min=0)  # rounding
            for a, b in combinations(range(len(share)), 2)}


def expert_activation_divergence(use: Tensor) -> float:
    """How little the experts of the tasks overlap, EAD (CLASP eq. 17).

    The mean of :func:`expert_divergences` over stages and pairs of tasks.

    Args:
        use: (T, S, n), mean activation of every expert for each task and stage, not negative;
            normalised here to p.

    Returns:
        0, where all tasks use the same experts alike, to 1, where no two share one.

    Raises:
        ValueError: Fewer than two tasks, or a task and stage without any activation.

    Example:
        >>> use = torch.tensor([[[1., 1., 0.]], [[0., 1., 1.]]])  # 2 tasks, 1 stage, 3 experts
        >>> expert_activation_divergence(use)
        0.5
    """
    return torch.stack(list(expert_divergences(use).values())).mean().item()


def harmonic_mean(reid_map: float, parsing_miou: float) -> float:
    """HM of re-identification mAP and parsing mIoU (CLASP eq. 18), in their unit.

    Raises:
        ValueError: If a score is negative.

    Example:
        >>> harmonic_mean(90, 60)
        72.0
    """
    if min(reid_map, parsing_miou) < 0:
        raise ValueError(f'scores must not be negative, got mAP={reid_map}, mIoU={parsing_miou}')
    total = reid_map + parsing_miou
    return 2 * reid_map * parsing_miou / total if total else 0.
