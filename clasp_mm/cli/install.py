"""Install what all six tasks need into the running environment; nothing is compiled.

tools/setup.sh runs it in an environment that may be empty: needs Python's own library alone.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path

from clasp_mm.compat.switch import install_operators
from clasp_mm.utils import packages
from clasp_mm.utils.packages import (
    TORCH_PAIR,
    installed,
    probe,
    requirement_lines,
    requirements_file,
    shown,
)

from .options import usage

EPILOG = """\
Finished steps are kept: a second call does what is left. pip's own settings hold (PIP_INDEX_URL,
PIP_FIND_LINKS ...).
"""

FOR_TESTS = ('tests', 'export', 'docs')  # requirements/*.txt
CPU_INDEX = 'https://download.pytorch.org/whl/cpu'
DISK = "the environment takes {} GB, pip's cache {} more (PIP_NO_CACHE_DIR=1 leaves it out)"
NETWORK = ("look for ERROR in the log; without access to PyPI set pip's PIP_INDEX_URL (a mirror), "
           'or give a folder of wheels by --wheels')
NO_CPU_INDEX = (f'--cpu takes torch from {CPU_INDEX}; where that cannot be reached, put its wheels '
                'into a folder for --wheels, or install a torch and torchvision of your own first '
                '(what works is kept), or leave --cpu out')
COMPILER = ('mmcv is built with a C++17 compiler, for a GPU also with the nvcc of the CUDA that '
            'torch was built with; MAX_JOBS=1 lowers the memory it takes. Without --compiled-ops '
            'nothing is built')


class SetUp:
    """The steps, in their order; each may be called again.

    Args:
        args: The command line of ``clasp install``.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.state = Path(sys.prefix) / '.clasp_mm'
        self.log = self.state / 'setup.log'
        self.constraints: list[str] = []
        self.steps = (self.torch, self.core, self.hosts, self.proof)
        self.number, self.title = 0, 'start'
        self.hint = 'use an environment of your own: python -m venv DIR'
        self.began = time.monotonic()

    def run(self) -> None:
        """Take all steps.

        Raises:
            RuntimeError: A step failed; :attr:`title` and :attr:`hint` are its.
        """
        self.state.mkdir(exist_ok=True)
        with self.log.open('a', encoding='utf-8') as file:
            file.write(f'\n== {time.ctime()} {sys.argv}\n')
        self.say(f'Python {sys.version.split()[0]} in {sys.prefix}, log: {self.log}')
        for step in self.steps:
            step()
        for name in self.wanted():
            (self.state / name).write_text(self.mark(), 'utf-8')
        self.say(f'set up in {self.clock()}')

    def wanted(self) -> list[str]:
        """What is asked for, by the names under which it is remembered."""
        asked = {'all': True, 'tests': self.args.with_tests, 'compiled': self.args.compiled_ops}
        return [name for name, value in asked.items() if value]

    def done_before(self) -> bool:
        """Whether an earlier call did all of this, and its packages are still there."""
        marks = [self.state / name for name in self.wanted()]
        if not all(path.is_file() and path.read_text('utf-8') == self.mark() for path in marks):
            return False
        if not installed('packaging'):  # by which versions are read
            return False
        groups = FOR_TESTS if self.args.with_tests else ()
        accepted = packages.accepted_versions((*packages.GROUPS, *groups))
        wanted = {name: spec for group in accepted.values() for name, spec in group.items()}
        if installed('mmcv'):
            wanted['mmcv'] = wanted.pop('mmcv-lite')
        elif self.args.compiled_ops or not (mmcv_folder() / '_ext.py').is_file():
            return False
        versions = packages.installed_versions({*wanted, 'clasp_mm'})
        return 'clasp_mm' in versions and all(
            packages.state(versions.get(name), spec) == 'ok' for name, spec in wanted.items())

    def mark(self) -> str:
        """The mark of a finished set-up: what it reads and writes, clone and interpreter."""
        package = Path(__file__).resolve().parents[1]
        root = package.parent
        files = [*sorted(requirements_file('core').parent.glob('*.txt')),
                 *sorted((package / 'compat' / 'stand_ins').rglob('*.py')),
                 *(root / name for name in ('setup.py', 'pyproject.toml')),
                 package / 'cli' / 'install.py', package / 'version.py']
        text = [path.read_text('utf-8') for path in files if path.is_file()]
        return hashlib.sha256('\n'.join([*text, str(root), sys.version]).encode()).hexdigest()

    def clock(self) -> timedelta:
        return timedelta(seconds=int(time.monotonic() - self.began))

    def say(self, text: str) -> None:
        """To the screen and to the log."""
        print(text, flush=True)
        with self.log.open('a', encoding='utf-8') as file:
            file.write(f'{text}\n')

    def tell(self, text: str) -> None:
        print(f'      {text}', flush=True)

    def begin(self, title: str, hint: str) -> None:
        self.number += 1
        self.title, self.hint = title, hint
        self.say(f'[{self.number}/{len(self.steps)}] {title}  ({self.clock()})')

    def pip(self, command: str, *arguments: str | Path) -> None:
        """Run pip or uv; a RuntimeError where it fails."""
        if command == 'install':
            if self.args.wheels:
                arguments = ('--no-index', '--find-links', self.args.wheels, *arguments)
            if self.constraints:
                path = self.state / 'constraints.txt'
                path.write_text('\n'.join([*self.constraints, '']), 'utf-8')
                arguments = ('-c', path, *arguments)
        line = [*packages.installer(command), *map(str, arguments)]
        if not packages.call(line, self.log, self.tell):
            raise RuntimeError(f'`{" ".join(line[:5])} ...` failed')
        invalidate_caches()

    def torch(self) -> None:
        """A pair of torch and torchvision that work together: what is there, or the tested one."""
        cpu = self.args.cpu and sys.platform == 'linux'  # elsewhere PyPI's are for the CPU
        disk = DISK.format(*((3, 1) if cpu else (6, 3)))
        self.begin('torch and torchvision', f'{NETWORK}; {disk}')
        tools = [name for name in ('packaging', 'setuptools', 'wheel') if not installed(name)]
        if tools:
            self.pip('install', *('setuptools<82' if name == 'setuptools' else name
                                  for name in tools))
        tested = requirement_lines('constraints')
        self.constraints = tested if self.args.source else []
        fault = torch_fault()
        if not fault:
            versions = packages.installed_versions(('torch', 'torchvision'))
            self.tell(f'torch {versions["torch"]} and torchvision {versions["torchvision"]} are '
                      'there and work: kept')
            self.pin(versions)
            return
        if installed('torch') or installed('torchvision'):
            self.tell(f'{fault}: installing the tested pair')
        pair = dict(re.match(r'(torch(?:vision)?)===(.+)', line).groups() for line in tested
                    if line.startswith(('torch=', 'torchvision=')))
        if cpu:
            pair = {name: f'{version}+cpu' for name, version in pair.items()}
        self.announce(cpu, disk)
        self.pin(pair)
        exact = [f'{name}==={version}' for name, version in pair.items()]
        force = ['--force-reinstall'] if installed('torch') else []
        if cpu and not self.args.wheels:
            self.hint = NO_CPU_INDEX
            self.pip('install', *force, '--no-deps', '--index-url', CPU_INDEX, *exact)
            force = []
        self.pip('install', *force, *exact)
        self.hint = 'remove torch and torchvision from the environment, and run this again'
        if fault := torch_fault():
            raise RuntimeError(fault)

    def pin(self, pair: dict[str, str]) -> None:
        if self.constraints:
            others = [line for line in self.constraints
                      if not line.startswith(('torch=', 'torchvision='))]
            self.constraints = [*(f'{name}==={version}' for name, version in pair.items()), *others]

    def announce(self, cpu: bool, disk: str) -> None:
        """What will be downloaded, and whether it fits on the disk."""
        small = cpu or sys.platform != 'linux'
        self.tell(f'to download the first time: {"0.2" if small else "3"} GB of torch, 0.2 GB of '
                  'other packages')
        if not small and shutil.which('nvidia-smi') is None:
            self.tell('no GPU is seen here: --cpu takes a torch of 0.2 GB')
        free = shutil.disk_usage(sys.prefix).free / 1e9
        if free < (4 if cpu else 9):
            self.tell(f'only {free:.0f} GB are free on its disk: {disk}')

    def core(self) -> None:
        """clasp_mm itself, where its clone is given, and what it imports everywhere."""
        self.begin('clasp_mm and the packages of its core', NETWORK)
        files = ['core', 'clip', *(FOR_TESTS if self.args.with_tests else ())]
        self.pip('install', *(word for name in files for word in ('-r', requirements_file(name))))
        if self.args.source:
            self.pip('install', '--no-deps', '--no-build-isolation', '-e', self.args.source)

    def hosts(self) -> None:
        """mmcv, mmdet, mmsegmentation and mmpose, and what stands in for compiled parts."""
        self.begin('mmdet, mmsegmentation, mmpose', NETWORK)
        self.pip('install', '-r', requirements_file('host_needs'))
        hosts = requirement_lines('hosts')
        (lite,) = (line for line in hosts if line.startswith('mmcv-lite'))
        hosts.remove(lite)
        if fault := mmcv_fault(lite):
            self.tell(f'{fault}: removed')
            self.pip('uninstall', *(name for name in ('mmcv', 'mmcv-lite') if installed(name)))
        if self.args.compiled_ops and not has_compiled():
            self.hint = COMPILER
            self.tell("mmcv's own operators: a wheel, or a build of 20 to 46 minutes")
            self.pip('install', 'ninja', 'psutil')
            if installed('mmcv-lite'):
                self.pip('uninstall', 'mmcv-lite')
            os.environ['MMCV_WITH_OPS'] = '1'
            self.pip('install', '--no-build-isolation', '--no-deps',
                     lite.replace('mmcv-lite', 'mmcv'))
        elif not installed('mmcv'):
            hosts.append(lite)
        self.hint = NETWORK
        self.pip('install', '--no-deps', *hosts)
        if installed('xtcocotools') and not probe('import xtcocotools.mask')[0]:
            self.tell("xtcocotools does not work here: removed, clasp_mm's evaluation serves")
            self.pip('uninstall', 'xtcocotools')
        try:  # so that the hosts' own tools find clasp_mm's operators too
            install_operators(mmcv_folder().parent)
        except PermissionError as error:
            self.tell(f"{error}: clasp_mm's operators serve where clasp_mm is imported")

    def proof(self) -> None:
        """Every part works, the operators on the GPU too where there is one."""
        self.begin('a look at the whole (clasp doctor)', f'see `{shown("clasp_mm", "doctor")}`')
        done = subprocess.run([sys.executable, '-m', 'clasp_mm', 'doctor', '--all'], text=True,
                              capture_output=True, check=False)
        with self.log.open('a', encoding='utf-8') as file:
            file.write(done.stdout + done.stderr)
        if done.returncode:
            print(done.stdout + done.stderr)
            raise RuntimeError('a part is not usable, see above')


