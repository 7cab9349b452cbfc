"""Which errors the command line tells in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

# What was asked for, or what it needs, is wrong: the message names the way out.
USER_ERRORS = (ValueError, OSError, ImportError, RuntimeError)


@contextmanager
def work() -> Iterator[None]:
    """Inside it is no longer what was asked for that fails: errors keep their traceback."""
    try:
        yield
    except USER_ERRORS as error:
        error.of_the_work = True
        raise


def keeps_traceback(error: BaseException) -> bool:
    """Whether an error comes from inside :func:`work`."""
    return getattr(error, 'of_the_work', False)
