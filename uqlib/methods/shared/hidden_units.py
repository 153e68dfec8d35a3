"""What enters the last layer of a network, summed over the atoms of a structure, and how it changes with positions.

The energy is linear in the last layer's weights: E = s (w · φ + b n) + references, with the hidden units φ summed over
the n atoms and the network's scale s. So are the forces, F = -s w · ∂φ/∂r, and the stress, s w · ∂φ/∂ε over the volume.
A covariance of w is therefore all it takes for their variances, in closed form: `last_layer`. This file makes φ and its
slopes, at the cost of one pass up and, taken together, one pass down for each hidden unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from uqlib.interfaces.model import strained, stress_from
from uqlib.networks import fast_painn
from uqlib.networks.evaluation import OtherNetwork, check, evaluate, pair_gradient, stress_of_pairs
from uqlib.networks.painn import Geometry, PaiNN, Perceptron
from uqlib.networks.slots import Pairs, Table
from uqlib.networks.weights import Weights
from uqlib.structures.batch import Batch

LARGEST_PIECE = 4_000_000  # numbers in one of the (hidden units, N, K, F) arrays; a dozen of them live at a time


@dataclass(frozen=True, kw_only=True)
class HiddenUnits:
    """Hidden units of a perceptron on the final features, and their slopes."""

    hidden: Tensor  # (S, H)  summed over the atoms of each structure
    slopes: Tensor  # (H, N, 3)  derivative with respect to positions, 1/Å
    atoms: Tensor  # (N, H)  of each atom
    strain: Tensor | None  # (H, S, 3, 3)  derivative with respect to strain over volume, 1/Å³; nan without a volume


def last_layer(
    model: PaiNN | OtherNetwork,
    batch: Batch,
    *,
    head: str | None = None,
    mix: Tensor | None = None,
    train: bool = False,
    strain: bool = False,
) -> HiddenUnits:
    """Hidden units of the readout, or of the head named `head`, with their slopes, those with strain where asked for.

    With `mix` (H, K), K linear combinations of them, made before the way down: it is then walked K times and not H.
    Differentiable in the positions where `batch.positions.requires_grad`, and in the weights with `train=True`. Raises
    ValueError for what `evaluate` refuses, for a network that carries several members or computes its features in
    another way than `PaiNN`, and for an unknown head. Of a network from elsewhere, its features are the hidden units.
    """
    if not isinstance(model, PaiNN):
        return _features_as_hidden_units(model, batch, head=head, mix=mix, train=train, strain=strain)
    perceptron = perceptron_of(model, head)
    check(model, batch)
    on_tape = batch.positions.requires_grad
    species, table = model.species(batch.atomic_numbers), Table.of(batch)
    with torch.set_grad_enabled(on_tape):
        geometry = Geometry.of(batch, model.radial)
    with torch.set_grad_enabled(train or on_tape):
        weights, pairs = Weights.of(model), Pairs(table, table.fill(geometry.basis), table.fill(geometry.direction))
        features, passed = fast_painn.through_layers(weights, species, pairs)
        before = perceptron.inner(features)
        hidden = F.silu(before)
        # (H, N, F), or (K, N, F): the derivative of each unit of each atom with respect to that atom's features.
        bend, inner = fast_painn.silu_slope(before), perceptron.inner.weight
        if mix is None:
            at_features = bend.mT.unsqueeze(-1) * inner.mT.unsqueeze(1)
        else:
            hidden, at_features = hidden @ mix, (bend * mix.mT.unsqueeze(1)) @ inner.mT
        units = max(1, LARGEST_PIECE // max(table.neighbour.numel() * features.shape[1], 1))
        slopes, tension = [], []
        for part in at_features.split(units):
            by_basis, by_direction = fast_painn.back_through_layers(weights, passed, part, pairs)
            pull = pair_gradient(geometry, table.read(by_basis), table.read(by_direction))
            if strain:
                tension.append(stress_of_pairs(batch, geometry, pull))
            flat = pull.new_zeros(len(part), batch.n_atoms, 3)
            slopes.append(flat.index_add(1, batch.pairs[1], pull).index_add(1, batch.pairs[0], pull, alpha=-1))
        start = hidden.new_zeros(batch.n_structures, hidden.shape[1])
        return HiddenUnits(
            hidden=start.index_add(0, batch.structure_of_atom, hidden),
            slopes=torch.cat(slopes),
            atoms=hidden,
            strain=torch.cat(tension) if strain else None,
        )


def _features_as_hidden_units(
    model: OtherNetwork, batch: Batch, *, head: str | None, mix: Tensor | None, train: bool, strain: bool
) -> HiddenUnits:
    """The same by autograd, one pass down for each column: nothing is known of the way up."""
    if head is not None:
        raise ValueError(f"head: got {head!r}, a {type(model).__name__} has its features alone; leave it out")
    on_tape = batch.positions.requires_grad
    keep = train or on_tape
    with torch.enable_grad():
        positions = batch.positions if on_tape else batch.positions.detach().clone().requires_grad_()
        stretch = batch.cell.new_zeros(batch.n_structures, 3, 3).requires_grad_()
        units = evaluate(model, strained(batch, positions, stretch), train=train).features
        units = units if mix is None else units @ mix
        start = units.new_zeros(batch.n_structures, units.shape[1])
        hidden = start.index_add(0, batch.structure_of_atom, units)
        columns = units.sum(0).unbind() if units.requires_grad else ()
        options: dict[str, Any] = {"retain_graph": True, "create_graph": keep, "materialize_grads": True}
        found = [torch.autograd.grad(column, (positions, stretch), **options) for column in columns]
        none = units.new_zeros(units.shape[1], batch.n_atoms, 3), units.new_zeros(units.shape[1], len(stretch), 3, 3)
        slopes, tension = (torch.stack(part) for part in zip(*found, strict=True)) if found else none
        tension = torch.stack([stress_from(batch, part) for part in tension]) if strain else None
    if not keep:
        hidden, units = hidden.detach(), units.detach()
    return HiddenUnits(hidden=hidden, slopes=slopes, atoms=units, strain=tension)


def perceptron_of(model: PaiNN, head: str | None) -> Perceptron:
    """The readout, or the head of that name; errors as `last_layer`."""
    if model.members is not None:
        raise ValueError(f"model: got one that carries {model.members} networks, expected a single one")
    if type(model) is not PaiNN:
        raise ValueError(f"model: got a {type(model).__name__}, expected PaiNN itself, whose passes are known")
    if head is not None and head not in model.heads:
        raise ValueError(f"head: got {head!r}, this network has {sorted(model.heads)}")
    perceptron = model.readout if head is None else model.heads[head]
    assert isinstance(perceptron, Perceptron)
    return perceptron
