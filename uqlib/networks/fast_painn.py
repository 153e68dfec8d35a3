"""The same PaiNN as in `painn.py`, faster: its forces by a backward pass written out by hand.

Nothing here is needed to understand the network; `evaluate` comes this way where it can, with the same weights and,
to round-off, the same numbers (`tests/networks/test_fast_painn.py`). What makes it fast:

* Neighbours stand in a table of K slots per atom (`slots.py`): no scattered writes, forwards or backwards.
* A filter depends on distance alone, so the pair seen from j has the same filter as seen from i. The derivative of a
  sum over neighbours is therefore itself a sum over neighbours, with the same filters.
* No tape at inference. In training the pass is ordinary differentiable code: one backward instead of two, and
  `torch.compile` accepts it, which it does not where forces come from autograd.

Empty slots need no mask: their basis and direction are zero, hence all that passes through them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from uqlib.networks.painn import SMOOTHING, Atomwise, Geometry, Message, PaiNN, Perceptron, Update
from uqlib.networks.slots import Table, dot, gather, project, sum_features, sum_neighbours, weigh
from uqlib.structures.batch import Batch


class Linear(NamedTuple):
    """A dense layer: x W + b."""

    weight: Tensor  # ([M,] inputs, outputs)
    bias: Tensor | None  # ([M, 1,] outputs)


class Layer(NamedTuple):
    """Weights of one message and one update."""

    context: tuple[Linear, Linear]
    filter: Tensor
    mix: Tensor
    gates: tuple[Linear, Linear]


class Weights(NamedTuple):
    """All weights that energies depend on: the module's own tensors, no copies."""

    embedding: Tensor
    layers: tuple[Layer, ...]
    readout: tuple[Linear, Linear]
    scale: Tensor

    @classmethod
    def of(cls, model: PaiNN) -> Weights:
        layers = []
        for message, update in zip(model.messages, model.updates, strict=True):
            assert isinstance(message, Message)
            assert isinstance(update, Update)
            layers.append(
                Layer(_perceptron(message.context), message.filter.weight, update.mix.weight, _perceptron(update.gates))
            )
        return cls(model.embedding, tuple(layers), _perceptron(model.readout), model.scale)


def _perceptron(module: Perceptron) -> tuple[Linear, Linear]:
    inner, outer = module.inner, module.outer
    return Linear(inner.weight, inner.bias), Linear(outer.weight, outer.bias)


