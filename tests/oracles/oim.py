"""Online instance matching, one person after the other."""

import math


def loss(features, pids, table, queue, scalar, unlabelled):
    """Mean over labelled people; features may be lists of torch scalars, so it has gradients."""
    losses = []
    for x, pid in zip(features, pids, strict=True):
        if pid == unlabelled:
            continue
        logits = [scalar * sum(a * b for a, b in zip(x, v, strict=True)) for v in (*table, *queue)]
        peak = max(one.item() for one in logits)
        total = sum((one - peak).exp() for one in logits)
        losses.append(peak + total.log() - logits[pid])
    return sum(losses) / len(losses) if losses else 0.


def update(features, pids, table, queue, head, momentum, unlabelled):
    """Changes table and queue in place; gives the queue's new head."""
    for x, pid in zip(features, pids, strict=True):
        if pid == unlabelled:
            queue[head] = list(x)
            head = (head + 1) % len(queue)
            continue
        mixed = [momentum * a + (1 - momentum) * b for a, b in zip(table[pid], x, strict=True)]
        length = math.sqrt(sum(a * a for a in mixed))
        table[pid] = [a / length for a in mixed]
    return head
