"""clasp_mm.Pretrained: what it takes, what it refuses, and what it leaves behind."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel, PretrainedInit
from torch import nn

from clasp_mm.models import PCMoESwin
from clasp_mm.models.weights import initializer as pretrained
from clasp_mm.models.weights.initializer import Pretrained
from clasp_mm.models.weights.swin import CheckpointError, LoadReport
from clasp_mm.registry import MODELS
from clasp_mm.utils.files import file_hash

ARCH = dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2))


def make(**kwargs):
    return MODELS.build(dict(dict(
        type='clasp_mm.PCMoESwin', arch=ARCH, task='part', strides=(4, 2), out_indices=(1, ),
        window_size=4), **kwargs))


class Detector(BaseModel):
    """As mmdet's and mmseg's: initialises all layers first, then what it is made of."""

    def __init__(self, init_cfg, backbone_init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.backbone = make(init_cfg=backbone_init_cfg)
        self.head = nn.Linear(16, 2)

    def forward(self, inputs, mode='loss'):
        return inputs


@pytest.fixture
def teacher():
    model = make()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=.3)
    return model


@pytest.fixture(params=['file', 'name', 'name and date', 'training checkpoint'])
def source(request, teacher, tmp_path, monkeypatch):
    state = teacher.state_dict()
    if request.param == 'training checkpoint':
        weights = {f'teacher.backbone.{k}': v for k, v in state.items()}
        weights |= {f'backbone.{k}': torch.zeros_like(v) for k, v in state.items()}
        torch.save(dict(state_dict=weights, optimizer={}), tmp_path / 'epoch_1.pth')
        return tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=state), tmp_path / 'made.pth')
    path = tmp_path / f'nano_20260102-{file_hash(tmp_path / "made.pth")}.pth'
    (tmp_path / 'made.pth').rename(path)
    monkeypatch.setenv('CLASP_ZOO', str(tmp_path))
    return {'file': str(path), 'name': 'nano', 'name and date': path.stem}[request.param]


@pytest.mark.parametrize('type_', ['clasp_mm.Pretrained', 'Pretrained', Pretrained,
                                   PretrainedInit])
def test_every_source_by_every_spelling(source, type_, teacher):
    layers = [dict(type='Constant', layer=['Linear', 'Conv2d', 'LayerNorm'], val=7.)]
    model = Detector(layers, [dict(type=type_, checkpoint=source),
                              dict(type='Constant', layer='Linear', val=5.)])
    model.init_weights()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, teacher.state_dict()[name]), name
    assert (model.head.weight == 7).all()


def test_report_in_the_log_and_beside_it(teacher, tmp_path):
    torch.save(teacher.state_dict(), tmp_path / 'clasp.pth')
    logger = MMLogger.get_instance('swap', log_file=str(tmp_path / 'run.log'))
    init_cfg = dict(type='clasp_mm.Pretrained', checkpoint=str(tmp_path / 'clasp.pth'))
    for expected in (1, 2):
        make(init_cfg=init_cfg).init_weights()
        rows = (tmp_path / 'pretrained.jsonl').read_text().splitlines()
        assert len(rows) == expected
    report = json.loads(rows[0])
    assert report['source'] == str(tmp_path / 'clasp.pth')
    assert set(report['matched']) == set(teacher.state_dict()) and report['missing'] == []
    assert f'{len(report["matched"])} tensors matched' in (tmp_path / 'run.log').read_text()
    logger.handlers.clear()


def test_a_part_only_where_the_rest_is_named(teacher, tmp_path):
    state = {key: value for key, value in teacher.state_dict().items() if 'prompt_fc' not in key}
    torch.save(dict(state, extra=torch.ones(1)), tmp_path / 'part.pth')

    def load(**kwargs):
        model = make(init_cfg=dict(type='clasp_mm.Pretrained',
                                   checkpoint=str(tmp_path / 'part.pth'), **kwargs))
        before = {key: value.clone() for key, value in model.state_dict().items()}
        try:
            model.init_weights()
        except CheckpointError as error:
            assert error.report.missing or error.report.unexpected
            after = model.state_dict()
            assert all(torch.equal(after[key], before[key]) for key in state)
            raise
        return model.state_dict()

    for kwargs in (dict(), dict(expected_missing=['*.prompt_fc.*']),
                   dict(allow_unexpected=['extra'])):
        with pytest.raises(CheckpointError):
            load(**kwargs)
    loaded = load(expected_missing=['*.prompt_fc.*'], allow_unexpected=['extra'])
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert (loaded['stages.0.moe.prompt_fc.weight'] == 0).all()


def test_what_is_refused(teacher, tmp_path, monkeypatch):
    monkeypatch.setenv('CLASP_ZOO', str(tmp_path))
    torch.save(teacher.state_dict(), tmp_path / 'nano_20260102-01234567.pth')
    for source, match, error in (
            ('nano', 'fetch it again', ValueError),
            ('nani', r'^nobody has published nani, .*init_cfg\.checkpoint=FILE; .*hf-hub:timm/.*'
                     r'init_cfg=None\)\. \(no published .* near: nano\b.*\)$', FileNotFoundError),
            ('nano.pth', 'no checkpoint file', FileNotFoundError),
            (f'{tmp_path}/none', 'no checkpoint file', FileNotFoundError)):
        with pytest.raises(error, match=match):
            make(init_cfg=dict(type='clasp_mm.Pretrained', checkpoint=source)).init_weights()
    with pytest.raises(TypeError, match='init_cfg of the backbone'):
        Detector(dict(type='clasp_mm.Pretrained', checkpoint='nano')).init_weights()
    with pytest.raises(ValueError, match='meant for another backbone'):
        PCMoESwin('nano', 'part', pretrained='open-mmlab://resnet50_v1c')


def test_a_log_folder_that_is_gone_stops_no_later_loading(tmp_path, monkeypatch):
    gone = SimpleNamespace(log_file=str(tmp_path / 'gone' / 'run.log'))
    monkeypatch.setattr(MMLogger, 'get_current_instance', lambda: gone)
    report = LoadReport('made.pth', 'clasp', ('a', ), *[()] * 6, {}, {})
    pretrained._write(report)
    assert not (tmp_path / 'gone').exists()
    (tmp_path / 'gone').mkdir()
    pretrained._write(report)
    assert (tmp_path / 'gone' / 'pretrained.jsonl').is_file()