def _dense(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W + b over the last axis. With M members x has M as its first axis, or is shared by all of them."""
    if weight.ndim == 2:
        rows = x.reshape(-1, x.shape[-1])
        out = rows @ weight if bias is None else torch.addmm(bias, rows, weight)
        return out.view(*x.shape[:-1], -1)
    rows = x.reshape(len(weight), -1, x.shape[-1])
    out = torch.bmm(rows, weight) if bias is None else torch.baddbmm(bias, rows, weight)
    return out.view(*x.shape[:-1], -1)


def _filters(basis: Tensor, weight: Tensor, width: int) -> Sequence[Tensor]:
    """(..., N, K, F) each. Eagerly a product for each, since slices of one are slower to work with."""
    parts = (weight,) if torch.compiler.is_compiling() else weight.split(width, dim=-1)
    rows, lead = basis.flatten(0, 1), (*weight.shape[:-2], *basis.shape[:2])
    made = [torch.matmul(rows, part).view(*lead, part.shape[-1]) for part in parts]
    return made[0].split(width, dim=-1) if len(parts) == 1 else made


def silu_slope(x: Tensor) -> Tensor:
    """Derivative of x · sigmoid(x)."""
    s = torch.sigmoid(x)
    return s * (1 + x * (1 - s))


class Saved(NamedTuple):
    """What one layer leaves behind for its backward pass."""

    inner: Tensor  # ([M,] N, F)  context, before its SiLU
    gate: Tensor | None  # ([M,] N, F)  of the vectors, third part of the context
    filters: Sequence[Tensor]  # ([M,] N, K, F) each
    scalars: Tensor  # ([M,] N, K, F)  x_j that becomes scalars
    radial: Tensor  # ([M,] N, K, F)  x_j that becomes vectors along the direction
    vectors: Tensor | None  # ([M,] N, K, 3, F)  gated vectors of j
    before: Tensor | None  # ([M,] N, 3, F)  vectors that entered the layer
    mixed: tuple[Tensor, ...]  # two: ([M,] N, 3, F)  V v and U v
    length: Tensor  # ([M,] N, F)
    product: Tensor  # ([M,] N, F)
    hidden: Tensor  # ([M,] N, F)  gates, before their SiLU
    gates: tuple[Tensor, ...]  # ([M,] N, F)


def energy_and_slopes(
    weights: Weights, species: Tensor, table: Table, basis: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Energies ([M,] N), scalars ([M,] N, F), dE/d(basis) ([M,] N, K, R + 1), dE/d(direction) ([M,] N, K, 3).

    `basis` (N, K, R + 1) and `direction` (N, K, 3) are those of `Geometry`, put into slots. E is the total energy.
    """
    s, passed = through_layers(weights, species, table, basis, direction)
    inner, outer = weights.readout
    hidden = _dense(s, *inner)
    scale = weights.scale.unsqueeze(-1)
    energy = _dense(F.silu(hidden), *outer)[..., 0] * scale
    gs = _dense(scale.unsqueeze(-1) * outer.weight.mT * silu_slope(hidden), inner.weight.mT)
    by_basis, by_direction = back_through_layers(weights, passed, gs, table, direction)
    return energy, s, by_basis, by_direction


def through_layers(
    weights: Weights, species: Tensor, table: Table, basis: Tensor, direction: Tensor
) -> tuple[Tensor, list[Saved]]:
    """Final scalars ([M,] N, F), and what the way back needs of each layer."""
    s, v = weights.embedding.index_select(-2, species), None
    passed: list[Saved] = []
    for layer in weights.layers:
        s, v, saved = _forward(layer, s, v, table, basis, direction)
        passed.append(saved)
    return s, passed


def back_through_layers(
    weights: Weights, passed: Sequence[Saved], gs: Tensor, table: Table, direction: Tensor
) -> tuple[Tensor, Tensor]:
    """d/d(basis) (..., N, K, R + 1) and d/d(direction) (..., N, K, 3) of whatever has the slope gs (..., N, F).

    The leading axis of gs may be that of the members or, for one network, count several functions of its scalars.
    """
    gv = by_basis = by_direction = None
    for layer, saved in zip(reversed(weights.layers), reversed(passed), strict=True):
        gs, gv = _back_through_update(layer, saved, gs, gv)
        slope = _slopes(layer, saved, gs, gv, direction)
        by_basis = slope[0] if by_basis is None else by_basis + slope[0]
        by_direction = slope[1] if by_direction is None else by_direction + slope[1]
        if saved.before is not None:  # below the first layer there is only the embedding, which forces do not need
            gs, gv = _back_through_message(layer, saved, gs, gv, table, direction)
    assert by_basis is not None
    assert by_direction is not None
    return by_basis, by_direction


def _forward(layer: Layer, s: Tensor, v: Tensor | None, table: Table, basis: Tensor, direction: Tensor):
    """Eqs. 7 to 10 for one layer: new scalars, new vectors, and what the way back needs."""
    width = s.shape[-1]
    inner = _dense(s, *layer.context[0])
    context = _dense(F.silu(inner), *layer.context[1]).split(width, dim=-1)
    filters = _filters(basis, layer.filter, width)
    vectors, gate, before = None, None, v
    if v is None:
        scalars, radial = gather(table, *context)
        heard = sum_neighbours(direction, filters[1] * radial)
    else:
        gate = context[2]
        scalars, radial, vectors = gather(table, *context[:2], (v * gate.unsqueeze(-2)).flatten(-2))
        vectors = vectors.unflatten(-1, (3, width))
        heard = v + sum_neighbours(direction, filters[1] * radial) + weigh(filters[2], vectors)
    s = s + (filters[0] * scalars).sum(-2)
    mixed = _dense(heard, layer.mix).split(width, dim=-1)
    length = (mixed[0].square().sum(-2) + SMOOTHING).sqrt()
    product = (mixed[0] * mixed[1]).sum(-2)
    hidden = _dense(torch.cat([s, length], dim=-1), *layer.gates[0])
    gates = _dense(F.silu(hidden), *layer.gates[1]).split(width, dim=-1)
    s = s + gates[0] + gates[1] * product
    v = heard + gates[2].unsqueeze(-2) * mixed[1] if len(gates) == 3 else None
    return s, v, Saved(inner, gate, filters, scalars, radial, vectors, before, mixed, length, product, hidden, gates)


def _back_through_update(layer: Layer, saved: Saved, gs: Tensor, gv: Tensor | None) -> tuple[Tensor, Tensor]:
    """From dE/ds, dE/dv after the update to those before it; nobody reads the vectors of the last layer."""
    width, (v_mixed, u_mixed), gates = gs.shape[-1], saved.mixed, saved.gates
    g_gates = [gs, gs * saved.product]
    g_product = (gs * gates[1]).unsqueeze(-2)
    g_u = g_product * v_mixed
    if gv is not None:
        g_gates.append((gv * u_mixed).sum(-2))
        g_u = g_u + gv * gates[2].unsqueeze(-2)
    g_hidden = _dense(torch.cat(g_gates, dim=-1), layer.gates[1].weight.mT) * silu_slope(saved.hidden)
    g_input = _dense(g_hidden, layer.gates[0].weight.mT)
    g_length = (g_input[..., width:] / saved.length).unsqueeze(-2)
    back = _dense(torch.cat([g_length * v_mixed + g_product * u_mixed, g_u], dim=-1), layer.mix.mT)
    return gs + g_input[..., :width], back if gv is None else gv + back


def _slopes(layer: Layer, saved: Saved, gs: Tensor, gv: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """What one message adds to dE/d(basis) and dE/d(direction)."""
    width = gs.shape[-1]
    by_filter = [gs.unsqueeze(-2) * saved.scalars, project(direction, gv) * saved.radial]
    if saved.vectors is not None:
        by_filter.append(dot(gv.unsqueeze(-3), saved.vectors))
    if torch.compiler.is_compiling():
        by_basis = [_dense(torch.cat(by_filter, dim=-1), layer.filter.mT)]
    else:
        parts = zip(by_filter, layer.filter.split(width, dim=-1), strict=True)
        by_basis = [_dense(by, weight.mT) for by, weight in parts]
    by_direction = sum_features(saved.filters[1] * saved.radial, gv)
    return functools.reduce(torch.add, by_basis), by_direction


def _back_through_message(
    layer: Layer, saved: Saved, gs: Tensor, gv: Tensor, table: Table, direction: Tensor
) -> tuple[Tensor, Tensor]:
    """From dE/ds, dE/dv after the message to those before it: atom j's derivative is what its listeners say.

    The pair seen from j has the same filter and the opposite direction.
    """
    assert saved.before is not None
    assert saved.gate is not None
    width = gs.shape[-1]
    gs_j, gv_j = gather(table, gs, gv.flatten(-2))
    gv_j = gv_j.unflatten(-1, (3, width))
    along = dot(direction.unsqueeze(-1), gv_j)
    g_vectors = weigh(saved.filters[2], gv_j)
    g_context = [
        (saved.filters[0] * gs_j).sum(-2),
        -(saved.filters[1] * along).sum(-2),
        (g_vectors * saved.before).sum(-2),
    ]
    g_inner = _dense(torch.cat(g_context, dim=-1), layer.context[1].weight.mT) * silu_slope(saved.inner)
    return gs + _dense(g_inner, layer.context[0].weight.mT), gv + g_vectors * saved.gate.unsqueeze(-2)


def slopes(model: PaiNN, species: Tensor, batch: Batch, geometry: Geometry) -> tuple[Atomwise, Tensor, Tensor]:
    """What `evaluate` needs: the network's output, dE/d(basis) (M, E, R + 1) and dE/d(direction) (M, E, 3).

    Differentiable in the weights where gradients are enabled, in the positions never. `model.compiled` asks for
    `torch.compile`; its graph serves all batches and all models of the same layout.
    """
    table = Table.of(batch)
    run = _compiled() if model.compiled else energy_and_slopes
    energy, features, by_basis, by_direction = run(
        Weights.of(model),
        species,
        table,
        table.fill(geometry.basis),
        table.fill(geometry.direction),
    )
    features = features.flatten(0, -2)
    atomwise = Atomwise(
        energy=energy.flatten(), features=features, heads={name: head(features) for name, head in model.heads.items()}
    )
    shape = (model.members or 1, batch.n_pairs)
    return atomwise, table.read(by_basis).view(*shape, model.radial + 1), table.read(by_direction).view(*shape, 3)


@functools.cache
def _compiled():
    return torch.compile(energy_and_slopes, dynamic=True, fullgraph=True)
