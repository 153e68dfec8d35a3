"""How good are the predictions and their error bars: parity, error against uncertainty, calibration, cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from scipy import stats

from .style import BLACK, BLUE, CROWDED, GREY, Data, as_arrays


def parity(
    ax: Axes, reference: Data, prediction: Data, *, quantity: str = "force component", unit: str = "eV/Å"
) -> Axes:
    """Prediction against reference, with the diagonal and the errors written in the corner.

    Args:
        ax: Where to draw.
        reference: Any shape, flattened.
        prediction: Same shape.
        quantity: For the labels, for example "energy per atom".
        unit: Of both.

    Raises:
        ValueError: Shapes differ, empty, or not finite.
    """
    reference, prediction = as_arrays(reference=reference, prediction=prediction)
    low, high = min(reference.min(), prediction.min()), max(reference.max(), prediction.max())
    margin = 0.04 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    if len(reference) > CROWDED:
        cells = ax.hexbin(reference, prediction, gridsize=70, extent=2 * limits, bins="log", cmap="cividis", mincnt=1)
        ax.figure.colorbar(cells, ax=ax, label="points per cell", shrink=0.8)
    else:
        ax.scatter(reference, prediction, s=14, alpha=0.6, linewidths=0, color=BLUE)
    ax.plot(limits, limits, color=GREY, linestyle="--", linewidth=1, zorder=0)
    error = prediction - reference
    text = f"MAE {np.abs(error).mean():.3g} {unit}\nRMSE {np.sqrt((error**2).mean()):.3g} {unit}"
    ax.text(0.04, 0.96, text, transform=ax.transAxes, va="top")
    ax.set(xlim=limits, ylim=limits, aspect="equal")
    ax.set(xlabel=f"reference {quantity} ({unit})", ylabel=f"predicted {quantity} ({unit})")
    return ax


def error_against_uncertainty(
    ax: Axes,
    error: Data,
    uncertainty: Data,
    *,
    unit: str = "eV/Å",
    components: Literal[1, 3] = 1,
    label: str = "",
    guides: bool = True,
) -> Axes:
    """Magnitude of the error against the uncertainty, with lines where a calibrated model would put its points.

    Below the line "95 %" should lie 95 of 100 points, below "50 %" half of them, below "5 %" five.

    Args:
        ax: Where to draw; may be called again on the same Axes for a second set of points.
        error: (n,) errors, signed or not. Zeros cannot be shown on a logarithmic axis and are left out.
        uncertainty: (n,) standard deviations in `unit`, or a score that only ranks, with unit "nats": then there is
            nothing to compare its size with, no lines are drawn and the horizontal axis is linear.
        unit: Of the uncertainty, and of the error unless it is "nats" (errors are then in eV/Å).
        components: 1 for energies and force components, 3 for the errors of `metrics.atom_force_error`; sets the lines.
        label: Of these points in the legend.
        guides: Draw the lines; switch off in a second call on the same Axes.

    Raises:
        ValueError: Lengths differ, empty, not finite, or no positive pair to draw.
    """
    error, uncertainty = as_arrays(error=error, uncertainty=uncertainty)
    error = np.abs(error)
    is_deviation = unit != "nats"
    shown = (error > 0) & ((uncertainty > 0) | (not is_deviation))
    if not shown.any():
        raise ValueError("no pair of error and uncertainty is positive, expected some to draw on logarithmic axes")
    error, uncertainty = error[shown], uncertainty[shown]
    alpha = 0.6 if len(error) <= CROWDED else 0.2
    ax.scatter(uncertainty, error, s=12, alpha=alpha, linewidths=0, label=label or None, rasterized=True)
    ax.set_yscale("log")
    ax.set(xlabel=f"uncertainty ({unit})", ylabel=f"error ({unit if is_deviation else 'eV/Å'})")
    if is_deviation:
        ax.set_xscale("log")
    if is_deviation and guides:
        # Root of the mean square of that many standard normal numbers: the error in units of its deviation.
        scaled = stats.chi(df=components, scale=components**-0.5)
        ends = np.array([uncertainty.min() / 1.3, uncertainty.max() * 1.3])
        ax.plot(ends, ends, color=BLACK, linewidth=1, linestyle="--", label="error = uncertainty")
        for share, style in ((0.05, ":"), (0.5, "-"), (0.95, ":")):
            ax.plot(ends, ends * scaled.ppf(share), color=GREY, linewidth=1, linestyle=style)
            ax.annotate(
                f" {100 * share:.0f} %", (ends[1], ends[1] * scaled.ppf(share)), color=GREY, va="center", fontsize=10
            )
    return ax


def calibration(
    ax: Axes, expected: Data, observed: Data, *, area: float | None = None, label: str = "", guides: bool = True
) -> Axes:
    """Observed against expected share of errors inside the interval, the gap to the diagonal shaded.

    Args:
        ax: Where to draw; may be called again on the same Axes for another model.
        expected: (p,) shares, from `metrics.calibration_curve`.
        observed: (p,) shares, from the same.
        area: Miscalibration area, added to the label.
        label: Of this curve.
        guides: Draw the diagonal and name its two sides; switch off in a second call on the same Axes.

    Raises:
        ValueError: Lengths differ, empty, not finite, or shares outside 0 to 1.
    """
    expected, observed = as_arrays(expected=expected, observed=observed)
    if min(expected.min(), observed.min()) < 0 or max(expected.max(), observed.max()) > 1:
        raise ValueError("expected and observed must be shares between 0 and 1; divide percentages by 100")
    parts = [label] if label else []
    if area is not None:
        parts.append(f"area {area:.3f}")
    (line,) = ax.plot(expected, observed, label=", ".join(parts) or None)
    ax.fill_between(expected, expected, observed, color=line.get_color(), alpha=0.2, linewidth=0)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set(xlabel="expected share inside the interval", ylabel="observed share inside the interval")
    if guides:
        ax.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1, zorder=0)
        ax.text(0.38, 0.5, "error bars\ntoo large", ha="right", color=GREY, fontsize=10, zorder=0)
        ax.text(0.62, 0.5, "error bars\ntoo small", va="top", color=GREY, fontsize=10, zorder=0)
    return ax


def cost_bars(ax: Axes, costs: Mapping[str, float], *, xlabel: str, unit: str, relative_to: str | None = None) -> Axes:
    """Horizontal bars, one per method, each with its number written at the end.

    Args:
        ax: Where to draw.
        costs: By name, in the order to be drawn from top to bottom.
        xlabel: What is compared, without unit.
        unit: Of the costs.
        relative_to: Name of the entry to which the others are compared as multiples, written behind the number.

    Raises:
        ValueError: Nothing to draw, negative costs, or `relative_to` not among the names or zero.
    """
    if not costs or min(costs.values()) < 0:
        raise ValueError(f"costs is {dict(costs)}, expected at least one entry and none negative")
    if relative_to is not None and not costs.get(relative_to):
        raise ValueError(f"relative_to is {relative_to!r}, expected one of {list(costs)} with a cost above zero")
    bars = ax.barh(list(costs), list(costs.values()), color=BLUE, height=0.6)
    multiples = ["" if relative_to is None else f"  ({cost / costs[relative_to]:.1f}×)" for cost in costs.values()]
    texts = [f"{cost:.3g} {unit}{multiple}" for cost, multiple in zip(costs.values(), multiples, strict=True)]
    ax.bar_label(bars, texts, padding=4, fontsize=10)
    ax.yaxis.set_inverted(True)
    ax.margins(x=0.25)
    ax.grid(visible=False, axis="y")
    ax.set(xlabel=f"{xlabel} ({unit})")
    return ax
