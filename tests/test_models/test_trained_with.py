"""What a file says of the settings that its backbone was trained with."""

import re

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import SwinTransformer
from timm.models.swin_transformer import SwinTransformer as TimmSwin

from clasp_mm.models import PCMoESwin, SemanticSwin
from clasp_mm.models.weights.swin import CheckpointError, load_backbone
from clasp_mm.models.weights.trained_with import trained_size, trained_statistics
from clasp_mm.registry import MODELS
from clasp_mm.utils.config_text import read_config_text
from tests.source_tree import ROOT
from tests.test_models.test_checkpoint import microsoft_dict, random_weights

ARCH = dict(embed_dims=8, depths=(2, 1, 1, 2), num_heads=(1, 2, 2, 4))
IMAGES = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))  # last map: 7x7
QUICKSTART = ROOT / 'configs/quickstart/clasp_pcmoe-swin-nano_1xb32_synthetic-64x32.py'


def plain(arch=ARCH, **kwargs):
    return PCMoESwin(arch, moe=None, **kwargs).eval()


def lively(model):
    """Weights with which tokens differ, and attention is far from a mean."""
    torch.manual_seed(0)
    for name, param in model.named_parameters():
        near = 1. if param.dim() == 1 and name.endswith('weight') else 0.
        torch.nn.init.normal_(param, near, .1 if param.dim() == 1 else .5)
    model.eval()
    return model


def mmpretrain_swin(**kwargs):
    return lively(SwinTransformer(ARCH, **kwargs))


def timm_swin(**kwargs):
    return lively(TimmSwin(embed_dim=8, depths=ARCH['depths'], num_heads=ARCH['num_heads'],
                           num_classes=3, **kwargs))


@torch.no_grad()
@pytest.mark.parametrize('pad_small_map', [True, False])
def test_224_equals_mmpretrain_and_timm_with_either_setting(pad_small_map):
    ours = plain(pad_small_map=pad_small_map)
    theirs = mmpretrain_swin(pad_small_map=pad_small_map)
    load_backbone(ours, theirs.state_dict())
    torch.testing.assert_close(ours(IMAGES)[0], theirs(IMAGES)[0], rtol=1e-3, atol=1e-3)
    theirs = timm_swin(always_partition=pad_small_map)
    load_backbone(ours, theirs.state_dict())
    ref = theirs.forward_features(IMAGES).permute(0, 3, 1, 2)
    torch.testing.assert_close(ours(IMAGES)[0], ref, rtol=1e-3, atol=1e-3)
    other = plain(pad_small_map=not pad_small_map)
    load_backbone(other, theirs.state_dict())
    assert (other(IMAGES)[0] - ref).norm() > .2 * ref.norm()


def run_file(state, text):
    """As MMEngine's runs save it."""
    return dict(state_dict={f'backbone.{key}': value for key, value in state.items()},
                meta=dict(cfg=text))


@pytest.mark.parametrize(('text', 'told'), [
    ("default_scope = 'mmpretrain'\nmodel = dict(backbone=dict(type='SwinTransformer'))", False),
    ("model = dict(backbone=dict(type='mmpretrain.SwinTransformer', pad_small_map=True))", True),
    ("model = dict(backbone=dict(type='mmdet.SwinTransformer'))", True),
    ("model = dict(backbone=dict(type='clasp_mm.PCMoESwin', moe=None))", True),
    ("model = dict(backbone=dict(type='clasp_mm.PCMoESwin', pad_small_map=False))", False),
    ("model = dict(backbone=dict(type='SwinTransformer'))", None),
    ("model = dict(backbone=dict(type='mmpretrain.SwinTransformerV3'))", None),
    ('model = dict(neck=None)', None), ('raise SystemExit', None)])
def test_a_run_s_config_tells_how_small_maps_were_met(text, told):
    report = load_backbone(plain(), run_file(plain().state_dict(), text))
    assert report.trained_with.get('pad_small_map') is told
    assert report.differing == (('pad_small_map', ) if told is False else ())
    if told is None:
        assert 'pad_small_map is not told' in str(report)
    else:
        assert f'trained with: pad_small_map={told}' in str(report)
    assert ('BUT HERE: pad_small_map=True' in str(report)) == (told is False)
    assert load_backbone(plain(pad_small_map=False), run_file(plain().state_dict(), text)
                         ).differing == (('pad_small_map', ) if told else ())


def test_layouts_of_keys_tell_it():
    timm = timm_swin().state_dict()
    detector = {**microsoft_dict(timm)['model']}
    detector['norm3.weight'], detector['norm3.bias'] = (
        detector.pop('norm.weight'), detector.pop('norm.bias'))
    for i in range(3):
        detector[f'norm{i}.weight'] = detector[f'norm{i}.bias'] = torch.ones(8 << i)
    solider = SemanticSwin(ARCH)
    for model, file, told in (
            (plain(), timm, False), (plain(), microsoft_dict(timm), False),
            (plain(), detector, True), (solider, solider.state_dict(), True),
            (plain(), mmpretrain_swin().state_dict(), None),
            (PCMoESwin(ARCH, 'part'), PCMoESwin(ARCH).state_dict(), None)):
        report = load_backbone(model, file)
        assert report.trained_with == ({} if told is None else dict(pad_small_map=told))


def published(backbone, **meta):
    model = random_weights(MODELS.build(dict(backbone, init_cfg=None)))
    return dict(state_dict={f'backbone.{k}': v for k, v in model.state_dict().items()},
                meta=dict(meta, backbone=dict(backbone)))


