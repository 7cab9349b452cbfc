"""DINO: stage 1 of CLASP and the baseline of its tables."""

import math
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmpretrain.models import BaseSelfSupervisor
from torch import Tensor

from clasp_mm.compat import load_file
from clasp_mm.registry import MODELS

from ..losses import DINOLoss, GlobalLoss, average_together, global_means
from ..weights.swin import load_backbone
from .teacher import Teacher
from .views import forward_prompts

_TRAINED = 'teacher.backbone.'


@MODELS.register_module()
class DINO(BaseSelfSupervisor):
    """Multi-crop self-distillation with a momentum teacher (Caron et al. 2021).

    ``clasp_mm.TeacherHook`` must run beside it: it calls :meth:`set_progress` before and
    :meth:`update_teacher` after every optimizer step.

    Args:
        backbone: Config of the student's backbone; its last output feeds the head.
        head: Config of ``clasp_mm.DINOHead``.
        num_global: Number of global crops, the first of the views; the teacher sees only these.
        momentum: The teacher's momentum at the start; it rises to 1 on a cosine.
        teacher_temp: The teacher's temperature after the warm-up.
        warmup_teacher_temp: ... at the start.
        warmup_teacher_temp_epochs: Epochs of its linear warm-up, the last of which has
            ``teacher_temp``; a single one has ``warmup_teacher_temp``.
        student_temp: The student's temperature.
        center_momentum: Momentum of the centre.
        centering: 'mean' or 'sinkhorn_knopp', see :class:`clasp_mm.models.losses.DINOLoss`.
        freeze_last_layer_epochs: Epochs in which the prototypes get no update.
        stage1: Checkpoint of an earlier DINO run to start from.
        data_preprocessor: Config of the preprocessor, ``clasp_mm.ViewPreprocessor`` by default.
        init_cfg: MMEngine initialisation config.

    Example:
        >>> model = DINO(dict(type='clasp_mm.PCMoESwin', arch='nano', task='appearance'),
        ...              dict(type='clasp_mm.DINOHead', in_channels=256, out_dim=16))
        >>> sorted(model.loss([torch.rand(2, 3, 64, 32), torch.rand(2, 3, 64, 32)], {}))
        ['loss_dino']
    """

    # What the backbone is told beside the images where nothing else is said; a plain Swin is told
    # nothing, CLASP's the prompt of the DINO loss, SOLIDER's a semantic weight.
    task: str | float | None = None

    def __init__(self,
                 backbone: dict,
                 head: dict,
                 num_global: int = 2,
                 momentum: float = 0.996,
                 teacher_temp: float = 0.04,
                 warmup_teacher_temp: float = 0.04,
                 warmup_teacher_temp_epochs: int = 0,
                 student_temp: float = 0.1,
                 center_momentum: float = 0.9,
                 centering: str = 'mean',
                 freeze_last_layer_epochs: int = 1,
                 stage1: str | None = None,
                 data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None) -> None:
        data_preprocessor = {'type': 'clasp_mm.ViewPreprocessor', **(data_preprocessor or {})}
        super().__init__(backbone=backbone, head=head, data_preprocessor=data_preprocessor,
                         init_cfg=init_cfg)
        if not 0 <= momentum <= 1:
            raise ValueError(f'the teacher\'s momentum must be in [0, 1], got {momentum}')
        self.num_global = num_global
        self.base_momentum = momentum
        self.warmup_teacher_temp = warmup_teacher_temp
        self.final_teacher_temp = teacher_temp
        self.warmup_teacher_temp_epochs = warmup_teacher_temp_epochs
        self.freeze_last_layer_epochs = freeze_last_layer_epochs
        self.stage1 = stage1
        self.teacher = Teacher(self.backbone, self.head)
        self.dino_loss = DINOLoss(self.head.out_dim, student_temp, center_momentum,
                                  centering)
        self.set_progress(step=0, max_steps=1, epoch=0)

    def init_weights(self) -> None:
        """Initialise the student and copy it to the teacher, then load stage 1 if one is given.

        Raises:
            ValueError: If stage 1 leaves anything but the new modules without weights.
        """
        super().init_weights()
        self.update_teacher(momentum=0)
        if self.stage1 is not None:
            MMLogger.get_current_instance().info(_load_stage1(self, self.stage1))

    def set_progress(self, step: int, max_steps: int, epoch: int) -> None:
        """Set temperature and momentum for optimizer step ``step`` of ``max_steps``."""
        self.epoch = epoch
        warmup = self.warmup_teacher_temp_epochs
        share = 1.0 if epoch >= warmup else epoch / max(warmup - 1, 1)
        self.teacher_temp = (self.warmup_teacher_temp
                             + share * (self.final_teacher_temp - self.warmup_teacher_temp))
        cosine = 0.5 * (1 + math.cos(math.pi * step / max(max_steps, 1)))
        self.momentum = 1 - (1 - self.base_momentum) * cosine

    def update_teacher(self, momentum: float | None = None, unless: Tensor | None = None) -> None:
        """Move the teacher after an optimizer step, by the current momentum unless given.

        Where ``unless`` is 1 it stays, see :meth:`Teacher.update`.
        """
        self.teacher.update(self.backbone, self.head,
                            self.momentum if momentum is None else momentum, unless)

    def frozen_parameters(self) -> list[torch.nn.Parameter]:
        """Parameters that get no update in the current epoch: the prototypes at first."""
        frozen = self.epoch < self.freeze_last_layer_epochs
        return list(self.head.last_layer.parameters()) if frozen else []

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The teacher's maps, each (B, C_i, h_i, w_i): what pretraining publishes."""
        return self.teacher.backbone(inputs, self.task)

    def distill(self, student_logits: Tensor,
                teacher_logits: Tensor) -> GlobalLoss[dict[str, Tensor]]:
        """DINO loss of student logits (V * B, K), globals first, and the centre's move after it.

        The teacher's are those of the globals, (T * B, K).
        """
        batch_size = len(teacher_logits) // self.num_global
        teacher_logits = teacher_logits.unflatten(0, (self.num_global, batch_size))
        loss = self.dino_loss(student_logits.unflatten(0, (-1, batch_size)), teacher_logits,
                              self.teacher_temp)
        yield from self.dino_loss.center_move(teacher_logits)
        return dict(loss_dino=loss)

    def pool_local_views(self, views: list[Tensor], task: str | Tensor | None
                         ) -> tuple[list[Tensor], list]:
        """Pooled features of the local crops, one forward, and the gates of their pass."""
        if not views:
            return [], []
        maps, gates = forward_prompts(self.backbone, torch.cat(views), task)
        return [maps[-1].mean((2, 3))], gates

    def split_views(self, views: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Global views as one batch (T * B, 3, H, W), view by view, and the list of locals."""
        if len(views) < self.num_global:
            raise ValueError(f'{type(self).__name__} needs {self.num_global} global views, the '
                             f'pipeline gave {len(views)} views')
        return torch.cat(views[:self.num_global]), views[self.num_global:]

    def loss(self, inputs: list[Tensor], data_samples: dict[str, Any]) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            inputs: Views, globals first, each (B, 3, H_v, W_v); locals share one size.
            data_samples: Not used by DINO.
        """
        global_views, local_views = self.split_views(inputs)
        pooled = [forward_prompts(self.backbone, global_views, self.task)[0][-1].mean((2, 3))]
        pooled += self.pool_local_views(local_views, self.task)[0]
        return average_together(self.distill(self.head(torch.cat(pooled)),
                                         self.teacher(global_views, self.task)))[0]

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum of the losses, and all values (,) averaged over all processes for the log."""
        loss = sum(value for name, value in losses.items() if 'loss' in name)
        log_vars = {name: value.detach().float() for name, value in dict(losses, loss=loss).items()}
        return loss, dict(zip(log_vars, average_together(global_means(*log_vars.values()))[0],
                              strict=True))


def _load_stage1(model: DINO, checkpoint: str) -> str:
    """Load student, teacher, DINO heads and centre from a training checkpoint; say what.

    Another Swin gives its backbone to student and teacher, and the DINO head starts anew. A PC-MoE
    that the file lacks stays the identity it was built as: both compute what stage 1 computed.
    """
    content = load_file(checkpoint)
    state: dict[str, Tensor] = content.get('state_dict', content)
    if not any(key.startswith(_TRAINED) for key in state):
        report = load_backbone(model.backbone, content)
        load_backbone(model.teacher.backbone, content)
        return f'{report}\nthe DINO head starts anew'
    report = load_backbone(model.backbone, content, prefix='backbone.')
    load_backbone(model.teacher.backbone, content, prefix=_TRAINED)
    for prefix, module in (('head.', model.head), ('teacher.head.', model.teacher.head),
                           ('dino_loss.', model.dino_loss)):
        part = {key.removeprefix(prefix): value for key, value in state.items()
                if key.startswith(prefix)}
        try:
            module.load_state_dict(part)
        except RuntimeError as error:
            raise ValueError(f'the DINO head of {checkpoint} is not the model\'s; give stage 2 the '
                             f'head of stage 1 (model.head): {error}') from error
    return f'{report}\nstudent, teacher, DINO heads and centre are those of stage 1'
