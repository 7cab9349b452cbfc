"""Exported files compute what torch computes, for every batch and prompt, and refuse the rest."""

import json
import runpy
import sys

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import save_checkpoint

pytest.importorskip('onnx', reason='needs pip install clasp_mm[export]')
pytest.importorskip('onnxscript', reason='needs pip install clasp_mm[export]')
pytest.importorskip('onnxruntime', reason='needs pip install clasp_mm[export]')

import onnx
import onnxruntime

from benchmarks.contest import Options
from benchmarks.run import run_benchmarks
from clasp_mm import cli, get_model, load_images
from clasp_mm.export import write as export
from clasp_mm.export.run import ExportedModel
from clasp_mm.export.write import Network, export_model, trace
from clasp_mm.models.backbones import SemanticSwin
from clasp_mm.models.layers import TASKS
from clasp_mm.utils.resources import shipped_file
from tests.source_tree import ROOT

ARCH = dict(embed_dims=16, depths=(2, 1), num_heads=(2, 4))
MOE = dict(num_experts=4, top_k=2, expert_hidden=8)
BACKBONE = dict(type='clasp_mm.PCMoESwin', arch=ARCH, moe=MOE, strides=(4, 2), window_size=4,
                out_indices=(0, 1))
SMALL = dict(BACKBONE, arch=dict(embed_dims=16, depths=(2, ), num_heads=(2, )), strides=(4, ),
             out_indices=(0, ))  # exported in half the time
SIZE = (36, 20)  # maps of 9 x 5 and 5 x 3 tokens: padded and shifted windows of 4 x 4
TOLERANCE = dict(rtol=1e-4, atol=1e-4)


def randomised(model):
    """The model with random numbers where it starts with zeros, so that its PC-MoE has a say."""
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=.1)
    return model.eval().requires_grad_(False)


def publish(path, cfg):
    torch.manual_seed(0)
    model = randomised(MODELS.build(dict(cfg)))
    state = {f'backbone.{name}': value for name, value in model.state_dict().items()}
    torch.save(dict(state_dict=state, meta=dict(backbone=cfg)), path)
    return path


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    return publish(tmp_path_factory.mktemp('published') / 'tiny.pth', BACKBONE)


@pytest.fixture(scope='module', params=['onnx', 'torch'])
def path(request, published, tmp_path_factory):
    """A file whose prompt is an input, in both formats."""
    path = tmp_path_factory.mktemp('exported') / f'tiny{export.SUFFIXES[request.param]}'
    report = export_model(published, path, size=SIZE, prompt_input=True, format=request.param)
    assert report.difference < 1e-4
    return path


@pytest.fixture(scope='module')
def exported(path):
    return ExportedModel(path)


