"""Configs of the package are found by the names that the documents use, also outside a clone."""

from pathlib import Path

from mmengine.config import Config

from clasp_mm.engine.launch import load_config
from clasp_mm.utils.resources import config_file

NAME = 'configs/quickstart/dino_swin-nano_1xb32_synthetic-64x32.py'


def test_a_config_is_found_outside_a_clone_and_an_own_one_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(NAME).model.type == 'clasp_mm.DINO'
    assert config_file('configs/none.py') == Path('configs/none.py')
    assert config_file('mine.py') == Path('mine.py')
    (tmp_path / NAME).parent.mkdir(parents=True)
    (tmp_path / NAME).write_text('model = dict(type="clasp_mm.CLASP")')
    assert Config.fromfile(config_file(NAME)).model.type == 'clasp_mm.CLASP'
