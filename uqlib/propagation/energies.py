"""Differences of energies, and barriers: members err alike, and what they err in alike cancels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ase
import numpy as np

from uqlib.prediction import Predictor
from uqlib.propagation.members import Array, Spread, along


@dataclass(frozen=True, kw_only=True, eq=False)
class Differences(Spread):
    """Energies of S structures less that of one of them, eV: `value` (S,), `members` (M, S)."""

    in_quadrature: Array  # (S,)  eV: root of the sum of both variances, which is right only without correlation
    correlation: Array  # (S,)  of the members' energies with those of the reference; nan where a variance is zero


def energy_differences(predictor: Predictor, frames: Sequence[ase.Atoms], *, reference: int = 0) -> Differences:
    """Energies along `frames` less that of frame `reference`, with each member.

    The variance of a difference is Var(a) + Var(b) - 2 Cov(a, b). Neighbouring structures are mostly predicted too
    high or too low together, so that the covariance is large; `in_quadrature` leaves it out. Imbalzano et al., J. Chem.
    Phys. 154, 074102 (2021), use members in this way.

    Raises:
        IndexError: no such frame.
        TypeError, ValueError: as `along`.
    """
    energy = along(predictor, frames).energy.numpy()
    zero = energy[:, [reference]]
    sigma = energy.std(axis=0, ddof=1)
    both = sigma * sigma[reference]
    covariance = ((energy - energy.mean(0)) * (zero - zero.mean())).sum(0) / (len(energy) - 1)
    difference = energy - zero
    return Differences(
        value=difference.mean(axis=0),
        members=difference,
        in_quadrature=np.hypot(sigma, sigma[reference]),
        correlation=np.divide(covariance, both, out=np.full_like(both, np.nan), where=both > 0),
    )


def barrier(along_path: Differences) -> Spread:
    """Height of a path, eV: of each member at the frame that is highest *on the mean*, over frame `reference`.

    Both ends of the difference are stationary points of the mean potential, if the path is one of least energy
    (`minimum_energy_path`). A member's own stationary points lie elsewhere, but to first order its energies there are
    the same. So this is the members' barrier without a path of their own.
    """
    top = int(along_path.value.argmax())
    return along_path.map(lambda energy: energy[top])