@pytest.fixture(scope='module')
def images():
    return torch.randn(5, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def reference(model, images, *args):
    return [out.numpy() for out in model(images, *args)]


@pytest.mark.parametrize('task', TASKS)
def test_one_file_serves_every_task(exported, published, images, task):
    model = get_model(published, task=task)
    for batch in (1, 2, 5):
        outs = exported(images[:batch].numpy(), task)
        assert list(outs) == ['stage1', 'stage2']
        for out, ref in zip(outs.values(), reference(model, images[:batch]), strict=True):
            np.testing.assert_allclose(out, ref, **TOLERANCE)
    others = [exported(images.numpy(), other)['stage2'] for other in TASKS if other != task]
    assert all(abs(other - outs['stage2']).max() > 1e-2 for other in others)


def test_every_image_may_have_its_own_mix_of_prompts(exported, published, images):
    weights = torch.rand(5, 3, generator=torch.Generator().manual_seed(2))
    outs = exported(images.numpy(), weights.numpy())
    for out, ref in zip(outs.values(), reference(get_model(published), images, weights),
                        strict=True):
        np.testing.assert_allclose(out, ref, **TOLERANCE)
    one = exported(images[3:4].numpy(), dict(zip(TASKS, weights[3].tolist(), strict=True)))
    np.testing.assert_allclose(one['stage2'], outs['stage2'][3:4], **TOLERANCE)
    mean, same = (exported(images.numpy(), prompt)['stage2']
                  for prompt in (('part', 'attribute'), np.array([0, .5, .5])))
    np.testing.assert_array_equal(mean, same)


@pytest.mark.parametrize(('shape', 'words'), [
    ((1, 3, 40, 20), r'\(1, 3, 40, 20\).*exported for \(B, 3, 36, 20\).*--size'),
    ((1, 3, 20, 36), r'exported for \(B, 3, 36, 20\)'),
    ((3, 36, 20), 'B at least 1'),
    ((0, 3, 36, 20), 'B at least 1'),
])
def test_an_unsupported_size_is_named(exported, shape, words):
    with pytest.raises(ValueError, match=words):
        exported(np.zeros(shape, np.float32), 'part')


@pytest.mark.parametrize(('prompt', 'words'), [
    (None, 'no prompt: name one of appearance, part, attribute'),
    ('prat', "unknown prompt 'prat'"),
    (dict(part=1, colour=1), "unknown prompt 'colour'"),
    (np.ones((2, 3)), r'\(2, 3\).*\(1, 3\)'),
])
def test_a_bad_prompt_is_named(exported, prompt, words):
    with pytest.raises(ValueError, match=words):
        exported(np.zeros((1, 3, *SIZE), np.float32), prompt)


def test_images_that_were_not_normalised_are_refused(exported):
    with pytest.raises(ValueError, match=r'uint8.*mean \[123\.675'):
        exported(np.zeros((1, 3, *SIZE), np.uint8), 'part')


@pytest.mark.parametrize('path', ['onnx'], indirect=True)
def test_an_onnx_file_explains_itself_without_clasp_mm(path):
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    meta = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert meta['input_size'] == list(SIZE) and meta['channels'] == 'RGB'
    assert meta['task'] is None and meta['prompts'] == list(TASKS)
    assert str(ROOT).encode() not in path.read_bytes()
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    assert [value.shape for value in session.get_inputs()] == [['batch', 3, *SIZE], ['batch', 3]]
    prompt = np.eye(3, dtype=np.float32)[:1]
    with pytest.raises(Exception, match='Got invalid dimensions'):
        session.run(None, dict(images=np.zeros((1, 3, 40, 20), np.float32), prompt=prompt))


@pytest.mark.parametrize(('moe', 'size'), [
    (dict(MOE, task_gates=True, num_prompts=6), (64, 32)),  # whole windows
    (dict(MOE, num_prompts=2, top_k=4, self_embedding=False), (8, 8)),  # less than a window
    (dict(MOE, global_gate=False, channel_gate=False), SIZE),
])
def test_every_kind_of_pc_moe_takes_any_batch(moe, size):
    network = Network(randomised(MODELS.build(dict(SMALL, moe=moe))))
    program = trace(network, (torch.randn(2, 3, *size), torch.rand(2, 3))).module()
    for batch in (1, 3):
        inputs = torch.randn(batch, 3, *size), torch.rand(batch, 3)
        for out, ref in zip(program(*inputs), network(*inputs), strict=True):
            torch.testing.assert_close(out, ref, **TOLERANCE)


@pytest.mark.slow
def test_solider_s_semantic_weight_is_an_input(tmp_path, images):
    cfg = {**BACKBONE, 'type': 'clasp_mm.SemanticSwin'}
    cfg.pop('moe')
    source = publish(tmp_path / 'solider.pth', cfg)
    path = export_model(source, tmp_path / 'solider.pt2', size=SIZE, prompt_input=True,
                        format='torch').path
    model = get_model(source)
    assert isinstance(model, SemanticSwin)
    weights = np.linspace(0, 1, 5, dtype=np.float32)[:, None]
    outs = ExportedModel(path)(images.numpy(), weights)
    for out, ref in zip(outs.values(), reference(model, images, torch.tensor(weights[:, 0])),
                        strict=True):
        np.testing.assert_allclose(out, ref, **TOLERANCE)
    assert abs(outs['stage2'][0] - ExportedModel(path)(
        images[:1].numpy(), dict(semantic_weight=1))['stage2'][0]).max() > 1e-2


def fine_tuned(folder, name):
    """Config and checkpoint of a small model of a task with random weights."""
    cfg = Config.fromfile(next(shipped_file('configs/quickstart').glob(f'{name}_*.py')))
    kept = {key: cfg.model.backbone[key] for key in ('type', 'task')}
    cfg.model.backbone = {**SMALL, **kept}
    cfg.model.head.in_channels = 16
    if name == 'pose':
        cfg.model.head.update(deconv_out_channels=(8, ), deconv_kernel_sizes=(4, ))
    cfg.dump(folder / f'{name}.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    randomised(model.backbone)
    save_checkpoint(dict(state_dict=model.state_dict(), meta={}), str(folder / f'{name}.pth'))
    return folder / f'{name}.py', folder / f'{name}.pth'


def test_a_task_of_the_zoo_is_exported_by_its_name_head_and_all(tmp_path, monkeypatch):
    config, checkpoint = fine_tuned(tmp_path, 'reid')
    entry = dict(Name='mine', Config=str(config), Weights=str(checkpoint))
    monkeypatch.setattr(export, 'read_zoo', lambda: dict(mine=entry))
    loaded = export._load('mine', None, {})
    assert loaded.meta['kind'] == 'reid' and loaded.size == (64, 32)
    entry['Config'] = str(next(shipped_file('configs/quickstart').glob('clasp_*.py')))
    monkeypatch.setattr(export, 'get_model', lambda source, *args, **kwargs: get_model(
        publish(tmp_path / 'plain.pth', SMALL), task='part'))
    assert export._load('mine', None, {}).meta['kind'] == 'backbone'


def published_as(checkpoint, path, **meta):
    torch.save(dict(torch.load(checkpoint), meta=meta), path)
    return path


def test_a_fine_tuned_model_is_the_same_by_file_run_and_config(tmp_path):
    config, checkpoint = fine_tuned(tmp_path, 'reid')
    whole = export._load(config, checkpoint, {})
    file = published_as(checkpoint, tmp_path / 'reid.pth', task='Re-identification',
                        backbone=dict(SMALL))
    run = published_as(checkpoint, tmp_path / 'epoch_1.pth', cfg=config.read_text())
    for source in (file, run):
        loaded = export._load(source, None, {})
        assert (loaded.outputs, loaded.size, loaded.meta) == (
            ['features'], (64, 32), whole.meta), source
    with pytest.raises(ValueError, match=r'out_indices=.*needs its own maps'):
        export._load(file, None, dict(out_indices=(0, )))
    config.unlink()
    with pytest.raises(FileNotFoundError, match=r'is of Re-identification.*--checkpoint .*1\.pth'):
        export._load(run, None, {})


def test_of_a_task_without_an_exported_head_the_backbone_is_and_that_is_said(tmp_path, capsys):
    file = publish(tmp_path / 'parsing.pth', SMALL)
    published_as(file, file, task='Human Parsing', backbone=dict(SMALL))
    config = tmp_path / 'parsing.py'
    Config(dict(model=dict(type='clasp_mm.HumanParser', backbone=SMALL))).dump(config)
    for source in ([file], [config, '--checkpoint', file]):
        assert cli.main(['export', *map(str, source), '--size', '36', '20', '--task', 'part',
                         '--format', 'torch', '--out', str(tmp_path)]) == 0
        assert 'torch; the backbone alone, as heads of Human Parsing' in capsys.readouterr().out
        meta = ExportedModel(tmp_path / 'parsing.pt2').meta
        assert meta['kind'] == 'backbone' and meta['without_head_of'] == 'Human Parsing'
    pytest.importorskip('mmseg', reason='needs mmsegmentation: bash tools/setup.sh')
    assert export._load('parsing_nano', None, {}).meta['without_head_of'] == 'Human Parsing'
    assert 'without_head_of' not in export._load('clasp_nano', None, {}).meta


def test_a_config_without_weights_is_refused_and_leaves_what_was_there(tmp_path, capsys):
    (tmp_path / 'config.pt2').write_bytes(b'the good one')
    Config(dict(model=dict(type='clasp_mm.CLASP', backbone=SMALL))).dump(tmp_path / 'config.py')
    assert cli.main(['export', str(tmp_path / 'config.py'), '--size', '36', '20', '--task', 'part',
                     '--format', 'torch', '--out', str(tmp_path)]) == 1
    assert 'config.py is a config, which has no weights: name the checkpoint of its training ' \
        '(--checkpoint)' in capsys.readouterr().err
    assert (tmp_path / 'config.pt2').read_bytes() == b'the good one'


def resized(pictures, meta):
    """What the metadata asks for, from (H, W, 3) BGR pictures."""
    way, (height, width) = dict(meta['resize']), meta['input_size']
    enlarging = way.pop('enlarging', way['interpolation'])
    return [mmcv.imresize(picture, (width, height), **{**way, 'interpolation': (
        way['interpolation'] if len(picture) > height else enlarging)}) for picture in pictures]


def normalised(pictures, meta):
    """What the metadata asks for, from (H, W, 3) BGR pictures of the input's size."""
    assert meta['channels'] == 'RGB'
    stack = np.stack(pictures)[..., ::-1].astype(np.float32)
    return ((stack - np.float32(meta['mean'])) / np.float32(meta['std'])).transpose(0, 3, 1, 2)


@pytest.mark.parametrize('name', [pytest.param('attribute', marks=pytest.mark.slow), 'reid'])
def test_heads_give_what_inference_gives(name, tmp_path):
    from clasp_mm.inferencers import attribute, reid
    config, checkpoint = fine_tuned(tmp_path, name)
    model = ExportedModel(export_model(config, tmp_path / 'model.onnx', checkpoint).path)
    assert model.meta['kind'] == name and model.meta['input_size'] == [64, 32]
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, 100, 60, 3), np.uint8))
    task, key, output = dict(attribute=(attribute, 'probabilities', 'probabilities'),
                             reid=(reid, 'feature', 'features'))[name]
    results = task.predict(task.load(config, checkpoint), pictures)
    outs = model(normalised(resized(pictures, model.meta), model.meta))[output]
    np.testing.assert_allclose(outs, [result[key] for result in results], **TOLERANCE)
    assert abs(outs[0] - outs[1]).max() > 1e-3


