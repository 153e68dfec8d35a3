"""What data look like: distributions, maps of configurations, distribution functions, errors of each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from .style import BLACK, CYCLE, GREY, Data, as_arrays

MARKERS = "osD^vPX*"


def distributions(
    ax: Axes,
    values: Mapping[str, Data],
    *,
    xlabel: str,
    bins: int = 40,
    filled: str = "train",
    tail: float = 0.0,
    colours: Mapping[str, str] | None = None,
) -> Axes:
    """Histograms of one quantity in several splits, each scaled to the same area; one is filled, the others lines.

    Args:
        ax: Where to draw.
        values: (n,) of each split, by name.
        xlabel: What the values are, with unit.
        bins: How many there are between the smallest and the largest value shown.
        filled: The split that the others are held against; it need not be there.
        tail: Share of all values that may lie beyond the right edge; they are counted in the last bin.
        colours: Of each split, so that several figures agree; those of the book in their order if None.

    Raises:
        ValueError: Nothing to draw, not finite, or `tail` not below one half.
    """
    arrays = _each(values)
    if not 0 <= tail < 0.5:
        raise ValueError(f"tail is {tail}, expected a share of at least 0 and below 0.5")
    everything = np.concatenate(list(arrays.values()))
    low, high = everything.min(), np.quantile(everything, 1 - tail)
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    for (name, array), colour in zip(arrays.items(), _colours(arrays, colours), strict=True):
        counts, _ = np.histogram(np.clip(array, edges[0], edges[-1]), edges)
        density = counts / (len(array) * (edges[1] - edges[0]))
        ax.stairs(
            density, edges, color=colour, label=name, fill=name == filled, alpha=0.45 if name == filled else 1.0, lw=1.5
        )
    beyond = " (last bin: and above)" if tail > 0 else ""
    ax.set(xlabel=xlabel + beyond, ylabel="density")
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=9)
    return ax


def configurations(
    ax: Axes,
    points: Mapping[str, Data],
    *,
    shares: Sequence[float] | None = None,
    axis_names: tuple[str, str] = ("first principal component", "second principal component"),
    unit: str = "",
    colours: Mapping[str, str] | None = None,
) -> Axes:
    """Map of structures, one point each, a colour and a marker for each split; small splits are drawn on top.

    Args:
        ax: Where to draw.
        points: (n, 2) of each split, by name.
        shares: How much of the variance each axis shows, written behind its name.
        axis_names: What the axes are.
        unit: Of both axes; empty for none.
        colours: As in `distributions`.

    Raises:
        ValueError: Nothing to draw, another shape, or not finite.
    """
    if not points:
        raise ValueError("points is empty, expected (n, 2) coordinates of at least one split")
    drawn = _colours(points, colours)
    by_size = sorted(points, key=lambda name: len(points[name]))
    for rank, ((name, split), colour) in enumerate(zip(points.items(), drawn, strict=True)):
        (array,) = as_arrays(points=split, flat=False)
        if array.ndim != 2 or array.shape[1] != 2:
            raise ValueError(f"points of {name!r} have shape {array.shape}, expected (n, 2)")
        style = {
            "s": 18,
            "alpha": 0.75,
            "linewidths": 0.3,
            "edgecolors": "white",
            "zorder": 2.9 - 0.05 * by_size.index(name),
        }
        ax.scatter(*array.T, color=colour, marker=MARKERS[rank % len(MARKERS)], label=name, **style)
    parts = [unit] if unit else []
    names = [
        f"{axis} ({', '.join([*parts, *([f'{100 * shares[k]:.0f} % of the variance'] if shares is not None else [])])})"
        if parts or shares is not None
        else axis
        for k, axis in enumerate(axis_names)
    ]
    ax.set(xlabel=names[0], ylabel=names[1])
    ax.legend(fontsize=9)
    return ax


def radial_functions(
    ax: Axes,
    r: Data,
    functions: Mapping[str, Data],
    *,
    marks: Mapping[str, float] | None = None,
    title: str = "",
    colours: Mapping[str, str] | None = None,
) -> Axes:
    """Radial distribution functions of several splits, with positions known from elsewhere as vertical lines.

    Args:
        ax: Where to draw.
        r: (g,) distances in Å.
        functions: (g,) of each split, by name.
        marks: Positions in Å, by name.
        title: For example the kind of pair.
        colours: As in `distributions`.

    Raises:
        ValueError: Nothing to draw, lengths differ, or not finite.
    """
    if not functions:
        raise ValueError("functions is empty, expected one function of r at least")
    for (name, values), colour in zip(functions.items(), _colours(functions, colours), strict=True):
        distance, g = as_arrays(r=r, g=values)
        ax.plot(distance, g, color=colour, label=name, lw=1.5)
    for name, position in (marks or {}).items():
        ax.axvline(position, color=GREY, ls="--", lw=1.2, label=name, zorder=1)
    ax.axhline(1.0, color=GREY, lw=0.6, zorder=1)
    ax.set(xlabel="distance r (Å)", ylabel="g(r)", title=title, xlim=(0, None), ylim=(0, None))
    return ax


def errors_by_split(
    ax: Axes,
    errors: Mapping[str, tuple[float, float, float]],
    *,
    xlabel: str,
    scale: Mapping[str, float] | None = None,
    scale_label: str = "predicting zero",
) -> Axes:
    """One row per split: the error with its interval, on a logarithmic axis, and what it should be compared with.

    Args:
        ax: Where to draw.
        errors: Value, lower and upper end of its interval of each split, all positive.
        xlabel: What the error is, with unit.
        scale: A number of each split for comparison, for example the error of predicting nothing.
        scale_label: Its name.

    Raises:
        ValueError: Nothing to draw, or numbers that are not positive.
    """
    if not errors or not all(0 < low <= high and value > 0 for value, low, high in errors.values()):
        raise ValueError(f"errors is {dict(errors)}, expected (value, low, high), all positive, for each split")
    value, low, high = np.array(list(errors.values())).T
    rows = np.arange(len(errors))
    spans = np.maximum([value - low, high - value], 0)
    ax.errorbar(value, rows, xerr=spans, fmt="o", color=CYCLE[0], capsize=3, lw=1.4, label="network", zorder=3)
    if scale is not None:
        ax.plot([scale[name] for name in errors], rows, "|", color=BLACK, ms=14, mew=1.6, label=scale_label)
    ax.set_xscale("log")
    ax.set_yticks(rows, list(errors))
    ax.set_ylim(len(errors) - 0.5, -0.5)  # the first on top
    ax.set(xlabel=xlabel)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax


def _each(values: Mapping[str, Data]) -> dict[str, np.ndarray]:
    if not values:
        raise ValueError("values is empty, expected numbers of at least one split")
    return {name: as_arrays(values=split)[0] for name, split in values.items()}


def _colours(names: Mapping[str, object], given: Mapping[str, str] | None) -> list[str]:
    if given is not None and (missing := [name for name in names if name not in given]):
        raise ValueError(f"colours has none for {missing}, expected one for each split; got {list(given)}")
    return [CYCLE[k % len(CYCLE)] if given is None else given[name] for k, name in enumerate(names)]
