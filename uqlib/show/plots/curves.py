"""What the model does: its training, and its predictions along a path or over a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from .style import BLACK, Data, as_arrays


def learning_curves(
    ax: Axes, history: Sequence[Mapping[str, float]], curves: Mapping[str, str] | None = None, *, unit: str = ""
) -> Axes:
    """Training and validation loss against the epoch, on a logarithmic axis; the best validation epoch is marked.

    Args:
        ax: Where to draw.
        history: One mapping per epoch, the numbers by name.
        curves: Names to draw and their labels; the last one is the one whose minimum is marked. Default:
            "train_loss" and "valid_loss".
        unit: Of the numbers; empty for a weighted loss, which has none worth showing.

    Raises:
        ValueError: No epochs, or a name that the history lacks.
    """
    curves = curves or {"train_loss": "training", "valid_loss": "validation"}
    if not history:
        raise ValueError("history is empty, expected one mapping per epoch; was the model trained?")
    missing = [name for name in curves if name not in history[0]]
    if missing:
        raise ValueError(f"history has no {missing}, expected names out of {sorted(history[0])}; pass them in curves")
    epochs = np.arange(1, len(history) + 1)
    for name, label in curves.items():
        values = np.array([float(epoch[name]) for epoch in history])
        (line,) = ax.plot(epochs, values, label=label)
    best = int(np.argmin(values))
    ax.plot(epochs[best], values[best], "o", color=line.get_color(), label=f"best, epoch {epochs[best]}")
    ax.set_yscale("log")
    ax.set(xlabel="epoch", ylabel=f"loss ({unit})" if unit else "loss")
    ax.legend()
    return ax


def profile(
    ax: Axes,
    coordinate: Data,
    prediction: Data,
    std: Data,
    *,
    reference: Data | None = None,
    xlabel: str = "path coordinate",
    ylabel: str = "energy (eV)",
    widths: Sequence[float] = (1.0, 2.0),
    label: str = "prediction",
) -> Axes:
    """Prediction along a path, inside bands of its standard deviation, with the reference if there is one.

    Args:
        ax: Where to draw.
        coordinate: (n,) position along the path, in increasing order.
        prediction: (n,).
        std: (n,) standard deviations, not negative, same unit.
        reference: (n,) or None.
        xlabel: With unit.
        ylabel: With unit.
        widths: Half widths of the bands in standard deviations.
        label: Of the prediction.

    Raises:
        ValueError: Lengths differ, empty, not finite, or a negative deviation.
    """
    coordinate, prediction, std = as_arrays(coordinate=coordinate, prediction=prediction, std=std)
    if std.min() < 0:
        raise ValueError(f"std has a negative value ({std.min():.3g}), expected standard deviations")
    (line,) = ax.plot(coordinate, prediction, label=label, zorder=3)
    strengths = np.linspace(0.35, 0.15, len(widths))
    for width, strength in zip(sorted(widths), strengths, strict=True):
        low, high = prediction - width * std, prediction + width * std
        band = f"± {width:g} σ"
        ax.fill_between(coordinate, low, high, color=line.get_color(), alpha=strength, linewidth=0, label=band)
    if reference is not None:
        _, truth = as_arrays(coordinate=coordinate, reference=reference)
        ax.plot(coordinate, truth, color=BLACK, linestyle="--", linewidth=1.4, label="reference", zorder=4)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return ax


def surface(
    ax: Axes,
    x: Data,
    y: Data,
    values: Data,
    *,
    xlabel: str,
    ylabel: str,
    value_label: str,
    points: tuple[Data, Data] | None = None,
    contours: Data | None = None,
    cmap: str = "viridis",
) -> Axes:
    """Map of a quantity over two coordinates, with contour lines and, on top, where the training data lie.

    Args:
        ax: Where to draw; its figure gets a colour bar.
        x: (a,) first coordinate, in increasing order.
        y: (b,) second coordinate, in increasing order.
        values: (a, b), values[i, j] belongs to x[i], y[j].
        xlabel: With unit.
        ylabel: With unit.
        value_label: With unit.
        points: Coordinates (m,) and (m,) of the training data.
        contours: (a, b) what to draw as lines, if not `values`: for example the energy over its uncertainty.
        cmap: Of the map.

    Raises:
        ValueError: Shapes do not fit, or not finite.
    """
    values, lines = as_arrays(values=values, contours=values if contours is None else contours, flat=False)
    (x,), (y,) = as_arrays(x=x), as_arrays(y=y)
    if values.shape != (len(x), len(y)):
        raise ValueError(f"values has shape {values.shape}, expected ({len(x)}, {len(y)}): values[i, j] at x[i], y[j]")
    mesh = ax.pcolormesh(x, y, values.T, shading="gouraud", cmap=cmap, rasterized=True)
    ax.contour(x, y, lines.T, levels=10, colors="white", linewidths=0.8, alpha=0.8)
    ax.figure.colorbar(mesh, ax=ax, label=value_label)
    if points is not None:
        first, second = as_arrays(x_of_points=points[0], y_of_points=points[1])
        ax.scatter(
            first, second, s=16, color="white", edgecolors=BLACK, linewidths=0.7, label="training data", zorder=3
        )
        ax.legend(frameon=True, framealpha=0.9)  # on white, readable over dark colours
    ax.grid(visible=False)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return ax
