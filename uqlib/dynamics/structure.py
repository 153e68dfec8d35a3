"""What the structures of a trajectory have in common: distances, bond angles, radial distribution functions.

They are computed by `structures.descriptors`; here a structure that lacks an element is refused, since in dynamics it
is a slip of the pen. A potential may survive and still be wrong; these say so.
"""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from uqlib.structures import descriptors
from uqlib.structures.descriptors import rdf

__all__ = ["bond_angles", "distances", "rdf"]

Array = NDArray[np.float64]


def distances(frames: Sequence[ase.Atoms], first: str, second: str, *, cutoff: float) -> Array:
    """All distances (M,) Å below `cutoff` between two elements, each pair once, the shortest first.

    Raises ValueError where a frame lacks one of the elements.
    """
    _check(frames, first, second)
    return np.sort(descriptors.pair_distances(frames, first, second, longest=cutoff))


def bond_angles(frames: Sequence[ase.Atoms], end: str, centre: str, other: str, *, within: float) -> Array:
    """All angles (M,) in degrees at `centre` between bonds to `end` and `other` atoms closer than `within` Å.

    `bond_angles(frames, "H", "N", "H", within=1.3)`: three for each ammonia molecule. Raises ValueError where a frame
    has no atom at `centre`.
    """
    _check(frames, centre)
    return descriptors.bond_angles(frames, end, centre, other, longest=within)


def _check(frames: Sequence[ase.Atoms], *symbols: str) -> None:
    for frame in frames:
        for symbol in symbols:
            if atomic_numbers.get(symbol) not in frame.numbers:
                raise ValueError(f"element: got {symbol!r}, the structure is {frame.get_chemical_formula()}")
