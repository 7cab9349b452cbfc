"""mmsegmentation's UPerNet head, with half of its work."""

from collections.abc import Sequence

from mmseg.models import UPerHead as HostUPerHead
from mmseg.models.utils import resize
from torch import Tensor

from clasp_mm.registry import MODELS

from .pooling import pooled_maps
from .resized_conv import resized_conv


@MODELS.register_module()
class UPerHead(HostUPerHead):
    """The head of UPerNet (Xiao et al., ECCV 2018): mmsegmentation's, with less work.

    Arguments, weights and outputs are the host's. Its two convolutions of resized maps, most of
    UPerNet's work, are computed at the maps' own resolutions (:func:`.resized_conv`).
    """

    def _forward_feature(self, inputs: Sequence[Tensor]) -> Tensor:
        """The backbone's maps (B, C_i, h_i, w_i) to (B, channels, h_0, w_0)."""
        *stages, last = self._transform_inputs(inputs)
        pooled = pooled_maps(self.psp_modules, last)
        maps = [resized_conv(self.bottleneck, [last, *pooled], last.shape[-2:], self.align_corners)]
        for lateral, x in zip(reversed(self.lateral_convs), reversed(stages), strict=True):
            above = resize(maps[0], size=x.shape[-2:], mode='bilinear',
                           align_corners=self.align_corners)
            maps.insert(0, lateral(x) + above)
        for level, conv in enumerate(self.fpn_convs):
            maps[level] = conv(maps[level])
        return resized_conv(self.fpn_bottleneck, maps, maps[0].shape[-2:], self.align_corners)