def torch_fault() -> str:
    """Why torch and torchvision are not to be kept; an empty string where they are."""
    accepted = packages.accepted_versions(('core',))['core']
    pair = ('torch', 'torchvision')
    versions = packages.installed_versions(pair)
    for name in pair:
        if fault := packages.version_fault(name, versions.get(name), accepted[name]):
            return fault
    works, line = probe(TORCH_PAIR)
    return '' if works else f'torch and torchvision do not work together: {line}'


def mmcv_folder() -> Path:
    """The folder of the installed mmcv; where there is none, one that does not exist."""
    invalidate_caches()
    spec = find_spec('mmcv')
    return Path(spec.origin).parent if spec and spec.origin else Path(sys.prefix, 'no mmcv')


def has_compiled() -> bool:
    """Whether the installed mmcv has a compiled module."""
    return any(path.suffix in ('.so', '.pyd') for path in mmcv_folder().glob('_ext*'))


def mmcv_fault(lite: str) -> str:
    """Why the installed mmcv cannot stay; an empty string where it can, or where there is none."""
    from packaging.requirements import Requirement
    version = packages.installed_versions(['mmcv']).get('mmcv')
    if version is None:
        return ''
    if installed('mmcv-lite'):
        return packages.BOTH_MMCV
    if fault := packages.version_fault('mmcv', version, str(Requirement(lite).specifier)):
        return fault
    if has_compiled() and not probe('import torch, mmcv._ext')[0]:
        return f'mmcv {version} was compiled for another torch, and cannot be loaded'
    return ''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--cpu', action='store_true',
                        help='a torch without CUDA, of 0.2 GB in place of 3, where none is there')
    parser.add_argument('--wheels', type=Path, metavar='DIR',
                        help='offline: take all packages from a folder of wheels')
    parser.add_argument('--compiled-ops', action='store_true',
                        help="mmcv's own operators in place of clasp_mm's: a wheel of mmcv, or a "
                             'build of 20 to 46 minutes with a C++ compiler')
    parser.add_argument('--with-tests', action='store_true', help='what the tests need')
    parser.add_argument('--source', type=Path, metavar='DIR',
                        help='install clasp_mm too, editable, from its clone, and the tested '
                             'versions (as tools/setup.sh does)')


def run(args: argparse.Namespace) -> int:
    for name in ('wheels', 'source'):
        folder = getattr(args, name)
        if folder is not None and not folder.is_dir():
            usage(f'--{name}: {folder} is no folder')
        setattr(args, name, folder and folder.resolve())
    setup = SetUp(args)
    if setup.done_before():
        print(f'{sys.prefix} is set up ({" ".join(setup.wanted())})')
        return 0
    try:
        setup.run()
    except (RuntimeError, OSError) as error:
        sys.stderr.write(f'\nset-up stopped in step {setup.number} of {len(setup.steps)} '
                         f'({setup.title}): {error}\nWhat to do: {setup.hint}\n'
                         f'The whole output is in {setup.log}\n'
                         'Then run the same command again: what is done is kept.\n')
        return 1
    return 0
