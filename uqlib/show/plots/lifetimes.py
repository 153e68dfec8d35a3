"""How long simulations last."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .style import Data, as_arrays


def survival(
    ax: Axes, times: Data, fraction: Data, low: Data, high: Data, *, label: str = "", unit: str = "fs", **line: Any
) -> Axes:
    """A survival curve as a step function inside its confidence band.

    Args:
        ax: Where to draw.
        times: (T,) in increasing order, from 0; `fraction[k]` holds from `times[k]` on.
        fraction: (T,) of the replicas that have not broken.
        low: (T,) lower end of the band.
        high: (T,) its upper end.
        label: For the legend.
        unit: Of the times.
        **line: To `Axes.step`, such as `color`.

    Raises:
        ValueError: Lengths differ, empty, not finite, or fractions outside 0 to 1.
    """
    times, fraction, low, high = as_arrays(times=times, fraction=fraction, low=low, high=high)
    if min(fraction.min(), low.min()) < 0 or max(fraction.max(), high.max()) > 1:
        raise ValueError("fraction, low, high: got values outside 0 to 1, expected shares of the replicas")
    (drawn,) = ax.step(times, 100 * fraction, where="post", label=label, **line)
    ax.fill_between(times, 100 * low, 100 * high, step="post", color=drawn.get_color(), alpha=0.2, linewidth=0)
    ax.set(xlabel=f"time ({unit})", ylabel="not broken (%)", ylim=(-3, 103), xlim=(0, np.max(times)))
    return ax
