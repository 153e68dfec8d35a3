"""The same PaiNN as in `painn.py`, faster: its forces by a backward pass written out by hand.

Nothing here is needed to understand the network; `evaluate` comes this way where it can, with the same weights and,
to round-off, the same numbers (`tests/networks/test_fast_painn.py`). What makes it fast:

* Neighbours stand in a table of K slots per atom (`slots.py`): no scattered writes, forwards or backwards.
* A filter depends on distance alone, so the pair seen from j has the same filter as seen from i. The derivative of a
  sum over neighbours is therefore itself a sum over neighbours, with the same filters.
* Of a large system, what belongs to pairs is made block by block, twice rather than kept: it stays in the cache.
* No tape at inference. In training the pass is ordinary differentiable code: one backward instead of two, and
  `torch.compile` accepts it, which it does not where forces come from autograd.

Empty slots need no mask: their basis and direction are zero, hence all that passes through them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from uqlib.networks.painn import SMOOTHING, Atomwise, Geometry, PaiNN
from uqlib.networks.slots import Pairs, Table, dot, gather, project, sum_features, sum_neighbours, weigh
from uqlib.networks.weights import Layer, Weights
from uqlib.structures.batch import Batch


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


BLOCK = 400_000  # numbers in one array of a block's pairs: a few of them stay in a processor's cache
LARGE = 4  # blocks that are worth it: below, all pairs are kept for the way back


class Edges(NamedTuple):
    """What one layer computes for each pair of n atoms, all of them or a block."""

    filters: Sequence[Tensor]  # ([M,] n, K, F) each
    scalars: Tensor  # ([M,] n, K, F)  x_j that becomes scalars
    radial: Tensor  # ([M,] n, K, F)  x_j that becomes vectors along the direction
    vectors: Tensor | None  # ([M,] n, K, 3, F)  gated vectors of j


class Saved(NamedTuple):
    """What one layer leaves behind for its backward pass."""

    inner: Tensor  # ([M,] N, F)  context, before its SiLU
    gate: Tensor | None  # ([M,] N, F)  of the vectors, third part of the context
    told: Sequence[Tensor]  # two or three: what each atom tells its neighbours
    edges: Edges | None  # None: made anew, block by block
    before: Tensor | None  # ([M,] N, 3, F)  vectors that entered the layer
    mixed: tuple[Tensor, ...]  # two: ([M,] N, 3, F)  V v and U v
    length: Tensor  # ([M,] N, F)
    product: Tensor  # ([M,] N, F)
    hidden: Tensor  # ([M,] N, F)  gates, before their SiLU
    gates: tuple[Tensor, ...]  # ([M,] N, F)

    def block(self, rows: slice) -> Saved:
        """Of some atoms, what the way back through the message reads."""
        if self.gate is None or self.before is None:
            return self
        inner, gate, before = self.inner[..., rows, :], self.gate[..., rows, :], self.before[..., rows, :, :]
        return self._replace(inner=inner, gate=gate, before=before)


def energy_and_slopes(
    weights: Weights, species: Tensor, table: Table, basis: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Energies ([M,] N), scalars ([M,] N, F), dE/d(basis) ([M,] N, K, R + 1), dE/d(direction) ([M,] N, K, 3).

    `basis` (N, K, R + 1) and `direction` (N, K, 3) are those of `Geometry`, put into slots. E is the total energy.
    """
    pairs = Pairs(table, basis, direction, _blocks(table, weights))
    s, passed = through_layers(weights, species, pairs)
    inner, outer = weights.readout
    hidden = _dense(s, *inner)
    scale = weights.scale.unsqueeze(-1)
    energy = _dense(F.silu(hidden), *outer)[..., 0] * scale
    gs = _dense(scale.unsqueeze(-1) * outer.weight.mT * silu_slope(hidden), inner.weight.mT)
    by_basis, by_direction = back_through_layers(weights, passed, gs, pairs)
    return energy, s, by_basis, by_direction


def _blocks(table: Table, weights: Weights) -> Sequence[slice]:
    """Blocks of atoms where all at once would be too large. A tape keeps all of it anyway; a GPU wants it at once."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or table.neighbour.is_cuda:
        return ()
    atoms, slots = table.neighbour.shape
    members, width = math.prod(weights.embedding.shape[:-2]), weights.embedding.shape[-1]
    rows = max(1, BLOCK // (members * slots * width))
    return [slice(start, start + rows) for start in range(0, atoms, rows)] if rows * LARGE < atoms else ()


def through_layers(weights: Weights, species: Tensor, pairs: Pairs) -> tuple[Tensor, list[Saved]]:
    """Final scalars ([M,] N, F), and what the way back needs of each layer."""
    s, v = weights.embedding.index_select(-2, species), None
    passed: list[Saved] = []
    for layer in weights.layers:
        s, v, saved = _forward(layer, s, v, pairs)
        passed.append(saved)
    return s, passed


def back_through_layers(weights: Weights, passed: Sequence[Saved], gs: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """d/d(basis) (..., N, K, R + 1) and d/d(direction) (..., N, K, 3) of whatever has the slope gs (..., N, F).

    The leading axis of gs may be that of the members or, for one network, count several functions of its scalars.
    """
    gv = by_basis = by_direction = None
    for layer, saved in zip(reversed(weights.layers), reversed(passed), strict=True):
        gs, gv = _back_through_update(layer, saved, gs, gv)
        *slope, gs, gv = _back_through_pairs(layer, saved, gs, gv, pairs)
        by_basis = slope[0] if by_basis is None else by_basis + slope[0]
        by_direction = slope[1] if by_direction is None else by_direction + slope[1]
    assert by_basis is not None
    assert by_direction is not None
    return by_basis, by_direction


def _edges(layer: Layer, told: Sequence[Tensor], pairs: Pairs) -> Edges:
    """Filters, and what each neighbour told."""
    width = told[0].shape[-1]
    filters = _filters(pairs.basis, layer.filter, width)
    scalars, radial, *vectors = gather(pairs.table, *told)
    return Edges(filters, scalars, radial, vectors[0].unflatten(-1, (3, width)) if vectors else None)


def _hear(edges: Edges, v: Tensor | None, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over neighbours: what is added to the scalars, and the vectors with what is added to them."""
    heard = sum_neighbours(direction, edges.filters[1] * edges.radial)
    if v is not None and edges.vectors is not None:
        heard = v + heard + weigh(edges.filters[2], edges.vectors)
    return (edges.filters[0] * edges.scalars).sum(-2), heard


