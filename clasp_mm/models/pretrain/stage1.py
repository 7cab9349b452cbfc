"""Start an algorithm from the checkpoint of an earlier DINO stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from clasp_mm.compat import load_file
from clasp_mm.models.checkpoint import load_backbone

if TYPE_CHECKING:
    from .dino import DINO

_TRAINED = 'teacher.backbone.'


def load_stage1(model: DINO, checkpoint: str) -> str:
    """Load student, teacher, DINO heads and centre from a training checkpoint.

    A published backbone or any other Swin checkpoint gives its backbone to student and teacher,
    and the DINO head starts anew.

    Args:
        model: Student and teacher take the weights; a PC-MoE that the checkpoint lacks stays the
            identity it was built as, so that both compute what stage 1 computed.
        checkpoint: Path of the file.

    Returns:
        What was loaded, for the log.

    Raises:
        ValueError: If the checkpoint does not cover the backbones, or its DINO head does not fit.
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
