"""The model of a run, as hooks look for it."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def unwrapped_model(runner: Runner) -> nn.Module:
    """The run's model, out of what distributes it."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def ends_epoch(runner: Runner) -> bool:
    """Whether this is an epoch's last step, also of one that a resume entered in its middle."""
    return (runner.iter + 1) % len(runner.train_dataloader) == 0


class AlgorithmHook(Hook):
    """Base of hooks of the pretraining algorithms, which are at ``self.model`` during training."""

    def before_train(self, runner: Runner) -> None:
        self.model = unwrapped_model(runner)
        if not hasattr(self.model, 'update_teacher'):
            raise TypeError(f'clasp_mm.{type(self).__name__} watches clasp_mm.DINO, SOLIDER and '
                            f'CLASP, the model is {type(self.model).__name__}')
