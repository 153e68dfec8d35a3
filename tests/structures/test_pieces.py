"""Batches counted in pairs: what is in them, how large they get, and what is kept."""

from __future__ import annotations

from typing import Any

import ase
import numpy as np
import pytest
import samples
import torch
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from samples import rattled

from uqlib.structures import pieces as module
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset
from uqlib.structures.pieces import pieces

CUTOFF = 4.0


def dataset(*frames: ase.Atoms) -> Dataset:
    return Dataset(name="frames", atoms=frames)


def cut(data: Dataset, **options: Any) -> list[Batch]:
    return list(pieces(data, cutoff=CUTOFF, dtype=torch.float64, **options))


def cells(number: int) -> list[ase.Atoms]:
    found = [bulk("Cu", "fcc", a=3.6, cubic=True) * (2, 2, 2) for _ in range(number)]
    for seed, atoms in enumerate(found):
        atoms.rattle(0.05, seed=seed)
    return found


MIXED = dataset(*cells(3), rattled("H2O", 0), *cells(2), rattled("NH3", 1), ase.Atoms("He"), rattled("CH4", 2))


@pytest.mark.parametrize("most", [1, 500, 3000, 10**6])
def test_nothing_is_lost_and_nothing_is_too_large(most: int) -> None:
    found = cut(MIXED, max_pairs=most)
    whole = MIXED.batch(cutoff=CUTOFF, dtype=torch.float64)
    assert torch.cat([batch.positions for batch in found]).equal(whole.positions)
    assert sum(batch.n_pairs for batch in found) == whole.n_pairs
    assert all(batch.n_structures == 1 or batch.n_pairs <= most for batch in found)
    if most == 1:
        assert len(found) == len(MIXED)
    if most == 10**6:
        assert len(found) == 1


def test_an_atom_with_many_neighbours_makes_room_for_all() -> None:
    """A dense cell among lone atoms: each is given as many slots as the densest of its batch needs."""
    data = dataset(*cells(1), *(ase.Atoms("Cu") for _ in range(60)))
    assert len(cut(data, max_pairs=10**5)) == 1
    assert len(cut(data, max_pairs=1500)) == 2


def test_small_molecules_are_cut_by_their_number() -> None:
    """As they ever were: the rounding of a network's sums depends on what else is in the batch."""
    data = samples.dataset({"train": 230})
    found = cut(data, structures=100, max_pairs=50_000)
    assert [batch.n_structures for batch in found] == [100, 100, 30]
    for batch, chosen in zip(found, torch.arange(230).split(100), strict=True):
        same = data.batch(chosen, cutoff=CUTOFF, dtype=torch.float64)
        assert batch.pairs.equal(same.pairs)
        assert batch.positions.equal(same.positions)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Large as the library sees it."""
    monkeypatch.setattr(module, "KEPT_ATOMS", 50)
    monkeypatch.setattr(module, "SEARCHED_ATOMS", 70)
    return dataset(*cells(6))


def test_pairs_of_large_sets_are_not_kept(large: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """No search sees more than a few structures, none is remembered, and what comes out is the same."""
    searched: list[int] = []
    search = Batch.from_atoms

    def counted(frames: list[ase.Atoms], **options) -> Batch:
        searched.append(sum(map(len, frames)))
        return search(frames, **options)

    monkeypatch.setattr(Batch, "from_atoms", counted)
    found = cut(large, max_pairs=10**6)
    assert searched == [64, 64, 64]
    assert not large._batches
    whole = search(list(large.atoms), cutoff=CUTOFF, dtype=torch.float64)
    assert torch.cat([batch.positions for batch in found]).equal(whole.positions)
    some = large.batch([4, 1], cutoff=CUTOFF, dtype=torch.float64)
    assert some.pairs.equal(whole.select([4, 1]).pairs)
    assert not large._batches
    np.testing.assert_array_equal(large.batch(cutoff=CUTOFF).pairs, whole.pairs)  # all of it, asked for: kept


def test_a_part_of_a_large_set_has_the_labels_that_the_set_has(large: Dataset) -> None:
    """Energies of the last structure alone: in batches without it they are unknown, which is not the same as none."""
    last = large.atoms[-1]
    last.calc = SinglePointCalculator(last, energy=-3.5)
    unknown, known = large.batch([0, 1], cutoff=CUTOFF), large.batch([5, 2], cutoff=CUTOFF)
    assert unknown.energy is not None
    assert unknown.energy.isnan().all()
    assert known.energy is not None
    assert known.energy.isnan().tolist() == [False, True]
    assert known.forces is None
    assert not large._batches


def test_broken_labels_stop_only_those_who_look(large: Dataset) -> None:
    large.atoms[3].calc = SinglePointCalculator(large.atoms[3], energy=float("nan"))
    assert all(batch.energy is None for batch in cut(large, labels=False))
    with pytest.raises(ValueError, match="not finite"):
        cut(large)


@pytest.mark.parametrize("option", ["structures", "max_pairs"])
def test_limits_that_leave_nothing(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}: got 0, expected at least 1"):
        cut(MIXED, **{option: 0})
