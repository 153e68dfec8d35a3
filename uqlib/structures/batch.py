"""`Batch`: several structures as one set of tensors, with the pairs of atoms that see each other.

Structures of different sizes lie one behind another along the atom axis, so that a batch needs no padding
and one structure is simply a batch with S = 1.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import ase
import numpy as np
import torch
from ase.stress import voigt_6_to_full_3x3_stress
from torch import Tensor

from uqlib.structures.bounds import half_list

DEFAULT_CUTOFF = 5.0  # Å
SHORTEST_DISTANCE = 0.1  # Å; closer than this is a mistake in the file, not chemistry
LABELS = ("energy", "forces", "stress")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """S structures, N atoms, E directed pairs: each pair of neighbours appears twice, once from either side.

    The vector of pair e runs from atom `i = pairs[0, e]` to the image of `j = pairs[1, e]`:
    `positions[j] + shifts[e] @ cell - positions[i]`. Pairs are sorted by i.
    """

    positions: Tensor  # (N, 3)     Å
    atomic_numbers: Tensor  # (N,)
    structure_of_atom: Tensor  # (N,)       0..S-1, sorted
    cell: Tensor  # (S, 3, 3)  Å; rows are lattice vectors, a row of zeros is a direction without periodicity
    pairs: Tensor  # (2, E)     i, j
    shifts: Tensor  # (E, 3)     whole cells to add to j
    reverse: Tensor  # (E,)       where in `pairs` the same pair stands seen from j
    cutoff: float  # Å
    energy: Tensor | None = None  # (S,)       eV, label; float64, since totals are thousands of eV
    forces: Tensor | None = None  # (N, 3)     eV/Å, label
    stress: Tensor | None = None  # (S, 3, 3)  eV/Å³, label; labels are nan where a structure has none, None if all

    @classmethod
    def from_atoms(
        cls,
        atoms: ase.Atoms | Sequence[ase.Atoms],
        *,
        cutoff: float = DEFAULT_CUTOFF,
        dtype: torch.dtype = torch.float32,
        labels: bool = True,
    ) -> Batch:
        """Structures from ASE, with labels where a calculator already holds them (nothing is computed).

        Where only some structures have a label it is nan for the others; with `labels=False` nobody looks for any.
        Raises ValueError for no structures, no atoms, positions that are not finite or have no end, more pairs than
        memory holds, unknown elements, atoms closer than 0.1 Å, flat cells, labels that are not finite or misshapen.
        """
        frames = [atoms] if isinstance(atoms, ase.Atoms) else list(atoms)
        if not frames:
            raise ValueError("atoms: got no structures, expected at least one; is the file or the split empty?")
        if not 0 < cutoff < math.inf:
            raise ValueError(f"cutoff: got {cutoff}, expected a positive distance in Å")
        for index, frame in enumerate(frames):
            _check_structure(frame, index)
        found = [_pairs_of_structure(f.positions, _lattice(f), cutoff, index) for index, f in enumerate(frames)]
        sizes = np.array([len(f) for f in frames])
        atom_offset = np.cumsum(sizes) - sizes
        counts = np.array([len(p[2]) for p in found])
        pair_offset = np.cumsum(counts) - counts
        stack = np.concatenate
        return cls(
            positions=torch.as_tensor(stack([f.positions for f in frames]), dtype=dtype),
            atomic_numbers=torch.as_tensor(stack([f.numbers for f in frames]), dtype=torch.long),
            structure_of_atom=torch.as_tensor(np.repeat(np.arange(len(frames)), sizes)),
            cell=torch.as_tensor(np.stack([_lattice(f) for f in frames]), dtype=dtype),
            pairs=torch.as_tensor(stack([p[0] + o for p, o in zip(found, atom_offset, strict=True)], axis=1)),
            shifts=torch.as_tensor(stack([p[1] for p in found]), dtype=dtype),
            reverse=torch.as_tensor(stack([p[2] + o for p, o in zip(found, pair_offset, strict=True)])),
            cutoff=float(cutoff),
            **(label_tensors(frames, dtype) if labels else {}),
        )

    @property
    def n_structures(self) -> int:
        return len(self.cell)

    @property
    def n_atoms(self) -> int:
        return len(self.positions)

    @property
    def n_pairs(self) -> int:
        return self.pairs.shape[1]

    @cached_property
    def atoms_per_structure(self) -> Tensor:
        """(S,) numbers of atoms."""
        return torch.bincount(self.structure_of_atom, minlength=self.n_structures)

    @cached_property
    def pairs_per_structure(self) -> Tensor:
        """(S,) numbers of directed pairs."""
        return torch.bincount(self.structure_of_atom[self.pairs[0]], minlength=self.n_structures)

    def vectors(self) -> Tensor:
        """(E, 3) from each atom i to its neighbour j, Å; differentiable where positions or cell are."""
        i, j = self.pairs
        cell = self.cell.index_select(0, self.structure_of_atom.index_select(0, i))
        shift = (self.shifts.unsqueeze(1) @ cell)[:, 0]
        return self.positions.index_select(0, j) - self.positions.index_select(0, i) + shift

    def select(self, structures: Tensor | Sequence[int]) -> Batch:
        """The named structures, in that order, as a new batch: a few tensor operations, no new neighbour search.

        This is how training assembles its batches: the pairs of a data set are found once.
        """
        chosen = torch.as_tensor(structures, dtype=torch.long, device=self.positions.device)
        if chosen.ndim != 1 or len(chosen) == 0:
            raise ValueError(f"structures: got shape {tuple(chosen.shape)}, expected a non-empty list of indices")
        if int(chosen.min()) < 0 or int(chosen.max()) >= self.n_structures:
            raise ValueError(f"structures: got indices {chosen.tolist()}, expected 0 to {self.n_structures - 1}")
        sizes, counts = self.atoms_per_structure[chosen], self.pairs_per_structure[chosen]
        atoms, atom_move = _gather_ranges(self.atoms_per_structure, chosen)
        pairs, pair_move = _gather_ranges(self.pairs_per_structure, chosen)
        return replace(
            self,
            positions=self.positions.index_select(0, atoms),
            atomic_numbers=self.atomic_numbers.index_select(0, atoms),
            structure_of_atom=torch.repeat_interleave(sizes),
            cell=self.cell.index_select(0, chosen),
            pairs=self.pairs.index_select(1, pairs) + torch.repeat_interleave(atom_move, counts),
            shifts=self.shifts.index_select(0, pairs),
            reverse=self.reverse.index_select(0, pairs) + torch.repeat_interleave(pair_move, counts),
            energy=None if self.energy is None else self.energy.index_select(0, chosen),
            forces=None if self.forces is None else self.forces.index_select(0, atoms),
            stress=None if self.stress is None else self.stress.index_select(0, chosen),
        )

    def at(self, positions: Tensor, *, update_pairs: bool = True) -> Batch:
        """The same atoms elsewhere, without labels. `positions` (N, 3) Å may require a gradient.

        With `update_pairs=False` the old pairs are kept: right for gradients and for steps far smaller than
        what would bring atoms across the cutoff.
        """
        if positions.shape != self.positions.shape:
            raise ValueError(
                f"positions: got shape {tuple(positions.shape)}, expected {tuple(self.positions.shape)}, a row an atom"
            )
        moved = replace(self, positions=positions, energy=None, forces=None, stress=None)
        return moved._with_new_pairs() if update_pairs else moved

    def to(self, target: torch.dtype | torch.device | str) -> Batch:
        """The same batch in another floating-point type or on another device. Energies stay float64."""
        dtype = target if isinstance(target, torch.dtype) else None

        def move(name: str, tensor: Tensor) -> Tensor:
            if dtype is None:
                return tensor.to(target)
            return tensor.to(dtype) if tensor.is_floating_point() and name != "energy" else tensor

        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: move(k, v) for k, v in tensors.items() if isinstance(v, Tensor)})

    def _with_new_pairs(self) -> Batch:
        points = self.positions.detach().cpu().double().numpy()
        cells = self.cell.detach().cpu().double().numpy()
        sizes = self.atoms_per_structure.cpu().numpy()
        pairs, shifts, reverse, atom, pair = [], [], [], 0, 0
        for index, size in enumerate(sizes):
            p, s, r = _pairs_of_structure(points[atom : atom + size], cells[index], self.cutoff, index)
            pairs.append(p + atom)
            shifts.append(s)
            reverse.append(r + pair)
            atom, pair = atom + size, pair + len(r)
        device = self.positions.device
        return replace(
            self,
            pairs=torch.as_tensor(np.concatenate(pairs, axis=1), device=device),
            shifts=torch.as_tensor(np.concatenate(shifts), dtype=self.positions.dtype, device=device),
            reverse=torch.as_tensor(np.concatenate(reverse), device=device),
        )


def _pairs_of_structure(points: np.ndarray, cell: np.ndarray, cutoff: float, index: int):
    """Directed pairs (2, E) sorted by i, their shifts (E, 3) and the reverse of each (E,), for one structure.

    The search gives each pair once; writing it down from both sides makes `reverse` known without a search.
    """
    periodic = np.abs(cell).sum(axis=1) > 0
    i, j, shift, distance = half_list(points, cell, periodic, cutoff, f"positions of structure {index}")
    if len(distance) and distance.min() < SHORTEST_DISTANCE:
        worst = int(distance.argmin())
        raise ValueError(
            f"positions of structure {index}: atoms {int(i[worst])} and {int(j[worst])} are {distance[worst]:.3g} Å "
            f"apart, expected at least {SHORTEST_DISTANCE} Å; remove the structure or mend its positions or cell"
        )
    half = len(i)
    pairs = np.array([np.concatenate([i, j]), np.concatenate([j, i])], dtype=np.int64).reshape(2, 2 * half)
    shift = np.concatenate([shift, -shift.astype(np.int64)]).reshape(2 * half, 3)
    order = np.lexsort((pairs[1], pairs[0]))
    place = np.empty_like(order)
    place[order] = np.arange(2 * half)
    return pairs[:, order], shift[order], place[(order + half) % (2 * half)] if half else order


def _check_structure(frame: ase.Atoms, index: int) -> None:
    if len(frame) == 0:
        raise ValueError(f"atoms: structure {index} has no atoms, expected at least one")
    numbers = frame.numbers
    if numbers.min() < 1 or numbers.max() > 118:
        raise ValueError(f"atoms: structure {index} has atomic numbers {sorted(set(numbers))}, expected 1 to 118")
    lattice = _lattice(frame)
    periodic = lattice[np.abs(lattice).sum(axis=1) > 0]
    if not np.isfinite(lattice).all() or (
        len(periodic) and np.linalg.svd(periodic, compute_uv=False).min() < SHORTEST_DISTANCE
    ):
        raise ValueError(f"atoms: structure {index} has the flat cell {lattice.tolist()} Å, expected one with a volume")
    if frame.pbc.sum() != len(periodic):
        raise ValueError(
            f"atoms: structure {index} is periodic along {frame.pbc.tolist()} but its cell is {lattice.tolist()} Å; "
            "give a lattice vector for each periodic direction or set pbc=False"
        )


def _lattice(frame: ase.Atoms) -> np.ndarray:
    """(3, 3) Å, rows of zeros where the structure is not periodic."""
    return np.asarray(frame.cell) * frame.pbc[:, None]


def label_tensors(
    frames: Sequence[ase.Atoms], dtype: torch.dtype, *, given: Container[str] = ()
) -> dict[str, Tensor | None]:
    """Energy (S,), forces (N, 3) and stress (S, 3, 3) that calculators already know; errors as `Batch.from_atoms`.

    Those in `given`, of a set that these frames are a part of, are nan, not None, where none of the frames has them.
    """
    types = {"energy": torch.float64, "forces": dtype, "stress": dtype}
    return {name: _labels(frames, name, types[name], given=name in given) for name in LABELS}


def _labels(frames: Sequence[ase.Atoms], name: str, dtype: torch.dtype, *, given: bool) -> Tensor | None:
    """What the calculators of `frames` already know of `name`, nan where one does not, None where none does.

    With `given`, all nan in place of None.
    """
    known = [None if frame.calc is None else frame.calc.results.get(name) for frame in frames]
    if not given and all(value is None for value in known):
        return None
    values = []
    for index, (frame, value) in enumerate(zip(frames, known, strict=True)):
        expected = {"energy": (), "forces": (len(frame), 3), "stress": (6,)}[name]
        array = np.full(expected, np.nan) if value is None else np.asarray(value, dtype=np.float64)
        of = f"{name}: structure {index}"
        if group := frame.info.get("group"):
            of += f" (of {group!r})"
        if array.shape != expected:
            raise ValueError(f"{of} has one of shape {array.shape}, expected {expected}")
        if value is not None and not np.isfinite(array).all():
            raise ValueError(f"{of} has a label that is not finite; remove the label or the structure")
        values.append(voigt_6_to_full_3x3_stress(array) if name == "stress" else array)
    return torch.as_tensor(np.concatenate(values) if name == "forces" else np.stack(values), dtype=dtype)


def _gather_ranges(counts: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of all items of the chosen structures, and (per chosen structure) how far its items move."""
    first = counts.cumsum(0) - counts
    taken = counts[chosen]
    move = (taken.cumsum(0) - taken) - first[chosen]
    total = torch.arange(int(taken.sum()), device=counts.device)
    return total - torch.repeat_interleave(move, taken), move
