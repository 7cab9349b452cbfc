"""SOLIDER: DINO and three body parts over one backbone with a semantic controller."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clasp_mm.pseudo_labels.hashing import uniforms
from clasp_mm.pseudo_labels.regions import FOREGROUND_RULES, find_regions
from clasp_mm.pseudo_labels.transfer import upload
from clasp_mm.registry import MODELS

from ..backbones import Embedded, SemanticSwin
from ..heads.part_seg_head import IGNORE
from ..losses import average_together, global_means, share_of_mean
from .dino import DINO


def semantic_draws(keys: np.ndarray, num_parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Semantic weight and erased part of each image, by its key alone.

    Args:
        keys: (B,) uint64.
        num_parts: Number of parts.

    Returns:
        lambda ~ Bernoulli(0.5), (B,) float32, and a part of 1 to ``num_parts``, (B,) int64.
    """
    draws = uniforms(keys, 2, stream=2)
    return ((draws[:, 0] < 0.5).astype(np.float32),
            1 + (draws[:, 1] * num_parts).astype(np.int64))


@MODELS.register_module()
class SOLIDER(DINO):
    """DINO plus a part loss, weighed by the semantic weight of the image (arXiv 2303.17602).

    Every step draws lambda, 0 or 1, for each image; student and teacher see all its views under
    it. The teacher's map of a global view under lambda = 1 gives the labels: 2-means of the
    tokens' norms tells the person, k-means of its tokens the parts, counted from top to bottom. A
    view counts if more than ``min_foreground`` of it is person. The student tells the parts of
    each such view, and of the view once more with one of its parts erased:
    ``L = L_dino + part_weight mean(lambda CE)``, over all tokens of these views.

    SOLIDER's code never trains its part head, a DINO head with logits in [-1, 1], and fails where
    no view counts; here the head is linear and trained, and the loss is 0. It erases the same part
    in a whole batch; here every image draws its own. lambda and part follow from the image's index
    and the epoch alone.

    Args:
        backbone: Config of ``clasp_mm.SemanticSwin``.
        head: Config of ``clasp_mm.DINOHead``.
        part_head: Config of ``clasp_mm.PartSegHead``, which has a class for each part and the
            background. The map it reads is the one that is clustered.
        foreground: Rule that tells person from background, see
            :func:`~clasp_mm.pseudo_labels.regions.foreground_mask`; SOLIDER's is ``norm``.
        min_foreground: A view needs a larger share of foreground tokens than this.
        part_weight: Weight of the part loss.
        **kwargs: See :class:`DINO`.

    Raises:
        ValueError: If the backbone has no semantic controller or a setting is out of range.

    Example:
        >>> model = SOLIDER(dict(type='clasp_mm.SemanticSwin', arch='nano'),
        ...                 dict(type='clasp_mm.DINOHead', in_channels=256, out_dim=16),
        ...                 dict(type='clasp_mm.PartSegHead', in_channels=256, num_classes=3))
        >>> views = [torch.rand(2, 3, 128, 64), torch.rand(2, 3, 128, 64)]
        >>> sorted(model.loss(views, dict(sample_idx=torch.tensor([0, 1]))))
        ['accepted', 'loss_dino', 'loss_part', 'part_accuracy']
    """

    task = 0.0

    def __init__(self,
                 backbone: dict,
                 head: dict,
                 part_head: dict,
                 foreground: str = 'norm',
                 min_foreground: float = 0.5,
                 part_weight: float = 1.0,
                 **kwargs: Any) -> None:
        super().__init__(backbone=backbone, head=head, **kwargs)
        if not isinstance(self.backbone, SemanticSwin):
            raise ValueError('SOLIDER needs a backbone with a semantic controller, '
                             f'clasp_mm.SemanticSwin, got {type(self.backbone).__name__}')
        if foreground not in FOREGROUND_RULES:
            raise ValueError(f'foreground must be one of {FOREGROUND_RULES}, got {foreground!r}')
        if not 0 <= min_foreground < 1:
            raise ValueError(f'min_foreground must be in [0, 1), got {min_foreground}')
        self.part_head = MODELS.build(part_head)
        self.data_preprocessor.register_forward_hook(_keep_index)
        self.foreground = foreground
        self.min_foreground = min_foreground
        self.part_weight = part_weight

    def loss(self, inputs: list[Tensor], data_samples: Mapping[str, Any]) -> dict[str, Tensor]:
        """Losses and logged values of a batch.

        Args:
            inputs: Views, globals first, each (B, 3, H_v, W_v).
            data_samples: ``sample_idx`` (B,).
        """
        global_views, local_views = self.split_views(inputs)
        num_rows, device = len(global_views), global_views.device
        keys = data_samples['sample_idx'].cpu().numpy().astype(np.uint64)
        keys += np.uint64(self.epoch) << np.uint64(32)
        # The draws stay on the host too: it knows the rows without asking the device.
        weight, erased = semantic_draws(keys, self.part_head.num_classes - 1)
        host_weight = np.tile(weight, self.num_global)
        host_rows = np.flatnonzero(host_weight)
        rows = upload(host_rows, device)
        row_erased = upload(np.tile(erased, self.num_global)[host_rows], device)
        row_weight, weight = upload(host_weight, device), upload(weight, device)
        teacher_logits, part_map = self.label(global_views, host_weight,
                                              np.tile(keys, self.num_global))
        kept = (part_map > 0).float().mean((1, 2)) > self.min_foreground
        taught = kept & (row_weight > 0)

        masked = erase(global_views[rows], part_map[rows] == row_erased[:, None, None])
        maps = self.backbone(torch.cat([global_views, masked]),
                             torch.cat([row_weight, row_weight[rows]]))
        pooled = [maps[-1][:num_rows].mean((2, 3))]
        pooled += self.pool_local_views(local_views, weight.repeat(len(local_views)))[0]
        target = part_map.masked_fill(~taught[:, None, None], IGNORE)
        losses, part, (num_taught, num_kept) = average_together(
            self.distill(self.head(torch.cat(pooled)), teacher_logits),
            self.part_head.global_loss(maps, torch.cat([target, target[rows]])),
            global_means(taught.sum(), kept.sum()))
        # The mean is over all views that count; those of lambda = 0 add nothing but their number.
        part['loss_part'] = (self.part_weight * share_of_mean(num_taught, num_kept)
                             * part['loss_part'])
        return dict(losses, **part, accepted=kept.float().mean())

    @torch.no_grad()
    def label(self, global_views: Tensor, weight: np.ndarray,
              keys: np.ndarray) -> tuple[Tensor, Tensor]:
        """What the teacher says of the global views.

        Args:
            global_views: (N, 3, H, W).
            weight: Semantic weight of each, 0 or 1, (N,) float32.
            keys: Seeds of the clustering, (N,) uint64.

        Returns:
            DINO logits under the weights, (N, K), and the part of each token, (N, h, w) int64, 0
            for the background.
        """
        backbone = self.teacher.backbone
        tokens, hw = backbone.embed(global_views)
        rest = upload(np.flatnonzero(weight == 0), tokens.device)
        maps, _ = backbone.from_embed(
            Embedded(torch.cat([tokens, tokens[rest]]), hw),
            torch.cat([tokens.new_ones(len(weight)), tokens.new_zeros(len(rest))]))
        pooled = maps[-1].mean((2, 3))
        pooled, rest_pooled = pooled.split([len(weight), len(rest)])
        features = maps[self.part_head.in_index][:len(weight)]
        with torch.autocast(features.device.type, enabled=False):
            regions = find_regions(features.float(), (self.part_head.num_classes - 1,), keys,
                                   self.foreground)
        return (self.teacher.head(pooled.index_copy(0, rest, rest_pooled)),
                regions.view(len(weight), *features.shape[-2:]).long())


def _keep_index(_: torch.nn.Module, args: tuple, output: dict) -> None:
    """Leave ``sample_idx`` where the data loader put it: the draws are made on the host."""
    samples = args[0]['data_samples']
    if samples is not None:
        output['data_samples'] = {**output['data_samples'], 'sample_idx': samples['sample_idx']}


def erase(images: Tensor, where: Tensor) -> Tensor:
    """Images (B, 3, H, W), 0 where a token of (B, h, w) is True."""
    where = F.interpolate(where[:, None].float(), images.shape[-2:], mode='nearest-exact')
    return images.masked_fill(where > 0, 0)
