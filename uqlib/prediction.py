"""The waist of the library: what a potential predicts, and what a method of uncertainty quantification is.

Everything above (metrics, calibration, attacks, dynamics) takes a `Predictor`; everything below serves `evaluate`,
the only place where forces are made.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Parts:
    """An uncertainty in two parts, both standard deviations; their squares add up to that of the whole."""

    aleatoric: Tensor  # (N,) eV/Å or (S,) eV: noise that more data of the same kind would not remove
    epistemic: Tensor  # the same shape: what more data would teach


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Energies, forces and how far to trust them.

    `unit` says what `force_uncertainty` is: "eV/Å" a standard deviation of one force component, "nats" a score that
    can only rank. `energy_uncertainty` is in eV (a standard deviation) or nats accordingly. Methods that tell noise
    from ignorance also give the two parts.
    """

    energy: Tensor  # (S,)    eV
    forces: Tensor  # (N, 3)  eV/Å
    force_uncertainty: Tensor  # (N,)    larger = trust less
    energy_uncertainty: Tensor | None = None  # (S,)
    stress: Tensor | None = None  # (S, 3, 3)  eV/Å³
    unit: Literal["eV/Å", "nats"] = "eV/Å"
    force_parts: Parts | None = None  # (N,) eV/Å each
    energy_parts: Parts | None = None  # (S,) eV each

    def __post_init__(self) -> None:
        structures, atoms = self.energy.shape, self.forces.shape
        if len(structures) != 1 or len(atoms) != 2 or atoms[1] != 3:
            raise ValueError(f"energy, forces: got {tuple(structures)}, {tuple(atoms)}, expected (S,) and (N, 3)")
        if self.force_uncertainty.shape != atoms[:1]:
            raise ValueError(
                f"force_uncertainty: got {tuple(self.force_uncertainty.shape)}, expected {(atoms[0],)}, one an atom"
            )
        if self.energy_uncertainty is not None and self.energy_uncertainty.shape != structures:
            raise ValueError(
                f"energy_uncertainty: got {tuple(self.energy_uncertainty.shape)}, expected {tuple(structures)}"
            )
        if self.unit not in ("eV/Å", "nats"):
            raise ValueError(f"unit: got {self.unit!r}, expected 'eV/Å' or 'nats'")


@runtime_checkable
class Predictor(Protocol):
    """A fitted potential with uncertainties."""

    @property
    def cutoff(self) -> float:
        """Å, of the neighbour pairs it wants to see."""
        ...

    def predict(self, batch: Batch) -> Prediction:
        """Differentiable exactly when `batch.positions.requires_grad`."""
        ...


@runtime_checkable
class Method(Protocol):
    """A recipe: hyper-parameters now, training later."""

    def fit(self, train: Dataset, valid: Dataset, *, seed: int) -> Predictor:
        """Train on `train`, choose by `valid`; everything drawn at random comes from `seed`."""
        ...


def predict(
    predictor: Predictor, data: Dataset, *, batch_size: int = 100, dtype: torch.dtype = torch.float32
) -> Prediction:
    """A whole data set, a batch at a time, as one `Prediction` without gradients."""
    parts = [
        predictor.predict(data.batch(chosen, cutoff=predictor.cutoff, dtype=dtype))
        for chosen in torch.arange(len(data)).split(batch_size)
    ]

    def join(name: str) -> Tensor | Parts | None:
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], Parts):
            return Parts(
                aleatoric=torch.cat([v.aleatoric for v in values]), epistemic=torch.cat([v.epistemic for v in values])
            )
        return None if values[0] is None else torch.cat(values)

    names = [field.name for field in fields(Prediction) if field.name != "unit"]
    return Prediction(**{name: join(name) for name in names}, unit=parts[0].unit)  # pyright: ignore[reportArgumentType]
