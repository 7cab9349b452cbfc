"""Figures of a run, as pictures (H, W, 3), uint8 RGB."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clasp_mm.utils.files import read_rows


def render(figure: Figure) -> np.ndarray:
    """A figure as a picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def panels(count: int, across: int = 1, width: float = 11, height: float = 3,
           ) -> tuple[Figure, np.ndarray]:
    """A figure of so many panels, so many ``across``, and their axes (count,).

    ``width`` is the figure's, in inches, ``height`` that of each line of panels.
    """
    down = -(-count // across)
    figure = Figure(figsize=(width, height * down), dpi=110, layout='constrained')
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis in axes:
        axis.spines[['top', 'right']].set_visible(False)
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def draw_expert_use(use: Mapping[str, np.ndarray]) -> np.ndarray:
    """Heat maps of mean gates: task -> (stages, n)."""
    figure = Figure(figsize=(11, 2.6), dpi=110, layout='constrained')
    axes = figure.subplots(1, len(use), sharey=True)
    top = max(float(gates.max()) for gates in use.values())
    for axis, (task, gates) in zip(axes, use.items(), strict=True):
        image = axis.imshow(gates, vmin=0, vmax=top, cmap='viridis', aspect='auto')
        axis.set(title=task, xlabel='expert', xticks=range(gates.shape[1]),
                 yticks=range(gates.shape[0]),
                 yticklabels=[f'stage {i + 1}' for i in range(gates.shape[0])])
    figure.colorbar(image, ax=axes, label='mean gate')
    return render(figure)


def draw_part_iou(scores: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    """Bars of the part IoU of several models: model -> part -> percent, NaN where undefined."""
    figure, (axis, ) = panels(1)
    parts = list(next(iter(scores.values())))
    width = 0.8 / len(scores)
    for i, (model, values) in enumerate(scores.items()):
        place = np.arange(len(parts)) + (i - (len(scores) - 1) / 2) * width
        axis.bar(place, [values[part] for part in parts], width, label=model)
    axis.set(ylabel='IoU, %', xticks=range(len(parts)), xticklabels=parts)
    axis.legend(frameon=False)
    return render(figure)


def draw_losses(logs: Mapping[str, Path]) -> np.ndarray:
    """Curves of every logged loss, a panel for each training: title -> log, see read_rows."""
    figure, axes = panels(len(logs), len(logs))
    for axis, (title, path) in zip(axes, logs.items(), strict=True):
        rows = [row for row in read_rows(path) if 'loss' in row]
        for name in sorted({key for row in rows for key in row if key.startswith('loss_')}):
            axis.plot([row['step'] for row in rows], [row.get(name, np.nan) for row in rows],
                      label=name.removeprefix('loss_'))
        axis.set(title=title, xlabel='step', yscale='log')
        axis.legend(frameon=False)
    axes[0].set_ylabel('loss')
    return render(figure)


def draw_curves(rows: Sequence[Mapping[str, float | None]],
                curves: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Curves over the steps, two panels beside each other.

    Args:
        rows: What was logged at each ``step``; a row may lack a name or hold None.
        curves: Title -> names of its curves; the loss is drawn on a logarithmic axis.
    """
    figure, axes = panels(len(curves), 2, height=2.7)
    for axis, (title, names) in zip(axes, curves.items(), strict=True):
        for name in names:
            points = [(row['step'], row[name]) for row in rows if row.get(name) is not None]
            if points:
                axis.plot(*zip(*points, strict=True), marker='.' if len(points) < 30 else '',
                          label=name.rpartition('/')[2].replace('_', ' '))
        axis.set(title=title, xlabel='step')
        if title == 'loss':
            axis.set_yscale('log')
        if len(names) > 1:
            axis.legend(frameon=False, fontsize=8, loc='center left', bbox_to_anchor=(1, .5))
    return render(figure)
