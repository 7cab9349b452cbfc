"""The initialiser that loads a backbone strictly and leaves a report."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmengine.dist import master_only
from mmengine.logging import MMLogger, print_log
from torch import nn

from clasp_mm.registry import WEIGHT_INITIALIZERS
from clasp_mm.utils.files import append_row

from ..backbones import PCMoESwin
from .swin import LoadReport, load_backbone

REPORT_FILE = 'pretrained.jsonl'
_START = (
    'start from any Swin file or SOLIDER\'s (model.backbone.init_cfg.checkpoint=FILE; PC-MoE then '
    'starts as the identity), from the hub '
    '(...checkpoint=hf-hub:timm/swin_tiny_patch4_window7_224.ms_in1k), or from nothing '
    '(model.backbone.init_cfg=None)')


@WEIGHT_INITIALIZERS.register_module()
@dataclass
class Pretrained:
    """Initialise a :class:`PCMoESwin` from weights that cover it, in any host library.

    It goes into the backbone's ``init_cfg``, which takes MMEngine's ``type='Pretrained'`` for the
    same. How the weights cover the backbone is logged and, in a run, added as a line to
    ``pretrained.jsonl`` in the folder of the log, ``{work_dir}/{time}``.

    A run initialises its model before it resumes or reads ``load_from``, which therefore win.

    Args:
        checkpoint: A file, an address, the name of a published model in ``CLASP_ZOO`` or
            ``zoo/``, a repository of the Hugging Face hub (``hf-hub:OWNER/NAME[@REVISION]``), or
            a training checkpoint (of DINO, CLASP or SOLIDER, whose teacher is taken).
        prefix: See :func:`~clasp_mm.models.weights.swin.load_backbone`.
        expected_missing: Patterns (``fnmatch``) of tensors that the file need not give.
        allow_unexpected: Patterns of tensors in the file to leave aside.

    Example:
        >>> weights = dict(type='clasp_mm.Pretrained', checkpoint='backbone.pth')
        >>> backbone = PCMoESwin('nano', task='part', init_cfg=weights)
        >>> backbone.init_weights()
    """

    checkpoint: str | os.PathLike
    prefix: str | None = None
    expected_missing: Iterable[str] = ()
    allow_unexpected: Iterable[str] = ()

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``.

        Raises:
            TypeError: If it is no PCMoESwin.
            CheckpointError: If the weights do not cover it.
            FileNotFoundError: If there is no such file or name.
            ValueError: If the file is damaged, or is no Swin.
        """
        if not isinstance(module, PCMoESwin):
            raise TypeError(f'clasp_mm.Pretrained loads a clasp_mm.PCMoESwin, not a '
                            f'{type(module).__name__}: put it into the init_cfg of the backbone')
        try:
            report = load_backbone(module, self.checkpoint, self.prefix, self.expected_missing,
                                   self.allow_unexpected)
        except FileNotFoundError as error:
            name = str(self.checkpoint)
            if Path(name).name != name or Path(name).suffix:
                raise
            raise FileNotFoundError(f'nobody has published {name}, which init_cfg asks for: '
                                    f'{_START}. ({error})') from error
        print_log(str(report), logger='current')
        _write(report)


@master_only
def _write(report: LoadReport) -> None:
    log_file = MMLogger.get_current_instance().log_file
    if log_file is not None and Path(log_file).parent.is_dir():  # gone after train.py --estimate
        append_row(Path(log_file).parent / REPORT_FILE, report.to_dict())
