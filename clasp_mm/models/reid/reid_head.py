"""Head of re-identification: an embedding that is classified behind a BNNeck."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn import functional as F

from clasp_mm.registry import MODELS

from ..losses import upcast

_FEATURES = ('before', 'after')


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
    features = upcast(features)
    with torch.autocast(features.device.type, enabled=False):
        distances = torch.cdist(features, features,
                                compute_mode='donot_use_mm_for_euclid_dist')
    same = labels[:, None] == labels
    if same.all():
        return features.sum() * 0.
    farthest = distances.masked_fill(~same, -torch.inf).amax(dim=1)
    nearest = distances.masked_fill(same, torch.inf).amin(dim=1)
    return F.softplus(farthest - nearest).mean()


@MODELS.register_module()
class ReIDHead(BaseModule):
    """BNNeck (Luo et al., arXiv 1903.07071) as TransReID's global branch has it (2102.04378).

    The pooled feature goes into the triplet loss as it is, and through a batch norm without
    learned shift and a linear layer without bias into the cross-entropy over the identities.

    With ``num_cameras``, a learned vector of the image's camera is added to the pooled feature
    (TransReID's side information; there it is added to the tokens of a ViT). Then training and
    testing need ``camera``, 0 to ``num_cameras`` - 1, among the meta keys.

    Args:
        num_classes: Identities to train on.
        in_channels: Channels of the pooled feature.
        id_weight: Weight of the cross-entropy.
        triplet_weight: Weight of the triplet loss; 0: none.
        label_smoothing: Smoothing of the labels of the cross-entropy.
        test_feature: The feature of a person: ``'before'`` or ``'after'`` the batch norm.
        num_cameras: Cameras that have a vector; 0: none.
        camera_weight: Factor of the camera's vector.
        init_cfg: MMEngine's.

    Raises:
        ValueError: An argument is out of its range.

    Example:
        >>> features = ReIDHead(num_classes=4, in_channels=8)((torch.rand(2, 8), ))
        >>> features.norm(dim=1).round().tolist()
        [1.0, 1.0]
    """

    def __init__(self, num_classes: int, in_channels: int, id_weight: float = 1.,
                 triplet_weight: float = 1., label_smoothing: float = 0.,
                 test_feature: str = 'before', num_cameras: int = 0, camera_weight: float = 1.,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if test_feature not in _FEATURES:
            raise ValueError(f'test_feature must be one of {_FEATURES}, got {test_feature!r}')
        if num_classes < 2 or num_cameras < 0:
            raise ValueError('num_classes must be at least 2 and num_cameras at least 0, got '
                             f'{num_classes} and {num_cameras}')
        self.num_classes, self.num_cameras = num_classes, num_cameras
        self.id_weight, self.triplet_weight = id_weight, triplet_weight
        self.label_smoothing, self.test_feature = label_smoothing, test_feature
        self.camera_weight = camera_weight
        self.neck = nn.BatchNorm1d(in_channels)
        self.neck.bias.requires_grad_(False)
        self.classifier = nn.Linear(in_channels, num_classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=.001)
        if num_cameras:
            self.cameras = nn.Embedding(num_cameras, in_channels)
            nn.init.trunc_normal_(self.cameras.weight, std=.02)

    def forward(self, feats: Sequence[Tensor], data_samples: list[DataSample] | None = None
                ) -> Tensor:
        """Features of people.

        Args:
            feats: Pooled features, (B, C) each; the last is used.
            data_samples: Where cameras have vectors: their ``camera``.

        Returns:
            (B, C) of unit length.

        Raises:
            ValueError: See :meth:`embed`.
        """
        feature = self.embed(feats, data_samples)
        if self.test_feature == 'after':
            feature = self.neck(feature)
        return F.normalize(feature.float(), dim=1)

    def embed(self, feats: Sequence[Tensor], data_samples: list[DataSample] | None = None
              ) -> Tensor:
        """The last of the pooled features, (B, C) each, with the camera's vector if there is one.

        Raises:
            ValueError: A camera is missing or unknown.
        """
        feature = feats[-1]
        if not self.num_cameras:
            return feature
        cameras = [sample.get('camera') for sample in data_samples or [{}]]
        bad = [camera for camera in cameras
               if camera is None or not 0 <= camera < self.num_cameras]
        if bad:
            raise ValueError(
                f'camera {bad[0]} of an image: the head has vectors of the cameras 0 to '
                f"{self.num_cameras - 1}; pack 'camera' as a meta key and set model.head."
                'num_cameras to the number of cameras, or to 0 to do without')
        index = torch.tensor(cameras, device=feature.device)
        return feature + self.camera_weight * self.cameras(index)

    def loss(self, feats: Sequence[Tensor], data_samples: list[DataSample]) -> dict[str, Tensor]:
        """``loss_id``, ``loss_triplet`` where it has a weight, and ``accuracy`` in percent.

        Raises:
            ValueError: A label is not below ``num_classes``; see also :meth:`embed`.
        """
        labels = torch.cat([sample.gt_label for sample in data_samples])
        if labels.max() >= self.num_classes:
            raise ValueError(f'label {int(labels.max())} with num_classes={self.num_classes}: set '
                             'model.head.num_classes to the number of identities that the data '
                             'set logs')
        feature = self.embed(feats, data_samples)
        logits = self.classifier(self.neck(feature)).float()
        losses = dict(
            loss_id=self.id_weight * F.cross_entropy(
                logits, labels, label_smoothing=self.label_smoothing),
            accuracy=(logits.argmax(dim=1) == labels).float().mean() * 100)
        if self.triplet_weight:
            losses['loss_triplet'] = self.triplet_weight * batch_hard_triplet_loss(feature, labels)
        return losses

    def predict(self, feats: Sequence[Tensor], data_samples: list[DataSample] | None = None
                ) -> list[DataSample]:
        """The samples with their ``feature``, (C,)."""
        features = self(feats, data_samples)
        samples = data_samples or [DataSample() for _ in features]
        for sample, feature in zip(samples, features, strict=True):
            sample.set_field(feature, 'feature')
        return samples
