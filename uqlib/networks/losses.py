"""What training minimises: functions of what the network says and what the labels say, one number out.

A method with a likelihood of its own keeps it in its own file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from uqlib.networks.evaluation import Evaluation
from uqlib.structures.batch import Batch

Loss = Callable[[Evaluation, Batch], Tensor]


@dataclass(frozen=True, kw_only=True)
class EnergyForceLoss:
    """w_E · mean of squared errors of the energy per atom (eV²) + w_F · mean over force components (eV²/Å²)."""

    energy_weight: float = 10.0  # Å⁻²: an error of 1 meV/atom counts as one of 3 meV/Å
    force_weight: float = 1.0

    def __call__(self, evaluation: Evaluation, batch: Batch) -> Tensor:
        if batch.energy is None or batch.forces is None:
            raise ValueError("batch: training needs energies and forces, this one has no labels")
        energy_error = ((evaluation.energy - batch.energy) / batch.atoms_per_structure).to(evaluation.forces.dtype)
        force_error = evaluation.forces - batch.forces
        return self.energy_weight * energy_error.square().mean() + self.force_weight * force_error.square().mean()
