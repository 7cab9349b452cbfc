"""Loading from every family of checkpoints, and every way in which it must fail."""

import argparse
import json
import os
import pickle
import re

import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmpretrain.models import SwinTransformer
from timm.models.swin_transformer import SwinTransformer as TimmSwin

from clasp_mm.models import PCMoESwin
from clasp_mm.models.layers.relative_bias import relative_position_index
from clasp_mm.models.weights.swin import CheckpointError, backbone_weights, load_backbone
from clasp_mm.registry import MODELS

ARCH = dict(embed_dims=8, depths=(2, 2), num_heads=(1, 2))
MOE = dict(num_experts=3, top_k=2, expert_hidden=4)
WINDOW = 4
IMAGE = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def make(moe=None, **kwargs):
    kwargs = dict(dict(strides=(4, 2), out_indices=(1, ), window_size=WINDOW), **kwargs)
    return PCMoESwin(ARCH, 'part', moe, **kwargs).eval()


def random_weights(model, seed=0):
    torch.manual_seed(seed)
    for param in model.parameters():
        torch.nn.init.normal_(param, std=.3)
    model.eval()
    return model


def timm_swin():
    return random_weights(
        TimmSwin(img_size=64, window_size=WINDOW, embed_dim=8, depths=(2, 2), num_heads=(1, 2),
                 num_classes=3))


def mmpretrain_swin(**kwargs):
    return random_weights(
        SwinTransformer(ARCH, window_size=WINDOW, pad_small_map=True, **kwargs))


def microsoft_dict(timm_state):
    """Microsoft's names for timm's weights: merging at the end of a layer, and its buffers."""
    state = {}
    for key, value in timm_state.items():
        key = re.sub(r'layers\.(\d+)\.downsample',
                     lambda m: f'layers.{int(m[1]) - 1}.downsample', key)
        state[key.replace('head.fc.', 'head.')] = value
    state['layers.0.blocks.1.attn_mask'] = torch.zeros(16, 16, 16)
    state['layers.0.blocks.0.attn.relative_position_index'] = relative_position_index(WINDOW)
    return {'model': state, 'epoch': 3}


@pytest.mark.parametrize('family', ['timm', 'microsoft'])
def test_timm_and_microsoft_weights_compute_the_same(family):
    theirs = timm_swin()
    state = theirs.state_dict()
    model = make()
    report = load_backbone(model, state if family == 'timm' else microsoft_dict(state))
    with torch.no_grad():
        ref = theirs.forward_features(IMAGE).permute(0, 3, 1, 2)
        torch.testing.assert_close(model(IMAGE)[0], ref, rtol=1e-4, atol=1e-4)
    assert report.format == family
    assert set(report.expected_missing) == {'norm0.weight', 'norm0.bias'}
    assert set(report.matched) | set(report.expected_missing) == set(model.state_dict())
    assert {'head.weight', 'head.fc.weight'} & set(report.ignored)


def test_timm_feature_extractor_names():
    state = {re.sub(r'^layers\.', 'layers_', key): value
             for key, value in timm_swin().state_dict().items()}
    model, ref = make(), make()
    load_backbone(model, state)
    load_backbone(ref, timm_swin().state_dict())
    assert torch.equal(model(IMAGE)[0], ref(IMAGE)[0])


def test_classifier_of_mmpretrain_from_a_file(tmp_path):
    theirs = mmpretrain_swin(out_indices=(1, ))
    state = {f'backbone.{key}': value for key, value in theirs.state_dict().items()}
    state['head.fc.weight'] = torch.zeros(3, 16)
    torch.save({'meta': {}, 'state_dict': state}, tmp_path / 'swin.pth')
    model = make(MOE)
    report = load_backbone(model, tmp_path / 'swin.pth')
    torch.testing.assert_close(model(IMAGE)[0], theirs(IMAGE)[0], rtol=1e-4, atol=1e-4)
    assert report.format == 'openmmlab' and report.ignored[0] == 'head.fc.weight'
    assert all('.moe.' in key or key.startswith('norm0') for key in report.expected_missing)
    assert json.loads(json.dumps(report.to_dict()))['matched'] == list(report.matched)
    assert f'{len(report.matched)} tensors matched' in str(report)


