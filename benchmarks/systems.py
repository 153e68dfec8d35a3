"""The structures that are timed: made here, seeded, so that every run sees the same ones."""

from __future__ import annotations

import ase
import numpy as np
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.spacegroup import crystal


def ammonia() -> list[ase.Atoms]:
    """One NH3 molecule, 4 atoms."""
    return [_rattled(molecule("NH3"), 0.05, seed=0)]


def ethanol(count: int) -> list[ase.Atoms]:
    """`count` ethanol molecules of 9 atoms, each displaced by 0.1 Å: what the frames of hot dynamics look like."""
    return [_rattled(molecule("CH3CH2OH"), 0.1, seed=seed) for seed in range(count)]


def silica(repeat: int) -> list[ase.Atoms]:
    """One periodic cell of alpha quartz, 9·repeat³ atoms (`repeat` 2: 72, 4: 576), displaced by 0.1 Å."""
    quartz = crystal(
        ["Si", "O"],
        [(0.4697, 0.0, 2 / 3), (0.4135, 0.2669, 0.7858)],
        spacegroup=154,
        cellpar=[4.916, 4.916, 5.405, 90, 90, 120],
    )
    return [_rattled(quartz.repeat(repeat), 0.1, seed=0)]


SYSTEMS = {
    "eth32": lambda: ethanol(32),
    "SiO2-72": lambda: silica(2),
    "SiO2-576": lambda: silica(4),
}


def _rattled(atoms: ase.Atoms, size: float, *, seed: int) -> ase.Atoms:
    """A displaced copy with labels of the right size and no meaning: time does not depend on them."""
    numbers = np.random.default_rng(seed)
    moved = ase.Atoms(atoms.numbers, atoms.positions + size * numbers.normal(size=(len(atoms), 3)))
    moved.set_cell(atoms.cell)
    moved.set_pbc(atoms.pbc)
    moved.calc = SinglePointCalculator(moved, energy=numbers.normal(), forces=numbers.normal(size=(len(atoms), 3)))
    return moved
