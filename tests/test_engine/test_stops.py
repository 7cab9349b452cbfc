"""What must not train on in silence: gradients that are no numbers, labels out of range."""


import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from clasp_mm.datasets.attribute import positive_ratios
from clasp_mm.engine import AcceptedLabelsHook
from clasp_mm.engine.hooks import FiniteHook, SkippedImagesHook
from clasp_mm.engine.launch import leave_together
from clasp_mm.models.heads import AttrHead, PartSegHead
from tests.test_engine.test_teacher_hook import make_config, people  # noqa: F401
from tests.two_at_once import spread


@HOOKS.register_module(force=True)
class PoisonGradient(Hook):
    """The gradient of one weight is NaN in the third iteration, where every loss is finite."""

    priority = 'HIGHEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.model.teacher_before = [p.clone() for p in runner.model.teacher.parameters()]
        if runner.iter == 2:
            weight = next(runner.model.backbone.parameters())
            weight.register_hook(lambda grad: grad * float('nan'))


def test_a_gradient_of_nan_names_the_batch_before_the_teacher_moves(people, tmp_path):  # noqa: F811
    runner = Runner.from_cfg(make_config(people, tmp_path / 'run', custom_hooks=[
        dict(type='PoisonGradient'), dict(type='clasp_mm.FiniteHook'),
        dict(type='clasp_mm.TeacherHook')]))
    with pytest.raises(FloatingPointError, match=r'^backbone\.\S+ of iteration 3 is not finite '
                       r'\(a weight by its gradient\).*this batch: \d+ \(images/0000/'):
        runner.train()
    assert all(map(torch.equal, runner.model.teacher_before, runner.model.teacher.parameters()))


def stop_together(rank, folder, deferred):
    torch.distributed.init_process_group('gloo', f'file://{folder}/meet', rank=rank, world_size=2)
    hook, runner = FiniteHook(), Run()
    runner.model = torch.nn.Linear(1, 1)
    hook.before_train(runner)
    hook.deferred = deferred
    with pytest.raises(FloatingPointError, match=r'^loss of iteration 2 .*: '
                       r'0 \(a\.jpg\), 2 \(c\.jpg\), 0 \(a\.jpg\), 2 \(c\.jpg\)$'):
        for runner.iter in range(3):
            bad = rank == 0 and runner.iter == 1  # a host's loss is that of its own process
            hook.after_train_iter(runner, 0, batch(), dict(
                loss=torch.tensor(float('nan') if bad else 1.), other=torch.tensor(0.)))
        hook.judge(runner, bool(hook.any_broken()))
    leave_together()


@pytest.mark.parametrize('deferred', [False, True])
def test_a_loss_of_one_process_stops_them_all(tmp_path, deferred):
    spread(stop_together, str(tmp_path), deferred, count=2)


class Run:
    """What a hook sees of a Runner."""

    def __init__(self, folder=None, iteration=0, **heads):
        self.model = type('Model', (), heads)()
        self.train_dataloader = type('Loader', (), dict(dataset=type('Data', (), dict(
            names=['a.jpg', 'b.jpg', 'c.jpg'])), ))()
        self.work_dir, self.iter = str(folder), iteration


def batch(part=0, value=0):
    """Two images; labels of the second one, c.jpg."""
    parts = torch.zeros(2, 2, 3, 2, dtype=torch.uint8)
    parts[1, 1, 2, 0] = part
    return dict(data_samples=dict(
        sample_idx=torch.tensor([0, 2]), part_map=parts, attr_target=torch.tensor(
            [[0, -1], [1, value]])))


@pytest.mark.parametrize('labels, words', [
    (dict(part=4), r'image 2 \(c.jpg\): part label 4 is not 255 and none of the 4 classes'),
    (dict(value=3), r'image 2 \(c.jpg\): attribute label 3 .*\(2, 3\)'),
    (dict(value=-2), r'image 2 \(c.jpg\): attribute label -2')])
def test_labels_that_the_heads_have_no_class_for_are_named(labels, words):
    runner = Run(part_head=PartSegHead(5, 4), attr_head=AttrHead(5, (2, 3)))
    AcceptedLabelsHook().before_train_iter(runner, 0, batch(part=255, value=2))
    AcceptedLabelsHook().before_train_iter(runner, 0, batch(part=3, value=-1))
    with pytest.raises(ValueError, match=words):
        AcceptedLabelsHook().before_train_iter(runner, 0, batch(**labels))


def test_no_head_learns_from_a_label_out_of_range():
    """Also where no hook looks: the loss is no number, and FiniteHook stops."""
    attr, part = AttrHead(5, (2, 3)), PartSegHead(5, 4)
    pooled, maps = torch.rand(2, 5), (torch.rand(2, 5, 3, 2), )
    for value in (-2, 3):
        assert attr.loss(pooled, torch.tensor([[0, -1], [1, value]]))['loss_attr'].isnan()
    assert attr.loss(pooled, torch.tensor([[0, -1], [1, 2]]))['loss_attr'].isfinite()
    for value in (4, 254):
        assert part.loss(maps, batch(part=value)['data_samples']['part_map'][:, 1])[
            'loss_part'].isnan()
    assert part.loss(maps, batch(part=255)['data_samples']['part_map'][:, 1])[
        'loss_part'].isfinite()


@pytest.mark.parametrize('label', [2., -2., .5, float('nan')])
def test_attributes_of_a_data_set_are_one_zero_or_unknown(label):
    rows = [dict(img_path='a.jpg', gt_score=np.array([1, 0, -1], np.float32)),
            dict(img_path='b.jpg', gt_score=np.array([1, label, 0], np.float32))]

    class Data:
        get_data_info = staticmethod(rows.__getitem__)
        __len__ = staticmethod(lambda: 2)

    with pytest.raises(ValueError, match=rf'b\.jpg: gt_score holds {label}; attributes'):
        positive_ratios(Data())
    rows[1]['gt_score'][1] = 1
    # 2 of 2, 1 of 2, and 0 of the one that is known
    assert positive_ratios(Data()).tolist() == [1, .5, 0]


def test_names_of_skipped_images_survive_a_kill_and_a_resume(tmp_path):
    """A kill in the middle of an epoch; names with characters that Unicode takes for line ends."""
    names = ['b\u2028c.jpg', 'a\x0bz\x85.jpg']
    samples = dict(data_samples=dict(skipped=[names[0], '', '\n'.join(names)]))
    path = tmp_path / 'skipped_images.txt'
    path.write_text('of another run.jpg\n')
    hook = SkippedImagesHook()
    hook.before_train(Run(tmp_path))
    hook.after_train_iter(Run(tmp_path), 0, samples)  # and is killed
    again = SkippedImagesHook()
    again.before_train(Run(tmp_path, iteration=1))
    assert again.names == set(names)
    again.after_train_iter(Run(tmp_path, iteration=1), 1, samples)
    assert sorted(path.read_text('utf-8').split('\n')) == ['', *sorted(names)]
