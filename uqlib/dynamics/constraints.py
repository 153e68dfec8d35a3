"""Constraints of ASE that dynamics and attacks keep: coordinates that do not move."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
import torch
from ase.constraints import FixAtoms, FixCartesian
from torch import Tensor


def free_coordinates(frames: Sequence[ase.Atoms], *, name: str) -> Tensor | None:
    """(N, 3) float64, 1 where a coordinate may move and 0 where `FixAtoms` or `FixCartesian` holds it.

    None where nothing is held, so that whoever multiplies need not. Raises ValueError, naming the argument `name`, for
    every other constraint: it would be broken without a word.
    """
    free = [_of_structure(frame, f"{name}: structure {index}") for index, frame in enumerate(frames)]
    if all(found.all() for found in free):
        return None
    return torch.as_tensor(np.concatenate(free), dtype=torch.float64)


def _of_structure(frame: ase.Atoms, words: str) -> np.ndarray:
    free = np.ones((len(frame), 3), dtype=bool)
    for constraint in frame.constraints:
        if isinstance(constraint, FixAtoms):
            free[constraint.index] = False
        elif isinstance(constraint, FixCartesian):
            free[constraint.index] &= ~constraint.mask
        else:
            raise ValueError(
                f"{words} has a {type(constraint).__name__}, expected FixAtoms or FixCartesian, which are the ones "
                "kept here; remove it with atoms.set_constraint(), or use ASE's own dynamics and optimisers with "
                "UncertaintyCalculator, which keep all of them"
            )
    return free


def without_drift(freedoms: Tensor, free: Tensor | None, replica_of_atom: Tensor) -> Tensor:
    """Degrees of freedom (L,) that hold heat where total momentum is conserved, and zero.

    It is conserved along those axes along which no atom of the replica is held; `free` as `free_coordinates`.
    """
    if free is None:
        axes = torch.full_like(freedoms, 3)
    else:
        held = torch.zeros_like(freedoms)[:, None].expand(-1, 3).index_add(0, replica_of_atom, 1 - free)
        axes = (held == 0).sum(1).to(freedoms)
    return torch.where(freedoms > axes, freedoms - axes, freedoms)
