"""What enters the last layer of a network, summed over the atoms of a structure, and how it changes with positions.

The energy is linear in the last layer's weights: E = s (w · φ + b n) + references, with the hidden units φ summed over
the n atoms and the network's scale s. So are the forces, F = -s w · ∂φ/∂r. A covariance of w is therefore all it takes
for variances of energies and forces, in closed form; this file makes φ and ∂φ/∂r for the methods that have such a
covariance. It costs one pass up, and one pass down for each hidden unit, taken together; no tape is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from uqlib import fast_painn
from uqlib.batch import Batch
from uqlib.fast_painn import Table, Weights
from uqlib.painn import Geometry, PaiNN, Perceptron
from uqlib.prediction import check, pair_gradient

LARGEST_PIECE = 4_000_000  # numbers in one of the (hidden units, N, K, F) arrays; a dozen of them live at a time


@dataclass(frozen=True, kw_only=True)
class LastLayer:
    """Hidden units of a perceptron on the final features, and their slopes."""

    hidden: Tensor  # (S, H)  summed over the atoms of each structure
    slopes: Tensor  # (H, N, 3)  derivative with respect to positions, 1/Å


def last_layer(model: PaiNN, batch: Batch, *, head: str | None = None, train: bool = False) -> LastLayer:
    """Hidden units of the readout, or of the head named `head`, with their slopes.

    Differentiable in the positions where `batch.positions.requires_grad`, and in the weights with `train=True`. Raises
    ValueError for what `evaluate` refuses, for a network that carries several members or computes its features in
    another way than `PaiNN`, and for an unknown head.
    """
    perceptron = _perceptron(model, head)
    check(model, batch)
    on_tape = batch.positions.requires_grad
    species, table = model.species(batch.atomic_numbers), Table.of(batch)
    with torch.set_grad_enabled(on_tape):
        geometry = Geometry.of(batch, model.radial)
    with torch.set_grad_enabled(train or on_tape):
        weights, direction = Weights.of(model), table.fill(geometry.direction)
        features, passed = fast_painn.through_layers(weights, species, table, table.fill(geometry.basis), direction)
        before = perceptron.inner(features)
        start = before.new_zeros(batch.n_structures, before.shape[1])
        # (H, N, F): the derivative of each hidden unit of each atom with respect to that atom's features.
        at_features = fast_painn.silu_slope(before).mT.unsqueeze(-1) * perceptron.inner.weight.mT.unsqueeze(1)
        units = max(1, LARGEST_PIECE // max(table.neighbour.numel() * features.shape[1], 1))
        slopes = []
        for part in at_features.split(units):
            by_basis, by_direction = fast_painn.back_through_layers(weights, passed, part, table, direction)
            pull = pair_gradient(geometry, table.read(by_basis), table.read(by_direction))
            flat = pull.new_zeros(len(part), batch.n_atoms, 3)
            slopes.append(flat.index_add(1, batch.pairs[1], pull).index_add(1, batch.pairs[0], pull, alpha=-1))
        return LastLayer(hidden=start.index_add(0, batch.structure_of_atom, F.silu(before)), slopes=torch.cat(slopes))


def _perceptron(model: PaiNN, head: str | None) -> Perceptron:
    if model.members is not None:
        raise ValueError(f"model: got one that carries {model.members} networks, expected a single one")
    if type(model) is not PaiNN:
        raise ValueError(f"model: got a {type(model).__name__}, expected PaiNN itself, whose passes are known")
    if head is not None and head not in model.heads:
        raise ValueError(f"head: got {head!r}, this network has {sorted(model.heads)}")
    perceptron = model.readout if head is None else model.heads[head]
    assert isinstance(perceptron, Perceptron)
    return perceptron
