"""Potentials with members that are known in closed form, for tests of what is computed from members."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uqlib.interfaces import ForeignModel
from uqlib.networks.evaluation import evaluate
from uqlib.prediction import Members, Prediction
from uqlib.structures.batch import Batch

CUTOFF = 3.0


class Springs(nn.Module):
    """Between all neighbours closer than `within` Å a spring: stiffness / 2 (d - length)²; each atom also `level`."""

    numbers: Tensor

    def __init__(self, stiffness: float, length: float, *, level: float = 0.0, within: float = CUTOFF) -> None:
        super().__init__()
        self.register_buffer("numbers", torch.tensor([stiffness, length, level], dtype=torch.float64))
        self.within = within

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        stiffness, length, level = self.numbers.unbind()
        distance = batch.vectors().norm(dim=1)
        own = 0.25 * stiffness * (distance - length).square() * (distance.detach() < self.within)
        atoms = batch.positions.new_zeros(batch.n_atoms).index_add(0, batch.pairs[0], own) + level
        energy = atoms.new_zeros(batch.n_structures).index_add(0, batch.structure_of_atom, atoms)
        return energy, atoms[:, None]


class Several:
    """Any networks as members; their mean is the potential."""

    def __init__(self, modules: Sequence[nn.Module], *, stress: bool = True) -> None:
        self.models = [ForeignModel(module, elements=[1, 7, 8, 18], cutoff=CUTOFF) for module in modules]
        self.cutoff, self.dtype, self.device = CUTOFF, torch.float64, torch.device("cpu")
        self.stress = stress

    def members(self, batch: Batch) -> Members:
        found = [evaluate(model, batch) for model in self.models]
        return Members(
            energy=torch.stack([each.energy for each in found]),
            forces=torch.stack([each.forces for each in found]),
            stress=torch.stack([each.stress for each in found]) if self.stress else None,
        )

    def predict(self, batch: Batch) -> Prediction:
        found = self.members(batch)
        return Prediction(
            energy=found.energy.mean(0),
            forces=found.forces.mean(0),
            stress=None if found.stress is None else found.stress.mean(0),
            force_uncertainty=found.forces.var(0).mean(-1).sqrt(),
            energy_uncertainty=found.energy.var(0).sqrt(),
        )