def _message(layer: Layer, told: Sequence[Tensor], v: Tensor | None, pairs: Pairs):
    """What all atoms hear, and the numbers of the pairs, which are kept unless they are worked on in blocks."""
    if not pairs.blocks:
        edges = _edges(layer, told, pairs)
        return *_hear(edges, v, pairs.direction), edges
    parts = []
    for rows in pairs.blocks:
        some = pairs.block(rows)
        parts.append(_hear(_edges(layer, told, some), None if v is None else v[..., rows, :, :], some.direction))
    return torch.cat([part[0] for part in parts], dim=-2), torch.cat([part[1] for part in parts], dim=-3), None


def _forward(layer: Layer, s: Tensor, v: Tensor | None, pairs: Pairs):
    """Eqs. 7 to 10 for one layer: new scalars, new vectors, and what the way back needs."""
    width = s.shape[-1]
    inner = _dense(s, *layer.context[0])
    told = _dense(F.silu(inner), *layer.context[1]).split(width, dim=-1)
    gate, before = None, v
    if v is not None:
        gate = told[2]
        told = (*told[:2], (v * gate.unsqueeze(-2)).flatten(-2))
    scalars, heard, edges = _message(layer, told, v, pairs)
    s = s + scalars
    mixed = _dense(heard, layer.mix).split(width, dim=-1)
    length = (mixed[0].square().sum(-2) + SMOOTHING).sqrt()
    product = (mixed[0] * mixed[1]).sum(-2)
    hidden = _dense(torch.cat([s, length], dim=-1), *layer.gates[0])
    gates = _dense(F.silu(hidden), *layer.gates[1]).split(width, dim=-1)
    s = s + gates[0] + gates[1] * product
    v = heard + gates[2].unsqueeze(-2) * mixed[1] if len(gates) == 3 else None
    return s, v, Saved(inner, gate, told, edges, before, mixed, length, product, hidden, gates)


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


def _back_through_pairs(layer: Layer, saved: Saved, gs: Tensor, gv: Tensor, pairs: Pairs) -> tuple[Tensor, ...]:
    """dE/d(basis) and dE/d(direction) of one message, and dE/ds and dE/dv before it; the pairs anew where not kept."""
    if saved.edges is not None:
        slope = _slopes(layer, saved.edges, gs, gv, pairs.direction)
        return *slope, *_back_through_message(layer, saved, saved.edges, (gs, gv), (gs, gv), pairs)
    parts = []
    for rows in pairs.blocks:
        some, own = pairs.block(rows), (gs[..., rows, :], gv[..., rows, :, :])
        edges = _edges(layer, saved.told, some)
        slope = _slopes(layer, edges, *own, some.direction)
        parts.append((*slope, *_back_through_message(layer, saved.block(rows), edges, own, (gs, gv), some)))
    return tuple(torch.cat(part, dim) for part, dim in zip(zip(*parts, strict=True), (-3, -3, -2, -3), strict=True))


def _slopes(layer: Layer, edges: Edges, gs: Tensor, gv: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """What one message adds to dE/d(basis) and dE/d(direction)."""
    width = gs.shape[-1]
    by_filter = [gs.unsqueeze(-2) * edges.scalars, project(direction, gv) * edges.radial]
    if edges.vectors is not None:
        by_filter.append(dot(gv.unsqueeze(-3), edges.vectors))
    if torch.compiler.is_compiling():
        by_basis = [_dense(torch.cat(by_filter, dim=-1), layer.filter.mT)]
    else:
        parts = zip(by_filter, layer.filter.split(width, dim=-1), strict=True)
        by_basis = [_dense(by, weight.mT) for by, weight in parts]
    by_direction = sum_features(edges.filters[1] * edges.radial, gv)
    return functools.reduce(torch.add, by_basis), by_direction


def _back_through_message(
    layer: Layer, saved: Saved, edges: Edges, own: Sequence[Tensor], all_of: Sequence[Tensor], pairs: Pairs
) -> tuple[Tensor, Tensor]:
    """From dE/ds, dE/dv after the message (`own`) to those before it: atom j's derivative is what its listeners say.

    The pair seen from j has the same filter and the opposite direction.
    """
    gs, gv = own
    if saved.before is None or saved.gate is None:
        return gs, gv  # below the first layer there is only the embedding, which forces do not need
    gs_j, gv_j = gather(pairs.table, all_of[0], all_of[1].flatten(-2))
    gv_j = gv_j.unflatten(-1, (3, gs.shape[-1]))
    along = dot(pairs.direction.unsqueeze(-1), gv_j)
    g_vectors = weigh(edges.filters[2], gv_j)
    g_context = [
        (edges.filters[0] * gs_j).sum(-2),
        -(edges.filters[1] * along).sum(-2),
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
