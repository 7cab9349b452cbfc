"""From a batch of the data loader to normalised views on the model's device."""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any

import torch
from mmpretrain.models import SelfSupDataPreprocessor
from torch import Tensor

from clasp_mm.compat.private_torch import tensors_of
from clasp_mm.registry import MODELS


@MODELS.register_module()
class ViewPreprocessor(SelfSupDataPreprocessor):
    """mmpretrain's ``SelfSupDataPreprocessor``, with the same values, that no step waits for.

    Pixels cross to a GPU as they are, uint8, and are normalised there, all views of one size at
    once. The copies run on a stream of their own: as the host is ahead of the GPU, a batch crosses
    while the step before it is computed. From pinned memory (``train_dataloader.pin_memory=True``)
    the host does not wait either.

    Args:
        **kwargs: ``mean``, ``std`` and ``bgr_to_rgb`` of the host's.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{'non_blocking': True, **kwargs})

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Views and samples on the device, the views normalised.

        Args:
            data: ``inputs``, a list of (B, 3, H_v, W_v) views of any number type, or one such
                batch, and ``data_samples``.
            training: Not used.
        """
        data = self.to_device(data)
        views = data['inputs']
        single = isinstance(views, Tensor)
        views = self.normalize([views] if single else views)
        return dict(inputs=views[0] if single else views, data_samples=data['data_samples'])

    def to_device(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """A batch with its tensors on the model's device."""
        if self.device.type != 'cuda':
            return self.cast_data(data)
        compute = torch.cuda.current_stream(self.device)
        copies = _copy_stream(compute.device)
        with torch.cuda.stream(copies):
            data = self.cast_data(data)
        compute.wait_stream(copies)
        for tensor in tensors_of(data):
            tensor.record_stream(compute)  # its memory is not the next batch's before that
        return data

    def normalize(self, views: Sequence[Tensor]) -> list[Tensor]:
        """(B, 3, H_v, W_v) views as float32, neighbours of one size together."""
        normalized: list[Tensor] = []
        for _, group in groupby(views, key=lambda view: view.shape[1:]):
            group = list(group)
            images = torch.cat(group)  # a copy, also of one: what follows writes into it
            if self._channel_conversion:
                images = images.flip(1)
            images = images.float()
            if self._enable_normalize:
                images = images.sub_(self.mean).div_(self.std)
            normalized += images.split([len(view) for view in group])
        return normalized


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
