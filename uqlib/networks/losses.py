"""What training minimises: functions of what the network says and what the labels say, one number out.

A method with a likelihood of its own keeps it in its own file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from uqlib.networks.evaluation import Evaluation
from uqlib.structures.batch import LABELS, Batch

STRESS_WEIGHT = 1000.0  # Å⁴: a usual one; an error of 1 meV/Å³ (0.16 GPa) then counts as one of 32 meV/Å of a force


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Predicted less true, where there are labels: a loss is a mean over these, whichever structures they are of."""

    energy: Tensor  # (s,)  eV, of the structures whose energy is known
    forces: Tensor  # (n, 3)  eV/Å, of the atoms whose force is known
    structures: Tensor | slice  # which structures these are
    atoms: Tensor | slice

    @classmethod
    def of(cls, evaluation: Evaluation, batch: Batch) -> Labelled:
        """Raises ValueError for a batch without any labels."""
        if batch.energy is None and batch.forces is None and batch.stress is None:
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


def stress_errors(evaluation: Evaluation, batch: Batch) -> tuple[Tensor, Tensor]:
    """Predicted less true stress (k, 3, 3), eV/Å³, of the structures that have a label and a volume, and which (k,)."""
    cells = known_cells(batch)
    if batch.stress is None:
        return evaluation.stress.new_zeros(0, 3, 3), cells
    return evaluation.stress.index_select(0, cells) - batch.stress.index_select(0, cells), cells


def known_cells(batch: Batch) -> Tensor:
    """(k,) which structures have a stress to be learnt: a label, and a volume."""
    if batch.stress is None:
        return torch.zeros(0, dtype=torch.long, device=batch.cell.device)
    labelled = ~batch.stress.flatten(1).isnan().any(1)
    return (labelled & (torch.linalg.det(batch.cell) != 0)).nonzero()[:, 0]


def known_rows(label: Tensor | None, count: int) -> Tensor | slice:
    """Which rows have labels; all of them as a slice, so that nothing is copied."""
    if label is None:
        return slice(0, 0)
    there = ~label.reshape(count, -1).isnan().any(1)
    return slice(None) if bool(there.all()) else there.nonzero()[:, 0]


def mean(values: Tensor) -> Tensor:
    """The mean, and 0, with its tape, of nothing: a batch of energies alone says nothing of forces."""
    return values.mean() if values.numel() else values.sum()


def gaussian_crps(squared_error: Tensor, variance: Tensor) -> Tensor:
    """Continuous ranked probability score of Gaussians, in the unit of the error: σ (z (2Φ(z) - 1) + 2φ(z) - 1/√π).

    z is the error over σ, Φ and φ are the standard normal distribution and its density. Source: T. Gneiting, A. E.
    Raftery, J. Am. Stat. Assoc. 102, 359 (2007), eq. 21, with the sign that makes small values the good ones. It grows
    with the error itself where the likelihood grows with the square. The variance has to be positive.
    """
    sigma = variance.sqrt()
    z = (squared_error + 1e-30).sqrt() / sigma  # even in the error; the root keeps its slope finite at zero
    density = (-0.5 * z.square()).exp() / math.sqrt(2 * math.pi)
    return sigma * (z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))


Loss = Callable[[Evaluation, Batch], Tensor]


def labels_of(loss: object) -> tuple[str, ...]:
    """Which of "energy", "forces" and "stress" a loss learns from, by its weights; energy and forces if it has none."""
    weights = {"energy": 1.0, "forces": 1.0, "stress": 0.0}
    names = {"energy": "energy_weight", "forces": "force_weight", "stress": "stress_weight"}
    return tuple(label for label in LABELS if getattr(loss, names[label], weights[label]))


UNSAID: Mapping[str, Any] = {"stress_weight": 0.0, "score": "nll", "score_of": "both"}
"""Fields that losses and recipes did not have at first, with the values that change nothing."""


class WithStress:
    """A loss or a recipe with a `stress_weight`, of which nothing is said where it is zero.

    Checkpoints and runs of active learning are known by how their recipe shows itself: those without stress have to
    look as they did before there was a weight. So it is with all fields of `UNSAID`.
    """

    stress_weight: float

    def __repr__(self) -> str:
        shown = [f.name for f in fields(self) if f.repr]  # pyright: ignore[reportArgumentType]
        values = {name: getattr(self, name) for name in shown}
        values = {name: value for name, value in values.items() if name not in UNSAID or value != UNSAID[name]}
        return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    def check_weight(self) -> None:
        """Raises ValueError for a weight that is no finite number from 0."""
        if not 0 <= self.stress_weight < float("inf"):
            raise ValueError(f"stress_weight: got {self.stress_weight}, expected a finite number, 0 or more")


@dataclass(frozen=True, kw_only=True, repr=False)
class EnergyForceLoss(WithStress):
    """w_E · mean of squared errors of the energy per atom (eV²) + w_F · mean over force components (eV²/Å²).

    With a `stress_weight`, + w_S · mean over the nine components of the stress (eV²/Å⁶). Means are over what has
    labels: a structure may lack energy, forces or stress, and has no stress without a period in all three directions.
    """

    energy_weight: float = 10.0  # Å⁻²: an error of 1 meV/atom counts as one of 3 meV/Å
    force_weight: float = 1.0
    stress_weight: float = 0.0  # Å⁴; `STRESS_WEIGHT` is a usual one

    def __post_init__(self) -> None:
        self.check_weight()

    def __call__(self, evaluation: Evaluation, batch: Batch) -> Tensor:
        error = Labelled.of(evaluation, batch)
        energy_error = (error.energy / batch.atoms_per_structure[error.structures]).to(evaluation.forces.dtype)
        loss = self.energy_weight * mean(energy_error.square()) + self.force_weight * mean(error.forces.square())
        if not self.stress_weight:
            return loss
        return loss + self.stress_weight * mean(stress_errors(evaluation, batch)[0].square())
