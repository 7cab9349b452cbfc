"""Compiled backbones while a model trains."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from clasp_mm.models.compiling import Compilation, compile_backbones
from clasp_mm.registry import HOOKS

from .algorithm_hook import unwrapped_model


@HOOKS.register_module()
class CompileHook(Hook):
    """Trains with compiled backbones of clasp_mm, the student's and the teacher's.

    Weights, their names and checkpoints are those of a run that is not compiled, and either can be
    resumed as the other; only the random draws differ (stochastic depth, gate noise). Validation
    is not compiled. What a hook on an inner module of the backbone sees is compiled as well.

    Where images have more sizes than torch compiles code for
    (``torch._dynamo.config.recompile_limit``, 8), it warns and computes the rest without.

    Args:
        dynamic: As of :class:`~clasp_mm.models.compiling.Compilation`.
        backend: Who compiles, as of ``torch.compile``.
    """

    def __init__(self, dynamic: bool | None = None, backend: str = 'inductor') -> None:
        self.options = Compilation(dynamic, backend)

    def before_train(self, runner: Runner) -> None:
        """Switch compiled code on.

        Raises:
            ValueError: No backbone is one of clasp_mm.
        """
        if not compile_backbones(runner.model, self.options):
            model = unwrapped_model(runner)
            backbone = type(getattr(model, 'backbone', None)).__name__
            raise ValueError(
                f'--compile compiles clasp_mm.PCMoESwin and clasp_mm.SemanticSwin; {backbone} of '
                f'this {type(model).__name__} is neither: leave it out, or set compile=True in the '
                'config, by which MMEngine compiles the whole step')
        runner.logger.info(
            'Backbones are compiled: the first step of every image size takes a minute or more.')

    def after_train(self, runner: Runner) -> None:
        compile_backbones(runner.model, None)
