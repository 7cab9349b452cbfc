"""DINO's self-distillation loss (Caron et al. 2021, eq. 3 and section 3.1)."""

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

from .distributed import upcast


class DINOLoss(nn.Module):
    """Cross-entropy between the centred teacher and every other view of the same image.

    ``mean over pairs (t, v), v != t, of -sum softmax((teacher_t - c) / T_t) log softmax(student_v /
    T_s)``, then ``c <- m c + (1 - m) mean(teacher)`` over the global batch.

    Because a softmax sums to 1, ``-p . log_softmax(s) = logsumexp(s) - p . s``: the pairs collapse
    into one weighted dot product a view and no log-softmax is kept for the backward pass.

    Args:
        out_dim: Number of prototypes K.
        student_temp: T_s.
        center_momentum: m.
    """

    def __init__(self, out_dim: int, student_temp: float = 0.1,
                 center_momentum: float = 0.9) -> None:
        super().__init__()
        if student_temp <= 0:
            raise ValueError(f'student_temp must be positive, got {student_temp}')
        if not 0 <= center_momentum <= 1:
            raise ValueError(f'center_momentum must be in [0, 1], got {center_momentum}')
        self.student_temp = student_temp
        self.center_momentum = center_momentum
        self.register_buffer('center', torch.zeros(out_dim))

    def forward(self, student: Tensor, teacher: Tensor, teacher_temp: float) -> Tensor:
        """Loss with the current centre; the centre is not changed.

        Args:
            student: Logits (V, B, K) of all views; the first T are the teacher's views.
            teacher: Logits (T, B, K).
            teacher_temp: T_t.

        Returns:
            Scalar, computed in float32 or better.
        """
        views, num_teachers = len(student), len(teacher)
        if views < 2 or views < num_teachers:
            raise ValueError(f'DINOLoss pairs different views of an image: got {views} student '
                             f'and {num_teachers} teacher views')
        student = upcast(student) / self.student_temp
        target = ((upcast(teacher.detach()) - self.center) / teacher_temp).softmax(-1)
        weight = target.sum(0, keepdim=True).expand(views, -1, -1).clone()
        weight[:num_teachers] -= target
        pairs = student.new_full((views, 1), num_teachers)
        pairs[:num_teachers] -= 1
        total = (pairs * student.logsumexp(-1)).sum() - (weight * student).sum()
        return total / (pairs.sum() * student.shape[1])

    @torch.no_grad()
    def update_center(self, teacher: Tensor) -> None:
        """Move the centre towards the mean of ``teacher`` logits (T, B, K) of all processes."""
        mean = upcast(teacher).flatten(0, -2).mean(0)
        all_reduce(mean)
        self.center.lerp_(mean / get_world_size(), 1 - self.center_momentum)
