"""Each ablation config changes what its README says and nothing else, builds and trains."""

import ast
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from clasp_mm.engine.config_check import check_config
from clasp_mm.engine.training_step import TrainingStep
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
from clasp_mm.registry import MODELS

ROOT = Path(__file__).parents[1] / 'configs'
BASE = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'
QUICKSTART = ROOT / 'quickstart/clasp_pcmoe-swin-nano_1xb32_synthetic-64x32.py'
CONFIGS = sorted((ROOT / 'ablations').glob('*.py'))
# As the README abbreviates them: the first step of the pipeline, by its variable and where it is
# used, and all else of the model.
LABELS = ('train_pipeline[0].', 'train_dataloader.dataset.pipeline[0].')
each = pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)


def differences(base, other, path=''):
    """Dotted keys at which two trees of plain data differ, as high up as can be -> new value."""
    if isinstance(base, dict) and isinstance(other, dict):
        pairs = [(f'{path}.{key}' if path else key, base.get(key), other.get(key))
                 for key in {**base, **other}]
    elif isinstance(base, list) and isinstance(other, list) and len(base) == len(other):
        pairs = [(f'{path}[{i}]', a, b) for i, (a, b) in enumerate(zip(base, other, strict=True))]
    else:
        return {} if base == other else {path: other}
    return {key: value for pair in pairs
            for key, value in differences(*pair[1:], path=pair[0]).items()}


def readme_rows():
    """(file, changes) of every row of the README's tables."""
    for line in (ROOT / 'ablations/README.md').read_text().splitlines():
        if match := re.match(r'\| [^|]+ \| \[([^\]]+)\]\((\S+\.py)\) \|([^|]*)\|', line):
            title, file, cell = match.groups()
            assert file == f'{title}.py'
            changes = {}
            for change in re.findall(r'`([^`]+)`', cell):
                key, value = change.split('=', 1)
                names = ([place + key.removeprefix('labels.') for place in LABELS]
                         if key.startswith('labels.') else [f'model.{key}'])
                changes |= {name: ast.literal_eval(value) for name in names}
            yield file, changes


def on_quickstart(path):
    """The same changes on the quickstart's config."""
    first, rest = path.read_text().split('\n', 1)
    assert first == f'_base_ = {BASE!r}'
    return Config.fromstring(f'_base_ = {str(QUICKSTART)!r}\n{rest}', '.py')


def test_every_file_has_its_row_and_a_row_says_the_same_wherever_it_stands():
    rows = list(readme_rows())
    assert {file for file, _ in rows} == {path.name for path in CONFIGS}
    assert len(rows) == 6 + 7 + 7 + 10 + 7
    said = dict(rows)
    assert all(said[file] == changes for file, changes in rows)
    distinct = {str(sorted(changes.items())) for changes in said.values()}
    assert len(distinct) == len(CONFIGS)


@each
def test_changes_exactly_what_the_readme_says(path):
    base, small = (Config.fromfile(file).to_dict() for file in (ROOT / 'ablations' / BASE,
                                                                QUICKSTART))
    said = dict(readme_rows())[path.name]
    if path.name.startswith('balance_'):  # each says both, though a base may have one already
        assert set(said) == {'model.balance', 'model.balance_weight'}
        for own, cfg in ((base, Config.fromfile(path)), (small, on_quickstart(path))):
            assert said == {key: cfg.model[key.removeprefix('model.')] for key in said}
            assert set(differences(own, cfg.to_dict())) <= set(said)
        return
    assert differences(base, Config.fromfile(path).to_dict()) == said
    nano = differences(small, on_quickstart(path).to_dict())
    assert nano.keys() == said.keys()
    by_size = 'model.backbone.moe.expert_hidden'         # twice the base's, whichever it is
    assert {key: value for key, value in nano.items() if key != by_size} == {
        key: value for key, value in said.items() if key != by_size}
    assert nano.get(by_size, 16) == 16


@each
def test_keys_are_read_and_classes_are_those_of_the_labels(path):
    for cfg in (Config.fromfile(path), on_quickstart(path)):
        check_config(cfg)
        labels = cfg.train_dataloader.dataset.pipeline[0]
        if cfg.model.part_head is not None:
            assert cfg.model.part_head.num_classes == 1 + (
                max(labels.cluster_numbers) if labels.get('naming') == 'order'
                else len(DEFAULT_VOCABULARY.parts))


@each
def test_builds_at_full_size(path):
    cfg = Config.fromfile(path)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    moe = cfg.model.backbone.moe
    stages = () if moe is None else moe.get('stages', (0, 1, 2, 3))
    for backbone in (model.backbone, model.teacher.backbone):
        assert tuple(i for i, stage in enumerate(backbone.stages) if stage.moe) == stages
    has = {name: any(f'.moe.{name}' in key for key in model.backbone.state_dict())
           for name in ('prompts', 'channel_gate', 'global_gate', 'prompt_fc')}
    switches = {name: moe is not None and moe.get(name, True) for name in (
        'prompt_embedding', 'prompt_residual', 'channel_gate', 'global_gate')}
    assert has == dict(prompts=switches['prompt_embedding'] or switches['prompt_residual'],
                       channel_gate=switches['channel_gate'], global_gate=switches['global_gate'],
                       prompt_fc=switches['prompt_residual'])


@each
def test_trains_on_the_quickstarts_base(path):
    cfg = on_quickstart(path)
    torch.manual_seed(0)
    step = TrainingStep(cfg, 4, 'cpu')
    model = step.model
    losses = model.loss(step.views, step.samples)
    expected = {'loss_dino': True, 'loss_part': cfg.model.part_head, 'loss_attr':
                cfg.model.attr_head, 'loss_moe': cfg.model.backbone.moe}
    assert {name for name in losses if name.startswith('loss')} == {
        name for name, cause in expected.items() if cause}
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert loss.isfinite()
    # DistributedDataParallel needs one for each
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_a_on_the_quickstart_is_its_dino_at_equal_epochs():
    dino = Config.fromfile(ROOT / 'quickstart/dino_swin-nano_stage2_1xb32_synthetic-64x32.py')
    ours = on_quickstart(ROOT / 'ablations/table1_a_dino.py').to_dict()
    keys = set(differences(dino.to_dict(), ours))
    # CLASP without heads computes DINO's loss (test_pretrain.py); out_indices is the default.
    assert keys == {'model.type', 'model.backbone.out_indices', 'model.semantic_views',
                    'model.part_weight', 'model.attr_weight', 'model.balance',
                    'model.balance_weight',
                    'optim_wrapper.paramwise_cfg.custom_keys',  # of PC-MoE alone
                    'train_pipeline', 'train_dataloader.dataset.pipeline'}
    crops, its_crops = ours['train_pipeline'][1], dino.train_pipeline[0]
    assert {key: crops[key] for key in its_crops} == its_crops and crops['num_local'] == 0