@pytest.mark.slow
def test_heat_maps_are_mmpose_s(tmp_path):
    pytest.importorskip('mmpose', reason='needs mmpose: bash tools/setup.sh')
    from clasp_mm.inferencers import pose
    config, checkpoint = fine_tuned(tmp_path, 'pose')
    report = export_model(config, tmp_path / 'pose.onnx', checkpoint, prompt_input=True)
    assert report.meta['codec']['input_size'] == [48, 64] and len(report.meta['keypoints']) == 17
    assert report.meta['resize'] == dict(backend='cv2', interpolation='bilinear', padding=1.25,
                                         use_udp=False)
    model = pose.load(config, checkpoint)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 48, 3), np.uint8)
    data = dict(inputs=[torch.tensor(picture).permute(2, 0, 1) for picture in pictures],
                data_samples=[])
    with torch.no_grad():
        expected = model(model.data_preprocessor(data)['inputs'], None, mode='tensor')
    outs = ExportedModel(report.path)(normalised(pictures, report.meta), 'part')['heatmaps']
    np.testing.assert_allclose(outs, expected.numpy(), **TOLERANCE)
    with pytest.raises(ValueError, match=r'\(128, 96\).*input_size \(64, 48\)'):
        export_model(config, tmp_path / 'other.onnx', checkpoint, size=(128, 96))
    DefaultScope._instance_dict.clear()  # mmpose's functions set it


