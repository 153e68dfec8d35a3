"""Molecular dynamics on a cheap surface (GFN2-xTB), to propose geometries for labelling."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution


def xtb() -> Calculator:
    """A GFN2-xTB calculator; tblite is needed only by those who make new plans."""
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", verbosity=0)


def langevin(
    atoms: Atoms,
    temperature: float,
    *,
    rng: np.random.Generator,
    equilibrate: float,
    every: float,
    count: int,
    time_step: float = 0.5,
    friction: float = 0.01,
) -> list[Atoms]:
    """Sample `count` bare geometries, one every `every` fs after `equilibrate` fs of Langevin dynamics on GFN2-xTB.

    `temperature` in K, `time_step` in fs, `friction` in 1/fs. GFN2-xTB: J. Chem. Theory Comput. 15, 1652 (2019).
    The geometries differ between machines in the long run (chaos), which is why plans are committed.
    """
    moving = Atoms(numbers=atoms.numbers, positions=atoms.positions)
    moving.calc = xtb()
    MaxwellBoltzmannDistribution(moving, temperature_K=temperature, rng=rng)
    dynamics = Langevin(
        moving, time_step * units.fs, temperature_K=temperature, friction=friction / units.fs, rng=rng, fixcm=False
    )
    dynamics.run(round(equilibrate / time_step))
    frames = []
    for _ in range(count):
        dynamics.run(round(every / time_step))
        frames.append(Atoms(numbers=moving.numbers, positions=moving.positions - moving.get_center_of_mass()))
    return frames
