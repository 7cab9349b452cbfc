"""Pyramid pooling that says what a batch of one image lacks."""

from mmseg.models.decode_heads.psp_head import PPM
from torch import Tensor


def pooled_maps(pooling: PPM, x: Tensor) -> list[Tensor]:
    """The pyramid's maps of ``x`` (B, C, h, w), each at its own size.

    Raises:
        ValueError: In training, the batch norm of one cell has one image to take its variance from.
    """
    try:
        return [pool(x) for pool in pooling]
    except ValueError as error:
        if len(x) > 1:
            raise
        raise ValueError(
            'a batch of one image cannot be trained on: the batch norm of pyramid pooling\'s 1x1 '
            'map has no variance. Set train_dataloader.batch_size to 2 at least and '
            'train_dataloader.drop_last=True, which leaves out a last batch of one') from error
