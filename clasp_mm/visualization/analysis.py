"""Pictures of the analyses: task conflict, cost, convergence, embeddings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from clasp_mm.files import replacing

from .figures import _render


def draw_bars(names: Sequence[str], panels: Mapping[str, Sequence[float | None]]) -> np.ndarray:
    """A panel of bars for each measure, one bar for each system.

    Args:
        names: Systems.
        panels: Measure -> its value for each system; None where not defined, which is written so.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    width = max(2.6, 1.1 * len(names) + .8)
    figure = Figure(figsize=(width * len(panels), 3.2), dpi=110, layout='constrained')
    axes = np.atleast_1d(figure.subplots(1, len(panels)))
    for axis, (title, values) in zip(axes, panels.items(), strict=True):
        heights = [0. if value is None else value for value in values]
        bars = axis.bar(range(len(names)), heights, .6,
                        color=[f'C{i}' for i in range(len(names))])
        axis.bar_label(bars, ['not defined' if value is None else f'{value:.3g}'
                              for value in values], fontsize=8)
        axis.set(title=title, xticks=range(len(names)), ylim=(0, 1.15 * max(heights) or 1))
        axis.set_xticklabels(names, rotation=20 if len(names) > 2 else 0, fontsize=8)
        axis.spines[['top', 'right']].set_visible(False)
    return _render(figure)


def draw_embeddings(points: Mapping[str, np.ndarray], labels: Mapping[str, Sequence[Any]],
                    title: str) -> np.ndarray:
    """A grid of scatter plots: a row for each prompt, a column for each colouring.

    Args:
        points: Prompt -> (N, 2).
        labels: What colours the points -> (N,) names.
        title: Above all.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    figure = Figure(figsize=(3.1 * len(labels), 2.9 * len(points) + .4), dpi=110,
                    layout='constrained')
    axes = figure.subplots(len(points), len(labels), squeeze=False)
    figure.suptitle(title)
    for row, (prompt, xy) in zip(axes, points.items(), strict=True):
        row[0].set_ylabel(f'prompt {prompt}')
        for axis, (what, values) in zip(row, labels.items(), strict=True):
            values = np.asarray(values)
            for i, name in enumerate(dict.fromkeys(sorted(values.tolist()))):
                chosen = values == name
                axis.scatter(*xy[chosen].T, s=7, color=f'C{i % 10}',
                             marker='oX^sD'[i // 10 % 5], label=str(name), linewidths=0)
            axis.set(xticks=[], yticks=[])
            if row is axes[0]:
                axis.set_title(what)
                axis.legend(fontsize=6, markerscale=1.4, loc='best', ncols=1 + (
                    len(set(values.tolist())) > 5), framealpha=.6)
    return _render(figure)


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
    figure = Figure(figsize=(6.5, 3.6), dpi=110, layout='constrained')
    axis = figure.subplots()
    for name, (places, scores) in runs.items():
        axis.plot(places, scores, marker='.', label=name)
    axis.axhline(target, color='#666', linestyle='--', linewidth=1, label=f'target {target:g}')
    axis.set(xlabel=unit, ylabel=metric)
    axis.spines[['top', 'right']].set_visible(False)
    axis.legend(frameon=False)
    return _render(figure)


def write_png(picture: np.ndarray, path: str | os.PathLike) -> None:
    """Write (H, W, 3) uint8 RGB, whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(cv2.imencode('.png', picture[..., ::-1])[1].tobytes())
