"""Which packages clasp_mm accepts, which are installed, and pip or uv to change that.

Needs Python's own library alone, until ``packaging`` is installed.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

from .resources import shipped_file

PROBE_SECONDS = 300
# Fails where the two were built for different versions.
TORCH_PAIR = ('import torch, torchvision\n'
              'torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)')
BOTH_MMCV = 'mmcv and mmcv-lite are both installed, and share one folder'
GROUPS = ('core', 'clip', 'hosts', 'host_needs')


def requirements_file(name: str) -> Path:
    """``requirements/{name}.txt``: inside the package in a wheel, beside it in a clone."""
    return shipped_file(f'requirements/{name}.txt')


def requirement_lines(name: str) -> list[str]:
    """The requirements of ``requirements/{name}.txt``, without comments."""
    lines = requirements_file(name).read_text('utf-8').splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


def accepted_versions(names: Iterable[str] = GROUPS) -> dict[str, dict[str, str]]:
    """``{file of requirements/: {package: specifier}}``, of what this Python needs."""
    from packaging.requirements import Requirement
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        for requirement in map(Requirement, requirement_lines(name)):
            if requirement.marker is None or requirement.marker.evaluate():
                bounds = sorted(str(requirement.specifier).split(','),
                                key=lambda bound: bound[:1] != '>')
                groups.setdefault(name, {})[requirement.name] = ','.join(bounds)
    return groups


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def installed(name: str) -> bool:
    """Whether a package is installed."""
    return bool(installed_versions([name]))


def state(version: str | None, accepted: str) -> str:
    """``'ok'``, ``'missing'`` or ``'outside'``: a version against a specifier."""
    from packaging.specifiers import SpecifierSet
    if version is None:
        return 'missing'
    return 'ok' if SpecifierSet(accepted).contains(version, prereleases=True) else 'outside'


def version_fault(name: str, version: str | None, accepted: str) -> str:
    """What is wrong with a package's version; an empty string where nothing is."""
    if version is None:
        return f'{name} is not there'
    return '' if state(version, accepted) == 'ok' else (
        f'{name} {version} is not in the accepted {accepted}')


def unaccepted(scope: str) -> list[str]:
    """What is installed of a host, and of what it stands on, in a version that is not accepted.

    A sentence for each; ``scope`` is the host's in configs, as ``mmseg``.
    """
    groups = accepted_versions(('core', 'hosts'))
    accepted = groups['core'] | groups['hosts']
    accepted['mmcv'] = accepted['mmcv-lite']
    host = {'mmseg': 'mmsegmentation'}.get(scope, scope)
    versions = installed_versions(('mmengine', 'mmcv', 'mmcv-lite', host))
    found = [version_fault(name, version, accepted[name])
             for name, version in versions.items() if name in accepted]
    if {'mmcv', 'mmcv-lite'} <= set(versions):
        found.append(BOTH_MMCV)
    return list(filter(None, found))


def installer(command: str) -> list[str]:
    """The beginning of a command line that installs into the running Python.

    uv makes environments without pip: there ``uv pip`` is used, or pip is unpacked from Python.

    Args:
        command: ``install`` or ``uninstall``.

    Raises:
        RuntimeError: There is neither pip nor uv.
    """
    if not installed('pip'):
        if uv := shutil.which('uv'):
            compiled = ['--compile-bytecode'] if command == 'install' else []  # as pip does
            return [uv, 'pip', command, '--python', sys.executable, *compiled]
        done = subprocess.run([sys.executable, '-m', 'ensurepip'], capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f'{sys.executable} has no pip, and there is no uv: install either')
    quiet = ['--disable-pip-version-check', '--no-input']
    answers = ['-y'] if command == 'uninstall' else []
    return [sys.executable, '-m', 'pip', *quiet, command, *answers]


def probe(code: str) -> tuple[bool, str]:
    """Run Python code in a process of its own; return success and its last line of output."""
    try:
        done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True,
                              text=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False, f'no answer within {PROBE_SECONDS} s'
    works = done.returncode == 0
    lines = (done.stdout if works else done.stderr).strip().splitlines()
    return works, lines[-1] if lines else '' if works else f'exit code {done.returncode}'


def shown(*arguments: str) -> str:
    """A command of the running Python for people, by a short path where there is one."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return shlex.join([str(python), '-m', *arguments])


def call(command: list[str], log: Path, tell: Callable[[str], None]) -> bool:
    """Run a command, and return whether it succeeded.

    All of its output goes to ``log``, what tells how far it is to ``tell``.
    """
    with log.open('a', encoding='utf-8') as file:
        file.write(f'$ {shlex.join(command)}\n')
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors='replace') as process:
            for line in process.stdout:
                file.write(line)
                file.flush()
                if text := telling(line.strip()):
                    tell(text[:100])
    return process.returncode == 0


def telling(line: str) -> str:
    """What a line of pip's or uv's output tells about the progress; nothing: an empty string."""
    if found := re.match(r'(?:Downloading|Using cached) (\S+) (\([\d.]+ ?[MG]i?B\))$', line):
        name = found[1].split('-')[:2] if found[1].endswith('.whl') else [found[1]]
        return ' '.join([*name, found[2]])
    if line.startswith('Installing collected packages'):
        return f'installing {line.count(",") + 1} packages ...'
    marks = ('Building wheel for', 'still running', 'ERROR', 'error:', 'ninstalled', 'No matching')
    return line if any(mark in line for mark in marks) else ''
