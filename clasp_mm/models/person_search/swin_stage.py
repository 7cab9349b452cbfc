"""The last stage of a PC-MoE Swin on regions in place of whole images."""

from copy import deepcopy

from mmengine.model import BaseModule
from torch import Tensor

from ..backbones.pcmoe_swin import PCMoESwin


class LastStage(BaseModule):
    """Patch merging, blocks, PC-MoE and norm of a backbone's last stage, copied.

    Args:
        backbone: Where they are copied from; it puts out its last two stages.
    """

    def __init__(self, backbone: PCMoESwin) -> None:
        super().__init__()
        before, stage = backbone.stages[-2:]
        self.downsample = deepcopy(before.downsample)
        self.blocks = deepcopy(stage.blocks)
        self.moe = deepcopy(stage.moe)
        self.norm = deepcopy(getattr(backbone, f'norm{backbone.num_stages - 1}'))

    def take(self, backbone: PCMoESwin) -> None:
        """Copy the backbone's weights."""
        before, stage = backbone.stages[-2:]
        self.downsample.load_state_dict(before.downsample.state_dict())
        self.blocks.load_state_dict(stage.blocks.state_dict())
        if self.moe is not None:
            self.moe.load_state_dict(stage.moe.state_dict())
        self.norm.load_state_dict(
            getattr(backbone, f'norm{backbone.num_stages - 1}').state_dict())

    def forward(self, x: Tensor, prompt_weights: Tensor | None = None) -> Tensor:
        """Maps (N, C, H, W) of regions to (N, 2C, H / 2, W / 2).

        Args:
            x: The maps.
            prompt_weights: (1, M) of :func:`.layers.tasks.task_weights`; a PC-MoE needs them.
        """
        hw = tuple(x.shape[2:])
        x, hw = self.downsample(x.flatten(2).transpose(1, 2), hw)
        for block in self.blocks:
            x = block(x, hw)
        if self.moe is not None:
            x, _ = self.moe(x, prompt_weights)
        return self.norm(x).transpose(1, 2).unflatten(2, hw)
