"""One row of the benchmark's table: our way, a peer's way, and the ratio that is to be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from clasp_mm.utils.device import pick_device, precision
from clasp_mm.utils.timing import interleaved

from .profiling import profile_call

# Among the details of a row: the same of CPU time, and with our head on both sides.
_OTHER_RATIOS = dict(cpu_ratio='of CPU time', same_head_ratio='same head')


@dataclass(frozen=True)
class Options:
    """How all benchmarks are run.

    Args:
        device: Where networks compute, as ``cuda:1``; by default on the GPU where there is one.
        threads: CPU threads of each call; None for each benchmark's own.
        repeats: Rounds whose median counts.
        amp: Networks compute in bfloat16 autocast.
        compiled: Backbones are compiled by ``torch.compile``, the peer's too.
        quick: Tiny networks and batches: shows that all runs, measures nothing.
        profile: Also report where the time goes.
        batch_size: Images per call of the networks; None for each benchmark's own.

    Raises:
        ValueError: For a number below 1, or a device that is not there.
    """

    device: str | None = None
    threads: int | None = None
    repeats: int = 7
    amp: bool = False
    compiled: bool = False
    quick: bool = False
    profile: bool = False
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in ('threads', 'repeats', 'batch_size'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')
        object.__setattr__(self, 'device', str(pick_device(self.device)))

    def autocast(self) -> AbstractContextManager:
        return precision(self.device, self.amp)

    @property
    def dtype(self) -> str:
        return 'bfloat16' if self.amp else 'float32'

    def batch(self, usual: int, quick: int = 2) -> int:
        """Images per call: what the user gave, or the benchmark's own number."""
        return self.batch_size or (quick if self.quick else usual)


@dataclass(frozen=True)
class Goal:
    """The ratio to reach.

    Args:
        reach: Bound that counts as met.
        aim: Bound that is hoped for.
        at_least: The ratio is a speed (peer's time over ours) and must not be below the bound;
            else it is a cost (ours over the peer's) and must not be above.
    """

    reach: float
    aim: float | None = None
    at_least: bool = False

    def ratio(self, ours: float, peer: float) -> float:
        return peer / ours if self.at_least else ours / peer

    def met(self, ratio: float) -> bool:
        return ratio >= self.reach if self.at_least else ratio <= self.reach

    def __str__(self) -> str:
        sign = '>=' if self.at_least else '<='
        aim = '' if self.aim is None else f', aim {self.aim:g}'
        return f'{sign} {self.reach:.3g}{"x" if self.at_least else ""}{aim}'


@dataclass
class Row:
    """A result.

    Args:
        name: Short name.
        what: What is measured, on what.
        peer: What it is measured against.
        ours: Our value, in ``unit``.
        theirs: The peer's.
        unit: ``s`` (median seconds of a call) or ``MiB``.
        goal: Ratio to reach.
        images: Images per call.
        details: Other figures of the same run.
        profile: Shares of the time by part, of both sides.
    """

    name: str
    what: str
    peer: str
    ours: float
    theirs: float
    unit: str
    goal: Goal
    images: int
    details: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return self.goal.ratio(self.ours, self.theirs)

    def to_dict(self) -> dict[str, Any]:
        row = dict(name=self.name, what=self.what, peer=self.peer, unit=self.unit,
                   ours=self.ours, theirs=self.theirs, ratio=self.ratio,
                   reach=str(self.goal), met=self.goal.met(self.ratio), images=self.images)
        if self.unit == 's':
            row['images_per_second'] = self.images / self.ours
            row['peer_images_per_second'] = self.images / self.theirs
        return {**row, 'details': self.details, 'profile': self.profile}


def race(name: str, what: str, peer_name: str, ours: Callable[[], object],
         peer: Callable[[], object], goal: Goal, options: Options, images: int,
         parts: Mapping[str, Callable[[], object]] | None = None) -> Row:
    """Time both by turns; ``parts`` of our way are timed beside them and go to the details."""
    calls = {'ours': ours, 'peer': peer, **(parts or {})}
    times = interleaved(calls, options.repeats, device=options.device)
    row = Row(name, what, peer_name, times['ours'].seconds, times['peer'].seconds, 's', goal,
              images)
    row.details['cpu_ratio'] = goal.ratio(times['ours'].cpu_seconds, times['peer'].cpu_seconds)
    if parts:
        row.details['seconds_of_parts'] = {part: times[part].seconds for part in parts}
    if options.profile:
        row.profile = {side: profile_call(calls[side], options.device)
                       for side in ('ours', 'peer')}
    return row


def table(rows: list[Row], title: str) -> Table:
    """The rows for the console."""
    others = {name: title for name, title in _OTHER_RATIOS.items()
              if any(name in row.details for row in rows)}
    out = Table(title=title)
    out.add_column('benchmark')
    for column in ('threads', 'ours', 'theirs', 'ratio', *others.values(), 'to reach', ''):
        out.add_column(column, justify='right')
    for row in rows:
        met = row.goal.met(row.ratio)
        out.add_row(row.name, str(row.details['threads']), _value(row.ours, row),
                    _value(row.theirs, row), f'{row.ratio:.3f}',
                    *(f'{row.details[name]:.3f}' if name in row.details else '' for name in others),
                    str(row.goal), '[green]met[/]' if met else '[red]not met[/]')
    return out


def profile_table(row: Row) -> Table:
    """Where the time of a row goes, both sides beside each other."""
    out = Table(title=f'{row.name}: milliseconds and GFLOP by part')
    out.add_column('part')
    for side in ('ours', 'peer'):
        for column in ('ms', 'share', 'GFLOP'):
            out.add_column(f'{side} {column}', justify='right')
    for part in row.profile['ours']:
        cells = []
        for side in ('ours', 'peer'):
            item = row.profile[side][part]
            cells += [f'{item["ms"]:.1f}', f'{100 * item["share"]:.1f} %',
                      f'{item["gflop"]:.1f}']
        out.add_row(part, *cells)
    return out


def _value(value: float, row: Row) -> str:
    if row.unit != 's':
        return f'{value:.0f} {row.unit}'
    return f'{1e3 * value:.1f} ms, {row.images / value:.3g}/s'