def test_settings_that_no_tensor_shows_are_compared():
    """A PC-MoE of other experts an image, or other strides, fits tensor by tensor."""
    backbone = dict(type='clasp_mm.PCMoESwin', arch=ARCH, pad_small_map=False,
                    moe=dict(num_experts=4, top_k=2, expert_hidden=4))
    content = published(backbone)
    same = MODELS.build(dict(backbone, task='part'))
    assert load_backbone(same, content).differing == ()
    other = MODELS.build(dict(backbone, strides=(4, 2, 2, 1), moe=dict(
        num_experts=4, top_k=3, expert_hidden=4, self_embedding=False)))
    report = load_backbone(other, content)
    assert report.complete and report.trained_with == {
        'pad_small_map': False, 'strides': (4, 2, 2, 2), 'moe.top_k': 2,
        'moe.self_embedding': True, 'moe.prompt_embedding': True}
    assert report.differing == ('strides', 'moe.top_k', 'moe.self_embedding')
    assert 'BUT HERE: strides=(4, 2, 2, 1), moe.top_k=3, moe.self_embedding=False' in str(report)


@pytest.mark.parametrize('place', ['published', 'of a run'])
def test_the_quickstart_s_weights_print_the_line_that_fits_them(place):
    cfg = Config.fromfile(QUICKSTART)
    content = published(cfg.model.backbone)
    if place == 'of a run':
        content['meta'] = dict(cfg=cfg.pretty_text)
    with pytest.raises(CheckpointError) as error:
        load_backbone(PCMoESwin('nano', 'part'), content)
    line = next(line.strip() for line in str(error.value).splitlines() if 'backbone=' in line)
    pasted = read_config_text(line)['backbone']
    assert pasted == dict(type='clasp_mm.PCMoESwin', arch='nano', window_size=4, moe=dict(
        num_experts=10, top_k=6, num_prompts=3, expert_hidden=8))
    documented = QUICKSTART.with_name('README.md').read_text(encoding='utf-8')
    assert pasted == read_config_text(re.search(r'^backbone=.*', documented, re.M)[0])['backbone']
    model = MODELS.build(dict(pasted, task='part'))
    report = load_backbone(model, content)
    assert report.complete and not report.resized and not report.differing


def test_a_published_solider_in_a_pcmoe_names_its_class():
    content = published(dict(type='clasp_mm.SemanticSwin', arch=ARCH, semantic_weight=.2))
    with pytest.raises(CheckpointError, match=r"(?s)SemanticSwin.*type='clasp_mm.SemanticSwin'"):
        load_backbone(plain(), content)


@pytest.mark.parametrize('passport, size', [
    (dict(input_size='64x32'), (64, 32)), (dict(input_size='x'), None),
    (dict(input_size=None), None), (dict(), None), ('64x32', None)])
def test_a_passport_states_the_size_of_its_images(passport, size):
    assert trained_size(dict(state_dict={}, meta=dict(passport=passport))) == size
    assert trained_size(dict(state_dict={})) is None


@pytest.mark.parametrize('loader, size', [
    ("dict(dataset=dict(pipeline=[dict(type='A'), dict(global_size=(64, 32))]))", (64, 32)),
    ("dict(dataset=dict(dataset=dict(pipeline=[dict(scale=(32, 64))])))", (64, 32)),
    ('dict(dataset=dict(pipeline=[dict(scale=None)]))', None), ("'dataset'", None),
    ("dict(dataset='dataset')", None), ("dict(dataset=dict(pipeline=[dict(size=('a', 2))]))", None),
    ('dict(dataset=dict(pipeline=[dict(size=(10**9, 2))]))', None),
    ('dict(dataset=dict(pipeline=[dict(size=(100000, 2))]))', None),
    ('open("x")', None)])
def test_a_run_s_config_states_the_size_of_its_images(loader, size):
    assert trained_size(dict(meta=dict(cfg=f'train_dataloader = {loader}'))) == size


@pytest.mark.parametrize('meta', [
    dict(data_preprocessor=dict(mean=[127.5] * 3, std=(60, 61, 62.5))),
    dict(cfg="model = dict(data_preprocessor=dict(mean=[127.5, 127.5, 127.5], "
             "std=[60, 61, 62.5]))")])
def test_a_file_tells_how_its_images_were_normalised(meta):
    assert trained_statistics(dict(meta=meta), 'x.pth') == dict(
        mean=(127.5, 127.5, 127.5), std=(60., 61., 62.5))


@pytest.mark.parametrize('meta', [{}, dict(cfg='no config'), dict(cfg='model = 3'),
                                  dict(data_preprocessor=['mean'])])
def test_a_file_may_tell_nothing_of_it(meta):
    assert trained_statistics(dict(meta=meta), 'x.pth') == {}


@pytest.mark.parametrize('stated', [
    dict(std=[1, 0, 1]), dict(std=[1, 1]), dict(mean=[1, 2, '3']), dict(mean=[1, 2, True]),
    dict(mean=[1, 2, float('nan')]), dict(mean=[1, 2, 10 ** 400]), dict(mean=7)])
def test_a_file_that_tells_no_numbers_is_refused(stated):
    name, = stated
    with pytest.raises(ValueError, match=f'x.pth states data_preprocessor.{name}='):
        trained_statistics(dict(meta=dict(data_preprocessor=stated)), 'x.pth')
