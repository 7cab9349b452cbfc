"""Training steps: CLASP against DINO, and DINO against DINO on mmpretrain's Swin."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from mmengine.config import Config
from torch import Tensor, nn

from clasp_mm.engine.training_step import TrainingStep
from clasp_mm.models.compiling import Compilation
from clasp_mm.utils.profiling import peak_bytes
from clasp_mm.utils.resources import shipped_file
from clasp_mm.utils.timing import interleaved

from .backbone import mmpretrain_swin
from .contest import Goal, Options, Row, race
from .profiling import flops_by_operator

_CONFIGS = dict(
    dino='configs/pretrain/dino_swin-tiny_8xb96-100e_luperson-256x128.py',
    clasp='configs/pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson-256x128.py')
_QUICK = {
    'model.backbone.arch': 'nano', 'model.head.in_channels': 256, 'model.head.out_dim': 512,
    'model.head.hidden_dim': 64, 'model.head.bottleneck_dim': 32}


class MMPretrainBackbone(nn.Module):
    """mmpretrain's Swin as the backbone of :class:`~clasp_mm.models.pretrain.DINO`."""

    compilation: Compilation | None = None

    def __init__(self, arch: str, drop_path_rate: float) -> None:
        super().__init__()
        self.swin = mmpretrain_swin(arch, drop_path_rate=drop_path_rate)

    def embed(self, x: Tensor) -> Tensor:
        """Nothing: all is done in :meth:`from_embed`."""
        return x

    def from_embed(self, x: Tensor, task: str | None = None) -> tuple[tuple[Tensor, ...], list]:
        return self.swin(x), []

    def forward(self, x: Tensor, task: str | None = None) -> tuple[Tensor, ...]:
        return self.from_embed(self.embed(x), task)[0]


def step_config(name: str, quick: bool = False) -> Config:
    """The shipped config ``dino`` or ``clasp`` of Swin-T, or a tiny form of it."""
    cfg = Config.fromfile(shipped_file(_CONFIGS[name]))
    if quick:
        cfg.merge_from_dict(_QUICK)
        for head in ('part_head', 'attr_head'):
            if head in cfg.model:
                cfg.model[head].in_channels = cfg.model.head.in_channels
        crops = next(t for t in cfg.train_dataloader.dataset.pipeline
                     if t.type == 'clasp_mm.MultiCrop')
        crops.update(global_size=(64, 32), local_size=(32, 16), num_local=2)
    return cfg


def peer_step(cfg: Config, batch_size: int, options: Options) -> TrainingStep:
    """The DINO step of a config on mmpretrain's Swin, one forward per crop size."""
    return TrainingStep(
        cfg, batch_size, options.device, options.amp,
        lambda backbone: MMPretrainBackbone(backbone['arch'], backbone['drop_path_rate']))


def step(options: Options) -> Iterator[Row]:
    """CLASP with alternate semantic views against DINO, time and memory; DINO against its peer."""
    batch = options.batch(4 if options.device == 'cpu' else 96)
    dino, clasp = (step_config(name, options.quick) for name in ('dino', 'clasp'))
    clasp.model.semantic_views = 'alternate'
    arch = dino.model.backbone.arch
    crops = 'quick form' if options.quick else '2 x 256x128 + 8 x 128x64'
    what = f'Swin-{arch}, {crops}, {options.dtype}, batch {batch}'

    def make(cfg: Config) -> TrainingStep:
        return TrainingStep(cfg, batch, options.device, options.amp)

    peak = {name: peak_bytes(lambda cfg=cfg: make(cfg), options.device) / 2**20
            for name, cfg in (('clasp', clasp), ('dino', dino))}

    dino_step = make(dino)
    yield _race('CLASP step, time', f'alternate views, {what}', 'our DINO step',
                make(clasp), dino_step, Goal(1.25, 1.15), options, batch)
    yield Row('CLASP step, memory', f'peak of live tensors, {what}', 'our DINO step',
              peak['clasp'], peak['dino'], 'MiB', Goal(1.15), batch)
    yield _race('DINO step', what, 'the same step on mmpretrain\'s Swin',
                make(dino), peer_step(dino, batch, options),
                Goal(0.88, 0.75), options, batch)


def _race(name: str, what: str, peer_name: str, ours: TrainingStep, peer: TrainingStep,
          goal: Goal, options: Options, batch: int) -> Row:
    """Time two steps, with the rate of their FLOP against that of one large matrix product."""
    flop = {side: sum(flops_by_operator(run).values())
            for side, run in (('ours', ours), ('peer', peer))}
    if options.compiled:
        ours.compile()
        peer.compile()
    row = race(name, what, peer_name, ours, peer, goal, options, batch)
    top = matmul_rate(options)
    seconds = dict(ours=row.ours, peer=row.theirs)
    row.details |= {
        'matmul_tflops': top / 1e12,
        **{f'{side}_gflop': value / 1e9 for side, value in flop.items()},
        **{f'{side}_tflops': value / seconds[side] / 1e12 for side, value in flop.items()},
        **{f'{side}_utilisation': value / seconds[side] / top for side, value in flop.items()}}
    return row


def matmul_rate(options: Options) -> float:
    """FLOP per second of a large square matrix product in the precision of the run."""
    side = (2048 if options.device == 'cpu' else 8192) // (8 if options.quick else 1)
    dtype = torch.bfloat16 if options.amp else torch.float32
    a, b = (torch.randn(side, side, device=options.device, dtype=dtype) for _ in range(2))
    # The best of several: what else runs on the machine must not pass for its limit.
    seconds = min(interleaved({'product': lambda: a @ b}, 1, device=options.device)[
        'product'].seconds for _ in range(10))
    return 2 * side**3 / seconds
