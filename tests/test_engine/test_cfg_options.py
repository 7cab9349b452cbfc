import argparse

import pytest
from mmengine.config import Config, DictAction

from clasp_mm.cli.options import CfgOptions
from clasp_mm.engine.cfg_options import merge_options, parse_value
from clasp_mm.engine.config_check import ConfigError, check_config


def parse(*arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions)
    return parser.parse_args(['--cfg-options', *arguments]).cfg_options


@pytest.mark.parametrize('text', [
    '3', '1e-3', 'True', 'none', 'None', 'a/b.pth', '"quoted"', "'x'", '1,2', '[1,2]', '(1,2)',
    '[]', '()', '[a]', '(a)', 'a,', '[a,]', 'a,,b', '[(1,2),[a,b],c]', '[[1],[2,[3,x]]]', '[1, 2]',
    '( 1,2 )', 'a(1.pth', 'k=v', ''])
def test_values_without_inner_spaces_are_read_as_mmengine_reads_them(text):
    assert parse_value(text) == DictAction._parse_iterable(text)


@pytest.mark.parametrize('text, value', [
    ('my runs/epoch 1.pth', 'my runs/epoch 1.pth'), ("'a  b'", 'a  b'),
    ('[my run (2)/a.pth, b c]', ['my run (2)/a.pth', 'b c']), ('("a b",3)', ('a b', 3)),
    ('data/set(1,2)/x', 'data/set(1,2)/x'), ('a(1,2),b', ['a(1,2)', 'b']),
    ('red hat, [blue coat, 1.5]', ['red hat', ['blue coat', 1.5]])])
def test_values_keep_their_spaces(text, value):
    assert parse_value(text) == value


def test_options_add_up_and_what_cannot_be_read_ends_the_program(capsys):
    assert parse('a.b=x=y', 'c=my run') == {'a.b': 'x=y', 'c': 'my run'}
    for wrong, said in (('run/epoch.pth', 'is no KEY=VALUE; a value with a space goes into quotes'),
                        ('=3', 'is no KEY=VALUE'), ('a=[1,2', 'a bracket has no other end')):
        with pytest.raises(SystemExit):
            parse(wrong)
        assert said in capsys.readouterr().err


@pytest.mark.parametrize('options, told', [
    ({'model.arch.depth': 3}, "model.arch.depth: model.arch is 'nano', which has no keys; give "
                              'model.arch whole'),
    ({'model.moe.top_k': 3}, 'model.moe is None, which has no keys'),
    ({'hooks.2.x': 3}, "hooks is a list of 2; behind it goes a number below that, not '2'"),
    ({'hooks.last.x': 3}, "not 'last'"),
    ({'depths.0': 3}, 'of a list the keys of its dicts can be set; give depths whole'),
    ({'new': 2, 'new.x': 1}, r'new, new.x')])
def test_a_key_that_cannot_be_set_is_named(options, told):
    cfg = Config(dict(model=dict(arch='nano', moe=None), hooks=[dict(type='A'), dict(type='B')],
                      depths=[2, 2]))
    with pytest.raises(ConfigError) as caught:
        merge_options(cfg, options)
    assert told in str(caught.value)


def test_weights_need_an_initialiser():
    cfg = Config(dict(default_scope='mmengine', model=dict(type='clasp_mm.DINO')))
    merge_options(cfg, {'model.init_cfg.checkpoint': 'a.pth'})
    with pytest.raises(ConfigError, match=r'set model\.init_cfg\.type=Pretrained too'):
        check_config(cfg)
    merge_options(cfg, {'model.init_cfg.type': 'Pretrained'})
    check_config(cfg)
