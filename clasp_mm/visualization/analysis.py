"""Pictures of the analyses, (H, W, 3) uint8 RGB: task conflict, cost, convergence, embeddings."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from clasp_mm.utils.files import replacing

from .figures import panels, render

_LEGEND = 16  # names, more than which would take the room of the points


def draw_bars(names: Sequence[str], bars: Mapping[str, Sequence[float | None]]) -> np.ndarray:
    """A panel of bars for each measure, one bar for each system.

    Args:
        names: Systems.
        bars: Measure -> its value for each system; None where not defined, which is written so.
    """
    across = min(len(bars), 3)
    figure, axes = panels(len(bars), across, max(2.6, 1.1 * len(names) + .8) * across, 3.2)
    for axis, (title, values) in zip(axes, bars.items(), strict=True):
        heights = [0. if value is None else value for value in values]
        drawn = axis.bar(range(len(names)), heights, .6,
                         color=[f'C{i}' for i in range(len(names))])
        axis.bar_label(drawn, ['not defined' if value is None else f'{value:.3g}'
                               for value in values], fontsize=8)
        axis.set(title=title, xticks=range(len(names)), ylim=(0, 1.15 * max(heights) or 1))
        axis.set_xticklabels(names, rotation=20 if len(names) > 2 else 0, fontsize=8)
    return render(figure)


def draw_seeds(measures: Mapping[str, Mapping[str, Sequence[float]]]) -> np.ndarray:
    """A panel for each measure: a line for each row, its seeds as dots, their mean as a bar.

    Args:
        measures: Measure -> row -> its values over the seeds; none where not defined.
    """
    names = list(next(iter(measures.values())))
    across = min(3, len(measures))
    figure, axes = panels(len(measures), across, 4.2 * across + 1.6, .32 * len(names) + .9)
    for at, (axis, (title, rows)) in enumerate(zip(axes, measures.items(), strict=True)):
        values = [value for seeds in rows.values() for value in seeds]
        low, high = (min(values), max(values)) if values else (0., 1.)
        margin = .1 * (high - low) or .5
        for place, name in enumerate(names):
            seeds, colour = rows[name], f'C{place % 10}'
            axis.axhline(place, color='#ddd', linewidth=.8, zorder=0)
            if seeds:
                axis.plot(seeds, [place] * len(seeds), 'o', markersize=5, color=colour, alpha=.6)
                axis.plot([np.mean(seeds)], [place], '|', markersize=18, markeredgewidth=2.5,
                          color=colour)
            else:
                axis.text(low, place, 'not defined', va='center', fontsize=7, color='#666',
                          backgroundcolor='w')
        axis.set(title=title, xlim=(low - margin, high + margin), ylim=(len(names) - .4, -.6),
                 yticks=range(len(names)))
        axis.set_yticklabels(names if at % across == 0 else [''] * len(names), fontsize=8)
        axis.tick_params(axis='x', labelsize=7)
    return render(figure)


def draw_embeddings(points: Mapping[str, np.ndarray], labels: Mapping[str, Sequence[Any]],
                    title: str) -> np.ndarray:
    """A grid of scatter plots: a row for each prompt, a column for each colouring.

    Args:
        points: Prompt -> (N, 2).
        labels: What colours the points -> (N,) names.
        title: Above all.
    """
    figure = Figure(figsize=(3.1 * len(labels), 2.9 * len(points) + .4), dpi=110,
                    layout='constrained')
    axes = figure.subplots(len(points), len(labels), squeeze=False)
    figure.suptitle(title)
    for row, (prompt, xy) in zip(axes, points.items(), strict=True):
        row[0].set_ylabel(f'prompt {prompt}')
        for axis, values in zip(row, labels.values(), strict=True):
            values = np.asarray(values)
            for i, name in enumerate(np.unique(values)):
                axis.scatter(*xy[values == name].T, s=16, color=f'C{i % 10}',
                             marker='oX^sD'[i // 10 % 5], label=str(name), linewidths=0)
            axis.set(xticks=[], yticks=[])
    for axis, what in zip(axes[0], labels, strict=True):
        axis.set_title(what)
    for axis, values in zip(axes[-1], labels.values(), strict=True):
        if (number := len(np.unique(np.asarray(values)))) > _LEGEND:
            axis.set_xlabel(f'{number} of them, too many to name', fontsize=7)
            continue
        axis.legend(fontsize=7, loc='upper center', bbox_to_anchor=(.5, -.02), ncols=4,
                    frameon=False, handletextpad=.1, columnspacing=1)
    return render(figure)


def draw_convergence(runs: Mapping[str, tuple[Sequence[float], Sequence[float]]], target: float,
                     metric: str, unit: str) -> np.ndarray:
    """Score of each run over epochs or hours, with the score to reach.

    Args:
        runs: Name -> places and scores.
        target: The score.
        metric: Its name.
        unit: What the places are.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    figure, (axis, ) = panels(1, width=6.5, height=3.6)
    for name, (places, scores) in runs.items():
        axis.plot(places, scores, marker='.', label=name)
    axis.axhline(target, color='#666', linestyle='--', linewidth=1, label=f'target {target:g}')
    axis.set(xlabel=unit, ylabel=metric)
    axis.legend(frameon=False)
    return render(figure)


def write_png(picture: np.ndarray, path: str | os.PathLike) -> None:
    """Write a picture, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(cv2.imencode('.png', picture[..., ::-1])[1].tobytes())
