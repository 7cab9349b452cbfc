"""Configs that are read without being run."""

from pathlib import Path

import pytest
from mmengine.config import Config

from clasp_mm.utils.config_text import config_differences, read_config_text
from tests.source_tree import ROOT


@pytest.fixture(autouse=True)
def plain_configs():
    """The layout counts here."""


@pytest.mark.parametrize('family', ['quickstart', 'pretrain'])
def test_what_mmengine_writes_is_read(family):
    for path in sorted((ROOT / 'configs' / family).glob('*.py'))[::5]:
        cfg = Config.fromfile(path)
        assert read_config_text(cfg.pretty_text) == cfg.to_dict(), path.name


@pytest.mark.parametrize('text', [
    'a = open("x")', 'import os', 'a = [i for i in range(3)]', 'a = dict(**b)', 'a = 1 + 1',
    'a: int = 3', 'a.b = 3', 'a = b = __import__("os")', 'a = f"{1}"', 'a = dict([(1, 2)])', 'a =',
    "a = -'x'", 'a = {[1]: 2}', 'a = {[1]}'])
def test_what_would_have_to_be_run_is_refused(text):
    with pytest.raises(ValueError, match=r'line 1|no config'):
        read_config_text(text)


def test_literals():
    assert read_config_text(
        "a = dict({'b.c': -1.5}, d=(1, [2, None]))\ne = {3: True}\nf = inf\ng = 'x' 'y'") == dict(
            a={'b.c': -1.5, 'd': (1, [2, None])}, e={3: True}, f=float('inf'), g='xy')


def test_each_name_of_a_chain_is_set_to_a_value_of_its_own():
    found = read_config_text('a = b = dict(c=[1])')
    assert found == dict(a=dict(c=[1]), b=dict(c=[1])) and found['a'] is not found['b']


def test_differences_of_what_json_cannot_hold():
    given = dict(a={(1, 2): (3, ), 4: Path('x')})
    assert config_differences(given, given) == []
    assert config_differences(given, dict(a={(1, 2): [5], 4: 'x'})) == ['a.(1, 2)[0]: 3, not 5']


def test_differences_name_place_and_both_values():
    given = dict(a=dict(b=[1, (2, 3)], same=float('nan')), work_dir='x', resume=True, new='n' * 99)
    stored = dict(a=dict(b=(1, [2, 4]), same=float('nan')), work_dir='y', gone=0)
    assert config_differences(given, given) == []
    assert config_differences(given, stored) == [
        'a.b[1][1]: 3, not 4', 'gone: None, not 0', f"new: '{'n' * 59}..., not None"]
