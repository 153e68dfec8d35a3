"""Harmonic frequencies of each member, and the free energy of vibration that they make."""

from __future__ import annotations

import ase
import ase.units
import numpy as np
from numpy.typing import ArrayLike

from uqlib.prediction import Predictor
from uqlib.propagation.geometry import STEP, hessians, internal_axes, stationary
from uqlib.propagation.members import Array, Spread, members_of, precise

QUANTUM = ase.units._hbar * 1e10 / np.sqrt(ase.units._e * ase.units._amu)  # eV for a square root of eV/(Å² u)


def frequencies(predictor: Predictor, atoms: ase.Atoms, *, relax: bool = True, step: float = STEP) -> Spread:
    """Wave numbers (K,) in cm⁻¹ of the harmonic vibrations, smallest first, of the mean and of each member.

    ω² are the eigenvalues of M^(-1/2) H M^(-1/2) with translations and, of a molecule, rotations projected out: K is
    3N - 6, 3N - 5 for a linear molecule, 3N - 3 with a cell. An imaginary frequency is given as a negative number.
    Wilson, Decius, Cross, Molecular Vibrations (1955), chapter 2.

    Args:
        predictor: with members.
        atoms: near a minimum or a saddle; its masses count.
        relax: each potential at its own stationary point (`stationary`), as it should be; False: all at `atoms`.
        step: of the differences that make second derivatives, Å.

    Raises:
        ValueError: a member that finds no stationary point near that of the mean; else as `along`.
    """
    exact = precise(predictor)
    if not relax:
        found = hessians(exact, atoms, step=step)
        return Spread(
            value=wave_numbers(found.mean, atoms), members=np.array([wave_numbers(h, atoms) for h in found.members])
        )
    centre = stationary(exact, atoms, step=step)
    own = [(one, stationary(one, centre, step=step)) for one in members_of(exact, centre)]
    return Spread(
        value=wave_numbers(hessians(exact, centre, step=step).mean, centre),
        members=np.array([wave_numbers(hessians(one, at, step=step).mean, at) for one, at in own]),
    )


def wave_numbers(hessian: Array, atoms: ase.Atoms) -> Array:
    """(K,) cm⁻¹ from second derivatives (3N, 3N) in eV/Å², of a potential or of labels; see `frequencies`."""
    root = np.sqrt(np.repeat(atoms.get_masses(), 3))
    free = internal_axes(atoms, weighted=True)
    squares = np.linalg.eigvalsh(free.T @ (hessian / np.outer(root, root)) @ free)
    return np.sign(squares) * np.sqrt(np.abs(squares)) * QUANTUM / ase.units.invcm


def free_energy(waves: ArrayLike, temperature: float, *, classical: bool = False, imaginary: int = 0) -> float:
    """Helmholtz free energy of harmonic vibrations, eV; of a `Spread` of frequencies by its `map`.

    Quantum: F = sum of ħω/2 + kT ln(1 - exp(-ħω/kT)). Classical: kT ln(ħω/kT). McQuarrie, Statistical Mechanics
    (1976), chapter 5.

    Args:
        waves: (K,) cm⁻¹, imaginary ones negative.
        temperature: K; zero leaves the zero-point energy.
        classical: atoms as classical particles, as in molecular dynamics.
        imaginary: how many are to be imaginary: 0 at a minimum, 1 at a saddle. They are left out, as in transition
            state theory.

    Raises:
        ValueError: another number of imaginary frequencies, zero frequencies, a negative temperature, and zero kelvin
            for classical atoms.
    """
    found = np.asarray(waves, dtype=np.float64)
    if (found == 0).any() or int((found < 0).sum()) != imaginary:
        raise ValueError(
            f"waves: {int((found <= 0).sum())} of {found.size} are imaginary or zero, expected {imaginary}; is "
            "the structure the minimum or the saddle that it should be?"
        )
    if temperature < 0 or (classical and temperature == 0):
        raise ValueError(f"temperature: got {temperature}, expected kelvin, and more than 0 for classical atoms")
    quanta = found[found > 0] * ase.units.invcm
    if temperature == 0:
        return float(quanta.sum() / 2)
    thermal = ase.units.kB * temperature
    if classical:
        return float(thermal * np.log(quanta / thermal).sum())
    return float((quanta / 2 + thermal * np.log(-np.expm1(-quanta / thermal))).sum())
