"""Methods side by side: average ranks with intervals, and what quality costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from .style import CYCLE, GREY, Data, as_arrays


def rank_intervals(
    ax: Axes,
    average: Mapping[str, Data],
    intervals: Mapping[str, tuple[Data, Data]],
    methods: Sequence[str],
    *,
    xlabel: str = "average rank",
) -> Axes:
    """A row for each method, and in it a point with its interval for each regime; the best is on the left.

    Args:
        ax: Where to draw.
        average: Regime -> (methods,) average ranks.
        intervals: Regime -> lower and upper ends, (methods,) each.
        methods: Their names, from top to bottom.
        xlabel: What the rank is.

    Raises:
        ValueError: Nothing to draw, lengths that differ, or numbers that are not finite.
    """
    if not average:
        raise ValueError("average is empty, expected ranks in at least one regime")
    rows = np.arange(len(methods))
    shift = np.linspace(-0.22, 0.22, len(average)) if len(average) > 1 else [0.0]
    for k, (regime, values) in enumerate(average.items()):
        centre, low, high = as_arrays(average=values, low=intervals[regime][0], high=intervals[regime][1])
        if len(centre) != len(methods):
            raise ValueError(f"average of {regime!r} has {len(centre)} ranks, expected {len(methods)}, one a method")
        spans = np.maximum([centre - low, high - centre], 0)
        style = {"fmt": "osD^v"[k % 5], "color": CYCLE[k % len(CYCLE)], "capsize": 2, "lw": 1.3, "ms": 5}
        ax.errorbar(centre, rows + shift[k], xerr=spans, label=regime, **style)
    ax.set_yticks(rows, list(methods))
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.set(xlabel=xlabel)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(average))
    return ax


def trade_off(
    ax: Axes, cost: Mapping[str, float], quality: Mapping[str, float], *, xlabel: str, ylabel: str, lower: bool = True
) -> Axes:
    """Cost against quality, a point for each method; a line joins those that no other beats in both (Pareto front).

    Args:
        ax: Where to draw.
        cost: Of each method, positive, on a logarithmic axis.
        quality: Of each method.
        xlabel: What the cost is.
        ylabel: What the quality is.
        lower: Whether less of `quality` is better, as with ranks; its axis then points down.

    Raises:
        ValueError: Other methods in one than in the other, or costs that are not positive.
    """
    if set(cost) != set(quality) or not cost or not all(value > 0 for value in cost.values()):
        raise ValueError(f"cost, quality: got {dict(cost)} and {dict(quality)}, expected the same methods, costs > 0")
    front = pareto_front(cost, {name: value if lower else -value for name, value in quality.items()})
    best = sorted(front, key=cost.__getitem__)
    ax.plot([cost[name] for name in best], [quality[name] for name in best], color=GREY, lw=1.2, zorder=1)
    for name in cost:
        colour = CYCLE[0] if name in front else GREY
        ax.plot(cost[name], quality[name], "o", color=colour, ms=6)
    ax.set_xscale("log")
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if min(cost.values()) / 2 < tick]
    ax.set_xticks([tick for tick in ticks if tick < 2 * max(cost.values())])
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    if lower:
        ax.yaxis.set_inverted(True)  # twice, on shared axes, is as good as once
    ax.margins(x=0.25, y=0.1)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    _names_beside(ax, {name: (cost[name], quality[name]) for name in cost})
    return ax


def _names_beside(ax: Axes, points: Mapping[str, tuple[float, float]], size: float = 8) -> None:
    """Write each name near its point where it covers no other name and no point, as far as its length is known."""
    scale = ax.figure.dpi / 72
    places = {name: ax.transData.transform(at) / scale for name, at in points.items()}  # in points of 1/72 inch
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in places.values()]
    away = [(dx, dy) for dy in (0, 11, -11, 22, -22, 33, -33) for dx in (1, -1)]
    for name, (x, y) in sorted(places.items(), key=lambda item: -item[1][1]):
        width, boxes = 0.6 * size * len(name), []
        for side, dy in away:
            left = x + 7 if side > 0 else x - 7 - width
            boxes.append((left, y + dy - 0.65 * size, left + width, y + dy + 0.65 * size))
        covered = [sum(_overlap(box, other) for other in taken) for box in boxes]
        best = int(np.argmin(covered))
        side, dy = away[best]
        taken.append(boxes[best])
        ax.annotate(
            name, points[name], xytext=(7 * side, dy), textcoords="offset points", fontsize=size, va="center",
            ha="left" if side > 0 else "right",
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.5} if abs(dy) > 8 else None,
        )  # fmt: skip


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Area that two boxes (left, bottom, right, top) share."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def pareto_front(cost: Mapping[str, float], loss: Mapping[str, float]) -> list[str]:
    """Names that no other beats: nowhere is one at most as large in both and smaller in one."""
    return [
        name
        for name in cost
        if not any(
            cost[other] <= cost[name]
            and loss[other] <= loss[name]
            and (cost[other] < cost[name] or loss[other] < loss[name])
            for other in cost
        )
    ]


def before_and_after(
    ax: Axes, before: Mapping[str, float | None], after: Mapping[str, float], *, xlabel: str, title: str = ""
) -> Axes:
    """A row for each method, with an arrow from one value to the other; no tail where there was none before.

    Args:
        ax: Where to draw.
        before: Value of each method, or None.
        after: Value of each of the same methods.
        xlabel: What they are.
        title: Where they are from.

    Raises:
        ValueError: Other methods in one than in the other.
    """
    if list(before) != list(after):
        raise ValueError(f"before, after: got {list(before)} and {list(after)}, expected the same methods in order")
    for row, (name, old) in enumerate(before.items()):
        if old is not None:
            ax.annotate("", (after[name], row), (old, row), arrowprops={"arrowstyle": "->", "color": GREY})
            ax.plot(old, row, "o", color=GREY, ms=5, mfc="white", label="before" if row == 0 else None)
        ax.plot(after[name], row, "o", color=CYCLE[0], ms=5, label="after" if row == 0 else None)
    ax.set_yticks(range(len(before)), list(before))
    ax.set_ylim(len(before) - 0.5, -0.5)
    ax.set_xlim(left=0)
    ax.set(xlabel=xlabel, title=title)
    return ax
