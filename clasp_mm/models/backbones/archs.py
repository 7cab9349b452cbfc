"""Sizes of the backbones, and their settings checked."""

import inspect
from collections.abc import Mapping, Sequence

from clasp_mm.utils.names import did_you_mean

from ..layers.pc_moe import PCMoE

ARCHS = {
    'nano': dict(embed_dims=32, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8)),
    'tiny': dict(embed_dims=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24)),
    'small': dict(embed_dims=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24)),
    'base': dict(embed_dims=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32)),
}


def arch_settings(arch: str | Mapping) -> Mapping:
    """Widths, depths and heads of a size by name, or as given.

    Raises:
        ValueError: No such name, or keys that are missing or too many.
    """
    if isinstance(arch, str):
        if arch not in ARCHS:
            raise ValueError(
                f'unknown arch {arch!r}: {", ".join(ARCHS)}, or a dict of embed_dims, depths and '
                f'num_heads{did_you_mean(arch, list(ARCHS))}')
        return ARCHS[arch]
    needed = {'embed_dims', 'depths', 'num_heads'}
    if set(arch) != needed:
        raise ValueError(f'arch has keys {sorted(arch)}, it needs {sorted(needed)}')
    if len(arch['depths']) != len(arch['num_heads']):
        raise ValueError(
            f'arch: depths={arch["depths"]} and num_heads={arch["num_heads"]} differ in length')
    return arch


def stage_indices(indices: Sequence[int], num_stages: int, name: str) -> tuple[int, ...]:
    """Indices of stages; ValueError where one is not there, or none is named."""
    if not len(indices):
        raise ValueError(f'{name} names no stage, of 0 to {num_stages - 1}')
    bad = [i for i in indices if not 0 <= i < num_stages]
    if bad:
        raise ValueError(f'{name}={tuple(indices)}: {bad[0]} is none of the stages 0 to '
                         f'{num_stages - 1}')
    return tuple(indices)


def moe_settings(moe: Mapping | None, num_stages: int) -> tuple[dict, tuple[int, ...]]:
    """Arguments of the PC-MoEs and the stages that have one."""
    if moe is None:
        return {}, ()
    args = dict(moe)
    stages = stage_indices(args.pop('stages', range(num_stages)), num_stages, 'moe.stages')
    known = [name for name in inspect.signature(PCMoE).parameters if name != 'dim']
    for key in args:
        if key not in known:
            raise ValueError(f'unknown key {key!r} in moe: {", ".join(known)}, '
                             f'stages{did_you_mean(key, [*known, "stages"])}')
    return args, stages
