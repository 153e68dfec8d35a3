"""From structures and numbers to the one dictionary that the viewer's scripts read: checked, encoded, coloured."""

import base64
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.utils import rotate
from matplotlib.colors import to_hex
from numpy.typing import ArrayLike, NDArray

from uqlib.show.viewer.still import data_uri, still_svg

BOND_SLACK = 1.3  # atoms closer than this times the sum of their covalent radii are drawn as bonded
STICK_RADIUS = 0.12  # Å
COLOUR_MAP = "viridis"  # safe for colour-blind readers, and its lightness alone tells the order
COLOUR_STOPS = 17  # the page interpolates between them
MISSING = "#b3b3b3"  # an atom without a value
HYDROGEN = "#dddddd"  # its usual white would vanish on a white page


def structures_payload(
    structures: list[Atoms],
    *,
    values: NDArray | None = None,
    limits: tuple[float | None, float | None] = (None, None),
    value_label: str = "",
    frame: int = 0,
    style: str = "ball+stick",
    rotation: str,
) -> dict[str, Any]:
    """Everything the browser needs to draw the structures.

    Args:
        structures: F structures as `checked_frames` returns them.
        values: (F, N) as `checked_values` returns them, or None for the elements' colours.
        limits: lower and upper end of the colour scale; None stands for the smallest or largest finite value.
        value_label: what the values are, with their unit.
        frame: the frame drawn first and in the still picture.
        style: "ball+stick" or "spacefill".
        rotation: how the structures are turned at first, in the notation of `ase.utils.rotate`.

    Returns:
        A dictionary ready for JSON; arrays are base64 text of little-endian float32, lengths are in Å.
    """
    first = structures[frame]
    covalent = covalent_radii[first.numbers]
    radii = 0.45 * covalent + 0.08 if style == "ball+stick" else 1.6 * covalent
    turned = np.asarray(rotate(rotation)).T
    stops, (low, high) = colour_stops(), colour_limits(values, *limits)
    colours = [HYDROGEN if z == 1 else to_hex(tuple(jmol_colors[z])) for z in first.numbers]
    cells = np.stack([s.cell.array for s in structures]) if any(s.pbc.any() for s in structures) else np.zeros(0)
    still = still_svg(
        first.positions,
        colours=colours if values is None else [value_colour(v, low, high) for v in values[frame]],
        radii=radii,
        reach=BOND_SLACK * covalent,
        rotation=turned,
        cell=cells[frame] if cells.size else None,
        legend=None if values is None else (stops, low, high, value_label),
    )
    return {
        "symbols": first.get_chemical_symbols(),
        "nframes": len(structures),
        "positions": base64_of(np.stack([s.positions for s in structures])),
        "values": base64_of(values),
        "cells": base64_of(cells),
        "radii": radii.round(4).tolist(),
        "reach": (BOND_SLACK * covalent).round(4).tolist(),
        "stick": STICK_RADIUS,
        "colours": colours,
        "stops": stops,
        "missing": MISSING,
        "vmin": low,
        "vmax": high,
        "value_label": value_label,
        "rotation": turned.ravel().tolist(),
        "frame": frame,
        "still": data_uri(still),
    }


def checked_frames(frames: Sequence[Atoms]) -> list[Atoms]:
    """The structures as a list.

    Raises:
        ValueError: there is none, one has no atoms or other atoms than the first, or a position is not finite.
        TypeError: something else than `ase.Atoms` is among them.
    """
    if not len(frames):
        raise ValueError("frames is empty: give at least one structure")
    first = frames[0]
    for k, atoms in enumerate(frames):
        if not isinstance(atoms, Atoms):
            raise TypeError(f"frames[{k}] is a {type(atoms).__name__}: expected ase.Atoms")
        if not len(atoms):
            raise ValueError(f"frames[{k}] has no atoms: there is nothing to show")
        if not np.array_equal(atoms.numbers, first.numbers):
            raise ValueError(
                f"frames[{k}] is {atoms.get_chemical_formula()} ({len(atoms)} atoms), frames[0] is "
                f"{first.get_chemical_formula()} ({len(first)}): one view shows the same atoms in the same order; "
                "sort the atoms, or make a view for each kind of structure"
            )
        if not np.isfinite(atoms.positions).all():
            raise ValueError(f"frames[{k}] has positions that are not finite: leave such a structure out")
    return list(frames)


