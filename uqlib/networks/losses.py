"""What training minimises: functions of what the network says and what the labels say, one number out.

A method with a likelihood of its own keeps it in its own file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from uqlib.networks.evaluation import Evaluation
from uqlib.structures.batch import Batch


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Predicted less true, where there are labels: a loss is a mean over these, whichever structures they are of."""

    energy: Tensor  # (s,)  eV, of the structures whose energy is known
    forces: Tensor  # (n, 3)  eV/Å, of the atoms whose force is known
    structures: Tensor | slice  # which structures these are
    atoms: Tensor | slice

    @classmethod
    def of(cls, evaluation: Evaluation, batch: Batch) -> Labelled:
        """Raises ValueError for a batch without any energies and forces."""
        if batch.energy is None and batch.forces is None:
            raise ValueError("batch: training needs energies or forces, this one has no labels")
        structures = known_rows(batch.energy, batch.n_structures)
        atoms = known_rows(batch.forces, batch.n_atoms)
        energy = batch.energy if batch.energy is not None else evaluation.energy
        forces = batch.forces if batch.forces is not None else evaluation.forces
        return cls(
            energy=(evaluation.energy - energy)[structures],
            forces=(evaluation.forces - forces)[atoms],
            structures=structures,
            atoms=atoms,
        )


def known_rows(label: Tensor | None, count: int) -> Tensor | slice:
    """Which rows have labels; all of them as a slice, so that nothing is copied."""
    if label is None:
        return slice(0, 0)
    there = ~label.reshape(count, -1).isnan().any(1)
    return slice(None) if bool(there.all()) else there.nonzero()[:, 0]


def mean(values: Tensor) -> Tensor:
    """The mean, and 0, with its tape, of nothing: a batch of energies alone says nothing of forces."""
    return values.mean() if values.numel() else values.sum()


Loss = Callable[[Evaluation, Batch], Tensor]


@dataclass(frozen=True, kw_only=True)
class EnergyForceLoss:
    """w_E · mean of squared errors of the energy per atom (eV²) + w_F · mean over force components (eV²/Å²).

    Means are over what has labels: a structure may lack energy or forces.
    """

    energy_weight: float = 10.0  # Å⁻²: an error of 1 meV/atom counts as one of 3 meV/Å
    force_weight: float = 1.0

    def __call__(self, evaluation: Evaluation, batch: Batch) -> Tensor:
        error = Labelled.of(evaluation, batch)
        energy_error = (error.energy / batch.atoms_per_structure[error.structures]).to(evaluation.forces.dtype)
        return self.energy_weight * mean(energy_error.square()) + self.force_weight * mean(error.forces.square())
