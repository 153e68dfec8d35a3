"""From a network to energies, forces and stress: the only place where forces are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from uqlib.common.devices import same_place
from uqlib.networks import fast_painn
from uqlib.networks.painn import Geometry, PaiNN
from uqlib.structures.batch import Batch


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One pass of a network. With M members every tensor has a leading axis of length M."""

    energy: Tensor  # (S,)        eV, float64
    forces: Tensor  # (N, 3)      eV/Å
    stress: Tensor  # (S, 3, 3)   eV/Å³; nan where a structure is not periodic in all directions
    features: Tensor  # (N, F)    final scalar features
    heads: Mapping[str, Tensor]  # name -> (N, K)
    atom_energy: Tensor | None = None  # (N,)  eV, float64: how the network shares out its energy; None of other ones

    @classmethod
    def stack(cls, members: Sequence[Evaluation]) -> Evaluation:
        """Several networks' results as one with a leading axis, as if they had been evaluated together."""
        atoms = [m.atom_energy for m in members if m.atom_energy is not None]
        return cls(
            energy=torch.stack([m.energy for m in members]),
            forces=torch.stack([m.forces for m in members]),
            stress=torch.stack([m.stress for m in members]),
            features=torch.stack([m.features for m in members]),
            heads={name: torch.stack([m.heads[name] for m in members]) for name in members[0].heads},
            atom_energy=torch.stack(atoms) if len(atoms) == len(members) else None,
        )


class OtherNetwork(nn.Module):
    """A trained network that is not `PaiNN` and makes its evaluations itself: see `uqlib.interfaces`."""

    cutoff: float  # Å
    dtype: torch.dtype
    device: torch.device
    members: None
    scale: Tensor  # ()  eV, what one unit of the last layer's output is
    trained_on: Mapping[str, Any] | None = None  # as `origin.origin` tells it, if you set it

    def evaluate(self, batch: Batch, *, train: bool = False) -> Evaluation:
        """What the function `evaluate` returns."""
        raise NotImplementedError


def evaluate(model: PaiNN | OtherNetwork, batch: Batch, *, train: bool = False) -> Evaluation:
    """Energies and their derivatives: forces by autograd, stress from the same pair forces.

    The derivative is taken with respect to distances and directions of the pairs and brought to positions by a
    closed chain rule, so that training never differentiates square roots and sines twice. Results are
    differentiable in the weights with `train=True`, and in the positions where `batch.positions.requires_grad`.
    Raises ValueError for elements that the network does not know, for pairs found with another cutoff, and for a
    batch in another floating-point type than the network or on another device.
    """
    check(model, batch)
    if not isinstance(model, PaiNN):
        return model.evaluate(batch, train=train)
    on_tape = batch.positions.requires_grad
    species = model.species(batch.atomic_numbers)
    with torch.set_grad_enabled(on_tape):
        geometry = Geometry.of(batch, model.radial)
    if on_tape or type(model) is not PaiNN:  # a subclass may have another forward pass than the one written out
        atomwise, by_basis, by_direction = _slopes_by_autograd(model, species, batch, geometry)
    else:  # the same numbers in less time
        with torch.set_grad_enabled(train):
            atomwise, by_basis, by_direction = fast_painn.slopes(model, species, batch, geometry)
    with torch.set_grad_enabled(train or on_tape):
        members = model.members or 1
        pull = pair_gradient(geometry, by_basis, by_direction)
        # In float64: the references are thousands of eV, what the network adds is a few.
        reference = model.atom_energies.index_select(-1, species)
        atom_energy = atomwise.energy.unflatten(0, (members, -1)).double() + reference
        start = atom_energy.new_zeros(members, batch.n_structures)
        result = Evaluation(
            energy=start.index_add(1, batch.structure_of_atom, atom_energy),
            forces=pull.new_zeros(members, batch.n_atoms, 3)
            .index_add(1, batch.pairs[0], pull)
            .index_add(1, batch.pairs[1], pull, alpha=-1),
            stress=stress_of_pairs(batch, geometry, pull),
            features=atomwise.features.unflatten(0, (members, -1)),
            heads={name: value.unflatten(0, (members, -1)) for name, value in atomwise.heads.items()},
            atom_energy=atom_energy,
        )
    return _finish(result, squeeze=model.members is None, detach=not (train or on_tape))


