"""DINO's self-distillation loss (Caron et al. 2021, eq. 3 and section 3.1)."""

import torch
from mmengine.dist import all_gather
from torch import Tensor, nn

from .distributed import GlobalLoss, average_together, upcast

CENTERINGS = ('mean', 'sinkhorn_knopp')
SINKHORN_ITERATIONS = 3


def sinkhorn_knopp(logits: Tensor) -> Tensor:
    """Targets that use all prototypes equally (Caron et al. 2020, SwAV, section 3; in DINO's place
    of the centre as in DINOv2).

    ``softmax(logits)`` after three rounds that scale every prototype to an equal share of the
    global batch and every sample to one.

    Args:
        logits: (N, K) local rows of the global batch, over the temperature already.

    Returns:
        (N, K); rows sum to 1.

    Example:
        >>> sinkhorn_knopp(torch.tensor([[9., 0.], [9., 0.]]))
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """
    for _ in range(SINKHORN_ITERATIONS):
        share = torch.stack(all_gather(logits.logsumexp(0))).logsumexp(0)
        logits = (logits - share).log_softmax(-1)
    return logits.exp()


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
        centering: What keeps the targets from collapsing: 'mean' is DINO's centre c;
            'sinkhorn_knopp' balances the batch instead (DINOv2), which short runs need: the
            centre follows too slowly there, and c is then kept but not used.

    Example:
        >>> student, teacher = torch.zeros(3, 2, 4), torch.zeros(2, 2, 4)
        >>> DINOLoss(out_dim=4)(student, teacher, teacher_temp=.04)  # log 4
        tensor(1.3863)
    """

    def __init__(self, out_dim: int, student_temp: float = 0.1, center_momentum: float = 0.9,
                 centering: str = 'mean') -> None:
        super().__init__()
        if centering not in CENTERINGS:
            raise ValueError(f'centering must be one of {CENTERINGS}, got {centering!r}')
        if student_temp <= 0:
            raise ValueError(f'student_temp must be positive, got {student_temp}')
        if not 0 <= center_momentum <= 1:
            raise ValueError(f'center_momentum must be in [0, 1], got {center_momentum}')
        self.student_temp = student_temp
        self.center_momentum = center_momentum
        self.centering = centering
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
        target = self.targets(teacher, teacher_temp)
        weight = target.sum(0, keepdim=True).expand(views, -1, -1).clone()
        weight[:num_teachers] -= target
        pairs = student.new_full((views, 1), num_teachers)
        pairs[:num_teachers] -= 1
        total = (pairs * student.logsumexp(-1)).sum() - (weight * student).sum()
        return total / (num_teachers * (views - 1) * student.shape[1])

    @torch.no_grad()
    def targets(self, teacher: Tensor, teacher_temp: float) -> Tensor:
        """Probabilities (T, B, K) that the student is to match, from teacher logits (T, B, K)."""
        teacher = upcast(teacher)
        if self.centering == 'sinkhorn_knopp':
            return sinkhorn_knopp(teacher.flatten(0, -2) / teacher_temp).view_as(teacher)
        return ((teacher - self.center) / teacher_temp).softmax(-1)

    def center_move(self, teacher: Tensor) -> GlobalLoss[None]:
        """Move the centre towards the mean of ``teacher`` logits (T, B, K) of all processes."""
        mean, = yield (upcast(teacher).flatten(0, -2).mean(0),)
        self.center.lerp_(mean, 1 - self.center_momentum)

    def update_center(self, teacher: Tensor) -> None:
        """:meth:`center_move` with an all-reduce of its own."""
        average_together(self.center_move(teacher))
