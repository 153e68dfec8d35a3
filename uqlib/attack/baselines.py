"""Cheaper ways to new structures, which an attack must beat to be worth its trouble."""

from __future__ import annotations

from copy import deepcopy
from typing import Literal

import ase
import numpy as np
import torch

from uqlib.attack.screening import uncertainty_of
from uqlib.dynamics import Langevin, simulate, thermal_each
from uqlib.dynamics.constraints import free_coordinates
from uqlib.prediction import Predictor, placed
from uqlib.structures.datasets import Dataset


def random_displacement(seeds: Dataset, *, scale: float, number: int, seed: int) -> list[ase.Atoms]:
    """`number` structures: the seeds in turn, each coordinate displaced by a Gaussian of standard deviation `scale` Å.

    Coordinates that `FixAtoms` or `FixCartesian` hold stay. Raises ValueError for a number below 1, for a negative
    scale, and for other constraints of ASE.
    """
    _check(number=number)
    if not scale >= 0:
        raise ValueError(f"scale: got {scale}, expected 0 Å or more")
    random = np.random.default_rng(seed)
    found = []
    for k in range(number):
        atoms = _plain(seeds.atoms[k % len(seeds)], "random displacement")
        moves = random.normal(scale=scale, size=atoms.positions.shape)
        free = free_coordinates([atoms], name="seeds")
        atoms.positions += moves if free is None else moves * free.numpy()
        found.append(atoms)
    return found


def from_dynamics(
    predictor: Predictor,
    seeds: Dataset,
    *,
    pick: Literal["uncertain", "random"],
    temperature: float,
    steps: int,
    number: int,
    seed: int,
    every: int = 10,
    timestep: float = 0.5,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
) -> list[ase.Atoms]:
    """`number` frames of Langevin dynamics on the predictor's forces; fewer where there are fewer.

    Args:
        seeds: one trajectory starts from each.
        pick: the "uncertain" ones, the worst first, or "random" ones: dynamics as it comes.
        temperature: K.
        steps: of each trajectory, `timestep` fs each.
        number: frames to return.
        seed: of velocities, of the thermostat and of a random choice.
        every: steps from one frame to the next; the starts are no candidates.
        dtype, device: None: the predictor's own; otherwise it is brought there.

    A trajectory that leaves what can be computed ends there. Raises ValueError for another `pick`, a number below 1,
    and what `dynamics.simulate` refuses.
    """
    _check(number=number)
    if pick not in ("uncertain", "random"):
        raise ValueError(f"pick: got {pick!r}, expected 'uncertain' or 'random'")
    predictor = placed(predictor, device=device, dtype=dtype)
    # One batch, in which each replica has random numbers of its own, whoever runs beside it.
    moving = thermal_each(seeds.atoms, temperature=temperature, seed=seed)
    found = simulate(
        predictor,
        moving,
        integrator=Langevin(temperature=temperature),
        steps=steps,
        seed=seed,
        timestep=timestep,
        every=every,
        progress=False,
    )
    frames = [_plain(frame, "dynamics") for replica in range(len(moving)) for frame in found.frames(replica)[1:]]
    if not frames:
        return []
    if pick == "random":
        order = np.random.default_rng([seed, 1]).permutation(len(frames))
    else:
        uncertainty = np.nan_to_num(uncertainty_of(predictor, frames), nan=-np.inf)
        order = np.argsort(-uncertainty, kind="stable")
    return [frames[int(k)] for k in order[:number]]


def _plain(atoms: ase.Atoms, source: str) -> ase.Atoms:
    """A copy without labels, velocities and what was known of the original; constraints go along."""
    copy = ase.Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    copy.set_constraint(deepcopy(atoms.constraints))
    copy.info = {"source": source}
    return copy


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 1")
