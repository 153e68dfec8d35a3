"""Directions in which symmetry forbids a force, and with it an error: they say nothing about an error bar.

On an atom in a mirror plane no potential can push out of the plane. There label and prediction are zero, whatever the
uncertainty says, and counted as errors these zeros make uncertainties that are too small look right.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

WAVES = 8  # potentials that are tried
RANGE = 2.0  # Å, over which they fall off
SAME = 1e-5  # of the sum of the weights of an atom's neighbours: what is smaller is round-off of the positions
ZERO = 1e-3  # eV/Å: larger forces are never taken for forbidden ones


@runtime_checkable
class Geometry(Protocol):
    """What is read of a `uqlib.Batch`: each of its E pairs is there from both sides."""

    @property
    def atomic_numbers(self) -> Tensor: ...  # (N,)
    @property
    def pairs(self) -> Tensor: ...  # (2, E)
    def vectors(self) -> Tensor: ...  # (E, 3) Å


def allowed_directions(structures: Geometry, *forces: Tensor) -> Tensor:
    """Orthonormal directions in which the force on each atom need not vanish.

    A direction is forbidden if none of several made-up potentials has a force along it, which only symmetry brings
    about, and if all `forces` given are zero along it, to 0.001 eV/Å. The second condition keeps what acts from beyond
    the cutoff, and the errors of a model that does not obey the symmetry. Atoms out of place by a thousandth of an Å
    are not symmetric as a rule: forces that are allowed but small are kept.

    Args:
        structures: With the pairs of atoms within some cutoff.
        forces: (N, 3) eV/Å each, such as labels and predictions.

    Returns:
        (N, 3, 3), float64: the directions are the rows, x, y and z where all are allowed; rows of zeros fill up the
        place of the forbidden ones.
    """
    pushes, weights = _forces(structures)
    values, vectors = torch.linalg.eigh(pushes.transpose(1, 2) @ pushes)  # values ascend, vectors are columns
    forbidden = values <= (SAME * weights[:, None]).square()
    if not bool(forbidden.any()):
        return torch.eye(3, dtype=torch.float64, device=pushes.device).repeat(len(pushes), 1, 1)
    for force in forces:
        along = (vectors.transpose(1, 2) @ force.detach().double()[:, :, None])[:, :, 0]
        forbidden &= (~forbidden | (along.abs() < ZERO)).all(dim=1, keepdim=True)
    return _basis(vectors, forbidden)


def _forces(structures: Geometry) -> tuple[Tensor, Tensor]:
    """Forces (N, WAVES, 3) of potentials that have little in common, and the weights (N,) of the neighbours in them.

    Each is a sum over neighbours of a wave in the distance and in what surrounds the neighbour, so that two that happen
    to be equally far are still told apart.
    """
    i, j = structures.pairs
    vector = structures.vectors().detach().double()
    length = vector.norm(dim=1)
    weight, unit = torch.exp(-length / RANGE), vector / length[:, None]
    element = structures.atomic_numbers.double().sqrt()
    count = len(element)
    around = weight.new_zeros(count).index_add_(0, i, weight * torch.cos(length + element[j]))
    pushes = vector.new_zeros(count, WAVES, 3)
    for wave in range(WAVES):
        phase = (wave + 1) * (length + element[j]) + 5 * math.sin(wave) * around[j]
        pushes[:, wave].index_add_(0, i, (weight * torch.cos(phase))[:, None] * unit)
    return pushes, weight.new_zeros(count).index_add_(0, i, weight)


def _basis(vectors: Tensor, forbidden: Tensor) -> Tensor:
    """Directions as rows, from the eigenvectors (N, 3, 3), of which the first ones may be forbidden (N, 3).

    Where two are allowed, any pair of them in the plane would do; a reflection of the axes picks one that round-off
    does not turn.
    """
    basis = torch.eye(3, dtype=vectors.dtype, device=vectors.device).repeat(len(vectors), 1, 1)
    count = forbidden.sum(dim=1)
    basis[count == 3] = 0.0
    line, plane = count == 2, (count == 1).nonzero()[:, 0]
    basis[line] = 0.0
    basis[line, 0] = _pointed(vectors[line, :, 2])[0]
    normal, axis = _pointed(vectors[plane, :, 0])
    mirror = basis[plane, axis] + normal  # never close to zero
    basis[plane] -= 2 * mirror[:, :, None] * mirror[:, None] / mirror.square().sum(dim=1)[:, None, None]
    basis[plane, axis] = 0.0
    return basis


def _pointed(lines: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (n, 3) turned so that their largest component is positive, and which that is (n,)."""
    axis = (lines.abs() * 1e6).round().argmax(dim=1)
    return lines * lines.gather(1, axis[:, None]).sign(), axis
