"""``clasp doctor``: what is installed and accepted, which parts work, how to mend the others.

The accepted versions are read from the metadata of the installed ``clasp_mm``, which setup.py fills
from requirements/: there is no second copy. Whether a part works is proved by importing it, and
compiled ops by computing with them, in a process of its own, so that a broken package cannot take
the doctor down.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

DISTRIBUTION = 'clasp_mm'
BUILD_TOOLS = "ninja psutil wheel 'setuptools<82'"
PROBE_SECONDS = 300


@dataclass(frozen=True)
class Part:
    """A usable part: the extras it needs beside the core, and the code that proves it."""

    name: str
    extras: tuple[str, ...]
    probe: str


PARTS = (
    Part('pretraining', (), 'import clasp_mm.models, clasp_mm.datasets, clasp_mm.engine'),
    Part('pseudo-labels with CLIP', ('clip',), 'import open_clip, clasp_mm.pseudo_labels'),
    Part('pose estimation', ('pose',), 'import mmcv.ops, mmpose.models, mmpose.datasets'),
    Part('detection, person search', ('det',),
         'from clasp_mm.doctor import prove_ops; prove_ops(); '
         'import mmdet.models, mmdet.datasets'),
    Part('human parsing', ('seg',), 'import mmcv.ops, mmseg.models, mmseg.datasets'),
)
MACHINE_PROBE = """
import json, torch, torchvision
torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
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


@dataclass
class Diagnosis:
    """What the versions alone tell: a row per package, the faults of each part, and the cures."""

    packages: dict[str, Package]
    faults: dict[str, list[str]] = field(default_factory=dict)
    cures: list[tuple[str, str]] = field(default_factory=list)


def accepted_versions(requires: Iterable[str]) -> dict[str, dict[str, str]]:
    """Group requirement lines by extra.

    Args:
        requires: Lines as in a distribution's metadata, such as ``mmdet<3.4; extra == "det"``.

    Returns:
        ``{extra: {package: specifier}}``; the core's extra is ``''``.
    """
    from packaging.requirements import Requirement
    groups: dict[str, dict[str, str]] = {}
    extras = ('', 'lite', *(extra for part in PARTS for extra in part.extras))
    for requirement in map(Requirement, requires):
        marker = requirement.marker
        needed = [
            extra for extra in extras if marker is None or marker.evaluate({'extra': extra})]
        for extra in needed[:1] if '' in needed else needed:
            bounds = sorted(str(requirement.specifier).split(','), key=lambda b: b[:1] != '>')
            groups.setdefault(extra, {})[requirement.name] = ','.join(bounds)
    return groups


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def diagnose(accepted: Mapping[str, Mapping[str, str]], versions: Mapping[str, str]) -> Diagnosis:
    """Compare versions with the accepted ones; nothing is imported.

    Args:
        accepted: From :func:`accepted_versions`.
        versions: Installed version of each installed package.
    """
    core = dict(accepted[''])
    optional = {name: spec for extra, group in accepted.items() if extra
                for name, spec in group.items() if name not in core}
    packages = {
        name: Package(name, versions.get(name), spec, _state(versions.get(name), spec),
                      name in optional)
        for name, spec in {**core, **optional}.items()
    }
    lite, full = packages['mmcv-lite'], packages['mmcv']
    if lite.installed and full.installed:
        lite.state = full.state = 'conflict'
    result = Diagnosis(packages)
    for part in PARTS:
        needed = [*core, *(name for extra in part.extras for name in accepted.get(extra, {}))]
        if 'mmcv' not in needed:
            needed.append('mmcv' if full.installed else 'mmcv-lite')
        result.faults[part.name] = [name for name in needed if packages[name].state != 'ok']
    result.cures = _cures(result)
    return result


def _state(installed: str | None, accepted: str) -> str:
    from packaging.specifiers import SpecifierSet
    if installed is None:
        return 'missing'
    return 'ok' if SpecifierSet(accepted).contains(installed, prereleases=True) else 'outside'


