"""Losses of human parsing with edges and self-correction (Li et al. 2020, SCHP)."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255


def label_edges(label: Tensor, width: int = 3) -> Tensor:
    """Edge map of label maps, as CE2P makes it (Ruan et al. 2019).

    Of two neighbours (down, right and both diagonals) with different labels one is marked; the
    marks are spread over ``width`` x ``width`` pixels.

    Args:
        label: (B, H, W) integers; a pair with an ignored pixel (255) is no edge.
        width: Odd width of the edges in pixels.

    Returns:
        (B, H, W) int64: 1 on edges, 0 elsewhere, also where the label is ignored.

    Example:
        >>> label_edges(torch.tensor([[[1, 1, 1, 2, 2]]]), width=1)
        tensor([[[0, 0, 1, 0, 0]]])
    """
    marks = [F.pad(((a != b) & (a != IGNORE) & (b != IGNORE)).float(), side)
             for a, b, side in _neighbours(label)]
    marked = torch.stack(marks, 1).amax(1, keepdim=True)
    return F.max_pool2d(marked, width, 1, width // 2)[:, 0].long()


def balanced_edge_loss(logits: Tensor, edges: Tensor) -> Tensor:
    """Cross-entropy in which edge and other pixels weigh the same in total.

    With SCHP's class weights (the share of the other class), a weighted mean is the mean of the
    two classes' means. A class that does not occur is left out.

    Args:
        logits: (B, 2, H, W), of no edge and of an edge.
        edges: (B, H, W) of 0 and 1.

    Example:
        >>> balanced_edge_loss(torch.zeros(1, 2, 1, 3), torch.tensor([[[0, 0, 1]]]))  # log 2
        tensor(0.6931)
    """
    loss = F.cross_entropy(logits, edges, reduction='none')
    classes = torch.stack([edges == 1, edges == 0])
    total = torch.stack([_masked_mean(loss, pixels) for pixels in classes]).sum()
    return total / classes.flatten(1).any(1).sum().clamp(min=1)


def parsing_loss(logits: Tensor, label: Tensor, target: Tensor | None = None) -> Tensor:
    """Mean over the labelled pixels of the cross-entropy, or of KL(target || softmax(logits)).

    Args:
        logits: (B, C, H, W).
        label: (B, H, W) integers; 255 is ignored.
        target: (B, C, H, W) probabilities to match instead of the label.

    Returns:
        Scalar; 0, still part of the graph, where nothing is labelled.

    Example:
        >>> parsing_loss(torch.zeros(1, 4, 1, 3), torch.tensor([[[0, 3, 255]]]))  # log 4
        tensor(1.3863)
    """
    labelled = label != IGNORE
    if target is None:
        loss = F.cross_entropy(logits, label, ignore_index=IGNORE, reduction='none')
    else:
        loss = F.kl_div(logits.log_softmax(1), target, reduction='none').sum(1)
    return _masked_mean(loss, labelled)


def refine_labels(label: Tensor, logits: Tensor, cycle: int) -> Tensor:
    """Soft labels of a self-correction cycle, as SCHP's code makes them.

    Logits and one-hot label are mixed, and the mixture's softmax is the target: the label adds
    ``1 / (cycle + 1)`` to its class's logit.

    Args:
        label: (B, H, W) integers; ignored pixels (255) get the target of class 0.
        logits: (B, C, H, W), the averaged model's.
        cycle: m >= 1; the logits weigh m / (m + 1), the label 1 / (m + 1).

    Returns:
        (B, C, H, W) probabilities.

    Example:
        >>> refine_labels(torch.tensor([[[1]]]), torch.zeros(1, 2, 1, 1), cycle=1).flatten()
        tensor([0.3775, 0.6225])
    """
    one_hot = torch.zeros_like(logits).scatter_(
        1, label.masked_fill(label == IGNORE, 0)[:, None], 1.)
    return torch.lerp(logits, one_hot, 1 / (cycle + 1)).softmax(1)


def _neighbours(maps: Tensor) -> Iterator[tuple[Tensor, Tensor, tuple[int, int, int, int]]]:
    """Views of each pixel to mark and its neighbour, and the padding back to (..., H, W)."""
    yield maps[..., 1:, :], maps[..., :-1, :], (0, 0, 1, 0)
    yield maps[..., :-1], maps[..., 1:], (0, 1, 0, 0)
    yield maps[..., :-1, :-1], maps[..., 1:, 1:], (0, 1, 0, 1)
    yield maps[..., :-1, 1:], maps[..., 1:, :-1], (1, 0, 0, 1)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1)
