import shutil

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from mmengine.runner import Runner

from clasp_mm.datasets.labelled_folder import LabelledFolder
from clasp_mm.engine import ProbeHook
from clasp_mm.engine.hooks import probe_hook
from clasp_mm.synthetic import SyntheticPeople
from clasp_mm.utils.files import read_logs
from tests.test_engine import test_exact_resume as exact_resume
from tests.test_engine.test_teacher_hook import make_config, people, read_scalars  # noqa: F401
from tests.test_models.test_pretrain import make_dino


def make_model():
    """A tiny DINO with ImageNet's preprocessing."""
    model = make_dino()
    model.data_preprocessor = MODELS.build(dict(
        type='clasp_mm.ViewPreprocessor', bgr_to_rgb=True,
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]))
    return model


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Four people, eight images each, and what may lie about beside them."""
    import cv2
    root = tmp_path_factory.mktemp('labelled')
    records = SyntheticPeople(4, 8, seed=2, size=(64, 32))
    for i in range(len(records)):
        record = records[i]
        path = root / f'person {record.identity}' / f'{i:03d}.png'
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), record.image[..., ::-1])
    (root / 'loose.png').write_bytes(b'belongs to no class')
    (root / 'person 0' / 'notes.txt').write_text('no image')
    return root


def test_classes_are_the_sub_folders(folder):
    found = LabelledFolder.read(folder)
    assert found.classes == [f'person {i}' for i in range(4)]
    assert found.labels.tolist() == [i for i in range(4) for _ in range(8)]
    assert all(f'/{found.classes[label]}/' in path
               for path, label in zip(found.paths, found.labels, strict=True))
    train, val = found.split()
    assert val.tolist() == [3, 7, 11, 15, 19, 23, 27, 31]
    assert sorted([*train, *val]) == list(range(32))


def test_a_folder_without_classes_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='sub-folder'):
        ProbeHook(str(tmp_path / 'none'))
    (tmp_path / 'only').mkdir()
    (tmp_path / 'only/a.jpg').touch()
    with pytest.raises(ValueError, match='1 classes'):
        ProbeHook(str(tmp_path))
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/a.jpg').touch()
    with pytest.raises(ValueError, match='no class has 4 images'):
        ProbeHook(str(tmp_path))


def test_features_are_the_published_ones(folder):
    """The way of the images through the hook is that of ``get_model`` and ``load_images``."""

    from clasp_mm.apis import load_images
    model = make_model()
    hook = ProbeHook(str(folder), size=(32, 16), batch_size=5)
    features, known = hook.embed(model)
    images = load_images(hook.folder.paths, (32, 16))
    expected = model.teacher.backbone(images, None)[-1].mean((2, 3))
    assert known.all()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)


def test_an_unreadable_image_is_left_out(folder, tmp_path):
    root = tmp_path / 'copy'
    shutil.copytree(folder, root)
    (root / 'person 1' / '008.png').write_bytes(b'no image')
    hook = ProbeHook(str(root), size=(32, 16))
    features, known = hook.embed(make_model())
    assert known.sum() == 31 and not known[8]
    assert set(hook.score(features, known)) == {'knn', 'linear'}


def test_without_a_readable_image_the_probes_are_nan(folder, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(probe_hook, 'print_log', lambda text, **_: lines.append(text))
    root = tmp_path / 'copy'
    shutil.copytree(folder, root)
    for path in root.rglob('*.png'):
        path.write_bytes(b'no image')
    hook = ProbeHook(str(root), size=(32, 16))
    features, known = hook.embed(make_model())
    assert not known.any()
    scores = hook.score(features, known)
    assert list(scores) == ['knn', 'linear'] and np.isnan(list(scores.values())).all()
    assert lines[0].startswith('0 images to learn from and 0 to score could be read of')


def test_good_features_score_and_bad_ones_do_not(folder):
    hook = ProbeHook(str(folder), knn_k=5)
    known = np.ones(32, bool)
    good = np.eye(4)[hook.folder.labels] + 0.05 * np.random.randn(32, 4)
    assert hook.score(good, known) == dict(knn=100, linear=100)
    assert set(ProbeHook(str(folder), knn_k=0).score(good, known)) == {'linear'}
    bad = np.random.default_rng(0).normal(size=(32, 4))
    assert max(hook.score(bad, known).values()) < 80


def test_an_epoch_entered_in_its_middle_is_probed(people, folder, tmp_path):  # noqa: F811
    hooks = [dict(type='clasp_mm.ProbeHook', data_root=str(folder), linear=False, size=(32, 16)),
             *exact_resume.OURS]
    with pytest.raises(KeyboardInterrupt):
        exact_resume.train(exact_resume.make(people, tmp_path, stop_at=6, custom_hooks=hooks))
    exact_resume.resume(exact_resume.make(people, tmp_path, custom_hooks=hooks))
    assert [row['step'] for row in read_logs(tmp_path) if 'probe/knn' in row] == [4, 8]


def test_a_run_by_iterations_is_probed(people, folder, tmp_path):  # noqa: F811
    cfg = make_config(people, tmp_path)
    cfg.custom_hooks.append(dict(
        type='clasp_mm.ProbeHook', data_root=str(folder), linear=False, interval=2, size=(32, 16)))
    cfg.train_cfg = dict(type='mmengine.IterBasedTrainLoop', max_iters=5)  # an epoch has two
    Runner.from_cfg(cfg).train()
    assert [row['step'] for row in read_scalars(tmp_path) if 'probe/knn' in row] == [4, 5]


def test_a_run_probes_at_its_interval_and_trains_as_without(
        people, folder, tmp_path):  # noqa: F811
    losses = []
    for name in ('with', 'without'):
        cfg = make_config(people, tmp_path / name)
        if name == 'with':
            cfg.custom_hooks += [
                dict(type='clasp_mm.ProbeHook', data_root=str(folder), interval=2, knn_k=3,
                     size=(32, 16)),
                dict(type='clasp_mm.RunRecordHook')]
        torch.manual_seed(0)
        Runner.from_cfg(cfg).train()
        rows = read_scalars(tmp_path / name)
        losses.append([row['loss_dino'] for row in rows if 'loss_dino' in row])
        if name == 'with':
            probes = [row for row in rows if 'probe/knn' in row]
    assert losses[0] == losses[1]
    assert [row['step'] for row in probes] == [4, 6]  # after the second and the last epoch
    assert all(0 <= row['probe/linear'] <= 100 for row in probes)
    assert '"probe/knn"' in (tmp_path / 'with/metrics.jsonl').read_text().splitlines()[3]
