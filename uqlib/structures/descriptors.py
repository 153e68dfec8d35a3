"""What structures look like, in numbers: bonds, angles, distribution functions, and maps of many structures at once.

Descriptors are for looking at data, not for fitting them: they do not change when a structure is moved, turned or
mirrored, or its atoms are listed in another order, and every number in them has a meaning and a unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist

from uqlib.structures.bounds import full_list


def inverse_distances(frames: Sequence[Atoms]) -> NDArray[np.float64]:
    """Inverse distances between all atoms of a molecule, sorted within each kind of pair (H-H, H-N, ...).

    Inverse, since what is near matters more; sorted, since equal atoms have no names. Sorting within a kind forgets
    which distances belong to the same atom, so that different molecules may, rarely, come out alike.

    Args:
        frames: S molecules with the same numbers of each element, not periodic, positions in Å.

    Returns:
        (S, N (N - 1) / 2) in 1/Å, the shortest distance of each kind first; kinds in the order of atomic numbers.

    Raises:
        ValueError: no frames, fewer than two atoms, a periodic frame, or molecules of different composition.

    Source: M. Rupp et al., Phys. Rev. Lett. 108, 058301 (2012), for sorted matrices of inverse distances.
    """
    _check(frames)
    if any(atoms.pbc.any() for atoms in frames):
        raise ValueError("frames: got periodic structures, whose pairs have no end; use radial_distribution")
    if len({tuple(sorted(atoms.numbers)) for atoms in frames}) > 1 or len(frames[0]) < 2:
        formulas = sorted({atoms.get_chemical_formula() for atoms in frames})
        raise ValueError(f"frames: got {formulas}, expected molecules of one formula with at least two atoms")
    rows = []
    for atoms in frames:
        ordered = atoms[np.argsort(atoms.numbers, kind="stable")]
        i, j = np.triu_indices(len(ordered), 1)
        inverse = 1 / np.linalg.norm(ordered.positions[i] - ordered.positions[j], axis=1)
        kinds = 1000 * ordered.numbers[i] + ordered.numbers[j]
        rows.append(inverse[np.lexsort((-inverse, kinds))])
    return np.array(rows)


def pair_distances(frames: Sequence[Atoms], first: str, second: str, *, longest: float) -> NDArray[np.float64]:
    """Lengths of all pairs of `first` and `second` (element symbols) up to `longest` Å, of all frames together.

    Periodic images count. Each pair counts once. Returns (n,) in Å; raises ValueError for no frames, an unknown
    symbol, or a length that is not positive.
    """
    found = [vectors for _, vectors in _neighbours(frames, first, second, longest)]
    lengths = np.linalg.norm(np.concatenate(found), axis=1)
    return np.sort(lengths)[::2] if first == second else lengths  # seen from either side


def coordination(frames: Sequence[Atoms], centre: str, neighbour: str, *, longest: float) -> NDArray[np.int64]:
    """How many `neighbour` atoms lie within `longest` Å of each `centre` atom: (n,), frame after frame.

    Raises ValueError as `pair_distances` does.
    """
    counts = []
    for (first, _), atoms in zip(_neighbours(frames, centre, neighbour, longest), frames, strict=True):
        counts.append(np.bincount(first, minlength=len(atoms))[_is(atoms, centre)])
    return np.concatenate(counts)


def bond_angles(
    frames: Sequence[Atoms], end: str, centre: str, other: str | None = None, *, longest: float
) -> NDArray[np.float64]:
    """Angles end-centre-other in degrees, both arms shorter than `longest` Å: (n,), of all frames together.

    Without `other` both ends are of one element, and each pair of arms counts once. Raises ValueError as
    `pair_distances` does.
    """
    other = end if other is None else other
    arms_of = _neighbours(frames, centre, end, longest)
    tips_of = arms_of if other == end else _neighbours(frames, centre, other, longest)
    angles: list[NDArray[np.float64]] = []
    for (first, arms), (second, tip) in zip(arms_of, tips_of, strict=True):
        here, there = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (arms, tip))
        for atom in np.unique(first):
            cosines = here[first == atom] @ there[second == atom].T
            chosen = cosines[np.triu_indices(len(cosines), 1)] if other == end else cosines.ravel()
            angles.append(np.degrees(np.arccos(np.clip(chosen, -1.0, 1.0))))
    return np.concatenate(angles) if angles else np.zeros(0)


def radial_distribution(
    frames: Sequence[Atoms],
    first: str,
    second: str,
    *,
    longest: float = 6.0,
    smoothing: float = 0.05,
    points: int = 120,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radial distribution function g(r) of each frame: how much more often than by chance `second` is r from `first`.

    The mean over frames is the function that scattering experiments give; the rows themselves describe the frames.

    Args:
        frames: S periodic structures, positions in Å.
        first: symbol of an element that every frame holds.
        second: the same; may be the same element.
        longest: largest r in Å.
        smoothing: standard deviation in Å of the Gaussian by which each distance is drawn.
        points: how many r there are.

    Returns:
        r (points,) in Å and g (S, points), without unit, 1 where positions are random, also in a small cell: of N atoms
        of one element each has N - 1 others. (Beyond the length of the cell its own images are added to these.)

    Raises:
        ValueError: a frame is not periodic or lacks an element, or a length is not positive.

    Source: M. P. Allen, D. J. Tildesley, Computer Simulation of Liquids (2017), section 2.6, histograms smoothed.
    """
    if not smoothing > 0:
        raise ValueError(f"smoothing: got {smoothing} Å, expected a positive length")
    r: NDArray[np.float64] = np.linspace(longest / points, longest, points, dtype=np.float64)
    rows = []
    for lengths, density in _pairs_and_chance(frames, first, second, longest + 4 * smoothing):
        waves = np.exp(-0.5 * ((r[:, None] - lengths) / smoothing) ** 2).sum(axis=1)
        rows.append(waves / (smoothing * np.sqrt(2 * np.pi)) / (4 * np.pi * r**2 * density))
    return r, np.array(rows)


