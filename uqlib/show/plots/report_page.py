"""One page with the figures that belong to a table of scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from .scores import calibration, error_against_uncertainty, parity
from .style import BLACK, BLUE, GREY, SKY, Data, as_arrays

Curves = Mapping[str, Data]
UNITS = {"energy": "meV/atom", "forces": "meV/Å", "stress": "meV/Å³"}
PANELS = 4  # a row
HEIGHT = 2.9  # inches, of a row
LINE = 0.125  # inches, of the text
SMALL: dict[Any, Any] = {"font.size": 8, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8}


def report_page(curves: Mapping[str, Curves], *, text: str = "", nats: bool = False) -> Figure:
    """Parity, error against uncertainty, detection and calibration for each quantity, above the table of scores.

    Eleven inches wide, for a page in landscape or the full width of two columns. In the second panel the white points
    are averages over bins of equal count: they should lie on the dashed diagonal.

    Args:
        curves: Quantity ("energy", "forces", "stress") -> arrays by name in eV and Å, as `metrics.report(...).curves`
            holds them. Panels without their arrays say so.
        text: Set below the panels in letters of equal width: `str(report)`.
        nats: Whether the uncertainty is a score in nats, which only ranks.

    Returns:
        The figure, not yet shown; `figure.savefig("report.pdf")` keeps it.

    Raises:
        ValueError: No quantity, or arrays that do not fit.
    """
    if not curves:
        raise ValueError("curves is empty, expected arrays of at least one quantity: metrics.report(...).curves")
    below = (len(text.splitlines()) + 1) * LINE if text else 0.0
    with mpl.rc_context(SMALL):
        figure = Figure(figsize=(11.0, HEIGHT * len(curves) + below), layout="constrained")
        panels: Any = figure
        if text:
            parts: Any = figure.subfigures(2, 1, height_ratios=(HEIGHT * len(curves), below))
            panels, note = parts
            note.text(0.01, 0.98, text, family="monospace", fontsize=7.5, va="top", linespacing=1.2)
        grid = panels.subplots(len(curves), PANELS, squeeze=False)
        for row, (name, arrays) in zip(grid, curves.items(), strict=True):
            components = 3 if name == "forces" else 1
            unit = UNITS[name]
            _parity(row[0], arrays, unit, name)
            _sizes(row[1], arrays, unit, components=components, nats=nats)
            _detection(row[2], arrays)
            _calibration(row[3], arrays, nats=nats)
    return figure


def _parity(ax: Axes, arrays: Curves, unit: str, name: str) -> None:
    reference, predicted = as_arrays(reference=arrays["reference"], predicted=arrays["predicted"])
    zero = reference.mean() if name == "energy" else 0.0  # totals are thousands of eV
    quantity = {"energy": "energy", "forces": "force component", "stress": "stress component"}[name]
    parity(ax, 1000 * (reference - zero), 1000 * (predicted - zero), quantity=quantity, unit=unit)


def _calibration(ax: Axes, arrays: Curves, *, nats: bool) -> None:
    if "observed" not in arrays:
        return _absent(ax, "only a ranking:\nno size to calibrate" if nats else "no calibration curve")
    calibration(ax, arrays["expected"], arrays["observed"])
    ax.set(xlabel="expected share in the interval", ylabel="observed share")
    return None


def _sizes(ax: Axes, arrays: Curves, unit: str, *, components: Literal[1, 3], nats: bool) -> None:
    if "uncertainty" not in arrays:
        return _absent(ax, "no uncertainty")
    error, uncertainty = as_arrays(error=arrays["error"], uncertainty=arrays["uncertainty"])
    spread = uncertainty if nats else 1000 * uncertainty
    error_against_uncertainty(ax, 1000 * error, spread, unit="nats" if nats else unit, components=components)
    ax.set_ylabel(f"error ({unit})")
    if "bin_predicted" in arrays:
        predicted, found = as_arrays(bin_predicted=arrays["bin_predicted"], bin_found=arrays["bin_found"])
        ax.plot(1000 * predicted, 1000 * found, "o", ms=6, mfc="white", mec=BLACK, zorder=4)
    low, high = ax.get_xlim()
    if not nats and high > 10 * low:  # decades are labelled; what lies between them only crowds
        ax.xaxis.set_minor_formatter(NullFormatter())
    return None


def _detection(ax: Axes, arrays: Curves) -> None:
    if "detection" not in arrays:
        return _absent(ax, "no uncertainty,\nor nothing to detect")
    (share,), (value,) = as_arrays(share=arrays["detection_share"]), as_arrays(value=arrays["detection"], flat=False)
    ax.fill_between(100 * share, value[:, 1], value[:, 2], color=SKY, alpha=0.4, lw=0)
    ax.plot(100 * share, value[:, 0], "o-", color=BLUE, ms=4)
    ax.axhline(0.5, color=GREY, ls="--", lw=1)
    ax.text(0.97, 0.5, "guessing", color=GREY, fontsize=8, ha="right", va="bottom", transform=ax.get_yaxis_transform())
    ax.set(xlabel="worst … % of the errors", ylabel="ROC-AUC", ylim=(min(0.45, float(value.min()) - 0.02), 1.0))
    ax.set_xlim(0, 100 * float(share.max()) + 2)
    return None


def _absent(ax: Axes, words: str) -> None:
    ax.text(0.5, 0.5, words, ha="center", va="center", color=GREY, transform=ax.transAxes)
    ax.set_axis_off()
