"""Slow, obvious forms of the losses: loops over pairs, images, tokens and experts."""

import math

import torch


def dino_loss(student, teacher, center, student_temp, teacher_temp):
    """DINO eq. 3, pair by pair. student (V, B, K), teacher (T, B, K), center (K,)."""
    total, terms = 0.0, 0
    for t in range(len(teacher)):
        for v in range(len(student)):
            if v == t:
                continue
            for b in range(student.shape[1]):
                p = torch.softmax((teacher[t, b] - center) / teacher_temp, 0).detach()
                total = total - (p * torch.log_softmax(student[v, b] / student_temp, 0)).sum()
                terms += 1
    return total / terms


def dino_center(center, teacher, momentum):
    rows = teacher.reshape(-1, teacher.shape[-1])
    return momentum * center + (1 - momentum) * sum(rows) / len(rows)


def sinkhorn_knopp(logits, iterations=3):
    """SwAV: scale prototypes to equal mass, then samples, by turns. logits (N, K) -> (N, K)."""
    q = [[math.exp(value) for value in row] for row in logits.tolist()]
    for _ in range(iterations):
        for k in range(len(q[0])):
            mass = sum(row[k] for row in q)
            for row in q:
                row[k] /= mass
        q = [[value / sum(row) for value in row] for row in q]
    return torch.tensor(q, dtype=logits.dtype)


def part_loss(logits, part_map):
    """CLASP eq. 10. logits (B, P, h, w), part_map (B, h, w); 255 does not count."""
    total, count = logits.sum() * 0, 0
    for b in range(len(logits)):
        for y in range(logits.shape[2]):
            for x in range(logits.shape[3]):
                label = int(part_map[b, y, x])
                if label == 255:
                    continue
                total = total - torch.log_softmax(logits[b, :, y, x], 0)[label]
                count += 1
    return total / max(count, 1)


def attr_loss(logits, sizes, target):
    """CLASP eq. 11. logits (B, sum(sizes)), target (B, A); -1 does not count."""
    total, count = logits.sum() * 0, 0
    for b in range(len(logits)):
        start = 0
        for a, size in enumerate(sizes):
            if target[b, a] >= 0:
                for value in range(size):
                    p = torch.sigmoid(logits[b, start + value])
                    total = total - torch.log(p if value == target[b, a] else 1 - p)
                    count += 1
            start += size
    return total / max(count, 1)


def load_balance_loss(probs, gates, task, top_k):
    """CLASP eq. 12 and 13. probs, gates: per stage (B, n); mean over stages and tasks present."""
    values = []
    for p, g in zip(probs, gates, strict=True):
        n = p.shape[1]
        for t in sorted(set(task.tolist())):
            images = [b for b in range(len(task)) if task[b] == t]
            value = 0.0
            for j in range(n):
                share = sum(float(g[b, j] > 0) for b in images) / len(images) / top_k
                value = value + share * sum(p[b, j] for b in images) / len(images)
            values.append(n * value)
    return sum(values) / len(values)


def importance_load_loss(gates, load, task):
    """Shazeer et al. eq. 6, 7, 10, 11. gates, load: per stage (B, n); mean over stages, tasks."""
    values = []
    for rows in zip(gates, load, strict=True):
        for t in sorted(set(task.tolist())):
            value = 0.0
            for one in rows:
                n = one.shape[1]
                sums = [sum(one[b, j] for b in range(len(task)) if task[b] == t) for j in range(n)]
                mean = sum(sums) / n
                value = value + sum((x - mean) ** 2 for x in sums) / n / mean ** 2
            values.append(value)
    return sum(values) / len(values)


def cosine(base, final, step, steps):
    return final + 0.5 * (base - final) * (1 + math.cos(math.pi * step / steps))
