"""Large sets of structures a piece at a time: as many in a batch as memory holds, counted in pairs of neighbours.

What a network needs grows with the pairs in a batch, not with its structures: a hundred small molecules have as many as
one crystal of a few hundred atoms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import ase
import torch
from torch import Tensor

from uqlib.structures.batch import DEFAULT_CUTOFF, Batch

KEPT_ATOMS = 100_000  # of a set whose pairs are kept, at the default cutoff: some 5 million pairs, 0.2 GB
SEARCHED_ATOMS = 20_000  # whose pairs are looked for together


class Structures(Protocol):
    """What is read of a `Dataset`."""

    @property
    def atoms(self) -> tuple[ase.Atoms, ...]: ...

    def batch(
        self,
        indices: Sequence[int] | Tensor | None = None,
        *,
        cutoff: float = ...,
        dtype: torch.dtype = ...,
        labels: bool = ...,
    ) -> Batch: ...


def keeps_pairs(atoms: Sequence[ase.Atoms], cutoff: float) -> bool:
    """Whether the pairs of all these structures together are few enough to be kept."""
    return sum(map(len, atoms)) * (cutoff / DEFAULT_CUTOFF) ** 3 <= KEPT_ATOMS


def pieces(
    data: Structures,
    *,
    cutoff: float,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    structures: int = 100,
    max_pairs: int | None = None,
    labels: bool = True,
) -> Iterator[Batch]:
    """All of `data` in its order, in batches of at most `structures` structures and `max_pairs` directed pairs.

    Every atom counts as if it had as many neighbours as the atom of its batch that has most, and two more: that is the
    room it takes. A single structure with more pairs is a batch of its own. No more than a few batches are held at a
    time, unless `data` keeps the pairs of all its structures. `labels` as in `Dataset.batch`. Raises ValueError for
    limits below 1.
    """
    for name, value in (("structures", structures), ("max_pairs", max_pairs)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 1")
    for chosen in _searched_together([len(frame) for frame in data.atoms], structures):
        batch = data.batch(chosen, cutoff=cutoff, dtype=dtype, labels=labels)
        groups = [list(range(len(chosen)))] if max_pairs is None else _filled(*_loads(batch), max_pairs)
        for group in groups:
            yield (batch if len(groups) == 1 else batch.select(group)).to(device)


def _searched_together(sizes: Sequence[int], structures: int) -> list[Tensor]:
    """Indices of structures with so many atoms, in order, a list for each search of neighbours."""
    found = []
    for part in torch.arange(len(sizes)).split(structures):
        groups = _filled([sizes[int(k)] for k in part], [1] * len(part), SEARCHED_ATOMS)
        found += [part[torch.as_tensor(group)] for group in groups]
    return found


def _loads(batch: Batch) -> tuple[list[int], list[int]]:
    """Of each structure: its atoms, and the slots for neighbours that each of them needs."""
    neighbours = torch.bincount(batch.pairs[0], minlength=batch.n_atoms)
    most = neighbours.new_zeros(batch.n_structures).scatter_reduce(0, batch.structure_of_atom, neighbours, "amax")
    return batch.atoms_per_structure.tolist(), (most + 2).tolist()


def _filled(atoms: Sequence[int], slots: Sequence[int], limit: int) -> list[list[int]]:
    """Indices of structures, in order, in groups whose atoms times largest `slots` are at most `limit`.

    A structure that is larger alone is a group of its own.
    """
    groups: list[list[int]] = [[]]
    total = widest = 0
    for index, (size, slot) in enumerate(zip(atoms, slots, strict=True)):
        if groups[-1] and (total + size) * max(widest, slot) > limit:
            groups.append([])
            total = widest = 0
        groups[-1].append(index)
        total, widest = total + size, max(widest, slot)
    return groups
