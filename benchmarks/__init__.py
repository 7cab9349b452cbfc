"""Speed and memory against named peers: ours and theirs by turns in one run, medians, ratios."""

from clasp_mm.utils.timing import interleaved, threads

from .contest import Goal, Options, Row, profile_table, table
from .run import BENCHMARKS, benchmark_names, run_benchmarks, write_report

__all__ = [
    'BENCHMARKS', 'Goal', 'Options', 'Row', 'benchmark_names', 'interleaved',
    'profile_table', 'run_benchmarks', 'table', 'threads', 'write_report'
]