def rdf(
    frames: Sequence[Atoms], first: str, second: str, *, cutoff: float, bins: int = 100
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean over frames of what `radial_distribution` finds, as a histogram instead of a smooth curve.

    Args:
        frames: S periodic structures, positions in Å.
        first: symbol of an element that every frame holds.
        second: the same; may be the same element.
        cutoff: largest r in Å; may exceed half the cell, images are counted.
        bins: of equal width.

    Returns:
        r (bins,) in Å, at the centres of the bins, and g (bins,).

    Raises:
        ValueError: as `radial_distribution`.
    """
    edges = np.linspace(0.0, cutoff, bins + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    rows = [
        np.histogram(lengths, edges)[0] / (density * shells)
        for lengths, density in _pairs_and_chance(frames, first, second, cutoff)
    ]
    return (edges[1:] + edges[:-1]) / 2, np.mean(rows, axis=0)


def _pairs_and_chance(
    frames: Sequence[Atoms], first: str, second: str, longest: float
) -> list[tuple[NDArray[np.float64], float]]:
    """For each frame the distances (n,) Å from `first` to `second`, and how many there would be by chance, 1/Å³."""
    found = []
    for (_, vectors), atoms in zip(_neighbours(frames, first, second, longest), frames, strict=True):
        centres, ends = _is(atoms, first).sum(), _is(atoms, second).sum()
        if not atoms.pbc.all() or not centres * ends:
            raise ValueError(
                f"frames: got {atoms.get_chemical_formula()} with pbc {atoms.pbc.tolist()}, expected cells that are "
                f"periodic in all directions and hold {first} and {second}; for molecules use inverse_distances or "
                "pair_distances"
            )
        others = max(ends - 1, 1) if first == second else ends  # no atom is its own neighbour
        found.append((np.linalg.norm(vectors, axis=1), float(centres * others / atoms.get_volume())))
    return found


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Descriptors seen from the direction in which some structures differ most (principal components)."""

    mean: NDArray[np.float64]  # (D,)    of the structures it was fitted to
    axes: NDArray[np.float64]  # (K, D)  orthonormal
    shares: NDArray[np.float64]  # (K,)    of the variance, largest first

    @classmethod
    def fit(cls, descriptors: ArrayLike, *, components: int = 2) -> Projection:
        """The `components` directions of largest variance of `descriptors` (S, D).

        Raises ValueError for arrays of another shape, numbers that are not finite, or too few structures.
        """
        table = _table("descriptors", descriptors)
        if not 1 <= components <= min(table.shape):
            raise ValueError(
                f"components: got {components}, expected 1 to {min(table.shape)} for {table.shape[0]} structures with "
                f"{table.shape[1]} numbers each"
            )
        from sklearn.decomposition import PCA  # large: not for each worker

        found = PCA(n_components=components, svd_solver="full").fit(table)
        return cls(mean=found.mean_, axes=found.components_, shares=found.explained_variance_ratio_)

    def project(self, descriptors: ArrayLike) -> NDArray[np.float64]:
        """Coordinates (S, K), in the unit of the descriptors (S, D). Raises ValueError for another D."""
        table = _table("descriptors", descriptors)
        if table.shape[1] != len(self.mean):
            raise ValueError(f"descriptors: got {table.shape[1]} numbers a structure, fitted to {len(self.mean)}")
        return (table - self.mean) @ self.axes.T


def novelty(descriptors: ArrayLike, known: ArrayLike) -> NDArray[np.float64]:
    """How far each structure is from the nearest known one: Euclidean distance of descriptors (S, D) and (M, D).

    Returns (S,), in the unit of the descriptors. No model is asked, which makes it the rival that an uncertainty has to
    beat. Raises ValueError for arrays that do not fit.
    """
    table, reference = _pair(descriptors, known)
    return cdist(table, reference).min(axis=1)


def inside_box(descriptors: ArrayLike, known: ArrayLike) -> NDArray[np.bool_]:
    """Which structures (S, D) lie within the range of the known ones (M, D) in every single number: (S,).

    Raises ValueError for arrays that do not fit.
    """
    table, reference = _pair(descriptors, known)
    return ((table >= reference.min(axis=0)) & (table <= reference.max(axis=0))).all(axis=1)


def force_norms(frames: Sequence[Atoms]) -> NDArray[np.float64]:
    """Lengths of the labelled forces in eV/Å: (N,), frame after frame. Raises ValueError where a frame has none."""
    _check(frames)
    missing = [index for index, atoms in enumerate(frames) if atoms.calc is None or "forces" not in atoms.calc.results]
    if missing:
        raise ValueError(f"frames: {len(missing)} of {len(frames)} have no forces (the first is {missing[0]})")
    return np.concatenate([np.linalg.norm(atoms.calc.results["forces"], axis=1) for atoms in frames if atoms.calc])


def _neighbours(
    frames: Sequence[Atoms], first: str, second: str, longest: float
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """For each frame the atoms (n,) of kind `first` and the vectors (n, 3) from them to those of kind `second`."""
    _check(frames)
    for symbol in (first, second):
        if symbol not in chemical_symbols[1:]:
            raise ValueError(f"element: got {symbol!r}, expected a symbol such as 'Si'")
    if not longest > 0:
        raise ValueError(f"longest: got {longest} Å, expected a positive length")
    found = []
    for number, atoms in enumerate(frames):
        cell = atoms.cell.array * atoms.pbc[:, None]
        i, j, vectors = full_list(atoms.positions, cell, atoms.pbc, longest, f"frames: structure {number}")
        wanted = _is(atoms, first)[i] & _is(atoms, second)[j]
        found.append((i[wanted].astype(np.int64), vectors[wanted]))
    return found


def _is(atoms: Atoms, symbol: str) -> NDArray[np.bool_]:
    return atoms.numbers == chemical_symbols.index(symbol)


def _check(frames: Sequence[Atoms]) -> None:
    if isinstance(frames, Atoms) or not len(frames):
        raise ValueError("frames: expected a sequence of at least one structure; put a single one into a list")


def _table(name: str, numbers: ArrayLike) -> NDArray[np.float64]:
    table = np.asarray(numbers, dtype=np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError(f"{name}: got shape {table.shape}, expected finite numbers (structures, numbers of each)")
    return table


def _pair(descriptors: ArrayLike, known: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    table, reference = _table("descriptors", descriptors), _table("known", known)
    if table.shape[1] != reference.shape[1]:
        raise ValueError(f"known: got {reference.shape[1]} numbers a structure, descriptors has {table.shape[1]}")
    return table, reference
