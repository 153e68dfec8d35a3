"""Cheaper ways to new structures, which an attack must beat to be worth its trouble."""

from __future__ import annotations

from collections.abc import Iterator

import ase
import numpy as np
import torch
from ase import units
from ase.md.langevin import Langevin

from uqlib.attack.screening import uncertainty_of
from uqlib.calculator import UncertaintyCalculator
from uqlib.datasets import Dataset
from uqlib.prediction import Predictor


def random_displacement(seeds: Dataset, *, scale: float, number: int, seed: int) -> list[ase.Atoms]:
    """`number` structures: the seeds in turn, each coordinate displaced by a Gaussian of standard deviation `scale` Å.

    Raises ValueError for a number below 1 or a negative scale.
    """
    _check(number=number)
    if not scale >= 0:
        raise ValueError(f"scale: got {scale}, expected 0 Å or more")
    random = np.random.default_rng(seed)
    found = []
    for k in range(number):
        atoms = _plain(seeds.atoms[k % len(seeds)], "random displacement")
        atoms.positions += random.normal(scale=scale, size=atoms.positions.shape)
        found.append(atoms)
    return found


def plain_dynamics(
    predictor: Predictor,
    seeds: Dataset,
    *,
    temperature: float,
    steps: int,
    number: int,
    seed: int,
    every: int = 10,
    timestep: float = 0.5,
    dtype: torch.dtype = torch.float32,
) -> list[ase.Atoms]:
    """`number` frames, drawn at random, of Langevin dynamics on the predictor's forces.

    Args:
        seeds: one trajectory starts from each.
        temperature: K.
        steps: of each trajectory, `timestep` fs each.
        number: frames to return; fewer where the trajectories have fewer.
        seed: of velocities, of the thermostat and of the choice.
        every: steps from one frame to the next.
        dtype: the predictor's.

    A trajectory that leaves what can be computed ends there. Raises ValueError for a number, steps, or `every` below 1
    and for a temperature or time step that is not positive.
    """
    _check(number=number)
    frames = _frames(predictor, seeds, temperature, steps, every, timestep, seed, dtype)
    chosen = np.random.default_rng([seed, 1]).permutation(len(frames))[:number]
    return [frames[int(k)] for k in chosen]


def picked_from_dynamics(
    predictor: Predictor,
    seeds: Dataset,
    *,
    temperature: float,
    steps: int,
    number: int,
    seed: int,
    every: int = 10,
    timestep: float = 0.5,
    dtype: torch.dtype = torch.float32,
) -> list[ase.Atoms]:
    """The `number` most uncertain frames of the same dynamics, the worst first; arguments as `plain_dynamics`."""
    _check(number=number)
    frames = _frames(predictor, seeds, temperature, steps, every, timestep, seed, dtype)
    if not frames:
        return []
    uncertainty = np.nan_to_num(uncertainty_of(predictor, frames, dtype), nan=-np.inf)
    return [frames[int(k)] for k in np.argsort(-uncertainty, kind="stable")[:number]]


def _frames(predictor: Predictor, seeds: Dataset, temperature: float, steps: int, every: int, timestep: float,
            seed: int, dtype: torch.dtype) -> list[ase.Atoms]:  # fmt: skip
    _check(steps=steps, every=every)
    for name, value in (("temperature", temperature), ("timestep", timestep)):
        if not value > 0:
            raise ValueError(f"{name}: got {value}, expected more than 0")
    found = []
    for k, start in enumerate(seeds.atoms):
        random = np.random.default_rng([seed, 0, k])  # of this trajectory alone, however many there are
        calculator = UncertaintyCalculator(predictor, dtype=dtype)
        found += list(_langevin(start, calculator, temperature, steps, every, timestep, random))
    return found


def _langevin(start: ase.Atoms, calculator: UncertaintyCalculator, temperature: float, steps: int, every: int,
              timestep: float, random: np.random.Generator) -> Iterator[ase.Atoms]:  # fmt: skip
    """Every `every`-th frame of one trajectory; friction 1/(100 fs)."""
    atoms = _plain(start, "dynamics")
    atoms.calc = calculator
    spread = np.sqrt(atoms.get_masses() * units.kB * temperature)[:, None]
    atoms.set_momenta(spread * random.normal(size=atoms.positions.shape))
    dynamics = Langevin(
        atoms, timestep * units.fs, temperature_K=temperature, friction=0.01 / units.fs, fixcm=False, rng=random
    )
    for _ in range(steps // every):
        try:
            dynamics.run(every)
        except ValueError:  # `Batch` refuses positions that are not finite and atoms on top of each other
            return
        frame = _plain(atoms, "dynamics")
        if not np.isfinite(frame.positions).all():
            return
        yield frame


def _plain(atoms: ase.Atoms, source: str) -> ase.Atoms:
    """A copy without labels, velocities and what was known of the original."""
    copy = ase.Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    copy.info = {"source": source}
    return copy


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 1")
