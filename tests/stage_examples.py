"""Stages that end in every way; their processes import nothing heavy."""

import os
import subprocess
import sys
import time


def good(report):
    report.check('sum', 1 + 1 == 2, value=2)
    report.row('speed', ms=1.5)


def raises(report):
    report.check('before', True)
    raise RuntimeError('stage fell')


def dies(report):
    report.check('before', True)
    os.abort()


def hangs(report):
    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
    report.row('child', pid=child.pid)
    time.sleep(60)


def cut_off(report):
    with open(report.out / 'results.jsonl', 'a') as file:
        file.write('{"stage": "cut_off", "na')
        file.flush()
    os.abort()


class OutOfMemoryError(RuntimeError):
    """Stands for torch's."""


def of_parts(report):
    def fail():
        raise ValueError('3 apples')

    def fill():
        raise OutOfMemoryError('1 PiB')

    report.part('first', fail)
    report.part('large', fill)
    report.part('last', report.check, 'after', True)
    (report.work / 'file').write_text('x')
    report.row('work', folder=str(report.work))


def slow_parts(report):
    def sleep():
        time.sleep(0.6 * (report.until - time.time()))
        report.row('slept')

    report.part('once', sleep)
    report.part('twice', sleep)
