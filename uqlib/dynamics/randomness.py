"""Random velocities and random pushes, with a generator for each replica: none depends on which others there are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import ase
import ase.units
import numpy as np
import torch
from torch import Tensor

from uqlib.dynamics.constraints import free_coordinates
from uqlib.structures.units import ANGSTROM_FS2_PER_EV_ANGSTROM_AMU, KB

NOISE_BLOCK = 64  # steps for which a replica's random numbers are drawn at once


class Noise:
    """Standard normal numbers, a generator for each replica: none depends on which others are in the batch."""

    def __init__(self, sizes: Sequence[int], *, seed: int) -> None:
        self.sizes = list(sizes)
        self.generators = [generator(seed, "noise", replica) for replica in range(len(self.sizes))]
        self._block, self._used = torch.empty(0), NOISE_BLOCK

    def draw(self) -> Tensor:
        """(N, 3) float64, on the CPU."""
        if self._used == NOISE_BLOCK:
            parts = [
                torch.randn(NOISE_BLOCK, size, 3, generator=random, dtype=torch.float64)
                for size, random in zip(self.sizes, self.generators, strict=True)
            ]
            self._block, self._used = torch.cat(parts, dim=1), 0
        self._used += 1
        return self._block[self._used - 1]

    def keep(self, replicas: Sequence[int], atoms: Tensor) -> None:
        """From now on only for these."""
        self.sizes = [self.sizes[r] for r in replicas]
        self.generators = [self.generators[r] for r in replicas]
        if self._used < NOISE_BLOCK:
            self._block = self._block[:, atoms.cpu()]


def generator(seed: int, purpose: str, replica: int) -> torch.Generator:
    """A generator of its own for each replica and purpose, repeatable by `seed`."""
    words = np.random.SeedSequence([seed, replica, *purpose.encode()]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]) % 2**63)


def thermal(atoms: ase.Atoms, *, temperature: float, replicas: int, seed: int) -> list[ase.Atoms]:
    """Copies of a structure with velocities drawn from Maxwell and Boltzmann at `temperature` K, without drift.

    Coordinates that `FixAtoms` or `FixCartesian` hold get none; ValueError for other constraints of ASE.

    Each copy has random numbers of its own: the first ten of a hundred are the ten that one would get alone.
    """
    check_positive(replicas=replicas)
    return thermal_each([atoms] * replicas, temperature=temperature, seed=seed)


def thermal_each(starts: Sequence[ase.Atoms], *, temperature: float, seed: int) -> list[ase.Atoms]:
    """The same for one copy of each of several structures."""
    check_positive(temperature=temperature)
    copies = []
    for replica, atoms in enumerate(starts):
        masses = torch.as_tensor(atoms.get_masses())[:, None]
        random = generator(seed, "velocities", replica)
        normal = torch.randn(len(atoms), 3, generator=random, dtype=torch.float64)
        velocities = normal * thermal_variance(masses, temperature).sqrt()
        free = free_coordinates([atoms], name="atoms")
        if free is not None:
            velocities = velocities * free
        if len(atoms) > 1:
            drift = (masses * velocities).sum(0) / masses.sum()
            if free is not None:  # it is conserved, and no heat, only along axes along which nothing is held
                drift = torch.where(free.all(0), drift, 0.0)
            velocities = velocities - drift
        copy = atoms.copy()
        copy.set_velocities(velocities.numpy() / ase.units.fs)
        copies.append(copy)
    return copies


def thermal_variance(masses: Tensor, temperature: float) -> Tensor:
    """kT/m (N, 1) Å²/fs² of masses (N, 1) amu at `temperature` K."""
    return KB * temperature * ANGSTROM_FS2_PER_EV_ANGSTROM_AMU / masses


def check_positive(**numbers: float) -> None:
    """Raise ValueError, naming the argument, for what is no positive number."""
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name}: got {number}, expected a positive number")
