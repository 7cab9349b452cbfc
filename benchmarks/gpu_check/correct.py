"""Does a GPU compute what the CPU computes? In float32, TF32 off; without one, CPU against CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from clasp_mm.evaluation.functional import evaluate_reid
from clasp_mm.models.backbones import PCMoESwin
from clasp_mm.models.heads import AttrHead, PartSegHead
from clasp_mm.models.layers import PCMoE, window_layout
from clasp_mm.models.layers.windows import to_windows
from clasp_mm.models.losses import DINOLoss, average_together, load_balance_term
from clasp_mm.models.losses.parsing import balanced_edge_loss, label_edges, parsing_loss
from clasp_mm.models.reid import batch_hard_triplet_loss
from clasp_mm.pseudo_labels.clustering import kmeans
from clasp_mm.pseudo_labels.hashing import hash_names
from clasp_mm.pseudo_labels.regions import FOREGROUND_RULES, find_regions
from clasp_mm.synthetic import SyntheticPeople
from clasp_mm.utils.device import pick_device, precision, set_matmul_precision

from ..contest import Options
from ..labels import random_labeler
from ..stages import Report

_LIMIT = 1e-4  # relative error of an output or a loss
_GRADIENT_LIMIT = 1e-3
_BFLOAT16_LIMIT = 0.05
_SHARE = 0.99  # of tokens or labels that must be equal: near ties may fall either way

Results = Mapping[str, Tensor]


def correct(report: Report) -> None:
    """Networks, losses, clustering, labels and scores on the device and on the CPU."""
    set_matmul_precision('highest')
    torch.backends.cudnn.allow_tf32 = False
    device = pick_device()
    report.row('compared', what=f'cpu with {device}', limit=_LIMIT, gradient_limit=_GRADIENT_LIMIT)
    for part in (_backbone, _pc_moe, _losses, _windows, _clustering, _labels, _reid):
        report.part(part.__name__.strip('_'), part, report, device)


def relative_errors(found: Results, expected: Results) -> dict[str, float]:
    """|found - expected| / |expected| of each tensor, in double precision.

    What is next to nothing beside the others (a gradient that would be zero but for rounding) is
    measured by a thousandth of the middle one. A tensor that only one side has is wrong by inf.
    """
    errors = dict.fromkeys(found.keys() ^ expected.keys(), float('inf'))
    norms = {name: tensor.detach().double().norm() for name, tensor in expected.items()}
    floor = 1e-3 * torch.stack(list(norms.values())).median().clamp_min(1e-30)
    for name in found.keys() & expected.keys():
        difference = found[name].detach().cpu().double() - expected[name].detach().double()
        errors[name] = float(difference.norm() / norms[name].clamp_min(floor))
    return errors


def agree(report: Report, name: str, call: Callable[[torch.device], Results],
          device: torch.device) -> None:
    """Check that ``call`` gives the same on the CPU and on the device; gradients begin with d."""
    expected, found = call(torch.device('cpu')), call(device)
    errors = relative_errors(found, expected)
    limits = {key: _GRADIENT_LIMIT if key.startswith('d ') else _LIMIT for key in errors}
    # A NaN is no error below a limit, and the worst.
    wrong = [key for key, error in errors.items() if not error <= limits[key]]
    worst = max(errors, key=lambda key: (errors[key] != errors[key], errors[key] / limits[key]))
    report.check(name, not wrong, worst=worst, error=errors[worst], limit=limits[worst],
                 number_wrong=len(wrong))


def _with_gradients(model: nn.Module, run: Callable[[nn.Module, torch.device], Tensor],
                    device: torch.device) -> Results:
    model = deepcopy(model).to(device)
    out = run(model, device)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * weight.to(device)).sum().backward()
    return {'output': out, **{f'd {name}': parameter.grad for name, parameter
                              in model.named_parameters() if parameter.grad is not None}}


def _awake(model: nn.Module) -> nn.Module:
    """In evaluation, and without the zeros that make a new PC-MoE the identity."""
    for module in model.modules():
        if isinstance(module, PCMoE):
            for parameter in (module.w2, module.b2, *module.prompt_fc.parameters()):
                nn.init.normal_(parameter, std=0.1)
    return model.eval()


def _backbone(report: Report, device: torch.device) -> None:
    torch.manual_seed(0)
    arch, size = ('nano', (64, 32)) if report.smoke else ('tiny', (256, 128))
    model = _awake(PCMoESwin(arch, task='part', drop_path_rate=0.))
    images = torch.randn(2, 3, *size)
    agree(report, f'backbone, Swin-{arch} with PC-MoE', partial(
        _with_gradients, model, lambda model, device: model(images.to(device))[-1]), device)

    with torch.no_grad():
        expected = model(images)[-1]
        model.to(device)
        with precision(device, True):
            found = model(images.to(device))[-1]
    error = relative_errors(dict(output=found), dict(output=expected))['output']
    report.check('backbone, bfloat16 against float32', error <= _BFLOAT16_LIMIT, error=error,
                 limit=_BFLOAT16_LIMIT)


def _pc_moe(report: Report, device: torch.device) -> None:
    weights = torch.eye(3)[[0, 1, 2, 1]]
    for length, way in ((512, 'chosen experts'), (20, 'all experts')):
        torch.manual_seed(length)
        tokens = torch.randn(4, length, 96)
        agree(report, f'PC-MoE, {way}', partial(
            _with_gradients, _awake(PCMoE(96)),
            lambda moe, device, tokens=tokens: moe(tokens.to(device), weights.to(device))[0]),
            device)


def _losses(report: Report, device: torch.device) -> None:
    torch.manual_seed(0)
    rows, teacher, maps = torch.randn(24, 64), torch.randn(2, 6, 64), torch.randn(4, 64, 16, 8)
    identity, task = torch.arange(24) % 6, torch.arange(24) % 3
    part_map, attributes = torch.randint(10, (4, 32, 16)), torch.randint(-1, 2, (24, 9))
    part_map[0] = 255
    part_head, attr_head = PartSegHead(64, 10), AttrHead(64, (2, 3, 2, 2, 2, 2, 3, 3, 3))
    losses: dict[str, tuple[Tensor, Callable]] = {
        'DINO': (rows, lambda x, to: to(DINOLoss(64))(x.view(4, 6, 64), to(teacher), 0.04)),
        'DINO, Sinkhorn-Knopp': (rows, lambda x, to: to(DINOLoss(64, centering='sinkhorn_knopp'))(
            x.view(4, 6, 64), to(teacher), 0.04)),
        'parts': (maps, lambda x, to: to(deepcopy(part_head)).loss(
            (x, ), to(part_map))['loss_part']),
        'attributes': (rows, lambda x, to: to(deepcopy(attr_head)).loss(
            x, to(attributes))['loss_attr']),
        'load balance': (rows, lambda x, to: average_together(load_balance_term(
            x[:, :10].softmax(1)[None], to(rows[:, :10].relu())[None], to(task), 3))[0]),
        'triplet': (rows, lambda x, to: batch_hard_triplet_loss(x, to(identity))),
        'parsing': (maps, lambda x, to: parsing_loss(x, to(part_map[:, :16, :8]))),
        'edges': (maps, lambda x, to: balanced_edge_loss(
            x[:, :2], label_edges(to(part_map[:, :16, :8])))),
    }
    for name, (start, loss) in losses.items():
        agree(report, f'loss, {name}', partial(_loss, start, loss), device)


def _loss(start: Tensor, loss: Callable, device: torch.device) -> Results:
    x = start.to(device, copy=True).requires_grad_()
    value = loss(x, lambda thing: thing.to(device))
    value.backward()
    return {'loss': value, 'd input': x.grad}


def _windows(report: Report, device: torch.device) -> None:
    """Tokens go to windows, and gradients back, by gathers, which round nothing."""
    torch.manual_seed(0)
    height, width, channels = 30, 17, 96  # no multiples of 7: padding
    start, row = torch.randn(4, height * width, 3 * channels), torch.randn(3 * channels)

    def there_and_back(device: torch.device) -> list[Tensor]:
        layout = window_layout(height, width, 7, 3, device, window_last=True)
        x = start.to(device, copy=True).requires_grad_()
        padding = row.to(device, copy=True).requires_grad_()
        windows = to_windows(x, padding, layout)
        weight = torch.randn(windows.shape, generator=torch.Generator().manual_seed(1))
        windows.backward(weight.to(device))
        return [tensor.detach().cpu() for tensor in (windows, x.grad, padding.grad)]

    expected = there_and_back(torch.device('cpu'))
    found = [there_and_back(device) for _ in range(3)]
    report.check('window gather, equal to the CPU\'s', all(
        map(torch.equal, found[0][:2], expected[:2])))
    report.check('window gather, the same each time', all(
        torch.equal(one, first) for other in found[1:]
        for one, first in zip(other, found[0], strict=True)))


def _clustering(report: Report, device: torch.device) -> None:
    torch.manual_seed(0)
    batch, numbers = 2 if report.smoke else 24, (3, 4, 5)
    centres = 3 * torch.randn(batch, 6, 64)
    tokens = centres.gather(1, torch.randint(6, (batch, 512, 1)).expand(-1, -1, 64))
    tokens = tokens + torch.randn_like(tokens)
    keys, mask = hash_names([str(number) for number in range(batch)]), torch.rand(batch, 512) > 0.3
    expected, found = (kmeans(tokens.to(where), mask.to(where), numbers, keys)
                       for where in ('cpu', device))
    same = _share(found[0], expected[0])
    error = relative_errors(dict(inertia=found[1]), dict(inertia=expected[1]))['inertia']
    report.check('k-means', same >= _SHARE and error <= 1e-3, tokens_equal=same, inertia=error)
    maps = tokens.mT.reshape(batch, 64, 32, 16)
    for rule in FOREGROUND_RULES:
        expected, found = (find_regions(maps.to(where), numbers, keys, rule, 1.5)
                           for where in ('cpu', device))
        same = _share(found, expected)
        report.check(f'regions, {rule}', same >= _SHARE, tokens_equal=same)
    alone = torch.cat([find_regions(maps[one:one + 1].to(device), numbers, keys[one:one + 1],
                                    FOREGROUND_RULES[-1], 1.5) for one in range(batch)])
    same = _share(alone, found)
    report.check('regions of an image alone and in a batch', same >= _SHARE, tokens_equal=same)


def _labels(report: Report, device: torch.device) -> None:
    """All of labelling by small networks with the same random weights."""
    people = SyntheticPeople(4 if report.smoke else 16, 1)
    images = [people[index].image for index in range(len(people))]
    labels = []
    for where in (torch.device('cpu'), device):
        torch.manual_seed(0)
        labeler = random_labeler(Options(str(where), quick=True))
        labels.append(labeler.label(images, [str(number) for number in range(len(images))]))
    for name in ('regions', 'region_label', 'attr_value'):
        expected, found = (torch.as_tensor(getattr(one, name)) for one in labels)
        same = _share(found, expected)
        report.check(f'labels, {name}', same >= _SHARE, equal=same)


def _share(found: Tensor, expected: Tensor) -> float:
    """How much of two integer tensors is equal."""
    return float((found.cpu() == expected).double().mean())


def _reid(report: Report, device: torch.device) -> None:
    """Rankings do not depend on the device, to the bit."""
    rng = np.random.default_rng(0)
    number = 80 if report.smoke else 3000
    features = rng.normal(size=(number, 256)).astype(np.float32)
    people, cameras = rng.integers(0, number // 8, number), rng.integers(0, 6, number)
    for metric in ('euclidean', 'cosine'):
        expected, found = (evaluate_reid(features, features, people, people, cameras, cameras,
                                         metric=metric, device=where) for where in ('cpu', device))
        same = all(np.array_equal(found[name], expected[name], equal_nan=True)
                   for name in ('cmc', 'average_precision'))
        report.check(f'evaluate_reid, {metric}', same, mAP=found['mAP'], on_cpu=expected['mAP'])
