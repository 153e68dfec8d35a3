"""How far atoms wander: mean square displacement, and the coefficient that its slope gives.

Of each member by `each_member(predictor, start, lambda one, atoms: diffusion(simulate(one, ...), ...))`: a trajectory
is chaotic, and no reweighting gives what depends on time along it.
"""

from __future__ import annotations

import numpy as np

from uqlib.dynamics.trajectories import Trajectories
from uqlib.propagation.members import Array


def mean_square_displacement(found: Trajectories, symbol: str) -> Array:
    """(L,) Å²: how far atoms of one element go in 0, 1, ... L - 1 records, averaged over atoms, origins and replicas.

    The drift of a replica's centre of mass is taken out. Only replicas that ran to the end count. Raises ValueError for
    an element that is not there, and where no replica ran to the end.
    """
    whole = found.ended("completed")
    wandered = []
    for replica in np.flatnonzero(whole):
        atoms = found.starts[replica]
        chosen = np.array(atoms.get_chemical_symbols()) == symbol
        if not chosen.any():
            raise ValueError(f"symbol: got {symbol!r}, the structure is {atoms.get_chemical_formula()}")
        path = found.positions[:, found.replica_of_atom == replica]
        mass = atoms.get_masses()
        centre = (path * mass[:, None]).sum(axis=1, keepdims=True) / mass.sum()
        path = (path - centre)[:, chosen]
        lags = range(1, len(path))
        wandered.append([0.0, *(float(((path[lag:] - path[:-lag]) ** 2).sum(-1).mean()) for lag in lags)])
    if not wandered:
        raise ValueError("found: no replica ran to the end, expected at least one")
    return np.mean(wandered, axis=0)


def diffusion(found: Trajectories, symbol: str, *, begin: float, end: float) -> float:
    """Diffusion coefficient of an element, Å²/fs (times 0.1: cm²/s): a sixth of the slope of its displacement.

    Einstein, Ann. Phys. 322, 549 (1905). In a small cell it comes out too small (Yeh, Hummer, J. Phys. Chem. B 108,
    15873 (2004)); no correction is made.

    Args:
        found: of `simulate`, at even times.
        symbol: of the element.
        begin: fs, after which displacements grow evenly: longer than a vibration.
        end: fs, up to which there are enough origins: well below the length of the trajectory.

    Raises:
        ValueError: fewer than three records between `begin` and `end`; else as `mean_square_displacement`.
    """
    squares = mean_square_displacement(found, symbol)
    times = found.times - found.times[0]
    chosen = (times >= begin) & (times <= end)
    if chosen.sum() < 3:
        raise ValueError(f"begin, end: {int(chosen.sum())} records lie from {begin} to {end} fs, expected at least 3")
    return float(np.polyfit(times[chosen], squares[chosen], 1)[0] / 6)
