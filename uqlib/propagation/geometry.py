"""Where a structure comes to rest on each member's potential: by linear response, or by going there."""

from __future__ import annotations

from dataclasses import dataclass

import ase
import numpy as np
from numpy.typing import ArrayLike

from uqlib.prediction import Predictor
from uqlib.propagation.members import Array, Spread, along, members_of, precise

STEP = 0.01  # Å, of differences of forces
STRAIGHT = 1e-3  # a molecule this thin, over its length, is linear: it has a rotation less
LONGEST = 0.2  # Å, of an atom in one step of Newton


@dataclass(frozen=True, kw_only=True, eq=False)
class Hessians:
    """Forces and second derivatives of all members at one structure."""

    forces: Array  # (M, N, 3)  eV/Å
    members: Array  # (M, 3N, 3N)  eV/Å², symmetric

    @property
    def mean(self) -> Array:
        """(3N, 3N) of the mean potential."""
        return self.members.mean(axis=0)


def displaced(atoms: ase.Atoms, *, step: float = STEP) -> list[ase.Atoms]:
    """The structure itself, and 6N copies: each coordinate moved by `step` Å, and then each by -`step`.

    What second derivatives are made from, with a potential (`hessians`) or with labels (`second_derivatives`). Raises
    ValueError for a step that is not positive.
    """
    if not step > 0:
        raise ValueError(f"step: got {step}, expected a positive distance in Å")
    moves = step * np.eye(3 * len(atoms)).reshape(-1, len(atoms), 3)
    return [_moved(atoms, move) for move in [np.zeros((len(atoms), 3)), *moves, *-moves]]


def second_derivatives(forces: ArrayLike, *, step: float = STEP) -> Hessians:
    """From the forces (M, 6N + 1, N, 3) or (6N + 1, N, 3), eV/Å, of the structures that `displaced` gives.

    Central differences; the error falls with the square of the step. Raises ValueError for other shapes.
    """
    given = np.asarray(forces, dtype=np.float64)
    given = given[None] if given.ndim == 3 else given
    if given.ndim != 4 or given.shape[1] != 6 * given.shape[2] + 1:
        raise ValueError(f"forces: got shape {given.shape}, expected (M, 6N + 1, N, 3), of what `displaced` returned")
    up, down = np.split(given[:, 1:].reshape(len(given), given.shape[1] - 1, -1), 2, axis=1)
    found = (down - up) / (2 * step)
    return Hessians(forces=given[:, 0], members=(found + found.transpose(0, 2, 1)) / 2)


def hessians(predictor: Predictor, atoms: ase.Atoms, *, step: float = STEP) -> Hessians:
    """Second derivatives of each member's energy at `atoms`: those of 6N + 1 structures' forces.

    In float64 where the predictor can be brought to it. Raises ValueError for a step that is not positive; else as
    `along`.
    """
    frames = displaced(atoms, step=step)
    forces = along(precise(predictor), frames).forces.numpy()
    return second_derivatives(forces.reshape(len(forces), len(frames), -1, 3), step=step)


def shifts(found: Hessians, atoms: ase.Atoms) -> Array:
    """Displacements (M, N, 3) Å to each member's own stationary point, by linear response.

    At a stationary point of the mean, member m has the forces F_m, and its own point lies H⁻¹ F_m away, to first order
    in how far the members differ. H is that of the mean, inverted along `internal_axes`. A minimum and a saddle are
    treated alike.

    Args:
        found: `hessians` at a stationary point of the mean.
        atoms: that point.
    """
    pull = found.forces.reshape(len(found.forces), -1)
    return (pull @ inverse(found.mean, internal_axes(atoms))).reshape(found.forces.shape)


def stationary(
    predictor: Predictor, atoms: ase.Atoms, *, force: float = 1e-4, steps: int = 30, step: float = STEP
) -> ase.Atoms:
    """The nearest point without forces on the (mean) potential, by Newton's method: a minimum or a saddle.

    Start near to it: from a relaxation of ASE, or the top of a `minimum_energy_path`. The cell stays. Coordinates that
    symmetry holds stay where they are.

    Args:
        predictor: with members, or a `Member`.
        atoms: where to start.
        force: largest component that is left, eV/Å.
        steps: at most.
        step: of the differences that make second derivatives, Å.

    Raises:
        ValueError: forces are left after these steps.
    """
    exact, here = precise(predictor), _moved(atoms, np.zeros((len(atoms), 3)))
    for _ in range(steps):
        found = hessians(exact, here, step=step)
        pull = found.forces.mean(axis=0)
        if np.abs(pull).max() < force:
            return here
        move = (inverse(found.mean, internal_axes(here)) @ pull.ravel()).reshape(-1, 3)
        longest = np.linalg.norm(move, axis=1).max()
        here.positions += move * min(1.0, LONGEST / longest)
    raise ValueError(
        f"atoms: after {steps} steps of Newton's method a force of {np.abs(pull).max():.2g} eV/Å is left, expected "
        f"less than {force}; start nearer to a minimum or a saddle, or relax with ASE first"
    )


def relaxed_members(predictor: Predictor, atoms: ase.Atoms, *, force: float = 1e-4) -> Spread:
    """Positions (N, 3) Å of the stationary point near `atoms`, of the mean and of each member.

    What `shifts` gives to first order, to all orders, for M times the cost. Options and errors as `stationary`.
    """
    centre = stationary(predictor, atoms, force=force)
    each = [stationary(one, centre, force=force).positions for one in members_of(predictor, atoms)]
    return Spread(value=centre.positions, members=np.array(each))


def internal_axes(atoms: ase.Atoms, *, weighted: bool = False) -> Array:
    """(3N, K) orthonormal axes of all motions but translations and, of what has no cell, rotations.

    `weighted`: in coordinates times the square roots of the masses. K is 3N - 6, 3N - 5 for a linear molecule, 3N - 3
    for a crystal.
    """
    root = np.sqrt(atoms.get_masses())[:, None, None] if weighted else np.ones((len(atoms), 1, 1))
    still = [root * np.eye(3)]  # (N, component, direction)
    if not atoms.pbc.any():
        centre = atoms.get_center_of_mass() if weighted else atoms.positions.mean(axis=0)
        turns = np.stack([np.cross(axis, atoms.positions - centre) for axis in np.eye(3)], axis=-1)
        still.append(root * turns)
    axes, sizes, _ = np.linalg.svd(np.concatenate(still, axis=-1).reshape(3 * len(atoms), -1))
    return axes[:, int((sizes > STRAIGHT * sizes[0]).sum()) :]


def inverse(hessian: Array, axes: Array) -> Array:
    """Inverse (3N, 3N) Å²/eV of second derivatives along `internal_axes`, zero along all others."""
    return axes @ np.linalg.pinv(axes.T @ hessian @ axes, rcond=1e-9, hermitian=True) @ axes.T


def _moved(atoms: ase.Atoms, move: Array) -> ase.Atoms:
    found = ase.Atoms(atoms.numbers, positions=atoms.positions + move, cell=atoms.cell, pbc=atoms.pbc)
    found.set_masses(atoms.get_masses().tolist())
    return found
