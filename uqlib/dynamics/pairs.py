"""Neighbour pairs that are found once in a while: a search reaches a skin further than the network looks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from uqlib.structures.batch import Batch


class SkinPairs:
    """Pairs of all replicas within cutoff + skin; from them, at every step, those within the cutoff.

    A replica is searched anew when one of its atoms has moved by more than half the skin since its last search
    (counted without the drift of the whole, which no distance feels). Pairs beyond the cutoff are taken out, since a
    network's cutoff function need not stay zero there: what is predicted is exactly what fresh pairs would give.
    """

    def __init__(self, wide: Batch, *, cutoff: float) -> None:
        """`wide`: all replicas, with pairs up to cutoff + skin."""
        self.wide, self.cutoff, self.skin = wide, cutoff, wide.cutoff - cutoff
        self.searches = wide.n_structures
        self._found_at = wide.positions.double()
        self._offset = pair_offsets(wide)

    def at(self, positions: Tensor) -> Batch:
        """The batch at positions (N, 3) Å, with the pairs that the network must see.

        Raises ValueError where atoms are on top of each other; the pairs are then as they were.
        """
        wide = self.wide
        moved = positions - self._found_at
        sizes = wide.atoms_per_structure
        drift = moved.new_zeros(len(sizes), 3).index_add(0, wide.structure_of_atom, moved) / sizes[:, None]
        far = (moved - drift[wide.structure_of_atom]).square().sum(-1) > (self.skin / 2) ** 2
        if bool(far.any()):
            self._search(torch.unique(wide.structure_of_atom[far]), positions)
        return self._within_cutoff(positions.to(wide.positions.dtype))

    def keep(self, replicas: Tensor, atoms: Tensor) -> None:
        """From now on only these replicas, whose atoms are these."""
        self.wide = self.wide.select(replicas)
        self._found_at = self._found_at[atoms]
        self._offset = pair_offsets(self.wide)

    def _search(self, stale: Tensor, positions: Tensor) -> None:
        wide, count = self.wide, self.wide.n_structures
        all_replicas = torch.arange(count, device=stale.device)
        is_stale = torch.isin(all_replicas, stale)
        atoms = is_stale[wide.structure_of_atom]
        fresh = wide.select(stale).at(positions[atoms].to(wide.positions.dtype))
        rest = all_replicas[~is_stale]
        if len(rest):
            order = torch.argsort(torch.cat([stale, rest]))
            fresh = _joined(fresh, wide.select(rest)).select(order)
        self.wide, self._offset = fresh, pair_offsets(fresh)
        self._found_at = torch.where(atoms[:, None], positions, self._found_at)
        self.searches += len(stale)

    def _within_cutoff(self, positions: Tensor) -> Batch:
        wide = self.wide
        i, j = wide.pairs
        vector = positions.index_select(0, j) - positions.index_select(0, i) + self._offset
        near = vector.square().sum(-1) < self.cutoff**2
        if bool(near.all()):
            return replace(wide, positions=positions, cutoff=self.cutoff)
        near = near & near[wide.reverse]
        place = near.cumsum(0) - 1
        return replace(
            wide,
            positions=positions,
            cutoff=self.cutoff,
            pairs=wide.pairs[:, near],
            shifts=wide.shifts[near],
            reverse=place[wide.reverse[near]],
        )


def pair_offsets(batch: Batch) -> Tensor:
    """(E, 3) Å, what a pair's shift adds to its vector."""
    return (batch.shifts[:, None] @ batch.cell[batch.structure_of_atom[batch.pairs[0]]])[:, 0]


def pair_vectors(batch: Batch, positions: Tensor) -> Tensor:
    """(E, 3) Å from i to j."""
    i, j = batch.pairs
    return positions[j] - positions[i] + pair_offsets(batch).to(positions.dtype)


def _joined(first: Batch, second: Batch) -> Batch:
    """Two batches without labels as one."""
    return replace(
        first,
        positions=torch.cat([first.positions, second.positions]),
        atomic_numbers=torch.cat([first.atomic_numbers, second.atomic_numbers]),
        structure_of_atom=torch.cat([first.structure_of_atom, second.structure_of_atom + first.n_structures]),
        cell=torch.cat([first.cell, second.cell]),
        pairs=torch.cat([first.pairs, second.pairs + first.n_atoms], dim=1),
        shifts=torch.cat([first.shifts, second.shifts]),
        reverse=torch.cat([first.reverse, second.reverse + first.n_pairs]),
    )
