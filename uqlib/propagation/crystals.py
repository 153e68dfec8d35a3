"""Volume, bulk modulus and elastic constants of a crystal on each member's potential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ase
import ase.units
import numpy as np
import torch

from uqlib.prediction import Predictor
from uqlib.propagation.geometry import hessians, internal_axes, inverse
from uqlib.propagation.members import Array, Spread, along, precise

STRAIN = 2e-3
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))  # xx, yy, zz, yz, xz, xy, as in ASE
SIZES = tuple(np.linspace(0.94, 1.06, 7))


@dataclass(frozen=True, kw_only=True, eq=False)
class EquationOfState:
    """Where each member's energy is lowest as the cell swells and shrinks. 1 eV/Å³ is 160.2 GPa."""

    volume: Spread  # ()  Å³ of the cell
    bulk_modulus: Spread  # ()  eV/Å³
    energy: Spread  # (V,)  eV, at the volumes that were asked for
    density: Spread  # ()  g/cm³


def equation_of_state(
    predictor: Predictor, frames: ase.Atoms | Sequence[ase.Atoms], *, sizes: Sequence[float] = SIZES
) -> EquationOfState:
    """Volume of lowest energy of a crystal, with each member, from energies at several volumes.

    Birch, Phys. Rev. 71, 809 (1947): E is a polynomial of third degree in V^(-2/3), fitted by least squares.

    Args:
        predictor: with members.
        frames: one periodic structure, which is scaled evenly, or structures at several volumes, relaxed by you on the
            mean potential. (What a member would relax further counts to second order only.)
        sizes: volumes over that of the one structure, at least four.

    Raises:
        ValueError: fewer than four volumes, a structure without a volume, or an energy that is not lowest between them.
    """
    frames = [_scaled(frames, size) for size in sizes] if isinstance(frames, ase.Atoms) else list(frames)
    if len(frames) < 4 or not all(frame.pbc.all() for frame in frames):
        raise ValueError(
            f"frames: got {len(frames)} structures, expected at least 4 volumes, periodic in all directions"
        )
    volumes = np.array([frame.get_volume() for frame in frames])
    energies = along(precise(predictor), frames).energy.numpy()
    mean, each = _lowest(volumes, energies.mean(axis=0)), [_lowest(volumes, energy) for energy in energies]
    both = Spread(value=np.array(mean), members=np.array(each))
    mass = float(frames[0].get_masses().sum()) * ase.units._amu * 1e27  # g/cm³ times Å³
    return EquationOfState(
        volume=both.map(lambda pair: pair[0]),
        bulk_modulus=both.map(lambda pair: pair[1]),
        energy=Spread(value=energies.mean(axis=0), members=energies),
        density=both.map(lambda pair: mass / pair[0]),
    )


def elastic_constants(
    predictor: Predictor, atoms: ase.Atoms, *, relaxed: bool = True, strain: float = STRAIN
) -> Spread:
    """Elastic constants (6, 6) in eV/Å³ (times 160.2: GPa), Voigt order xx, yy, zz, yz, xz, xy, of each member.

    C = (E_ee - E_ex E_xx⁻¹ E_xe) / V, with second derivatives by strain e and positions x: the second term is what the
    atoms give way to inside the cell. Born, Huang, Dynamical Theory of Crystal Lattices (1954), section 11. All
    derivatives are taken at `atoms`, for each member alike: relax positions and cell on the mean potential first.
    Central differences of stress and forces. Where members have no stress, it is made from energies.

    Args:
        predictor: with members.
        atoms: periodic in all directions.
        relaxed: False leaves the second term out (positions follow the cell).
        strain: size of the differences.

    Raises:
        ValueError: a structure without a volume; else as `along`.
    """
    if not atoms.pbc.all():
        raise ValueError(f"atoms: periodic along {atoms.pbc.tolist()}, expected all directions: it has no volume")
    exact = precise(predictor)
    frames = [strained(atoms, sign * strain, k) for sign in (1, -1) for k in range(6)]
    tension, forces = _tension(exact, frames, strain), along(exact, frames).forces.numpy()
    of_strain = (tension[:, :6] - tension[:, 6:]) / (2 * strain)  # (M, 6, 6)
    pull = forces.reshape(len(forces), 12, -1)
    pull = (pull[:, :6] - pull[:, 6:]) / (2 * strain)  # (M, 6, 3N), minus E_ex
    axes = internal_axes(atoms)
    stiff = hessians(exact, atoms).members if relaxed else np.array([None] * len(pull))

    def constants(of_strain: Array, pull: Array, stiff: Array | None) -> Array:
        found = (of_strain + of_strain.T) / 2
        return (found if stiff is None else found - pull @ inverse(stiff, axes) @ pull.T) / atoms.get_volume()

    return Spread(
        value=constants(of_strain.mean(axis=0), pull.mean(axis=0), stiff.mean(axis=0) if relaxed else None),
        members=np.array([constants(*each) for each in zip(of_strain, pull, stiff, strict=True)]),
    )


def strained(atoms: ase.Atoms, size: float, component: int) -> ase.Atoms:
    """A copy under one strain of Voigt's six; of a shear, `size` is twice the entry of the symmetric matrix."""
    i, j = VOIGT[component]
    stretch = np.eye(3)
    stretch[i, j] += size / 2
    stretch[j, i] += size / 2
    found = ase.Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    found.set_cell(np.asarray(atoms.cell) @ stretch, scale_atoms=True)
    return found


def _tension(predictor: Predictor, frames: list[ase.Atoms], strain: float) -> Array:
    """(M, S, 6) dE/d(strain) of each frame, eV: stress times volume."""
    stress = along(predictor, frames).stress
    if stress is not None:
        volumes = torch.as_tensor([frame.get_volume() for frame in frames], dtype=torch.float64)
        full = (stress * volumes[:, None, None]).numpy()
        return np.stack([full[..., i, j] for i, j in VOIGT], axis=-1)
    copies = [strained(frame, sign * strain, k) for frame in frames for sign in (1, -1) for k in range(6)]
    energy = along(predictor, copies).energy.numpy().reshape(-1, len(frames), 2, 6)
    return (energy[:, :, 0] - energy[:, :, 1]) / (2 * strain)


def _lowest(volumes: Array, energies: Array) -> tuple[float, float]:
    """Volume of lowest energy, Å³, and bulk modulus there, V d²E/dV², eV/Å³."""
    middle = volumes.mean()
    x = (volumes / middle) ** (-2 / 3)
    fit = np.poly1d(np.polyfit(x - 1, energies - energies.min(), 3))
    roots = [float(r.real) + 1 for r in np.roots(fit.deriv()) if abs(r.imag) < 1e-9]
    lowest = [r for r in roots if x.min() <= r <= x.max() and float(fit.deriv(2)(r - 1)) > 0]
    if len(lowest) != 1:
        raise ValueError(
            f"frames: a member's energy is not lowest between the volumes {volumes.min():.4g} and {volumes.max():.4g} "
            "Å³; take others, or more of them"
        )
    volume = middle * lowest[0] ** -1.5
    slope = -2 / 3 * lowest[0] / volume  # dx/dV, where dE/dx is zero
    return volume, volume * float(fit.deriv(2)(lowest[0] - 1)) * slope**2


def _scaled(atoms: ase.Atoms, size: float) -> ase.Atoms:
    found = ase.Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    found.set_masses(atoms.get_masses().tolist())
    found.set_cell(np.asarray(atoms.cell) * size ** (1 / 3), scale_atoms=True)
    return found