def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    def wrong(network, example, meta, write=export._write['torch']):
        network.backbone.norm0.bias += 1e-3
        data = write(network, example, meta)
        network.backbone.norm0.bias -= 1e-3
        return data

    monkeypatch.setitem(export._write, 'torch', wrong)
    source = publish(tmp_path / 'small.pth', SMALL)
    with pytest.raises(RuntimeError, match=r'stage1 differs from torch by 0\.001'):
        export_model(source, tmp_path / 'x.pt2', size=SIZE, task='part', format='torch')
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(('options', 'words'), [
    (dict(format='torch'), r"format='torch' and a file 'x\.onnx'.*torch \(\.pt2\)"),
    (dict(size=None), 'no size.*--size 256 128'),
    (dict(size=(64, 0)), r'size=\(64, 0\)'),
    (dict(task=None), 'no task: name one of appearance'),
    (dict(task='prat'), "did you mean 'part'"),
    (dict(prompt_input=True), "task='part'.*choose one"),
    (dict(out_indices=(0, 7)), '7 is none of the stages'),
    (dict(checkpoint='y.pth'), 'a checkpoint goes with a config'),
])
def test_bad_arguments_are_named(published, tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        export_model(published, tmp_path / 'x.onnx', **dict(dict(size=SIZE, task='part'),
                                                            **options))


def test_models_that_cannot_be_exported_are_named(tmp_path):
    def attempt(source, **options):
        return export_model(source, tmp_path / 'x.onnx', **options)

    plain = publish(tmp_path / 'plain.pth', dict(BACKBONE, moe=None))
    with pytest.raises(ValueError, match='no PC-MoE'):
        attempt(plain, size=SIZE, prompt_input=True)
    Config(dict(model=dict(backbone=dict(type='mmpretrain.ResNet')))).dump(tmp_path / 'resnet.py')
    with pytest.raises(ValueError, match=r'type mmpretrain\.ResNet: only clasp_mm\.PCMoESwin and'):
        attempt(tmp_path / 'resnet.py', checkpoint=plain)
    config, checkpoint = fine_tuned(tmp_path, 'reid')
    with pytest.raises(ValueError, match='name the checkpoint'):
        attempt(config)
    cfg = Config.fromfile(config)
    cfg.model.head.num_cameras = 2
    cfg.dump(tmp_path / 'cameras.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        state = MODELS.build(cfg.model).state_dict()
    save_checkpoint(dict(state_dict=state, meta={}), str(checkpoint))
    with pytest.raises(ValueError, match='num_cameras=2'):
        attempt(tmp_path / 'cameras.py', checkpoint=checkpoint)


def test_files_that_are_not_ours_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no exported model'):
        ExportedModel(tmp_path / 'none.onnx')
    for name, content in (('x.onnx', b'half a file'), ('x.pt2', b'PK half a file')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match='damaged'):
            ExportedModel(tmp_path / name)
    program = torch.export.export(torch.nn.ReLU(), (torch.zeros(2), ))
    torch.export.save(program, tmp_path / 'foreign.pt2')
    with pytest.raises(ValueError, match='no input_size'):
        ExportedModel(tmp_path / 'foreign.pt2')


class Payload:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path, )


def test_an_onnx_file_runs_no_code(tmp_path):
    torch.save(Payload(tmp_path / 'ran'), tmp_path / 'x.onnx')
    with pytest.raises(ValueError, match=r'x\.onnx is no ONNX model but a zip.*name it \.pt2'):
        ExportedModel(tmp_path / 'x.onnx')
    assert not (tmp_path / 'ran').exists()


def test_a_backbone_states_how_its_images_were_resized_and_normalised(tmp_path):
    source = publish(tmp_path / 'reid.pth', SMALL)
    content = torch.load(source)
    content['meta']['data_preprocessor'] = dict(mean=[127.5] * 3, std=[60, 61, 62])
    torch.save(content, source)
    meta = export_model(source, tmp_path / 'x.pt2', size=SIZE, task='part', format='torch').meta
    assert meta['mean'] == [127.5] * 3 and meta['std'] == [60, 61, 62]
    pictures = [np.random.default_rng(0).integers(0, 256, size, np.uint8)
                for size in ((100, 60, 3), (30, 12, 3))]
    files = [tmp_path / f'{place}.png' for place in range(2)]
    for picture, file in zip(pictures, files, strict=True):
        mmcv.imwrite(picture, str(file))
    np.testing.assert_allclose(normalised(resized(pictures, meta), meta), load_images(
        files, SIZE, get_model(source)), atol=1e-5)


def test_a_missing_package_is_named(published, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(ModuleNotFoundError, match=r'needs onnxscript.*clasp_mm\[export\]'):
        export_model(published, tmp_path / 'x.onnx', size=SIZE, task='part')


def test_tool(tmp_path, monkeypatch, capsys):
    source = publish(tmp_path / 'small.pth', SMALL)

    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', ['export_onnx.py', str(source), *arguments])
        runpy.run_path(str(ROOT / 'tools/export_onnx.py'), run_name='__main__')

    call('--size', '36', '20', '--task', 'part', '--format', 'torch', '--out-indices', '0',
         '--out', str(tmp_path / 'out'))
    assert 'stage1 of (B, 3, 36, 20); within' in capsys.readouterr().out
    model = ExportedModel(tmp_path / 'out/small.pt2')
    assert model.meta['task'] == 'part'
    with pytest.raises(ValueError, match='prompt of this file is fixed'):
        model(np.zeros((1, 3, *SIZE), np.float32), 'part')
    with pytest.raises(SystemExit, match=r'export_onnx\.py: no size'):
        call('--task', 'part', '--out', str(tmp_path / 'x'))


@pytest.mark.slow
def test_benchmark_rows():
    rows = list(run_benchmarks(['export'], Options(quick=True, repeats=1)))
    assert [row.name for row in rows] == ['onnxruntime 64x32', 'torch.export program 64x32']
    assert all(row.ours > 0 and row.theirs > 0 for row in rows)
