"""Neighbours in a table of K slots per atom, and the sums over them: the arithmetic of `fast_painn`.

Sums over neighbours are then sums over an axis, and what atom i heard from j is looked up among what j heard from i:
no scattered writes, forwards or backwards. Empty slots need no mask as long as what is summed over them is zero.

Shapes are those of N atoms, K slots and F features; leading axes (...) are free, for instance that of M members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from uqlib.structures.batch import Batch


class Table(NamedTuple):
    """Neighbours of N atoms in K slots each, K that of the atom with most neighbours."""

    neighbour: Tensor  # (N, K)  j; the atom itself in an empty slot
    reverse: Tensor  # (N, K)  the flat slot that holds the same pair seen from j; an empty slot points at itself
    slot: Tensor  # (E,)  the flat slot of each pair

    @classmethod
    def of(cls, batch: Batch) -> Table:
        i, j = batch.pairs
        counts = torch.bincount(i, minlength=batch.n_atoms)
        slots = max(int(counts.max()), 1)
        first = counts.cumsum(0) - counts
        slot = torch.arange(batch.n_pairs, device=i.device) + (
            torch.arange(batch.n_atoms, device=i.device) * slots - first
        ).index_select(0, i)
        own = torch.arange(batch.n_atoms * slots, device=i.device)
        neighbour = (own // slots).index_copy(0, slot, j)
        reverse = own.index_copy(0, slot, slot.index_select(0, batch.reverse))
        return cls(neighbour.view(-1, slots), reverse.view(-1, slots), slot)

    def fill(self, of_pair: Tensor) -> Tensor:
        """(E, C) into (N, K, C), zeros in empty slots."""
        atoms, slots = self.neighbour.shape
        empty = of_pair.new_zeros(atoms * slots, of_pair.shape[-1])
        return empty.index_copy(0, self.slot, of_pair).view(atoms, slots, -1)

    def read(self, of_slot: Tensor) -> Tensor:
        """(..., N, K, C) back to (..., E, C)."""
        return of_slot.flatten(-3, -2).index_select(-2, self.slot)


class Pairs(NamedTuple):
    """The pairs of all atoms, in slots; with the blocks of atoms that are worked on one after another."""

    table: Table
    basis: Tensor  # (N, K, R + 1)
    direction: Tensor  # (N, K, 3)
    blocks: Sequence[slice] = ()  # none: all at once

    def block(self, rows: slice) -> Pairs:
        """Those of some atoms: for look-ups, not for a tape."""
        return Pairs(self.table._replace(neighbour=self.table.neighbour[rows]), self.basis[rows], self.direction[rows])


class _Gather(torch.autograd.Function):
    """x (..., N, C) to x_j (..., N, K, C); the way back reads the reverse pairs instead of adding into atoms.

    Exact as long as what comes back to empty slots is zero.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, neighbour: Tensor, reverse: Tensor) -> Tensor:
        ctx.save_for_backward(reverse)
        return _look_up(x, neighbour)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (reverse,) = ctx.saved_tensors
        return _look_up(grads[0].flatten(-3, -2), reverse).sum(-2), None, None


def _look_up(x: Tensor, rows: Tensor) -> Tensor:
    return x.index_select(-2, rows.flatten()).unflatten(-2, rows.shape)


def gather(table: Table, *parts: Tensor) -> Sequence[Tensor]:
    """(..., N, C) -> (..., N, K, C) of each part: x_j of every neighbour; compiled, all parts with one look-up."""
    if torch.compiler.is_compiling() and len(parts) > 1:
        (both,) = gather(table, torch.cat(parts, dim=-1))
        return both.split([part.shape[-1] for part in parts], dim=-1)
    if torch.is_grad_enabled() and any(part.requires_grad for part in parts):
        return [_Gather.apply(part, table.neighbour, table.reverse) for part in parts]
    return [_look_up(part, table.neighbour) for part in parts]


# Contractions of small axes. A compiler merges the products with the sums around them; eagerly they are matrix products
# or, where both factors have features, running sums: a product with all axes would be the largest array of all.
def sum_neighbours(direction: Tensor, x: Tensor) -> Tensor:
    """(N, K, 3), (..., N, K, F) -> (..., N, 3, F)"""
    if torch.compiler.is_compiling():
        return (direction.unsqueeze(-1) * x.unsqueeze(-2)).sum(-3)
    return torch.matmul(direction.mT, x)


def project(direction: Tensor, v: Tensor) -> Tensor:
    """(N, K, 3), (..., N, 3, F) -> (..., N, K, F)"""
    if torch.compiler.is_compiling():
        return (direction.unsqueeze(-1) * v.unsqueeze(-3)).sum(-2)
    return torch.matmul(direction, v)


def sum_features(x: Tensor, v: Tensor) -> Tensor:
    """(..., N, K, F), (..., N, 3, F) -> (..., N, K, 3)"""
    if torch.compiler.is_compiling():
        return (x.unsqueeze(-2) * v.unsqueeze(-3)).sum(-1)
    return _SumFeatures.apply(x, v)


class _SumFeatures(torch.autograd.Function):
    """x v^T. Features stay the fastest axis on the way back; the derivative of v by autograd would be transposed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(x, v)
        return torch.matmul(x, v.mT)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, v = ctx.saved_tensors
        by_x, by_v = torch.matmul(grads[0], v), torch.matmul(grads[0].mT, x)
        return by_x.sum_to_size(x.shape), by_v.sum_to_size(v.shape)


def weigh(x: Tensor, v: Tensor) -> Tensor:
    """(..., N, K, F), (..., N, K, 3, F) -> (..., N, 3, F): vectors from neighbours, weighed and added."""
    if torch.compiler.is_compiling():
        return (x.unsqueeze(-2) * v).sum(-3)
    return _RunningSum.apply(x.unsqueeze(-2), v, -3)


def dot(a: Tensor, v: Tensor) -> Tensor:
    """(..., N, 1, 3, F) or (N, K, 3, 1), with (..., N, K, 3, F) -> (..., N, K, F): scalar products of vectors."""
    if torch.compiler.is_compiling():
        return (a * v).sum(-2)
    return _RunningSum.apply(a, v, -2)


class _RunningSum(torch.autograd.Function):
    """(a * b).sum(axis), axis -3 (slots) or -2 (components), of b (..., K, 3, F), without ever holding a * b."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, axis: int) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.axis = axis
        return _running_sum(a, b, axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (a, b), grad, other = ctx.saved_tensors, grads[0].unsqueeze(ctx.axis), -5 - ctx.axis
        by_a = by_b = None
        if ctx.needs_input_grad[0]:
            by_a = _running_sum(grad, b, other).unsqueeze(other) if a.shape[other] == 1 else grad * b
            by_a = by_a.sum_to_size(a.shape)
        if ctx.needs_input_grad[1]:
            by_b = (grad * a).sum_to_size(b.shape)
        return by_a, by_b, None


def _running_sum(a: Tensor, b: Tensor, axis: int) -> Tensor:
    first, *rest = zip(a.unbind(axis), b.unbind(axis), strict=True)
    total = first[0] * first[1]
    for one, other in rest:
        total.addcmul_(one, other)
    return total
