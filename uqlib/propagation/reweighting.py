"""Averages along one trajectory, as each member would have them, without running the members.

Imbalzano, Zhuang, Kapil, Rossi, Engel, Grasselli, Ceriotti, "Uncertainty estimation for molecular dynamics and
sampling", J. Chem. Phys. 154, 074102 (2021). The weights are those of Torrie and Valleau, J. Comput. Phys. 23, 187
(1977); the expansion is that of Ceriotti et al., Proc. R. Soc. A 468, 2 (2012).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import ase
import ase.units
import numpy as np
from numpy.typing import ArrayLike

from uqlib.prediction import Predictor
from uqlib.propagation.members import Array, Spread, along
from uqlib.structures import descriptors

FEWEST = 20.0  # effective frames below which an average over weights is refused
FARTHEST = 1.0  # standard deviation of h above which a first order says little


@dataclass(frozen=True, kw_only=True, eq=False)
class Reweighted(Spread):
    """An average on the potential that drove the dynamics (`value`), and as each member would have it (`members`)."""

    effective: Array  # (M,)  frames that count: (sum of w)² / sum of w², of T; correlated frames count each
    width: Array  # (M,)  standard deviation of h = (V_m - V) / kT along the trajectory


def reweight(
    observable: ArrayLike,
    energies: ArrayLike,
    *,
    temperature: float,
    driven_by: ArrayLike | None = None,
    method: Literal["cumulant", "direct"] = "cumulant",
    fewest: float = FEWEST,
) -> Reweighted:
    """The average of an observable in the canonical ensemble of each member.

    With h = (V_m - V) / kT, "direct" is <a exp(-h)> / <exp(-h)>: exact for a long trajectory, and
    noise as soon as few frames carry the weight. "cumulant" is <a> - <a h> + <a><h>: the first order, exact
    where a and h are jointly Gaussian, and steady, since no frame is weighted.

    Args:
        observable: (T,) or (T, ...), of each frame.
        energies: (M, T) eV, each member's energies of these frames, as `along(...).energy` has them.
        temperature: K, at which the frames were sampled (a thermostat, after equilibration).
        driven_by: (T,) eV, of the potential that moved the atoms; None: the mean of the members.
        method: see above.
        fewest: with "direct", effective frames (Kish) that each member has to have.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, a temperature that is not positive, and, with
            "direct", a member with too few effective frames.

    Warns:
        UserWarning: "cumulant", and a member with h wider than 1, where a first order is not enough.
    """
    values = np.asarray(observable, dtype=np.float64)
    energy = np.asarray(energies, dtype=np.float64)
    _check(values, energy, temperature)
    driver = energy.mean(axis=0) if driven_by is None else np.asarray(driven_by, dtype=np.float64)
    if driver.shape != energy.shape[1:]:
        raise ValueError(f"driven_by: got shape {driver.shape}, expected {energy.shape[1:]}, one energy a frame")
    h = (energy - driver) / (ase.units.kB * temperature)
    h = h - h.mean(axis=1, keepdims=True)  # a constant changes no average
    weights = np.exp(h.min(axis=1, keepdims=True) - h)
    weights = weights / weights.sum(axis=1, keepdims=True)
    effective, width = 1 / (weights**2).sum(axis=1), h.std(axis=1)
    mean, frames = values.mean(axis=0), values.reshape(len(values), -1)
    if method == "direct":
        if effective.min() < fewest:
            raise ValueError(
                f"energies: of {len(values)} frames only {effective.min():.3g} count for member {effective.argmin()}, "
                f'expected at least {fewest:g}; take method="cumulant", run longer, or run the members (`each_member`)'
            )
        members = weights @ frames
    elif method == "cumulant":
        if width.max() > FARTHEST:
            warnings.warn(
                f"energies: those of member {width.argmax()} lie {width.max():.2g} kT (standard deviation) from those "
                "that drove the dynamics, and a first order in them is not enough; run this member (`each_member`)",
                stacklevel=2,
            )
        members = mean.ravel() - h @ (frames - mean.ravel()) / len(frames)
    else:
        raise ValueError(f"method: got {method!r}, expected 'cumulant' or 'direct'")
    return Reweighted(
        value=mean, members=members.reshape(len(energy), *values.shape[1:]), effective=effective, width=width
    )


def radial_distribution(
    predictor: Predictor,
    frames: Sequence[ase.Atoms],
    first: str,
    second: str,
    *,
    temperature: float,
    longest: float = 6.0,
    smoothing: float = 0.05,
    points: int = 120,
) -> tuple[Array, Reweighted]:
    """g(r) along a trajectory with a band: r (points,) in Å, and the mean of g reweighted to each member.

    Options of g as in `structures.descriptors.radial_distribution`; by cumulants, errors and warnings as `reweight`.
    """
    r, g = descriptors.radial_distribution(frames, first, second, longest=longest, smoothing=smoothing, points=points)
    return r, reweight(g, along(predictor, frames).energy.numpy(), temperature=temperature)


def _check(values: Array, energy: Array, temperature: float) -> None:
    if energy.ndim != 2 or len(energy) < 2 or values.shape[:1] != energy.shape[1:]:
        raise ValueError(
            f"observable, energies: got shapes {values.shape} and {energy.shape}, expected (T, ...) and (M, T), T "
            "frames and at least two members"
        )
    if not (np.isfinite(values).all() and np.isfinite(energy).all()):
        raise ValueError("observable, energies: got numbers that are not finite; leave those frames out")
    if not temperature > 0:
        raise ValueError(f"temperature: got {temperature}, expected a positive number of kelvin")
