"""A ceiling for the time of an unmarked test."""

import resource
import time

import pytest

SECONDS = 20


def _spent() -> tuple[float, float]:
    """The clock, and the processor time of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.monotonic(), sum(one.ru_utime + one.ru_stime for one in used)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fail what takes too long by both: on a busy machine the clock runs on, on many cores the
    processor time."""
    before = _spent()
    result = yield
    seconds = min(now - then for now, then in zip(_spent(), before, strict=True))
    if seconds > SECONDS and not item.get_closest_marker('slow'):
        pytest.fail(f'{item.nodeid} took {seconds:.1f} s, and a test without a mark has {SECONDS} '
                    's: make it smaller, or mark it @pytest.mark.slow and keep a small case of its '
                    'claim unmarked', pytrace=False)
    return result