def checked_values(values: ArrayLike, shape: tuple[int, int]) -> NDArray:
    """Values of every atom in every frame as an array (F, N).

    Raises:
        ValueError: the shape is neither (F, N) nor (F * N,), or no value is finite.
    """
    array = _array("values", values)
    nframes, natoms = shape
    if array.shape not in (shape, (nframes * natoms,)):
        raise ValueError(
            f"values has shape {array.shape}: expected {shape} (frames, atoms) or ({nframes * natoms},), "
            "one number for every atom of every frame"
        )
    if not np.isfinite(array).any():
        raise ValueError("values holds no finite number, so there is nothing to colour by: leave values out")
    return array.reshape(shape)


def per_frame(name: str, numbers: ArrayLike | None, nframes: int) -> NDArray | None:
    """One number a frame, (F,), or None.

    Raises:
        ValueError: the shape is not (F,), or no number is finite.
    """
    if numbers is None:
        return None
    array = _array(name, numbers)
    if array.shape != (nframes,):
        raise ValueError(f"{name} has shape {array.shape}: expected ({nframes},), one number a frame")
    if not np.isfinite(array).any():
        raise ValueError(f"{name} holds no finite number, so there is no point to draw")
    return array


def check_at_least(name: str, number: float, least: float) -> None:
    """Raise ValueError unless the number is at least `least`."""
    if not number >= least:
        raise ValueError(f"{name} is {number}: expected at least {least}")


def colour_limits(values: NDArray | None, low: float | None, high: float | None) -> tuple[float, float]:
    """Ends of the colour scale, for all frames together.

    Raises:
        ValueError: the lower end is not below the upper one.
    """
    finite = np.zeros(1) if values is None else values[np.isfinite(values)]
    ends = (float(finite.min()) if low is None else float(low), float(finite.max()) if high is None else float(high))
    if low is None and high is None and ends[0] == ends[1]:  # all values alike: any scale that holds them
        margin = 0.5 * abs(ends[0]) or 0.5
        return ends[0] - margin, ends[1] + margin
    if not ends[0] < ends[1]:
        raise ValueError(f"the colour scale goes from vmin = {ends[0]:g} to vmax = {ends[1]:g}: vmin must be smaller")
    return ends


def colour_stops() -> list[str]:
    """The colour map at evenly spaced places, as `#rrggbb`."""
    return [to_hex(c) for c in matplotlib.colormaps[COLOUR_MAP](np.linspace(0.0, 1.0, COLOUR_STOPS))]


def value_colour(value: float, low: float, high: float) -> str:
    """Colour of one value; values outside [low, high] take the nearer end's colour, NaN is grey."""
    if np.isnan(value):
        return MISSING
    return to_hex(matplotlib.colormaps[COLOUR_MAP](float(np.clip((value - low) / (high - low), 0.0, 1.0))))


def base64_of(numbers: NDArray | None) -> str:
    """An array as base64 text of little-endian float32; empty for None."""
    if numbers is None:
        return ""
    return base64.b64encode(np.ascontiguousarray(numbers, dtype="<f4").tobytes()).decode("ascii")


def _array(name: str, numbers: Any) -> NDArray:
    """As float64, also from a torch tensor that carries a gradient."""
    if hasattr(numbers, "detach"):
        numbers = numbers.detach().cpu().numpy()
    array = np.asarray(numbers)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} holds {array.dtype} entries: expected real numbers")
    return array.astype(float)