def _cures(result: Diagnosis) -> list[tuple[str, str]]:
    """Name a purpose and its commands: the core, mmcv without ops, then the hosts with ops."""
    def spec(name: str) -> str:
        return shlex.quote(name + result.packages[name].accepted)

    packages = result.packages
    lite, full = packages['mmcv-lite'], packages['mmcv']
    remove = [package.name for package in (lite, full) if package.state == 'conflict']
    uninstall = [_pip('uninstall -y ' + ' '.join(remove))] if remove else []
    cures = []
    plain = [name for name in dict.fromkeys(
        result.faults['pretraining'] + result.faults['pseudo-labels with CLIP'])
        if name not in ('mmcv', 'mmcv-lite')]
    if plain:
        cures.append(('for pretraining', _pip('install ' + ' '.join(map(spec, plain)))))
    if remove or (lite.state != 'ok' and not full.installed):
        cures.append(('for pretraining, with mmcv-lite',
                      ' && '.join([*uninstall, _pip(f'install {spec("mmcv-lite")}')])))
    hosts = [name for name, package in packages.items()
             if package.optional and package.state != 'ok'
             and name not in ('mmcv-lite', 'mmcv', *plain)]
    if full.state != 'ok' or hosts:
        commands = [] if full.state == 'ok' else [_pip(f'install {BUILD_TOOLS}')]
        if lite.installed:
            commands += uninstall or [_pip('uninstall -y mmcv-lite')]
        wanted = hosts if full.state == 'ok' else ['mmcv', *hosts]
        commands.append('MMCV_WITH_OPS=1 ' + _pip(
            'install --no-build-isolation ' + ' '.join(map(spec, wanted))))
        cures.append(('for pose, detection and parsing', ' && '.join(commands)))
    return cures


def _pip(arguments: str) -> str:
    """A pip command for the interpreter that runs, by a short path where there is one."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f'{shlex.quote(str(python))} -m pip {arguments}'


def torch_pair_cure(torch_version: str) -> str:
    """The pip line for a torchvision built for another torch; they pair as 2.x with 0.(x + 15)."""
    from packaging.version import Version
    public = Version(torch_version)
    pair = (f'{public.major}.{public.minor}.{public.micro}',
            f'0.{public.minor + 15}.{public.micro}')
    return _pip(f"install --force-reinstall 'torch==={pair[0]}' 'torchvision==={pair[1]}'")


def probe(code: str) -> tuple[bool, str]:
    """Run Python code in a process of its own; return success and its last line of output."""
    try:
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True,
            timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False, f'no answer within {PROBE_SECONDS} s'
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return done.returncode == 0, lines[-1] if lines else f'exit code {done.returncode}'


def prove_ops(*devices: str) -> None:
    """Compute with mmcv's compiled ops what is known, on the CPU and on the GPU where there is one.

    Args:
        *devices: Other devices than these.

    Raises:
        ImportError: mmcv has no compiled ops, or those of another torch.
        RuntimeError: They do not work on a device, as of a build without CUDA, or are wrong.
    """
    import torch
    for device in devices or ('cpu', *(['cuda'] if torch.cuda.is_available() else [])):
        _prove_ops_on(device)


def _prove_ops_on(device: str) -> None:
    import torch
    from mmcv.ops import nms, roi_align
    boxes = torch.tensor([[0., 0, 4, 4], [0, 0, 4, 3], [8, 8, 12, 12]], device=device)
    kept = nms(boxes, torch.tensor([.9, .8, .7], device=device), 0.5)[1]  # an overlap of 12 / 16
    ramp = torch.arange(8., device=device).expand(1, 1, 8, 8).contiguous()
    box = torch.tensor([[0., 1, 1, 5, 5]], device=device)
    pooled = roi_align(ramp, box, 1)  # the middle of the box, in pixels' centres: 3 - 0.5
    if kept.tolist() != [0, 2] or abs(pooled.item() - 2.5) > 1e-4:
        raise RuntimeError(f"mmcv's compiled nms or RoIAlign is wrong on {device}: build it anew")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments: the doctor looks at the running environment."""
    parser.epilog = 'The exit code is 1 when pretraining is not usable.'


