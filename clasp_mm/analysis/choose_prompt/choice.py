"""Probe every prompt and every mean of several, and rank them."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from clasp_mm.evaluation.functional.bootstrap import Ranked, rank_scores
from clasp_mm.models import PCMoESwin
from clasp_mm.models.layers import TASKS, task_weights
from clasp_mm.utils.tables import markdown_table

from .features import load_readable, prompt_features, token_grid
from .labels import Labels, read_map
from .scoring import METRICS, Score, make_score

L2_CHOICES = (1., 1e-1, 1e-2, 1e-3)
Task = str | tuple  # a prompt by its name, or a mix: the mean of several


def prompt_candidates(backbone: PCMoESwin) -> list[Task]:
    """All prompts and the means of two or three, each as the ``task`` of a config.

    Tasks that share a prompt (a backbone of two) count once, under the first name.

    Raises:
        ValueError: There is no PC-MoE.
    """
    computed = backbone.stages[:max(backbone.out_indices) + 1]
    if all(stage.moe is None for stage in computed):
        raise ValueError(f'{type(backbone).__name__} has no PC-MoE'
                         f'{" in a stage that is computed" if backbone.has_moe else ""}: there is '
                         'no prompt to choose, its features serve every task as they are')
    found: dict[tuple, Task] = {}
    for names in (names for size in (1, 2, 3) for names in combinations(TASKS, size)):
        weights = tuple(task_weights(names, backbone.task_rows.shape[1])[0].tolist())
        if len(names) == 1:
            found.setdefault(weights, names[0])
        else:  # as many names as stages would be one name a stage
            several = (names, ) * len(names) if len(names) == backbone.num_stages else names
            found.setdefault(weights, several)
    return list(found.values())


class Choice(NamedTuple):
    """A ranking of all candidates.

    Attributes:
        metric: Name of the score.
        candidates: All of them, see :func:`prompt_candidates`.
        ranking: Best first, each an index into ``candidates``.
        num_images: How many images were read.
        unreadable: The others, by name, and why.
        l2: Weight decay of the probes; None where none is fitted.
    """

    metric: str
    candidates: list[Task]
    ranking: list[Ranked]
    num_images: int
    unreadable: list[str]
    l2: float | None

    @property
    def best(self) -> Task:
        """The one of highest score."""
        return self.candidates[self.ranking[0].index]

    @property
    def advised(self) -> Task:
        """The simplest of those tied with the best: a prompt before a mix."""
        tied = [self.candidates[row.index] for row in self.ranking if row.tied]
        return min(tied, key=lambda task: not isinstance(task, str))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as for JSON."""
        ranking = []
        for row in self.ranking:
            known = row._asdict()
            task = self.candidates[known.pop('index')]
            kind = 'prompt' if isinstance(task, str) else 'mix'
            ranking.append(dict(known, kind=kind, task=task))
        return dict(metric=self.metric, num_images=self.num_images, l2=self.l2,
                    unreadable=self.unreadable, advised=self.advised, best=self.best,
                    ranking=ranking)


def choose_prompt(backbone: PCMoESwin, labels: Labels, size: tuple[int, int] = (256, 128),
                  resamples: int = 1000, seed: int = 0, batch_size: int = 32,
                  progress: bool = True) -> Choice:
    """Rank what a backbone may be told by how well its frozen features serve the labels.

    Identities are scored by retrieval. The others are scored by linear probes, by folds; their
    weight decay, one for all, is the one of best mean score of the plain prompts. Maps are probed
    on all maps of the backbone, at about 64 points of an image; the others on the mean over the
    last. Units of the bootstrap are people, or images where people are not known.

    Args:
        backbone: Backbone with a PC-MoE, in evaluation mode; for maps, all stages put out.
        labels: What :func:`~.labels.read_labels` gave; images that cannot be read are left out.
        size: (H, W) of the input.
        resamples: Draws of the bootstrap.
        seed: Seed of these draws.
        batch_size: Images per forward.
        progress: Show bars.

    Raises:
        ValueError: There is no PC-MoE, or there are too few labels or images.
    """
    candidates = prompt_candidates(backbone)
    images, rows, sizes, faults = load_readable(labels.paths, size)
    if not len(rows):
        raise ValueError(f'none of {len(labels.paths)} images could be read; the first is '
                         f'{faults[0]}' if faults else 'there is no image')
    labels = labels.take(rows)
    grid, classes = None, None
    if labels.kind == 'maps':
        grid = token_grid(size)
        classes = np.stack([read_map(path, own, grid).reshape(-1)
                            for path, own in zip(labels.values, sizes, strict=True)])
    score = make_score(labels, classes)
    features = prompt_features(backbone, images, candidates, grid, batch_size, progress)
    l2 = None
    if labels.kind != 'identity':
        l2 = _weight_decay(score, [own for task, own in zip(candidates, features, strict=True)
                                   if isinstance(task, str)])
    tallies = [score(own.astype(np.float32), l2 or 0.)
               for own in tqdm(features, desc='probes', disable=not progress)]
    ranking = rank_scores(tallies, resamples, seed)
    return Choice(METRICS[labels.kind], candidates, ranking, len(rows), faults, l2)


def format_choice(choice: Choice) -> str:
    """The ranking as a Markdown table, and the advice."""
    rows = []
    for rank, row in enumerate(choice.ranking, 1):
        behind = f'{row.behind:.2f} ({row.behind_interval[0]:.2f} to {row.behind_interval[1]:.2f})'
        rows.append([
            rank, f'`{choice.candidates[row.index]!r}`',
            f'{row.score:.1f} ({row.interval[0]:.1f} to {row.interval[1]:.1f})',
            behind if rank > 1 else '', 'tied' if row.tied and rank > 1 else '',
            f'{row.first:.0%}'])
    tied = sum(row.tied for row in choice.ranking)
    lines = [markdown_table(['rank', 'task', f'{choice.metric} (95 % interval)', 'behind the best',
                             '', 'best of resamples'], rows), '',
             f'{len(choice.ranking)} candidates on {choice.num_images} images; {tied - 1} are '
              'tied with the best (the interval of the paired difference reaches 0). The best of '
              'so many looks better than it is: the simplest of the tied is advised.', '',
              f'    task={choice.advised!r}  # the line for your config']
    if choice.best != choice.advised:
        lines.append(f'    task={choice.best!r}  # the one of highest score')
    return '\n'.join(lines)


def _weight_decay(score: Score, features: Sequence[np.ndarray]) -> float:
    """The weight decay of best mean score."""
    def mean_score(l2: float) -> float:
        tallies = [score(own.astype(np.float32), l2) for own in features]
        return float(np.mean([tally.score(tally.sums.sum(0)) for tally in tallies]))

    return max(L2_CHOICES, key=mean_score)
