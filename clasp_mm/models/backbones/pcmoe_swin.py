"""Swin backbone with a prompt-controlled mixture of experts after every stage."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from mmengine.model import BaseModule, PretrainedInit
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clasp_mm.registry import MODELS, WEIGHT_INITIALIZERS

from ..compiling import Compilation, compilable
from ..layers.cpu import chunked
from ..layers.linear import init_linear
from ..layers.pc_moe import Gates, PCMoE
from ..layers.swin_block import PatchEmbed, PatchMerging, SwinBlock
from ..layers.tasks import TASKS, mean_of_tasks, task_rows
from .archs import arch_settings, moe_settings, stage_indices

Task = str | Sequence
_PRETRAINED = ('clasp_mm.Pretrained', 'Pretrained', PretrainedInit)
_DEFAULT_MOE: Mapping = MappingProxyType({})


class Embedded(NamedTuple):
    """An image after stem and first stage, before any prompt.

    Attributes:
        tokens: (B, L, C); rows may be selected, repeated or concatenated.
        hw: (H, W) of their map, L = H * W.
    """

    tokens: Tensor
    hw: tuple[int, int]


class _Stage(nn.Module):
    """Blocks of one stage, its PC-MoE (or None) and the merging to the next (or None)."""

    def __init__(self, blocks: list[SwinBlock], moe: PCMoE | None,
                 downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.moe = moe
        self.downsample = downsample


@MODELS.register_module()
class PCMoESwin(BaseModule):
    """Swin Transformer whose stages are modulated by the prompt of a task (CLASP).

    With ``moe=None`` this is the Swin of mmdet, mmsegmentation and mmpose, and mmpretrain's with
    the same ``pad_small_map``, to numerical precision and with the same parameter names.

    Every stage has its output norm whatever ``out_indices`` says, so that a checkpoint that was
    pretrained on the last map can be fine-tuned on all of them. Norms that are not put out, and
    stages after the last that is, are not computed; they are frozen, as no gradient reaches them.

    Args:
        arch: 'nano', 'tiny', 'small', 'base', or a dict of embed_dims (int), depths and
            num_heads (one per stage).
        task: The task, or tasks, whose prompts are used when ``forward`` names none: a name of
            ``TASKS``, several names (their mean), or one entry per stage (each a name or several)
            where there are as many entries as stages. None: ``forward`` must name it.
        moe: Arguments of :class:`~clasp_mm.models.layers.PCMoE` and ``stages``, the stages that
            have one (default: all). None: plain Swin.
        out_indices: Stages whose normed maps are put out.
        strides: Patch size, then the stride of each patch merging (1 or 2).
        window_size: Side of the attention window, in tokens.
        pad_small_map: As mmpretrain's, whose default is False. True shifts the windows of every
            second block on maps of any size, as mmdet, mmsegmentation, mmpose and SOLIDER do.
            False does not shift a map with a side of one window (the last one of 224x224), as
            ImageNet's classifiers of Microsoft, timm and mmpretrain, and refuses shorter sides.
            :class:`~clasp_mm.models.weights.swin.LoadReport` says what weights were trained with.
        in_channels: Channels of the image.
        drop_rate: Dropout of the patch tokens, attention outputs and feed-forward networks.
        attn_drop_rate: Dropout of the attention probabilities.
        drop_path_rate: Stochastic depth of the last block; it rises linearly from 0.
        frozen_stages: The stem and all stages up to this one are frozen and in evaluation mode,
            with their PC-MoE and norms; -1 freezes nothing.
        with_cp: Recompute activations in the backward pass to save memory.
        channels_last: Put maps out in the memory format of the tokens, without a copy, in which
            convolutions are often faster. Not for mmcv's RoIAlign and deformable convolutions:
            they take such maps for contiguous ones and compute something else.
        init_cfg: MMEngine's; see :meth:`init_weights`.
        pretrained: Must stay None. MMSegmentation's models hand theirs down; a config inherited
            from a ResNet's sets ``model.pretrained=None`` and names weights in ``init_cfg``.

    Raises:
        ValueError: If an argument is unknown or out of range; the message names the way out.

    Example:
        >>> backbone = PCMoESwin('nano', task='part', out_indices=(0, 3))
        >>> [tuple(maps.shape) for maps in backbone(torch.rand(1, 3, 64, 32))]
        [(1, 32, 16, 8), (1, 256, 2, 1)]
    """

    compilation: Compilation | None = None  # see clasp_mm.models.compiling

    def __init__(self,
                 arch: str | Mapping = 'tiny',
                 task: Task | None = None,
                 moe: Mapping | None = _DEFAULT_MOE,
                 out_indices: Sequence[int] = (3, ),
                 strides: Sequence[int] = (4, 2, 2, 2),
                 window_size: int = 7,
                 pad_small_map: bool = True,
                 in_channels: int = 3,
                 drop_rate: float = 0.,
                 attn_drop_rate: float = 0.,
                 drop_path_rate: float = 0.1,
                 frozen_stages: int = -1,
                 with_cp: bool = False,
                 channels_last: bool = False,
                 init_cfg: dict | list[dict] | None = None,
                 pretrained: None = None) -> None:
        super().__init__(init_cfg)
        if pretrained is not None:
            raise ValueError(
                f'pretrained={pretrained!r} was meant for another backbone: set it to None in the '
                "model and give this one init_cfg=dict(type='clasp_mm.Pretrained', "
                'checkpoint=...)')
        arch = arch_settings(arch)
        self.embed_dims = arch['embed_dims']
        self.depths = tuple(arch['depths'])
        self.num_stages = len(self.depths)
        self.num_features = tuple(self.embed_dims * 2**i for i in range(self.num_stages))
        self.out_indices = stage_indices(out_indices, self.num_stages, 'out_indices')
        self.frozen_stages = frozen_stages
        self.pad_small_map = pad_small_map
        self.with_cp = with_cp
        self.channels_last = channels_last
        if len(strides) != self.num_stages:
            raise ValueError(
                f'strides={tuple(strides)} needs one entry per stage, {self.num_stages}')
        if any(stride not in (1, 2) for stride in strides[1:]):
            raise ValueError(f'strides={tuple(strides)}: patch merging has stride 1 or 2')
        if not -1 <= frozen_stages < self.num_stages:
            raise ValueError(
                f'frozen_stages={frozen_stages} must lie between -1 and {self.num_stages - 1}')

        self.strides = tuple(strides)
        moe_args, moe_stages = moe_settings(moe, self.num_stages)
        self.patch_embed = PatchEmbed(in_channels, self.embed_dims, strides[0])
        self.drop_after_pos = nn.Dropout(drop_rate)
        rate_step = drop_path_rate / max(sum(self.depths) - 1, 1)
        self.stages = nn.ModuleList()
        for i, dim in enumerate(self.num_features):
            first = sum(self.depths[:i])
            blocks = [
                SwinBlock(
                    dim,
                    arch['num_heads'][i],
                    window_size,
                    shift=j % 2 == 1,
                    drop_path_rate=rate_step * (first + j),
                    drop_rate=drop_rate,
                    attn_drop_rate=attn_drop_rate,
                    pad_small_map=pad_small_map) for j in range(self.depths[i])
            ]
            last = i == self.num_stages - 1
            self.stages.append(
                _Stage(blocks, PCMoE(dim, **moe_args) if i in moe_stages else None,
                       None if last else PatchMerging(dim, strides[i + 1])))
            self.add_module(f'norm{i}', nn.LayerNorm(dim))
        self.apply(init_linear)
        self._zero_moe_outputs()

        self.has_moe = bool(moe_stages)
        self.task = task
        if self.has_moe:
            rows = task_rows(self.stages[moe_stages[0]].moe.num_prompts)
            self.register_buffer('task_rows', rows, persistent=False)
            if task is not None:
                self.rows_of(task)  # raises when it names no task
        self._freeze()

    @compilable(evaluation=False)
    def forward(self, x: Tensor, task: Task | Tensor | None = None) -> tuple[Tensor, ...]:
        """Feature maps of images.

        Args:
            x: (B, in_channels, H, W), of any size.
            task: As the constructor's, which it replaces, or (B, M) float weights of the prompts
                of each image.

        Returns:
            Normed maps (B, C_i, H_i, W_i), one per entry of ``out_indices``.

        Raises:
            ValueError: If there is a PC-MoE and no task is named here or at construction.
        """
        return self.from_embed(self.embed(x), task)[0]

    def embed(self, x: Tensor) -> Embedded:
        """Stem and blocks of the first stage: all that no prompt touches."""
        x, hw = self.patch_embed(x)
        return Embedded(self._run_blocks(0, self.drop_after_pos(x), hw), hw)

    def from_embed(self, embedded: Embedded, task: Task | Tensor | None = None, first: int = 0
                   ) -> tuple[tuple[Tensor, ...], list[Gates]]:
        """The rest of the network, from what :meth:`embed` or :meth:`run_stages` gave.

        Args:
            embedded: Tokens before the PC-MoE of stage ``first`` and the size of their map.
            task: As in :meth:`forward`.
            first: The stage.

        Returns:
            The maps of :meth:`forward` from that stage on, and the gates of each PC-MoE that was
            computed, in the order of the stages.
        """
        return self.run_stages(embedded, task, first)[:2]

    @property
    def first_prompted(self) -> int:
        """The first stage whose PC-MoE sees the prompt; where none does, that after the last.

        What precedes that PC-MoE is the same for all tasks.
        """
        stop = max(self.out_indices) + 1
        return min([i for i, stage in enumerate(self.stages[:stop])
                    if stage.moe is not None and stage.moe.sees_prompt] + [stop])

    def run_stages(self, embedded: Embedded, task: Task | Tensor | None = None, first: int = 0,
                   stop: int | None = None) -> tuple[tuple[Tensor, ...], list[Gates], Embedded]:
        """From before the PC-MoE of stage ``first`` to before that of ``stop``, or to the end.

        Returns:
            Maps and gates of the stages between, as :meth:`from_embed`, and the tokens.
        """
        x, hw = embedded
        prompts = self._prompts(task, x)
        outs, gates = [], []
        last = max(self.out_indices)
        for i in range(first, last + 1 if stop is None else stop):
            stage = self.stages[i]
            if stage.moe is not None:
                x, stage_gates = self._run(stage.moe, x, prompts[i])
                gates.append(stage_gates)
            if i in self.out_indices:
                outs.append(self._map(i, x, hw))
            if i < last:
                x, hw = self._merge(i, x, hw, prompts[i])
                x = self._run_blocks(i + 1, x, hw)
        return tuple(outs), gates, Embedded(x, hw)

    def _merge(self, stage: int, x: Tensor, hw: tuple[int, int], prompt: Tensor | None
               ) -> tuple[Tensor, tuple[int, int]]:
        """Patch merging behind a stage."""
        return self.stages[stage].downsample(x, hw)

    def _map(self, stage: int, x: Tensor, hw: tuple[int, int]) -> Tensor:
        out = getattr(self, f'norm{stage}')(x).unflatten(1, hw).permute(0, 3, 1, 2)
        return out if self.channels_last else out.contiguous()

    def _run_blocks(self, stage: int, x: Tensor, hw: tuple[int, int]) -> Tensor:
        blocks = self.stages[stage].blocks

        def run(images: Tensor) -> Tensor:
            for block in blocks:
                images = self._run(block, images, hw)
            return images

        return chunked(blocks, run, x.shape[1] * blocks[0].ffn.hidden, x)

    def _run(self, module: nn.Module, *args):
        if self.with_cp and torch.is_grad_enabled():
            return checkpoint(module, *args, use_reentrant=False)
        return module(*args)

    def _prompts(self, task: Task | Tensor | None, x: Tensor) -> list[Tensor | None]:
        """Prompt weights (B or 1, M) of each stage; None where the model has no PC-MoE."""
        task = self.task if task is None else task
        if not self.has_moe:
            return [None] * self.num_stages
        if isinstance(task, Tensor):
            batch, num_prompts = x.shape[0], self.task_rows.shape[1]
            if task.shape != (batch, num_prompts) and task.shape != (1, num_prompts):
                raise ValueError(
                    f'prompt weights of shape {tuple(task.shape)} for {batch} images and '
                    f'{num_prompts} prompts: give one weight per image and prompt, ({batch}, '
                    f'{num_prompts})')
            return [task] * self.num_stages
        return self.rows_of(task)

    def rows_of(self, task: Task | None) -> list[Tensor]:
        """Prompt weights (1, M) of each stage under a task; ValueError where it names none."""
        if task is None:
            raise ValueError(
                f'no task: name one of {", ".join(TASKS)} in the config (task=...) or in forward')
        if not isinstance(task, str) and len(task) == self.num_stages:
            return [mean_of_tasks(self.task_rows, entry) for entry in task]
        return [mean_of_tasks(self.task_rows, task)] * self.num_stages

    def init_weights(self) -> None:
        """Initialise as MMEngine does, but load weights strictly and keep a new PC-MoE neutral.

        ``init_cfg=dict(type='clasp_mm.Pretrained', checkpoint=...)`` is
        :class:`~clasp_mm.models.weights.initializer.Pretrained`, and so is ``type='Pretrained'``.

        Raises:
            CheckpointError: If the weights do not cover the model.
        """
        init_cfg = self.init_cfg
        configs = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or [])
        initializer = WEIGHT_INITIALIZERS.get('clasp_mm.Pretrained')
        pretrained = [cfg for cfg in configs if cfg['type'] in (*_PRETRAINED, initializer)]
        loaded = self.is_init
        self.init_cfg = [cfg for cfg in configs if cfg not in pretrained]
        super().init_weights()
        self.init_cfg = init_cfg
        if loaded:
            return
        self._zero_moe_outputs()
        for cfg in pretrained:
            initializer(**{key: value for key, value in cfg.items()
                           if key not in ('type', 'map_location')})(self)

    def train(self, mode: bool = True) -> 'PCMoESwin':
        """Switch the mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        last = max(self.out_indices)
        frozen: list[nn.Module] = []
        unused: list[nn.Module] = list(self.stages[last + 1:])
        if last < self.num_stages - 1:
            unused.append(self.stages[last].downsample)
        if self.frozen_stages >= 0:
            frozen = [self.patch_embed, self.drop_after_pos, *self.stages[:self.frozen_stages + 1]]
        for i in range(self.num_stages):
            norm = getattr(self, f'norm{i}')
            if i <= self.frozen_stages:
                frozen.append(norm)
            elif i not in self.out_indices:
                unused.append(norm)
        for module in frozen:
            module.eval()
        for module in (*frozen, *unused):
            module.requires_grad_(False)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning-rate decay.

        Args:
            param_name: Name of a parameter of the model that holds this backbone.
            prefix: What precedes the backbone's own names, such as 'backbone.'.

        Returns:
            The depth, 0 (stem) to N - 1 (output norms and all that is not the backbone), and N,
            the number of blocks + 2. PC-MoE and patch merging count with the last block before
            them.
        """
        num_layers = sum(self.depths) + 2
        name = param_name[len(prefix):].split('.') if param_name.startswith(prefix) else ['']
        if name[0] == 'patch_embed':
            return 0, num_layers
        if name[0] != 'stages':
            return num_layers - 1, num_layers
        stage = int(name[1])
        if name[2] == 'blocks':
            return sum(self.depths[:stage]) + int(name[3]) + 1, num_layers
        return sum(self.depths[:stage + 1]), num_layers

    def _zero_moe_outputs(self) -> None:
        for stage in self.stages:
            if stage.moe is not None:
                stage.moe.zero_output()