def test_old_name_of_the_last_norm_and_detector_with_all_norms():
    theirs = mmpretrain_swin(out_indices=(0, 1))
    state = {f'backbone.{key}': value for key, value in theirs.state_dict().items()}
    assert not load_backbone(make(), state).expected_missing
    old = {key.replace('norm1.', 'norm.') if key.startswith('backbone.norm1') else key: value
           for key, value in state.items() if not key.startswith('backbone.norm0')}
    model = make()
    load_backbone(model, old)
    assert torch.equal(model.norm1.weight, theirs.norm1.weight)


def test_solider_training_file_gives_its_teacher(tmp_path):
    theirs = mmpretrain_swin(out_indices=(0, 1))
    teacher = {f'backbone.{key}': value for key, value in theirs.state_dict().items()}
    teacher['backbone.semantic_embed_w.0.weight'] = torch.zeros(16, 2)
    teacher['backbone.semantic_embed_b.0.bias'] = torch.zeros(16)
    teacher['head.mlp.0.weight'] = torch.zeros(4, 4)
    student = {f'module.{key}': torch.zeros_like(value) for key, value in teacher.items()}
    torch.save({'student': student, 'teacher': teacher, 'epoch': 3,
                'args': argparse.Namespace(arch='swin')}, tmp_path / 'solider.pth')
    error = failure(make(), tmp_path / 'solider.pth')
    assert error.report.unexpected == ('semantic_embed_w.0.weight', 'semantic_embed_b.0.bias')
    assert 'changes the features' in str(error) and 'clasp_mm.SemanticSwin' in str(error)
    model = make()
    report = load_backbone(model, tmp_path / 'solider.pth', allow_unexpected=['semantic_embed_*'])
    torch.testing.assert_close(model(IMAGE)[0], theirs(IMAGE)[1], rtol=1e-4, atol=1e-4)
    assert report.format == 'solider' and not report.expected_missing
    assert 'semantic_embed_w.0.weight' in report.ignored


def test_own_training_file_gives_its_teacher_unless_asked_for_the_student(tmp_path):
    teacher, student = random_weights(make(MOE), 1), random_weights(make(MOE), 2)
    state = {f'backbone.{key}': value for key, value in student.state_dict().items()}
    state |= {f'teacher.backbone.{key}': value for key, value in teacher.state_dict().items()}
    state |= {'teacher.head.last.weight': torch.zeros(2), 'dino_loss.center': torch.zeros(2)}
    history = HistoryBuffer([1.], [1])
    torch.save({'state_dict': state, 'message_hub': {'log_scalars': {'loss': history}}},
               tmp_path / 'epoch_1.pth')
    for prefix, source in ((None, teacher), ('backbone', student), ('backbone.', student)):
        model = make(MOE)
        report = load_backbone(model, tmp_path / 'epoch_1.pth', prefix=prefix)
        assert report.format == 'clasp' and not report.expected_missing
        assert torch.equal(model(IMAGE)[0], source(IMAGE)[0])


def test_safetensors(tmp_path):
    from safetensors.torch import save_file
    source, model = random_weights(make(MOE)), make(MOE)
    save_file(source.state_dict(), tmp_path / 'clasp.safetensors')
    load_backbone(model, tmp_path / 'clasp.safetensors')
    assert torch.equal(model(IMAGE)[0], source(IMAGE)[0])


