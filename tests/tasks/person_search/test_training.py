from pathlib import Path

import pytest
import torch

pytest.importorskip('mmdet', reason='needs mmdet: bash tools/setup.sh')
from mmengine.config import Config
from mmengine.runner import Runner

from clasp_mm.compat import allow_mmengine_checkpoints
from clasp_mm.experiments import downstream

CONFIG = next((Path(__file__).parents[3] / 'configs/quickstart').glob('person_search_*.py'))


def test_another_prompt_goes_to_every_branch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'weights.pth').touch()
    started = {}
    monkeypatch.setattr(downstream, 'DATA', dict(person_search=(lambda *_, **__: None, 1, 1)))
    monkeypatch.setattr(downstream, 'run_missing', lambda runs, *_: started.update(runs))
    monkeypatch.setattr(downstream, 'read_run', lambda *_: dict(
        steps=[1], scores=[0.], step_seconds=0))
    downstream.run_downstream('person_search', downstream.quickstart_starts(
        Path('weights.pth'), 1, ['attribute']))
    models = {start: training.cfg.model for start, training in started.items()}
    assert tuple(models['pretrained'].roi_head.tasks) == ('part', 'appearance')
    wrong = models['pretrained, task=attribute']
    assert wrong.backbone.task == 'attribute'
    assert tuple(wrong.roi_head.tasks) == ('attribute', 'attribute')


def test_a_table_too_small_for_the_data_is_named_before_the_first_image(drawn, tmp_path):
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.init_cfg, cfg.work_dir = None, str(tmp_path)
    cfg.model.roi_head.loss_oim.num_identities = 1
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(drawn)
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match=(
            r'model\.roi_head\.loss_oim\.num_identities is 1, but the training set, CUHKSYSU in '
            rf'{drawn}, has (\d+) identities')):
        runner.train()
    assert runner.iter == 0


@pytest.mark.slow
def test_training_saves_resumes_and_tests(drawn, tmp_path):
    """One epoch, then another from its checkpoint: the table of identities goes on."""
    allow_mmengine_checkpoints()

    def runner(epochs, **changes):
        cfg = Config.fromfile(CONFIG)
        cfg.model.backbone.init_cfg = None
        cfg.custom_hooks, cfg.work_dir = [], str(tmp_path)
        cfg.train_cfg.update(max_epochs=epochs, val_interval=9)
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            loader.dataset.data_root = str(drawn)
        cfg.experiment_name = f'epochs{epochs}'
        cfg.update(changes)
        return Runner.from_cfg(cfg)

    first = runner(1)
    first.train()
    table = first.model.roi_head.loss_oim.table.clone()
    assert table.any()
    second = runner(2, resume=True)
    second.load_or_resume()
    torch.testing.assert_close(second.model.roi_head.loss_oim.table, table)
    second.train()
    assert second.epoch == 2
    scores = runner(3, load_from=str(tmp_path / 'epoch_2.pth')).test()
    assert scores['search/num_valid'] > 3 and 0 <= scores['search/mAP'] <= 100
