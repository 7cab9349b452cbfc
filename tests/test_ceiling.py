"""A test that takes too long fails by its name, unless it is marked slow."""

import pytest

pytest_plugins = ['pytester']

FILE = """
import time
import pytest

def burn(seconds=.2):
    start = time.process_time()
    while time.process_time() < start + seconds:
        pass

def test_long():
    burn()

def test_short():
    burn(0)

def test_waits():  # as on a busy machine
    time.sleep(.2)

@pytest.mark.slow
def test_marked():
    burn()

def test_wrong_and_long():
    burn()
    assert False, 'wrong'

def test_child():
    import subprocess, sys
    subprocess.run([sys.executable, '-S', '-c', '''if True:
        import time
        while time.process_time() < .2:
            pass'''])
"""


def test_only_what_computes_for_too_long_without_a_mark_fails(pytester, monkeypatch):
    pytester.makepyfile(FILE)
    pytester.makeini('[pytest]\nmarkers = slow: x')
    with monkeypatch.context() as patch:
        patch.setattr('tests.ceiling.SECONDS', .1)
        found = pytester.runpytest_inprocess('-p', 'tests.ceiling', '-p', 'no:cacheprovider')
    found.assert_outcomes(passed=3, failed=3)
    found.stdout.re_match_lines([
        r'.*::test_long took 0\.\d s, and a test without a mark has 0\.1 s: make it smaller, or '
        r'mark it @pytest\.mark\.slow.*'])
    found.stdout.fnmatch_lines(['E *AssertionError: wrong', 'FAILED *::test_child*'])
    assert found.ret == pytest.ExitCode.TESTS_FAILED
