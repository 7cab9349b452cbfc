"""The paper's claims, judged by paired differences over seeds and people."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import t as student

from clasp_mm.evaluation.frozen.tasks import METRICS, SCORE_OF_SUMS, TASK_PROMPTS
from clasp_mm.evaluation.functional import harmonic_mean
from clasp_mm.evaluation.functional.bootstrap import draw_units
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


def judge_claims(rows: Mapping[str, Sequence[Mapping[str, Any]]],
                 sums: Mapping[str, Sequence[Mapping[str, np.ndarray]]]) -> list[dict[str, Any]]:
    """Judge every claim.

    A claim is confirmed where the interval of every one of its differences lies on its side of 0,
    refuted where one lies on the other, and else not decided.

    Args:
        rows: Title -> results of its seeds (see :func:`.score.score_row`), of the same seeds in the
            same order.
        sums: Title -> of each seed what :func:`.score.score_row` has of each person and scene; the
            same ones for all titles and seeds.

    Returns:
        For each of ``CLAIMS`` its ``text``, ``verdict`` and ``differences``, each with ``metric``,
        ``over``, ``mean`` and ``interval`` (None of a single seed).
    """
    values = {title: [figures(result) for result in results] for title, results in rows.items()}
    resampled = {title: [figures(resample(result, sums[title][seed]))
                         for seed, result in enumerate(results)]
                 for title, results in rows.items()}
    return [_judge(claim, values, resampled) for claim in CLAIMS]


def _judge(claim: Claim, values: Mapping[str, Sequence[Mapping[str, Any]]],
           resampled: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    differences = []
    for other in claim.others:
        for metric in claim.metrics:
            seeds, people = (np.array([
                own[metric] - (0 if other is None else found[other][seed][metric])
                for seed, own in enumerate(found[claim.system])]) for found in (values, resampled))
            differences.append(dict(
                metric=metric, over=other, mean=float(seeds.mean()),
                interval=interval(seeds, float(np.nanvar(people.mean(0))))))
    ends = [sorted(claim.sign * end for end in one['interval'] or (-1, 1)) for one in differences]
    verdict = ('confirmed' if all(low > 0 for low, _ in ends) else
               'refuted' if any(high < 0 for _, high in ends) else 'not decided')
    return dict(text=claim.text, verdict=verdict, differences=differences)


def interval(seeds: np.ndarray, people: float = 0.) -> tuple[float, float] | None:
    """95 % interval of a mean over seeds, None of a single one.

    The variance of the mean over seeds and that over people add up. Student's t has the degrees of
    freedom of Welch and Satterthwaite, those of people being many. Seeds are not resampled: a
    bootstrap of three is about their range, which leaves out the truth too often.

    Args:
        seeds: (S,) paired differences.
        people: Variance of their mean over resamples of the people, by the bootstrap.
    """
    if len(seeds) < 2:
        return None
    own = seeds.var(ddof=1) / len(seeds)
    if not (total := own + people):
        return float(seeds.mean()), float(seeds.mean())
    freedom = (len(seeds) - 1) * (total / own) ** 2 if own else np.inf
    half = student.ppf(.975, freedom) * total ** .5
    return float(seeds.mean() - half), float(seeds.mean() + half)


def resample(result: Mapping[str, Any], sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A result with the (R,) scores of resamples of people and scenes in place of each score."""
    found: dict[str, Any] = {prompt: {} for prompt in ('', *result['under_prompt'])}
    draws = {number: draw_units(number) for number in {len(units) for units in sums.values()}}
    for key, units in sums.items():
        prompt, _, metric = key.rpartition('/')
        found[prompt][metric] = SCORE_OF_SUMS[metric](draws[len(units)] @ units)
    scores = found.pop('')
    scores['HM'] = np.vectorize(harmonic_mean)(scores['mAP'], scores['mIoU'])
    return dict(result, under_prompt=found, scores=scores)


def figures(result: Mapping[str, Any]) -> dict[str, Any]:
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
    columns = ['the paper says', 'here', 'paired differences, 95 % interval over seeds and people']
    return markdown_table(columns, [
        [claim['text'], claim['verdict'], '; '.join(map(_difference, claim['differences']))]
        for claim in claims])


def _difference(one: Mapping[str, Any]) -> str:
    over = '' if one['over'] is None else f' over {one["over"]}'
    ends = '' if one['interval'] is None else ' ({:+.2f} to {:+.2f})'.format(*one['interval'])
    return f'{one["metric"]}{over} {one["mean"]:+.2f}{ends}'
