"""SOLIDER's losses from one forward for each view of each image, and every partition tried."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F

from .kmeans import inertia, split_scalars
from .losses import dino_loss


def ordered_parts(feature, num_parts, min_foreground):
    """0 for the background, 1 to num_parts from top to bottom; None with too little foreground.

    feature (C, h, w) -> (h, w).
    """
    tokens = feature.detach().flatten(1).T.double().numpy()
    rows = np.arange(len(tokens)) // feature.shape[2]
    person = np.flatnonzero(split_scalars(np.linalg.norm(tokens, axis=1)))
    if len(person) <= min_foreground * len(tokens):
        return None
    best = min(itertools.product(range(num_parts), repeat=len(person)),
               key=lambda labels: inertia(tokens[person], np.array(labels)))
    mean_row = {label: rows[person[np.array(best) == label]].mean() for label in set(best)}
    assert len(set(mean_row.values())) == num_parts, 'two parts at one height: test another image'
    order = sorted(mean_row, key=mean_row.get)
    parts = np.zeros(len(tokens), np.int64)
    parts[person] = [1 + order.index(label) for label in best]
    return torch.from_numpy(parts).view(feature.shape[1:])


def solider_losses(model, views, weights, erased, min_foreground, num_global=2):
    """L_dino, mean(lambda CE), and how many views count.

    Args:
        model: ``clasp_mm.SOLIDER`` whose last map is clustered.
        views: Globals first, each (B, 3, H_v, W_v).
        weights: lambda of each image.
        erased: The part of each image that the masked views lack.
        min_foreground: Share of tokens that a view needs to count.
    """
    batch = range(len(weights))
    num_parts = model.part_head.num_classes - 1

    def logits(head, last_map):
        return head(last_map.mean((2, 3)))[0]

    def see(backbone, image, weight):
        return backbone(image[None], torch.tensor([weight]))[-1]

    student = {(v, b): see(model.backbone, views[v][b], weights[b])
               for v in range(len(views)) for b in batch}
    student_logits = torch.stack([torch.stack([logits(model.head, student[v, b]) for b in batch])
                                  for v in range(len(views))])
    teacher_logits = torch.stack([torch.stack([
        logits(model.teacher.head, see(model.teacher.backbone, views[v][b], weights[b]))
        for b in batch]) for v in range(num_global)]).detach()

    weighted, kept = [], 0
    for v in range(num_global):
        for b in batch:
            image = views[v][b]
            parts = ordered_parts(see(model.teacher.backbone, image, 1.)[0], num_parts,
                                  min_foreground)
            if parts is None:
                continue
            kept += 1
            masked = image.clone()
            stride = image.shape[1] // parts.shape[0]
            for y, x in torch.nonzero(parts == erased[b]).tolist():
                masked[:, y * stride:(y + 1) * stride, x * stride:(x + 1) * stride] = 0
            for last_map in (student[v, b], see(model.backbone, masked, weights[b])):
                scores = model.part_head.classifier(last_map)[0].flatten(1).T
                weighted.append(weights[b] * F.cross_entropy(scores, parts.flatten(),
                                                             reduction='none'))
    part = torch.cat(weighted).mean() if weighted else torch.zeros(())
    dino = dino_loss(student_logits, teacher_logits, model.dino_loss.center, 0.1, 0.04)
    return dino, part, kept
