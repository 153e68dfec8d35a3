"""Attacks and their rivals leave alone what is held."""

from __future__ import annotations

import copy

import ase
import numpy as np
import pytest
import samples
import torch
from ase.constraints import FixAtoms, FixCartesian, FixInternals

from uqlib.attack import attack, from_dynamics, random_displacement
from uqlib.methods.shared.committee import Committee
from uqlib.structures.datasets import Dataset

NETWORKS = Committee([copy.deepcopy(samples.small_network(seed=seed)) for seed in range(2)])
TRAIN = samples.dataset()["train"]


def held(atoms: ase.Atoms, *constraints: FixAtoms | FixCartesian) -> ase.Atoms:
    atoms.set_constraint(list(constraints))
    return atoms


def seeds() -> Dataset:
    molecule = held(samples.rattled("NH3", 0), FixAtoms([1]), FixCartesian([2, 3], mask=(False, False, True)))
    crystal = held(samples.crystal(), FixAtoms([0, -1]))
    return Dataset(name="held", atoms=(molecule, samples.rattled("H2O", 1), crystal))


FIXED = np.zeros((11, 3), dtype=bool)
FIXED[1] = FIXED[2:4, 2] = FIXED[[7, 10]] = True


def check(frames: list[ase.Atoms]) -> None:
    before = np.concatenate([atoms.positions for atoms in seeds().atoms])
    after = np.concatenate([atoms.positions for atoms in frames])
    np.testing.assert_array_equal(after[FIXED], before[FIXED])
    assert (after[~FIXED] != before[~FIXED]).all()
    for frame, seed in zip(frames, seeds().atoms, strict=True):
        assert [c.todict() for c in frame.constraints] == [c.todict() for c in seed.constraints]


def test_held_coordinates_are_not_attacked() -> None:
    options = {"temperature": 2000.0, "steps": 12, "seed": 4, "dtype": torch.float64}
    found = attack(NETWORKS, seeds(), TRAIN, **options)  # pyright: ignore[reportArgumentType]
    check(found.structures)
    for step in range(13):
        check([path[step] for path in found.paths])
    bare = [atoms.copy() for atoms in seeds().atoms]
    for atoms in bare:
        atoms.set_constraint()
    free = attack(NETWORKS, Dataset(name="free", atoms=tuple(bare)), TRAIN, **options)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(found.structures[1].positions, free.structures[1].positions, atol=1e-9)
    assert not np.allclose(found.structures[0].positions, free.structures[0].positions, atol=1e-3)


def test_under_strain_held_atoms_keep_their_place_in_the_cell() -> None:
    start = seeds().take([2])
    found = attack(NETWORKS, start, TRAIN, temperature=2000.0, steps=12, seed=4, strain=True, dtype=torch.float64)
    (end,), (before,) = found.structures, start.atoms
    assert np.abs(np.asarray(end.cell) - np.asarray(before.cell)).max() > 0.01
    places, old = end.get_scaled_positions(wrap=False), before.get_scaled_positions(wrap=False)
    np.testing.assert_allclose(places[[0, 3]], old[[0, 3]], atol=1e-12)
    assert np.abs(places[1:3] - old[1:3]).max() > 1e-3


def test_rivals_leave_them_alone_as_well() -> None:
    check(random_displacement(seeds(), scale=0.1, number=3, seed=0))
    frames = from_dynamics(
        NETWORKS, seeds(), pick="random", temperature=300, steps=10, every=10, number=3, seed=0, dtype=torch.float64
    )
    check(sorted(frames, key=lambda atoms: ["H3N", "H2O", "H2N2"].index(atoms.get_chemical_formula())))


def test_others_are_refused_by_name() -> None:
    start = held(samples.rattled("NH3", 0), FixInternals(bonds=[[1.0, [0, 1]]]))  # pyright: ignore[reportArgumentType]
    data = Dataset(name="one", atoms=(start,))
    with pytest.raises(ValueError, match="seeds: structure 0 has a FixInternals, expected FixAtoms or FixCartesian"):
        attack(NETWORKS, data, TRAIN, temperature=1000.0, steps=1, seed=0, dtype=torch.float64)
    with pytest.raises(ValueError, match="seeds: structure 0 has a FixInternals"):
        random_displacement(data, scale=0.1, number=1, seed=0)
