"""Batch-hard triplet loss."""

import torch
from torch import Tensor
from torch.nn import functional as F


def batch_hard_triplet_loss(features: Tensor, labels: Tensor) -> Tensor:
    """Soft-margin triplet loss with the hardest pairs of the batch (Hermans et al., 1703.07737).

    ``mean(log(1 + exp(d_p - d_n)))`` over the anchors, with the Euclidean distances ``d_p`` to the
    farthest image of the same identity and ``d_n`` to the nearest of another. Equal features have
    distance 0 and the gradient 0.

    Args:
        features: (B, C), as they are, not normalised; computed in float32 at least.
        labels: (B,) identities.

    Returns:
        A scalar; 0 where the batch has one identity.

    Example:
        >>> features = torch.tensor([[0., 0.], [0., 0.], [9., 0.], [9., 0.]])
        >>> batch_hard_triplet_loss(features, torch.tensor([0, 0, 1, 1]))
        tensor(0.0001)
    """
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    with torch.autocast(features.device.type, enabled=False):
        distances = torch.cdist(features, features,
                                compute_mode='donot_use_mm_for_euclid_dist')
    same = labels[:, None] == labels
    if same.all():
        return features.sum() * 0.
    farthest = distances.masked_fill(~same, -torch.inf).amax(dim=1)
    nearest = distances.masked_fill(same, torch.inf).amin(dim=1)
    return F.softplus(farthest - nearest).mean()
