"""SeqNet on mmdet's SwinTransformer, to be measured against."""

from __future__ import annotations

from typing import Any

from mmdet.models.backbones import SwinTransformer

from clasp_mm.models.person_search import SeqNet


class HostSwin(SwinTransformer):
    """mmdet's, with what SeqNet asks of a backbone."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_stages = len(self.stages)
        for stage in self.stages:
            stage.moe = None


class HostSeqNet(SeqNet):
    """SeqNet on it."""

    def _cut_backbone(self) -> None:
        super()._cut_backbone()
        self.backbone.stages[-1].downsample = None  # mmdet's stages ask
