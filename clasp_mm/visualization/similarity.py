"""Similarities of one person and of different people as a picture."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .figures import panels, render


def draw_verification(found: Mapping[str, Any]) -> np.ndarray:
    """Both histograms, the threshold and its interval, as (H, W, 3) uint8 RGB.

    Args:
        found: :meth:`clasp_mm.evaluation.functional.verification.Verification.to_dict`.
    """
    figure, (axis, ) = panels(1, width=8, height=3.2)
    edges = np.linspace(-1, 1, len(found['same']) + 1)
    for name, colour in (('different', '#c3541b'), ('same', '#1f77b4')):
        share = np.array(found[name]) / sum(found[name])
        axis.stairs(share, edges, fill=True, alpha=.5, color=colour,
                    label=f'{name}: {found[f"num_{name}"]} pairs')
    axis.axvspan(found['low'], found['high'], color='k', alpha=.2)
    axis.axvline(found['threshold'], color='k', lw=1,
                 label=f'threshold at false match rate {found["false_match_rate"]:g}')
    axis.set(xlabel='cosine', ylabel='share of pairs', title=f'{found["num_people"]} people, equal '
             f'error rate {100 * found["equal_error_rate"]:.1f} %')
    axis.legend(frameon=False, fontsize=8)
    return render(figure)
