"""Small structures and data sets that several tests share. Labels come from a pair potential: no network, no DFT."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import ase
import numpy as np
import torch
from ase.build import bulk, molecule
from ase.calculators.morse import MorsePotential
from ase.calculators.singlepoint import SinglePointCalculator

from uqlib.networks.painn import PaiNN
from uqlib.networks.training import Settings
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset

CUTOFF = 4.0  # Å
NETWORK = {"features": 8, "interactions": 2, "radial": 5, "cutoff": CUTOFF}
BRIEF = Settings(epochs=2, batch_size=4)
ATOM_ENERGIES = {1: -13.6, 7: -1485.3, 8: -2042.6}  # eV, of the order of what DFT gives


def rattled(name: str, seed: int, size: float = 0.08) -> ase.Atoms:
    """A molecule of ASE's collection ("H2O", "NH3", ...) with Gaussian displacements of `size` Å."""
    atoms = molecule(name)
    atoms.positions += np.random.default_rng(seed).normal(scale=size, size=atoms.positions.shape)
    return atoms


def crystal(seed: int = 0, *, cubic: bool = True) -> ase.Atoms:
    """Four atoms of N and H in a periodic cell, or the single atom of a skewed one that sees its own images."""
    atoms = bulk("N", "fcc", a=3.4, cubic=cubic)
    atoms.numbers[1::2] = 1
    atoms.positions += np.random.default_rng(seed).normal(scale=0.1, size=atoms.positions.shape)
    return atoms


def label(atoms: ase.Atoms) -> ase.Atoms:
    """A copy with energy and forces of a Morse potential, on top of energies of isolated atoms."""
    morse = MorsePotential(epsilon=1.0, r0=1.4, rho0=3.0, rcut1=3.0, rcut2=3.8)
    morse.calculate(atoms, ["energy", "forces"], [])
    known = atoms.copy()
    energy = morse.results["energy"] + sum(ATOM_ENERGIES.get(int(z), -1.0) for z in atoms.numbers)
    known.calc = SinglePointCalculator(known, energy=energy, forces=morse.results["forces"])
    return known


def skewed(seed: int) -> ase.Atoms:
    """The crystal in a cell without any right angle, labelled with energy, forces and stress of a Morse potential."""
    random = np.random.default_rng(seed)
    atoms = crystal(seed)
    stretch = np.eye(3) + random.normal(scale=0.06, size=(3, 3))
    atoms.set_cell(np.asarray(atoms.cell) @ stretch, scale_atoms=True)
    return stressed(atoms)


def stressed(atoms: ase.Atoms) -> ase.Atoms:
    """As `label`, with the stress of the same potential."""
    known = label(atoms)
    morse = MorsePotential(epsilon=1.0, r0=1.4, rho0=3.0, rcut1=3.0, rcut2=3.8)
    known.calc.results["stress"] = morse.get_stress(atoms)  # pyright: ignore[reportOptionalMemberAccess]
    return known


def with_cells(sizes: dict[str, int] | None = None, *, seed: int = 0) -> Dataset:
    """As `dataset`, of molecules without a stress and, every second one, of skewed cells with one."""
    molecules = dataset(sizes, seed=seed)
    frames = [skewed(1000 * seed + k) if k % 2 else frame for k, frame in enumerate(molecules.atoms)]
    return replace(molecules, name="cells", atoms=tuple(frames))


def dataset(
    sizes: dict[str, int] | None = None, *, seed: int = 0, names: Sequence[str] = ("H2O", "NH3", "O2")
) -> Dataset:
    """Labelled molecules of different sizes, in splits (12 train, 4 valid, 4 test where not said otherwise)."""
    sizes = sizes or {"train": 12, "valid": 4, "test": 4}
    total = sum(sizes.values())
    frames = tuple(label(rattled(names[i % len(names)], 1000 * seed + i)) for i in range(total))
    splits, start = {}, 0
    for split, size in sizes.items():
        splits[split] = tuple(range(start, start + size))
        start += size
    return Dataset(name="molecules", atoms=frames, splits=splits)


@functools.cache
def small_network(dtype: torch.dtype = torch.float64, *, seed: int = 0, heads: bool = False) -> PaiNN:
    """An untrained network for H, N and O, with references and a scale that are not trivial."""
    network = PaiNN(elements=list(ATOM_ENERGIES), seed=seed, heads={"spread": 2} if heads else None, **NETWORK)  # pyright: ignore[reportArgumentType]
    network.atom_energies.copy_(torch.tensor(list(ATOM_ENERGIES.values())))
    network.scale.fill_(0.7)
    return network.to(dtype)


def batch_of(*atoms: ase.Atoms, dtype: torch.dtype = torch.float64) -> Batch:
    """A batch in float64 with the pairs that the small networks want."""
    return Batch.from_atoms(list(atoms), cutoff=CUTOFF, dtype=dtype)


def strained(batch: Batch, strain: torch.Tensor) -> Batch:
    """Positions and cell stretched by 1 + strain (3, 3); the pairs stay."""
    stretch = torch.eye(3, dtype=strain.dtype) + strain
    return replace(batch, positions=batch.positions @ stretch, cell=batch.cell @ stretch)


def random_rotation(seed: int = 0) -> np.ndarray:
    """(3, 3) orthogonal matrix with determinant 1."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


def turned(atoms: ase.Atoms, matrix: np.ndarray) -> ase.Atoms:
    """Positions and cell times a (3, 3) orthogonal matrix, from the right."""
    moved = atoms.copy()
    moved.set_cell(np.asarray(atoms.cell) @ matrix, scale_atoms=False)
    moved.positions = atoms.positions @ matrix
    return moved


def slopes(function: Callable[[Batch], torch.Tensor], batch: Batch, step: float = 2e-5) -> torch.Tensor:
    """(N, 3) central differences of a function (Batch of S structures -> (S,)) at a batch with one structure.

    All displaced copies are one batch; their pairs are those of the original.
    """
    n = batch.positions.numel()
    moves = step * torch.eye(n, dtype=batch.positions.dtype).reshape(n, -1, 3)
    positions = torch.cat([batch.positions + moves, batch.positions - moves]).reshape(-1, 3)
    up, down = function(batch.select([0] * (2 * n)).at(positions, update_pairs=False)).split(n)
    return ((up - down) / (2 * step)).reshape(-1, 3)