def test_another_window_resizes_the_tables_and_reports_them():
    source, model = random_weights(make()), make(window_size=7)
    report = load_backbone(model, source.state_dict())
    assert len(report.resized) == 4 and set(report.resized) <= set(report.matched)
    old = source.stages[0].blocks[0].attn.w_msa.relative_position_bias_table
    new = model.stages[0].blocks[0].attn.w_msa.relative_position_bias_table
    torch.testing.assert_close(new[13 * 13 // 2], old[7 * 7 // 2])  # offset 0
    direct = make(window_size=7)
    direct.load_state_dict(source.state_dict())
    assert torch.equal(direct(IMAGE)[0], model(IMAGE)[0])


def failure(model, source, **kwargs):
    """The error of a load that must leave the model as it was."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_backbone(model, source, **kwargs)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    return error.value


def test_wrong_architecture_names_the_right_one():
    nano = PCMoESwin('nano', moe=None).state_dict()
    error = failure(make(), nano)
    assert isinstance(error, CheckpointError)
    assert "build it with arch='nano'" in str(error)
    assert 'patch_embed.projection.weight (file [32, 3, 4, 4], model [8, 3, 4, 4])' in str(error)
    assert error.report.wrong_shape and error.report.unexpected and not error.report.complete


def test_missing_and_unexpected_keys_are_errors_unless_expected():
    state = random_weights(make()).state_dict()
    del state['stages.1.blocks.0.norm1.weight']
    state['absolute_pos_embed'] = torch.zeros(1, 4, 8)
    error = failure(make(), state)
    assert error.report.missing == ('stages.1.blocks.0.norm1.weight', )
    assert error.report.unexpected == ('absolute_pos_embed', )
    assert 'expected_missing' in str(error) and 'allow_unexpected' in str(error)
    report = load_backbone(make(), state, expected_missing=['stages.1.blocks.*.norm1.weight'],
                           allow_unexpected=['absolute_pos_embed'])
    assert report.expected_missing == ('stages.1.blocks.0.norm1.weight', )


def test_an_index_of_other_positions_is_no_buffer_that_follows():
    state = random_weights(make()).state_dict()
    name = 'stages.0.blocks.1.attn.w_msa.relative_position_index'
    state[name] = relative_position_index(WINDOW)
    assert name in load_backbone(make(), state).ignored
    for other in (state[name].T, torch.zeros(15, 15).long(), torch.zeros(3)):
        error = failure(make(), {**state, name: other})
        assert error.report.unexpected == (name, )


def test_part_of_the_moe_is_not_expected_to_be_missing():
    full = random_weights(make(MOE)).state_dict()
    partial = {key: value for key, value in full.items() if not key.startswith('stages.0.moe.w1')}
    assert failure(make(MOE), partial).report.missing == ('stages.0.moe.w1', )
    error = failure(make(), full)
    assert "allow_unexpected=['stages.*.moe.*']" in str(error)
    load_backbone(make(), full, allow_unexpected=['stages.*.moe.*'])
    error = failure(make(dict(MOE, num_experts=4)), full)
    assert error.report.wrong_shape and 'PC-MoE differ' in str(error)


def test_moe_of_the_last_stage_only():
    plain = random_weights(make()).state_dict()
    last = dict(MOE, stages=(1, ))
    report = load_backbone(make(last), plain)
    assert {key.split('.moe.')[0] for key in report.expected_missing} == {'stages.1'}
    everywhere, there = (random_weights(make(moe)).state_dict() for moe in (MOE, last))
    model = make(last)
    assert not load_backbone(model, there).expected_missing
    assert all(torch.equal(value, there[key]) for key, value in model.state_dict().items())
    for moe, file, part in ((last, everywhere, 'unexpected'), (MOE, there, 'missing')):
        error = failure(make(moe), file)
        assert {key.split('.moe.')[0] for key in getattr(error.report, part)} == {'stages.0'}
        assert 'PC-MoE differ' in str(error)
    load_backbone(make(last), everywhere, allow_unexpected=['stages.0.moe.*'])


def test_missing_middle_norm_is_an_error_when_the_file_has_others():
    arch = dict(embed_dims=8, depths=(1, 1, 1), num_heads=(1, 1, 2))
    model = PCMoESwin(arch, moe=None, strides=(4, 2, 2), out_indices=(2, ))
    state = model.state_dict()
    del state['norm1.weight']
    assert failure(model, state).report.missing == ('norm1.weight', )


def test_diverged_weights_are_an_error():
    state = random_weights(make()).state_dict()
    state['norm1.bias'][0] = float('nan')
    assert 'norm1.bias' in str(failure(make(), state))


@pytest.mark.parametrize(('checkpoint', 'prefix', 'words'), [
    ({'state_dict': {'layer1.0.conv1.weight': torch.zeros(1)}}, None, 'no Swin.*layer1'),
    ({'patch_embed.projection.weight': torch.zeros(1)}, None, 'no Swin'),
    ({'a.b': torch.zeros(1), 'c.d': torch.zeros(1)}, 'backbone', r"'backbone\.'.*a\., c\."),
    ({'meta': {}, 'epoch': 3}, None, 'no weights.*meta, epoch'),
    ([torch.zeros(1)], None, 'list'),
])
def test_not_a_swin(checkpoint, prefix, words):
    with pytest.raises(ValueError, match=words):
        backbone_weights(checkpoint, prefix)


class RunsCode:
    def __reduce__(self):
        return os.mkdir, (self.path, )


def test_files_that_are_no_checkpoints(tmp_path):
    def load(name):
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            load_backbone(make(), tmp_path / name)
        assert name in str(error.value)
        return str(error.value)

    assert 'no checkpoint file' in load('absent.pth')
    (tmp_path / 'page.pth').write_text('<html>Not found</html>')
    assert 'no PyTorch checkpoint' in load('page.pth')
    (tmp_path / 'empty.pth').write_bytes(b'')
    assert 'no PyTorch checkpoint' in load('empty.pth')
    (tmp_path / 'pointer.pth').write_text('version https://git-lfs.github.com/spec/v1\noid 1')
    assert 'git lfs pull' in load('pointer.pth')
    torch.save(make().state_dict(), tmp_path / 'whole.pth')
    data = (tmp_path / 'whole.pth').read_bytes()
    (tmp_path / 'cut.pth').write_bytes(data[:len(data) // 2])
    assert 'damaged, cut short' in load('cut.pth')
    for legacy in (False, True):
        attack = RunsCode()
        attack.path = str(tmp_path / 'was_run')
        if legacy:
            (tmp_path / 'code.pth').write_bytes(pickle.dumps({'state_dict': attack}, protocol=2))
        else:
            torch.save({'state_dict': attack}, tmp_path / 'code.pth')
        message = load('code.pth')
        assert legacy or 'would run posix.mkdir' in message
        assert not (tmp_path / 'was_run').exists()


def test_pretrained_init_cfg_is_strict(tmp_path):
    source = random_weights(make(MOE))
    torch.save({'state_dict': source.state_dict()}, tmp_path / 'clasp.pth')

    def build(**kwargs):
        init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'clasp.pth'))
        return MODELS.build(
            dict(type='clasp_mm.PCMoESwin', arch=ARCH, task='part', strides=(4, 2),
                 out_indices=(1, ), window_size=WINDOW, init_cfg=init_cfg, **kwargs))

    model = build(moe=MOE)
    model.init_weights()
    assert torch.equal(model.eval()(IMAGE)[0], source(IMAGE)[0])
    with pytest.raises(CheckpointError, match='PC-MoE differ'):
        build(moe=dict(MOE, num_experts=4)).init_weights()
    with pytest.raises(CheckpointError):
        build(moe=None).init_weights()


def test_any_damage_gives_the_weights_or_the_stated_error(tmp_path):
    """Flipped bytes, cuts and noise; both of torch's formats, and safetensors."""
    from safetensors.torch import save_file
    source = random_weights(make())
    state = source.state_dict()
    torch.save(state, tmp_path / 'zip.pth')
    torch.save(state, tmp_path / 'legacy.pth', _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / 'safe.safetensors')
    generator = torch.Generator().manual_seed(0)

    def draw(high):
        return int(torch.randint(high, (), generator=generator))

    model, refused = make(), 0
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for round_ in range(40):
            data = bytearray(whole)
            if round_ % 4 == 0:
                data = data[:draw(len(whole))]
            elif round_ % 4 == 1:
                data = data[:1 + draw(64)] + bytes(draw(256) for _ in range(draw(500)))
            else:  # where the names and sizes are, and anywhere
                for _ in range(4):
                    data[draw(2000 if round_ % 4 == 2 else len(whole))] ^= 1 << draw(8)
            path.write_bytes(data)
            try:
                load_backbone(model, path)
            except ValueError as error:
                refused += 1
                assert str(error)
        path.write_bytes(whole)
    assert refused > 60