def run(args: argparse.Namespace) -> int:
    """Print the diagnosis of the running environment; return 1 when pretraining is not usable."""
    try:
        from rich.console import Console
        requires = metadata.requires(DISTRIBUTION) or []
        accepted = accepted_versions(requires)
    except ModuleNotFoundError as error:
        sys.stderr.write(f'{error.name} is missing, which the doctor itself needs: '
                         + _pip(f'install {error.name}') + '\n')
        return 1
    except metadata.PackageNotFoundError:
        root = Path(__file__).resolve().parents[1]
        sys.stderr.write(f'{DISTRIBUTION} runs from {root} but is not installed: '
                         + _pip(f'install -e {shlex.quote(str(root))}') + '\n')
        return 1
    console = Console(highlight=False)
    names = {name for group in accepted.values() for name in group}
    result = diagnose(accepted, installed_versions(names))
    with console.status('importing the parts ...'):
        machine, verdicts = _examine(result)
    _print(console, result, machine, verdicts)
    return 0 if verdicts['pretraining'][0] else 1


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
    verdicts: dict[str, tuple[bool, str]] = {}
    ready = []
    for part in PARTS:
        faults = result.faults[part.name]
        if faults or torch_fault:
            reason = ', '.join(f'{name} {result.packages[name].state}' for name in faults)
            verdicts[part.name] = (False, reason or torch_fault)
        else:
            ready.append(part)
    with ThreadPoolExecutor(max_workers=2) as pool:
        for part, (works, line) in zip(ready, pool.map(probe, (p.probe for p in ready)),
                                       strict=True):
            verdicts[part.name] = (works, '' if works else line)
    return machine, verdicts


def _print(console, result: Diagnosis, machine: dict,
           verdicts: Mapping[str, tuple[bool, str]]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    def mark(works: bool, optional: bool = False) -> str:
        return '[green]ok[/]' if works else '[yellow]-[/]' if optional else '[red]no[/]'

    table = Table('package', 'installed', 'accepted', 'ok?', box=box.SIMPLE_HEAD, pad_edge=False)
    python = '.'.join(map(str, sys.version_info[:3]))
    wanted = metadata.metadata(DISTRIBUTION)['Requires-Python']
    table.add_row('python', python, wanted, mark(_state(python, wanted) == 'ok'))
    unbounded = []
    for package in result.packages.values():
        unused = package.optional and package.installed is None
        if package.state == 'ok' and not package.accepted:
            unbounded.append(package.name)
            continue
        verdict = mark(package.state == 'ok', unused)
        if package.state in ('outside', 'conflict'):
            verdict += f' ({package.state})'
        table.add_row(package.name, package.installed or '-', package.accepted or 'any', verdict)
    console.print(table)
    if unbounded:
        console.print(f'[dim]also there: {", ".join(unbounded)}[/]')

    parts = Table('part', 'usable?', 'why not', box=box.SIMPLE_HEAD, pad_edge=False)
    for part in PARTS:
        works, reason = verdicts[part.name]
        parts.add_row(part.name, mark(works, part.name != 'pretraining'), escape(reason))
    console.print(parts)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    gpus = machine.get('gpus', [])
    listed = ', '.join(f'{gpus.count(name)} x {name}' for name in dict.fromkeys(gpus))
    precision = f', bf16 {"yes" if machine["bf16"] else "no (use --amp fp16)"}' if gpus else ''
    console.print(f'machine: {cores} CPU cores; GPU: {escape(listed) or "none"}{precision}')
    if result.packages['mmcv'].state == 'conflict':
        console.print('[red]mmcv and mmcv-lite are both installed and share one folder: '
                      'remove both, then install one[/]')
    if result.cures:
        console.print('\nwhat to run (bash tools/setup.sh [--with-ops] does it too):')
        for purpose, command in result.cures:
            console.print(f'[dim]# {purpose}[/]')
            console.print(escape(command), soft_wrap=True)
