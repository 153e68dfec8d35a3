"""The look of the figures: colours, text sizes, and the one way in which data become arrays."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from cycler import cycler
from numpy.typing import NDArray
from torch import Tensor

Data = Tensor | NDArray[np.floating] | Sequence[float]

# M. Okabe, K. Ito, Color Universal Design (2008), darkest first so that early lines stand out on white.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
"""A colour that colour-blind readers can tell from the others."""
ORANGE, SKY, BLACK, GREY = "#E69F00", "#56B4E9", "#000000", "#767676"
"""A colour that colour-blind readers can tell from the others."""
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
"""The colours of curves, in their order."""

CROWDED = 2000  # points from which a scatter hides its own density


def use_style() -> None:
    """Set matplotlib's defaults to the look of the book, for every figure made afterwards."""
    mpl.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=CYCLE),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.titlesize": 12,
            "axes.titlelocation": "left",
            "axes.labelsize": 11,
            "grid.color": "#e6e6e6",
            "grid.linewidth": 0.6,
            "font.size": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            # A white card on purpose: the colours are chosen against white, and stay so on a dark page.
            "figure.facecolor": "white",
            "axes.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.dpi": 120,
            "figure.constrained_layout.use": True,
        }
    )


def as_arrays(*, flat: bool = True, **data: Data) -> list[NDArray[np.float64]]:
    """Float64 arrays of one common shape, flattened if asked, in the order given."""
    arrays = []
    for name, values in data.items():
        array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
        if array.size == 0 or not np.isfinite(array).all():
            state = (
                "empty" if array.size == 0 else f"not finite in {np.sum(~np.isfinite(array))} of {array.size} values"
            )
            raise ValueError(f"{name} is {state}, expected finite numbers to draw; leave these points out first")
        arrays.append(array)
    if len({array.shape for array in arrays}) > 1:
        arrived = ", ".join(f"{name} {array.shape}" for name, array in zip(data, arrays, strict=True))
        raise ValueError(f"shapes differ: {arrived}; expected one value of each per point, in the same order")
    return [array.reshape(-1) for array in arrays] if flat else arrays