def check(model: PaiNN | OtherNetwork, batch: Batch) -> None:
    """Raise ValueError for pairs of another cutoff, and for a batch in another type or on another device."""
    if batch.cutoff != model.cutoff:
        raise ValueError(f"batch: its pairs reach to {batch.cutoff} Å, this network needs {model.cutoff} Å")
    if batch.positions.dtype != model.dtype:
        raise ValueError(
            f"batch: it is in {batch.positions.dtype}, this network in {model.dtype}; bring one to the other "
            "with its `to`"
        )
    if not same_place(batch.positions.device, model.device):
        raise ValueError(
            f"batch: it is on {batch.positions.device}, this network on {model.device}; bring one to the other with "
            "its `to`"
        )


def _slopes_by_autograd(model: PaiNN, species: Tensor, batch: Batch, geometry: Geometry):
    """What the network says, and dE/d(basis) (M, E, R + 1) and dE/d(direction) (M, E, 3) of the total energy."""
    members = model.members or 1
    with torch.enable_grad():
        basis, direction = geometry.basis.repeat(members, 1), geometry.direction.repeat(members, 1)
        if not basis.requires_grad:
            basis.requires_grad_()
            direction.requires_grad_()
        rows, pairs = _one_network_of_many(model, species, batch.pairs)
        atomwise = model(rows, pairs, basis, direction)
        by_basis, by_direction = torch.autograd.grad(
            atomwise.energy.sum(), (basis, direction), create_graph=True, materialize_grads=True
        )
    return atomwise, by_basis.unflatten(0, (members, -1)), by_direction.unflatten(0, (members, -1))


def _one_network_of_many(model: PaiNN, species: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the embedding and pairs for M members as one graph: member m's atoms start at row m·N."""
    if model.members is None:
        return species, pairs
    member = torch.arange(model.members, device=species.device)[:, None]
    kinds = model.atom_energies.shape[-1]
    rows = (species + member * kinds).flatten()
    return rows, (pairs[:, None] + member * len(species)).flatten(1)


def pair_gradient(geometry: Geometry, by_basis: Tensor, by_direction: Tensor) -> Tensor:
    """(M, E, 3) derivative of the energy with respect to the vector of each pair, eV/Å.

    d = |r| and u = r/d give dE/dr = u (dE/dB · dB/dd) + (dE/du - u (u · dE/du)) / d. Any other function of the pairs
    does as well; M then counts functions.
    """
    u = geometry.direction
    radial = (by_basis * geometry.slope).sum(-1, keepdim=True)
    along = (by_direction * u).sum(-1, keepdim=True)
    return radial * u + (by_direction - along * u) / geometry.distance


def stress_of_pairs(batch: Batch, geometry: Geometry, pull: Tensor) -> Tensor:
    """(M, S, 3, 3) virial over volume, eV/Å³, positive under tension as in ASE; nan without a volume.

    `pull` as `pair_gradient` makes it, of the energy or of any M functions: their slopes with strain, over the volume.
    """
    vector = geometry.direction * geometry.distance
    structure = batch.structure_of_atom.index_select(0, batch.pairs[0])
    outer = (pull.unsqueeze(-1) * vector.unsqueeze(-2)).flatten(-2)
    virial = outer.new_zeros(len(pull), batch.n_structures, 9).index_add(1, structure, outer).unflatten(-1, (3, 3))
    volume = torch.linalg.det(batch.cell).abs()
    without = (volume == 0)[:, None, None]
    stress = 0.5 * (virial + virial.mT) / volume[:, None, None].masked_fill(without, 1.0)
    return stress.masked_fill(without, torch.nan)  # filled last, so that no gradient passes through nan


def _finish(evaluation: Evaluation, *, squeeze: bool, detach: bool) -> Evaluation:
    """Drop the member axis of a single network, and the tape where nobody asked for it."""

    def finish(tensor: Tensor) -> Tensor:
        tensor = tensor[0] if squeeze else tensor
        return tensor.detach() if detach else tensor

    return Evaluation(
        energy=finish(evaluation.energy),
        forces=finish(evaluation.forces),
        stress=finish(evaluation.stress),
        features=finish(evaluation.features),
        heads={name: finish(value) for name, value in evaluation.heads.items()},
        atom_energy=None if evaluation.atom_energy is None else finish(evaluation.atom_energy),
    )
