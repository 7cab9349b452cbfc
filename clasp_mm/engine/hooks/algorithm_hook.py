"""The model of a run, as hooks look for it."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def unwrapped_model(runner: Runner) -> nn.Module:
    """The run's model, out of what distributes it."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def ends_epoch(runner: Runner, interval: int = 1) -> bool:
    """Whether this is the last step of every so many epochs, or of the run.

    Also of an epoch that a resume entered in its middle, and of a run by iterations.
    """
    done = runner.iter + 1
    return done % (interval * len(runner.train_dataloader)) == 0 or done == runner.max_iters


class AlgorithmHook(Hook):
    """Base of hooks of the pretraining algorithms, which are at ``self.model`` during training."""

    def before_train(self, runner: Runner) -> None:
        self.model = unwrapped_model(runner)
        if not hasattr(self.model, 'update_teacher'):
            raise TypeError(f'clasp_mm.{type(self).__name__} watches clasp_mm.DINO, SOLIDER and '
                            f'CLASP, the model is {type(self.model).__name__}')
