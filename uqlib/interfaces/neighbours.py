"""Neighbours of one structure that moves little from call to call: searched once in a while, and a little further."""

from __future__ import annotations

from dataclasses import replace

import ase
import numpy as np
import torch
from ase.geometry import complete_cell

from uqlib.structures.batch import SHORTEST_DISTANCE, Batch


class KeptNeighbours:
    """Pairs within `cutoff` + `skin` Å, kept while none that is not among them can have come within the cutoff.

    What a batch holds are those within the cutoff, no others: a network's cutoff function need not stay zero beyond.
    The predictions are those of a fresh search, digit for digit where no atom sees two images of another; there the
    images may be added in another order. Verlet, Phys. Rev. 159, 98 (1967).
    """

    def __init__(self, cutoff: float, *, skin: float) -> None:
        """Raises ValueError for a negative skin; with 0 every batch is searched anew."""
        if not 0 <= skin < np.inf:
            raise ValueError(f"skin: got {skin}, expected a distance in Å, 0 to search at every step")
        self.cutoff, self.skin = cutoff, skin
        self.searches = 0
        self._wide: Batch | None = None
        self._found_at = ase.Atoms()

    def batch(self, atoms: ase.Atoms, *, dtype: torch.dtype) -> Batch:
        """The structure as it is now, without labels, on the CPU. Errors as `Batch.from_atoms`."""
        if self._wide is None or not self._still_holds(atoms):
            self._wide = None  # should the search fail
            self._found_at = ase.Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            self.searches += 1
            self._wide = Batch.from_atoms(self._found_at, cutoff=self.cutoff + self.skin, dtype=torch.float64)
        positions = torch.as_tensor(atoms.positions, dtype=torch.float64)
        cell = torch.as_tensor(np.asarray(atoms.cell) * atoms.pbc[:, None])[None]
        return self._within_cutoff(replace(self._wide, positions=positions, cell=cell)).to(dtype)

    def _still_holds(self, atoms: ase.Atoms) -> bool:
        """Whether no pair from beyond the skin can be within the cutoff now.

        The cell may have changed: r -> r F takes each lattice vector to where it is now. A pair's vector is then
        stretched by F, by no less than its smallest singular value, and changed by how its two atoms moved besides.
        """
        before = self._found_at
        if not (np.array_equal(atoms.numbers, before.numbers) and np.array_equal(atoms.pbc, before.pbc)):
            return False
        carried, least = before.positions, 1.0
        if before.pbc.any() and not np.array_equal(atoms.cell, before.cell):
            was, now = (complete_cell(np.asarray(a.cell) * a.pbc[:, None]) for a in (before, atoms))
            stretch = np.linalg.solve(was, now)
            carried, least = before.positions @ stretch, np.linalg.svd(stretch, compute_uv=False).min()
        moved = atoms.positions - carried
        moved = moved - moved.mean(axis=0)  # no distance feels a drift of the whole
        farthest = np.sqrt((moved**2).sum(axis=1).max())
        return bool(least * (self.cutoff + self.skin) - 2 * farthest > self.cutoff)  # false for nan

    def _within_cutoff(self, wide: Batch) -> Batch:
        distance = wide.vectors().norm(dim=1)
        if wide.n_pairs and float(distance.min()) < SHORTEST_DISTANCE:
            self._wide = None
            frame = ase.Atoms(wide.atomic_numbers.numpy(), positions=wide.positions.numpy(), cell=wide.cell[0].numpy())
            frame.pbc = self._found_at.pbc
            return Batch.from_atoms(frame, cutoff=self.cutoff, dtype=torch.float64)  # which says what is wrong
        near = distance < self.cutoff
        near = near & near[wide.reverse]
        place = near.cumsum(0) - 1
        return replace(
            wide,
            cutoff=self.cutoff,
            pairs=wide.pairs[:, near],
            shifts=wide.shifts[near],
            reverse=place[wide.reverse[near]],
        )
