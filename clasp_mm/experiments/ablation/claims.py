"""The paper's claims, judged by paired differences over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import ttest_1samp

from clasp_mm.evaluation.frozen.tasks import METRICS, TASK_PROMPTS
from clasp_mm.models.layers import TASKS
from clasp_mm.utils.tables import markdown_table

from .tables import TABLES

SYSTEMS = RANDOM, DINO, SOLIDER, LABELS, CLASP = tuple(row.title for row in TABLES['systems'])
ALL_TASKS = tuple(METRICS.values())
RIGHT_PROMPT = 'own prompt over others: '


class Claim(NamedTuple):
    """A system is above others, by all of the metrics.

    Attributes:
        text: What is claimed.
        system: Title of its row.
        others: Titles of those it is compared with; None compares the values with 0.
        metrics: Keys of :func:`figures`.
        sign: -1 claims that it is below.
    """

    text: str
    system: str
    others: tuple[str | None, ...]
    metrics: tuple[str, ...]
    sign: int = 1


CLAIMS = (
    Claim('DINO is above random weights', DINO, (RANDOM,), ALL_TASKS),
    Claim("CLIP's labels help parsing and attributes (Table I)", LABELS, (DINO,), ('mIoU', 'mA')),
    Claim('but cost re-identification (Table I)', LABELS, (DINO,), ('mAP',), -1),
    Claim('PC-MoE lifts all tasks above that (Table II)', CLASP, (LABELS,), ALL_TASKS),
    Claim('CLASP is above DINO and SOLIDER in all tasks', CLASP, (DINO, SOLIDER), ALL_TASKS),
    Claim('the right prompt beats a wrong one (Fig. 6)', CLASP, (None,), tuple(
        RIGHT_PROMPT + METRICS[task] for task, prompt in TASK_PROMPTS.items()
        if isinstance(prompt, str))),
    Claim('CLASP has the lowest GCR (Table XI)', CLASP, (SOLIDER, LABELS), ('gcr',), -1),
    Claim('its experts differ by task: EAD above 0 (Table XI)', CLASP, (None,), ('ead',)),
    Claim('CLASP has the highest HM (Table XI)', CLASP, (DINO, SOLIDER, LABELS), ('HM',)),
)


def judge_claims(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Judge every claim.

    A claim is confirmed where the interval of every one of its differences lies on its side of 0,
    refuted where one lies on the other, and else not decided.

    Args:
        rows: Title -> results of its seeds (see :func:`.score.score_row`), of the same seeds in the
            same order.

    Returns:
        For each of ``CLAIMS`` its ``text``, ``verdict`` and ``differences``, each with ``metric``,
        ``over``, ``mean`` and ``interval`` (None of a single seed).
    """
    values = {title: [figures(result) for result in results] for title, results in rows.items()}
    return [_judge(claim, values) for claim in CLAIMS]


def _judge(claim: Claim, values: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, Any]:
    differences = []
    for other in claim.others:
        for metric in claim.metrics:
            paired = np.array([
                own[metric] - (0 if other is None else values[other][seed][metric])
                for seed, own in enumerate(values[claim.system])])
            differences.append(dict(metric=metric, over=other, mean=float(paired.mean()),
                                    interval=interval(paired)))
    ends = [sorted(claim.sign * end for end in one['interval'] or (-1, 1)) for one in differences]
    verdict = ('confirmed' if all(low > 0 for low, _ in ends) else
               'refuted' if any(high < 0 for _, high in ends) else 'not decided')
    return dict(text=claim.text, verdict=verdict, differences=differences)


def interval(values: np.ndarray) -> tuple[float, float] | None:
    """95 % interval of the mean of paired differences by Student's t, None of a single one.

    A bootstrap of three seeds is about their range, which leaves out the truth too often.
    """
    if len(values) < 2:
        return None
    low, high = ttest_1samp(values, 0.).confidence_interval()
    return float(low), float(high)


def figures(result: Mapping[str, Any]) -> dict[str, float]:
    """The values of one row and seed that claims speak of; None where a system has none."""
    own = {**result['scores'], 'gcr': result['gcr'], 'ead': result['ead']}
    for task, metric in METRICS.items():
        if result['under_prompt'] and isinstance(TASK_PROMPTS[task], str):
            others = [result['under_prompt'][prompt][metric] for prompt in TASKS
                      if prompt != TASK_PROMPTS[task]]
            own[RIGHT_PROMPT + metric] = own[metric] - sum(others) / len(others)
    return own


def claims_table(claims: Sequence[Mapping[str, Any]]) -> str:
    """The verdicts in Markdown, each with its differences and intervals."""
    return markdown_table(['the paper says', 'here', 'paired differences over seeds'], [
        [claim['text'], claim['verdict'], '; '.join(map(_difference, claim['differences']))]
        for claim in claims])


def _difference(one: Mapping[str, Any]) -> str:
    over = '' if one['over'] is None else f' over {one["over"]}'
    ends = '' if one['interval'] is None else ' ({:+.2f} to {:+.2f})'.format(*one['interval'])
    return f'{one["metric"]}{over} {one["mean"]:+.2f}{ends}'
