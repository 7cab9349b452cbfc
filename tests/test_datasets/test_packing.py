import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import MODELS as HOST_MODELS
from mmengine.runner import Runner

from clasp_mm.datasets import LUPerson
from clasp_mm.registry import TRANSFORMS


def results(index=0, **extra):
    rng = np.random.default_rng(index)
    views = [rng.integers(0, 256, size, np.uint8) for size in ((16, 8, 3), (16, 8, 3), (8, 4, 3))]
    return dict(views=views, sample_idx=index, img=views[0], **extra)


def pack(sample):
    return TRANSFORMS.build(dict(type='clasp_mm.PackViews'))(sample)


def test_pixels_arrive_in_their_planes():
    sample = results()
    sample['views'][1] = np.zeros((20, 12, 3), np.uint8)[2:18, 1:9]  # a part of a larger array
    sample['views'][1][3, 5] = (1, 2, 3)
    packed = pack(sample)
    assert set(packed) == {'inputs', 'data_samples'}
    for view, tensor in zip(sample['views'], packed['inputs'], strict=True):
        assert tensor.dtype == torch.uint8 and tensor.is_contiguous()
        assert (tensor.permute(1, 2, 0).numpy() == view).all()


def test_labels_are_packed_where_there_are_any():
    assert pack(results(7))['data_samples'] == {'sample_idx': 7, 'skipped': ''}
    maps = np.random.default_rng(0).integers(0, 256, (2, 4, 2)).astype(np.uint8)
    sample = pack(results(3, skipped='a.jpg\nb.jpg', view_part_maps=maps, label_accepted=False,
                          attr_target=np.array([1, -1, 0])))['data_samples']
    assert sample['skipped'] == 'a.jpg\nb.jpg'
    assert sample['part_map'].dtype == torch.uint8 and (sample['part_map'].numpy() == maps).all()
    assert sample['attr_target'].dtype == torch.int64
    assert sample['attr_target'].tolist() == [1, -1, 0]
    assert sample['label_accepted'].dtype == torch.bool and not sample['label_accepted']


def test_a_batch_reaches_the_preprocessor():
    samples = [pack(results(
        index, skipped='x.jpg' * index, label_accepted=bool(index), attr_target=np.array([index]),
        view_part_maps=np.full((2, 4, 2), index, np.uint8))) for index in range(3)]
    batch = default_collate(samples)
    labels = batch['data_samples']
    assert labels['sample_idx'].tolist() == [0, 1, 2]
    assert labels['skipped'] == ['', 'x.jpg', 'x.jpgx.jpg']
    assert labels['label_accepted'].tolist() == [False, True, True]
    assert labels['part_map'][:, 0, 0, 0].tolist() == labels['attr_target'][:, 0].tolist()
    preprocessor = HOST_MODELS.build(dict(
        type='clasp_mm.ViewPreprocessor', mean=(10, 20, 30), std=(2, 4, 5),
        bgr_to_rgb=True))
    out = preprocessor(batch, training=True)
    red = (samples[1]['inputs'][2][2].float() - 10) / 2
    assert torch.allclose(out['inputs'][2][1, 0], red)
    assert out['data_samples']['skipped'] == labels['skipped']
    assert out['data_samples']['part_map'].dtype == torch.uint8


def test_whole_pipeline_by_config(tmp_path):
    for name in ('a.jpg', 'b.png'):
        cv2.imwrite(str(tmp_path / name), np.full((50, 30, 3), 90, np.uint8))
    (tmp_path / 'c.jpg').write_bytes(b'broken')
    np.random.seed(0)
    dataset = LUPerson(str(tmp_path), pipeline=[
        dict(type='clasp_mm.MultiCrop', num_local=3), dict(type='clasp_mm.PackViews')])
    batch = default_collate([dataset[index] for index in range(3)])
    assert [tuple(view.shape) for view in batch['inputs']] == [
        (3, 3, 256, 128), (3, 3, 256, 128), (3, 3, 128, 64), (3, 3, 128, 64), (3, 3, 128, 64)]
    assert batch['data_samples']['skipped'] == ['', '', 'c.jpg']
    assert batch['data_samples']['sample_idx'][:2].tolist() == [0, 1]


@pytest.mark.parametrize('num_workers', [0, 2])
def test_a_seed_reproduces_a_run_and_epochs_differ(tmp_path, num_workers):
    rng = np.random.default_rng(0)
    for name in range(6):
        cv2.imwrite(str(tmp_path / f'{name}.png'), rng.integers(0, 256, (50, 30, 3), np.uint8))

    def run(seed):
        np.random.seed(seed)
        loader = Runner.build_dataloader(dict(
            dataset=dict(type='clasp_mm.LUPerson', data_root=str(tmp_path), pipeline=[
                dict(type='clasp_mm.MultiCrop', num_local=1, global_size=(16, 8),
                     local_size=(8, 4)), dict(type='clasp_mm.PackViews')]),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'), batch_size=2, num_workers=num_workers,
            persistent_workers=num_workers > 0), seed=seed)
        epochs = []
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            batches = list(loader)
            order = torch.cat([batch['data_samples']['sample_idx'] for batch in batches]).argsort()
            epochs.append(torch.cat([batch['inputs'][0] for batch in batches])[order])
        return torch.stack(epochs)

    first = run(1)
    assert (first == run(1)).all()
    for other in (first[1], run(2)[0]):
        assert (first[0] != other).flatten(1).any(dim=1).all()
