"""Check what is installed and accepted, which parts work, and how to mend the others.

The accepted versions are those of requirements/: there is no second copy. Whether a part works is
proved by importing it, and mmcv's operators, compiled or clasp_mm's, by computing with them, in a
process of its own, so that a broken package cannot take the doctor down.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import NamedTuple

from clasp_mm.utils.packages import (
    BOTH_MMCV,
    TORCH_PAIR,
    accepted_versions,
    installed_versions,
    probe,
    shown,
    state,
)

DISTRIBUTION = 'clasp_mm'
_BROKEN = ('outside', 'conflict')


class Part(NamedTuple):
    """A usable part: what it needs beside the core, and the code that proves it."""

    name: str
    needs: tuple[str, ...]
    probe: str


def _host(name: str, needs: tuple[str, ...], *modules: str) -> Part:
    return Part(name, needs, f'from clasp_mm.cli.doctor import prove_host; prove_host(*{modules})')


CLIP = ('open_clip_torch', 'timm')
PARTS = (
    Part('pretraining', (), 'import clasp_mm.models, clasp_mm.datasets, clasp_mm.engine'),
    Part('pseudo-labels with CLIP', CLIP,
         'import open_clip, clasp_mm.pseudo_labels'),
    _host('pose estimation', ('mmdet', 'mmpose'), 'mmpose.models', 'mmpose.datasets',
          'mmpose.apis'),
    _host('detection, person search', ('mmdet',), 'mmdet.models', 'mmdet.datasets', 'mmdet.apis'),
    _host('human parsing', ('mmsegmentation',), 'mmseg.models', 'mmseg.datasets', 'mmseg.apis'),
)
MACHINE_PROBE = f"""
{TORCH_PAIR}
import json
cuda = torch.cuda.is_available()
print(json.dumps(dict(
    gpus=[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
    bf16=cuda and torch.cuda.is_bf16_supported())))
"""


@dataclass
class Package:
    """One row: ``state`` is ok, missing, outside (the accepted range) or conflict."""

    name: str
    installed: str | None
    accepted: str
    state: str
    optional: bool = False


class Diagnosis(NamedTuple):
    """What the versions alone tell: a row per package, the faults of each part, and the cures.

    A cure is a purpose and its command.
    """

    packages: dict[str, Package]
    faults: dict[str, list[str]]
    cures: list[tuple[str, str]]


def diagnose(accepted: Mapping[str, Mapping[str, str]], versions: Mapping[str, str]) -> Diagnosis:
    """Compare versions with the accepted ones; nothing is imported.

    Args:
        accepted: From :func:`accepted_versions`. mmcv stands beside mmcv-lite,
            and is accepted in the same versions.
        versions: Installed version of each installed package.
    """
    core = accepted['core']
    specs = {name: spec for group in accepted.values() for name, spec in group.items()}
    specs['mmcv'] = specs['mmcv-lite']
    packages = {name: Package(name, versions.get(name), spec, state(versions.get(name), spec),
                              name not in core) for name, spec in specs.items()}
    lite, full = packages['mmcv-lite'], packages['mmcv']
    mmcv, other = ('mmcv', 'mmcv-lite') if full.installed else ('mmcv-lite', 'mmcv')
    if lite.installed and full.installed:
        lite.state = full.state = 'conflict'
    bad = [name for name, package in packages.items() if package.state != 'ok' and name != other]
    faults = {part.name: [name for name in bad if name in (*core, mmcv, *part.needs)]
              for part in PARTS}
    by_pip = [name for name in bad if name in core or name in CLIP]
    cures = []
    if by_pip:
        purpose = 'pretraining' if set(by_pip) & set(core) else 'pseudo-labels with CLIP'
        cures.append((f'for {purpose}', shown(
            'pip', 'install', *(name + packages[name].accepted for name in by_pip))))
    if len(by_pip) < len(bad):
        needed = 'pretraining, ' if mmcv in bad else ''
        cures.append((f'for {needed}pose, detection and parsing', shown('clasp_mm', 'install')))
    return Diagnosis(packages, faults, cures)


def torch_pair_cure(torch_version: str) -> str:
    """The pip line for a torchvision built for another torch; they pair as 2.x with 0.(x + 15)."""
    from packaging.version import Version
    public = Version(torch_version)
    return shown('pip', 'install', '--force-reinstall', f'torch==={public.base_version}',
                 f'torchvision===0.{public.minor + 15}.{public.micro}')


def prove_host(*modules: str) -> None:
    """Import a host's modules, compute with mmcv's operators, and print what serves them."""
    from clasp_mm.compat import operators_in_use
    devices = prove_ops()
    for module in modules:
        import_module(module)
    used = operators_in_use()
    line = f'operators on {" and ".join(devices)}: {used}'
    if Path(sys.modules['mmcv._ext'].__file__).name == 'mmcv_ext.py':
        line += ', where clasp_mm is imported (`clasp install` lets other programs have them)'
    if 'mmpose.models' in modules:
        theirs = not hasattr(import_module('xtcocotools'), 'clasp_mm_evaluation')
        line += f'; scores: {"xtcocotools" if theirs else "clasp_mm over pycocotools"}'
    print(line)


def prove_ops() -> list[str]:
    """Compute with mmcv's operators what is known; on which devices.

    Raises:
        ImportError: There is no mmcv.
        RuntimeError: They do not work on a device, as of a build without CUDA, or are wrong.
    """
    import torch
    devices = ['cpu', *(['cuda'] if torch.cuda.is_available() else [])]
    for device in devices:
        _prove_ops_on(device)
    return devices


def _prove_ops_on(device: str) -> None:
    import torch
    from mmcv.ops import nms, roi_align

    from clasp_mm.compat import operators_in_use
    boxes = torch.tensor([[0., 0, 4, 4], [0, 0, 4, 3], [8, 8, 12, 12]], device=device)
    ramp = torch.arange(8., device=device).expand(1, 1, 8, 8).contiguous()
    box = torch.tensor([[0., 1, 1, 5, 5]], device=device)
    fault = 'are wrong'
    try:
        kept = nms(boxes, torch.tensor([.9, .8, .7], device=device), 0.5)[1]  # an overlap of 12/16
        pooled = roi_align(ramp, box, 1)  # the middle of the box, in pixels' centres: 3 - 0.5
        right = kept.tolist() == [0, 2] and abs(pooled.item() - 2.5) < 1e-4
    except (RuntimeError, NotImplementedError) as error:
        right, fault = False, f'do not work ({str(error).splitlines()[0]})'
    if not right:
        used = operators_in_use()
        way = ('; `pip uninstall mmcv`, then `clasp install`: clasp_mm has its own'
               if used == 'compiled mmcv' else '')
        raise RuntimeError(f'nms or RoIAlign of {used} {fault} on {device}{way}')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--all', action='store_true',
                        help='exit with 1 unless every part is usable (default: pretraining)')


def run(args: argparse.Namespace) -> int:
    try:
        from rich.console import Console
        metadata.version(DISTRIBUTION)
        accepted = accepted_versions()
    except metadata.PackageNotFoundError as error:
        root = Path(__file__).resolve().parents[2]
        raise RuntimeError(f'{DISTRIBUTION} runs from {root} but is not installed: '
                           + shown('pip', 'install', '-e', str(root))) from error
    except ModuleNotFoundError as error:
        raise ImportError(f'{error.name} is missing, which the doctor itself needs: '
                          + shown('pip', 'install', error.name)) from error
    console = Console(highlight=False)
    names = {'mmcv', *(name for group in accepted.values() for name in group)}
    result = diagnose(accepted, installed_versions(names))
    with console.status('importing the parts ...'):
        machine, verdicts = _examine(result)
    _print(console, result, machine, verdicts)
    needed = verdicts if args.all else ['pretraining']
    return 0 if all(verdicts[name][0] for name in needed) else 1


def _examine(result: Diagnosis) -> tuple[dict, dict[str, tuple[bool, str]]]:
    """Import torch, then every part whose versions are right; amend the cures by what failed."""
    torch = result.packages['torch']
    machine: dict = {}
    torch_fault = ''
    if torch.installed and result.packages['torchvision'].installed:
        works, line = probe(MACHINE_PROBE)
        if works:
            machine = json.loads(line)
        else:
            torch_fault = f'torch and torchvision do not work together: {line}'
            result.cures.insert(0, ('for everything', torch_pair_cure(torch.installed)))

    def verdict(part: Part) -> tuple[bool, str]:
        faults = [f'{name} {result.packages[name].state}' for name in result.faults[part.name]]
        if faults or torch_fault:
            return False, ', '.join(faults) or torch_fault
        return probe(part.probe)

    with ThreadPoolExecutor(max_workers=2) as pool:
        verdicts = pool.map(verdict, PARTS)
        return machine, {part.name: found for part, found in zip(PARTS, verdicts, strict=True)}


def _print(console, result: Diagnosis, machine: dict,
           verdicts: Mapping[str, tuple[bool, str]]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from clasp_mm.utils.processes import usable_cores

    def mark(works: bool, optional: bool = False) -> str:
        return '[green]ok[/]' if works else '[yellow]-[/]' if optional else '[red]no[/]'

    table = Table('package', 'installed', 'accepted', 'ok?', box=box.SIMPLE_HEAD, pad_edge=False)
    python = '.'.join(map(str, sys.version_info[:3]))
    wanted = metadata.metadata(DISTRIBUTION)['Requires-Python']
    table.add_row('python', python, wanted, mark(state(python, wanted) == 'ok'))
    unbounded = []
    for package in result.packages.values():
        unused = package.optional and package.installed is None
        if package.state == 'ok' and not package.accepted:
            unbounded.append(package.name)
            continue
        verdict = mark(package.state == 'ok', unused)
        if package.state in _BROKEN:
            verdict += f' ({package.state})'
        table.add_row(package.name, package.installed or '-', package.accepted or 'any', verdict)
    console.print(table)
    if unbounded:
        console.print(f'[dim]also there: {", ".join(unbounded)}[/]')

    parts = Table('part', 'usable?', 'by what, or why not', box=box.SIMPLE_HEAD, pad_edge=False)
    for part in PARTS:
        works, reason = verdicts[part.name]
        parts.add_row(part.name, mark(works, part.name != 'pretraining'), escape(reason))
    console.print(parts)

    gpus = machine.get('gpus', [])
    listed = ', '.join(f'{gpus.count(name)} x {name}' for name in dict.fromkeys(gpus))
    precision = f', bf16 {"yes" if machine["bf16"] else "no (use --amp fp16)"}' if gpus else ''
    console.print(f'machine: {usable_cores()} CPU cores; GPU: {escape(listed) or "none"}'
                  f'{precision}')
    if result.packages['mmcv'].state == 'conflict':
        console.print(f'[red]{BOTH_MMCV}[/]')
    if result.cures:
        console.print('\nwhat to run (bash tools/setup.sh does it all):')
        for purpose, command in result.cures:
            console.print(f'[dim]# {purpose}[/]')
            console.print(escape(command), soft_wrap=True)
