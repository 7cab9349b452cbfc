"""Arrays of the host on a device, without a wait."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def upload(array: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """An array on a device; on its way to a GPU the host goes on with its work."""
    tensor = torch.as_tensor(array)
    if device.type == 'cuda' and tensor.device.type == 'cpu':
        tensor = tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
