"""What is refused before native code or memory sees it: places without end, too many pairs, archives that explode."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from ase.geometry import complete_cell
from ase.neighborlist import primitive_neighbor_list
from vesin import NeighborList

from uqlib.common.devices import free_memory

FARTHEST = 1e8  # Å from the origin, of an atom or the end of a lattice vector: a centimetre is no structure
MOST_PAIRS = 1e8  # of one structure, from either side
BYTES_PER_PAIR = 100
SMALL = 1e8  # bytes, or pairs times their bytes, that nobody need count
GROWTH = 100  # times that an archive may grow when it is unpacked, beyond `SMALL`
CELLS = 5e4  # half of the boxes that vesin divides space into, at most
HIGHEST = 118  # atomic number


def half_list(
    points: np.ndarray, cell: np.ndarray, periodic: np.ndarray, cutoff: float, what: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Each pair within `cutoff` once: i (E,), j (E,), whole cells to add to j (E, 3), distance (E,) in Å.

    `points` (N, 3) and `cell` (3, 3) in Å, `periodic` (3,); errors name `what`. Raises ValueError as `check_search`.
    """
    check_search(points, cell, periodic, cutoff, what)
    if _is_long_and_thin(points, cell, periodic, cutoff):
        i, j, shift, distance = primitive_neighbor_list("ijSd", periodic, complete_cell(cell), points, cutoff)
        later = (j > i) | ((j == i) & (shift @ [1e12, 1e6, 1.0] > 0))
        return i[later], j[later], shift[later], distance[later]
    search = NeighborList(cutoff=cutoff, full_list=False)
    return search.compute(points=points, box=cell, periodic=periodic, quantities="ijSd")  # pyright: ignore[reportReturnType]


def full_list(
    points: np.ndarray, cell: np.ndarray, periodic: np.ndarray, cutoff: float, what: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair within `cutoff` from either side: i (E,), j (E,), the vector (E, 3) from i to j, Å; as `half_list`."""
    check_search(points, cell, periodic, cutoff, what)
    if _is_long_and_thin(points, cell, periodic, cutoff):
        return primitive_neighbor_list("ijD", periodic, complete_cell(cell), points, cutoff)  # pyright: ignore[reportReturnType]
    search = NeighborList(cutoff=cutoff, full_list=True)
    return search.compute(points=points, box=cell, periodic=periodic, quantities="ijD")  # pyright: ignore[reportReturnType]


def check_search(points: np.ndarray, cell: np.ndarray, periodic: np.ndarray, cutoff: float, what: str) -> None:
    """Refuse what a search for neighbours would not survive.

    Raises:
        ValueError: places or lattice vectors that are not finite or farther than a centimetre, or more pairs than
            memory holds.
    """
    if not np.isfinite(points).all():
        raise ValueError(f"{what}: got values that are not finite, expected numbers in Å")
    if (most := max(np.abs(points).max(initial=0.0), np.abs(cell).max(initial=0.0))) > FARTHEST:
        raise ValueError(
            f"{what}: got {most:.3g} Å, expected at most {FARTHEST:.0e} Å from the origin; are they in Å, or did a "
            "simulation explode? Mend or remove the structure"
        )
    pairs = _expected_pairs(points, cell, periodic, cutoff)
    if pairs * BYTES_PER_PAIR > SMALL and (pairs > MOST_PAIRS or pairs * BYTES_PER_PAIR > free_memory()):
        raise ValueError(
            f"{what}: about {pairs:.1g} pairs are within {cutoff} Å, {BYTES_PER_PAIR * pairs / 1e9:.1g} GB; "
            "take a shorter cutoff or a smaller structure, and see whether positions and cell are in Å"
        )


def _expected_pairs(points: np.ndarray, cell: np.ndarray, periodic: np.ndarray, cutoff: float) -> float:
    """About how many, from either side, if the atoms are spread evenly over the box around them."""
    lengths = _lengths(points, cell, periodic)
    with np.errstate(divide="ignore"):
        reach = 2 * cutoff / lengths
    share = np.where(periodic, np.where(reach > 1, reach + 1, reach), np.minimum(reach, 1))
    return float(len(points)) ** 2 * float(np.prod(share))


def _is_long_and_thin(points: np.ndarray, cell: np.ndarray, periodic: np.ndarray, cutoff: float) -> bool:
    """Where vesin (0.3 to 0.5) divides space into too many boxes, makes fewer of them, and is left with none."""
    boxes = np.maximum(_lengths(points, cell, periodic) / cutoff, 1)
    total = float(np.prod(boxes))
    return total > CELLS and boxes.min() * np.cbrt(CELLS / total) < 2


def _lengths(points: np.ndarray, cell: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """(3,) Å along each direction: from face to face of the cell, or from the first atom to the last."""
    to_fractions = np.linalg.inv(complete_cell(cell))
    heights = 1 / np.linalg.norm(to_fractions, axis=0)
    return np.where(periodic, heights, np.ptp(points @ to_fractions, axis=0) * heights)


def whole_numbers(values: Any, what: str) -> np.ndarray:
    """Atomic numbers as integers. Raises ValueError for fractions, what is no number, and numbers of no element."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.ndim != 1:
        raise ValueError(f"{what}: got {array.dtype} of shape {array.shape}, expected a list of atomic numbers")
    if not len(array) or not np.all((array >= 1) & (array <= HIGHEST) & (array == np.floor(array))):
        odd = [f"{value:g}" for value in array.tolist() if not (1 <= value <= HIGHEST and value == int(value))][:3]
        raise ValueError(f"{what}: got {', '.join(odd) or 'none'}, expected whole atomic numbers from 1 to {HIGHEST}")
    return array.astype(int)


def real_numbers(values: Any, what: str) -> np.ndarray:
    """As float64. Raises ValueError for complex numbers, words and objects, of which only a part would be kept."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{what}: got values of type {array.dtype}, expected real numbers")
    return array.astype(np.float64, copy=False)


def check_unpacked(packed: float, unpacked: float, what: str) -> None:
    """Raise ValueError, naming `what`, for content that is much larger than what holds it, or than memory."""
    if unpacked <= SMALL:
        return
    if unpacked > GROWTH * packed:
        raise ValueError(
            f"{what}: {packed:.3g} bytes would become {unpacked:.3g}; data of atoms do not shrink so much; unpack it "
            "yourself if it is what you think"
        )
    if unpacked > (free := free_memory()):
        raise ValueError(f"{what}: needs {unpacked / 1e9:.1f} GB, of which {free / 1e9:.1f} GB are free; divide it")


def unpacked(file: Any, packed: int, what: str) -> bytes:
    """All that an opened compressed file holds; errors as `check_unpacked`, before memory is full."""
    parts, size = [], 0
    for part in _pieces(file):
        size += len(part)
        check_unpacked(packed, size, what)
        parts.append(part)
    return b"".join(parts)


def _pieces(file: Any) -> Iterable[bytes]:
    while part := file.read(1 << 24):
        yield part
