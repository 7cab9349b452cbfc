"""Time to a score, step by step."""


def first_at_least(seconds_of_step, steps_per_epoch, scores, target):
    """Epoch and hours at which a score, one an epoch, first is ``target``; None if never."""
    clock = 0.
    for epoch, score in enumerate(scores, 1):
        for step in range((epoch - 1) * steps_per_epoch, epoch * steps_per_epoch):
            clock += seconds_of_step[step]
        if score >= target:
            return epoch, clock / 3600
    return None
