"""What the structures of a trajectory have in common: distances, bond angles, radial distribution functions.

Neighbours are found by vesin, periodic images included. A potential may survive and still be wrong; these say so.
"""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray
from vesin import NeighborList

Array = NDArray[np.float64]


def rdf(frames: Sequence[ase.Atoms], first: str, second: str, *, cutoff: float, bins: int = 100) -> tuple[Array, Array]:
    """Radial distribution function g(r) between two elements, averaged over frames of a bulk system.

    Args:
        frames: periodic in all directions, with a volume.
        first: symbol of an element.
        second: symbol of the other, or the same.
        cutoff: Å; may exceed half the cell, images are counted.
        bins: of equal width.

    Returns:
        r (bins,) Å at the centres of the bins, and g (bins,), which tends to 1 where there is no order.

    Raises:
        ValueError: no frames, a frame without a volume, an element that does not occur.
    """
    if not frames or not all(frame.pbc.all() for frame in frames):
        raise ValueError("frames: expected some, periodic in all directions; for molecules use `distances`")
    edges = np.linspace(0.0, cutoff, bins + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    total = np.zeros(bins)
    for frame in frames:
        _, _, length, _ = _neighbours(frame, first, second, cutoff)
        ends = int(np.sum(frame.numbers == atomic_numbers[second])) - (first == second)
        density = max(ends, 1) / frame.get_volume()
        centres = np.sum(frame.numbers == atomic_numbers[first])
        total += np.histogram(length, edges)[0] / (centres * density * shells)
    return (edges[1:] + edges[:-1]) / 2, total / len(frames)


def distances(frames: Sequence[ase.Atoms], first: str, second: str, *, cutoff: float) -> Array:
    """All distances (M,) Å below `cutoff` between two elements, each pair once."""
    found = [_neighbours(frame, first, second, cutoff)[2] for frame in frames]
    return np.sort(np.concatenate(found))[:: 2 if first == second else 1]


def bond_angles(frames: Sequence[ase.Atoms], end: str, centre: str, other: str, *, within: float) -> Array:
    """All angles (M,) in degrees at `centre` between bonds to `end` and `other` atoms closer than `within` Å.

    `bond_angles(frames, "H", "N", "H", within=1.3)`: three for each ammonia molecule. Raises ValueError where no frame
    has an atom of that element.
    """
    found = []
    for frame in frames:
        i, j, _, toward = _neighbours(frame, centre, None, within)
        unit = toward / np.linalg.norm(toward, axis=1, keepdims=True)
        is_end, is_other = (frame.numbers[j] == atomic_numbers[symbol] for symbol in (end, other))
        a, b = np.nonzero((i[:, None] == i) & is_end[:, None] & is_other)
        a, b = (a[a < b], b[a < b]) if end == other else (a, b)
        found.append(np.degrees(np.arccos(np.clip((unit[a] * unit[b]).sum(axis=1), -1.0, 1.0))))
    return np.concatenate(found)


def _neighbours(frame: ase.Atoms, first: str, second: str | None, cutoff: float):
    """Directed pairs i (P,), j (P,), lengths (P,) Å and vectors (P, 3) Å from atoms of one element to the other."""
    for symbol in (first, second):
        if symbol is not None and atomic_numbers.get(symbol) not in frame.numbers:
            raise ValueError(f"element: got {symbol!r}, the structure is {frame.get_chemical_formula()}")
    box = np.asarray(frame.cell) * frame.pbc[:, None]
    search = NeighborList(cutoff=cutoff, full_list=True)
    i, j, length, vector = search.compute(points=frame.positions, box=box, periodic=frame.pbc, quantities="ijdD")
    wanted = frame.numbers[i] == atomic_numbers[first]
    if second is not None:
        wanted &= frame.numbers[j] == atomic_numbers[second]
    return i[wanted].astype(int), j[wanted].astype(int), length[wanted], vector[wanted]
