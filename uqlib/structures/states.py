"""What frames carry beside elements, positions and cell, and a network here does not see: charge, spin, moments."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np

STATES = ("charge", "total_charge", "spin", "total_spin", "multiplicity", "spin_multiplicity", "magmom", "mult")
NEUTRAL = {"charge": 0.0, "total_charge": 0.0}  # of a frame that does not say


def unseen_states(frames: Sequence[ase.Atoms]) -> list[str]:
    """One remark for each quantity that differs from frame to frame and that the network does not see."""
    notes = []
    for name in STATES:
        values = [_number(frame.info.get(name), NEUTRAL.get(name)) for frame in frames]
        known = {value for value in values if value is not None}
        if len(known) > 1:
            shown = ", ".join(f"{value:g}" for value in sorted(known)[:4])
            notes.append(
                f"{name} differs between frames ({shown}), and the network does not see it: "
                f"{_same_atoms(frames, values)}train on one state at a time"
            )
    patterns: dict[str, set[bytes]] = {}
    for frame in frames:
        moments = frame.arrays.get("initial_magmoms", frame.arrays.get("magmoms"))
        if moments is not None:
            rounded = np.rint(np.asarray(moments, dtype=float)).astype(int)
            rounded = rounded if rounded.ravel()[np.abs(rounded.ravel()).argmax()] >= 0 else -rounded
            patterns.setdefault(frame.get_chemical_formula(), set()).add(rounded.tobytes())
    if mixed := [formula for formula, found in patterns.items() if len(found) > 1]:
        notes.append(f"magnetic moments of {mixed[0]} come in several patterns, and the network does not see them")
    return notes


def _same_atoms(frames: Sequence[ase.Atoms], values: Sequence[float | None]) -> str:
    found: dict[str, set[float]] = {}
    for frame, value in zip(frames, values, strict=True):
        if value is not None:
            found.setdefault(frame.get_chemical_formula(), set()).add(value)
    mixed = [formula for formula, states in found.items() if len(states) > 1]
    return f"of {mixed[0]} it learns the mean over states; " if mixed else ""


def _number(value: object, default: float | None) -> float | None:
    try:
        return default if value is None else float(np.asarray(value, dtype=float).reshape(()))
    except (TypeError, ValueError):
        return default
