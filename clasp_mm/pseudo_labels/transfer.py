"""Arrays between host and device, and what is made of them, without a wait until needed."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Item = TypeVar('Item')


def upload(array: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """An array on a device; on its way to a GPU the host goes on with its work."""
    tensor = torch.as_tensor(array)
    if device.type == 'cuda' and tensor.device.type == 'cpu':
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Download:
    """Tensors on their way from their device to the host.

    Args:
        tensors: By name.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._arrays = {name: tensor.to('cpu', non_blocking=True)
                        for name, tensor in tensors.items()}
        self._arrived = None
        device = next(iter(tensors.values())).device
        if device.type == 'cuda':
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(device))

    def wait(self) -> dict[str, np.ndarray]:
        """The arrays, once all are there; later work of the device is not waited for."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return {name: array.numpy() for name, array in self._arrays.items()}


def late(items: Iterable[Item], by: int = 1) -> Iterator[Item]:
    """Each item when ``by`` more are there: what it has asked for is done in the meantime.

    An error comes after all the items before it.
    """
    iterator, end = iter(items), None
    waiting: deque[Item] = deque()
    while end is None:
        try:
            waiting.append(next(iterator))
        except BaseException as error:
            end = error
        while len(waiting) > (by if end is None else 0):
            yield waiting.popleft()
    if not isinstance(end, StopIteration):
        raise end
