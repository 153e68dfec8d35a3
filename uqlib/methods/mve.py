"""Mean-variance estimation: the network predicts, beside the force, how far off it expects to be.

Nix, Weigend, "Estimating the mean and variance of the target probability distribution", ICNN 1994: take each label as
drawn from a Gaussian around the network's prediction, whose variance the network predicts, too, and maximise the
likelihood of all labels. For forces, Tan et al. 2023, arXiv:2305.01754.

The variance that is learnt is that of the errors *on the training data*. In a set without noise these are the errors of
the fit. Nothing teaches the network what to say elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from uqlib.methods.shared.likelihoods import (
    COMPONENTS,
    VIRIAL,
    Form,
    MaximumLikelihood,
    errors_of,
    positive,
    stress_deviation,
    sum_of_atoms,
    virial_errors,
)
from uqlib.methods.shared.self_assessing import SelfAssessing
from uqlib.networks.evaluation import Evaluation, evaluate
from uqlib.networks.losses import WithStress, mean
from uqlib.networks.references import doubtful
from uqlib.prediction import Parts, Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset


class Variances(NamedTuple):
    """What the numbers of the head mean."""

    force: Tensor  # (N,)  of one residual of an atom: a force component, or the norm of its error; (eV/Å)²
    energy: Tensor  # (S,)  eV²
    virial: Tensor | None = None  # (S,)  of a component of stress times volume, where the head has a third number; eV²


def variances(head: Tensor, batch: Batch, scale: Tensor | float) -> Variances:
    """From the head (N, 2 or 3) and the network's scale, eV: each number a standard deviation, once it is positive.

    The energy of a structure is a sum over atoms; so is its variance, as if the atoms' errors were independent.
    """
    force, *sums = (positive(head) * scale).square().unbind(-1)
    return Variances(force, *(sum_of_atoms(values, batch) for values in sums))


def gaussian_nll(squared_error: Tensor, variance: Tensor, *, residuals: int = 1, beta: float = 0.0) -> Tensor:
    """-log of a Gaussian's density, without its constant, per residual: (log σ² + e²/σ²) / 2 (Nix, Weigend 1994).

    `squared_error` is summed over the `residuals` that share a variance. `beta` gives the gradient of the β-NLL of
    Seitzer et al. 2022, arXiv:2203.09168, in which each term is weighted by σ^(2β), itself held constant: at 0 it is
    the likelihood's, at 1 the mean learns as from squared errors. The weights are divided by their mean, so that they
    shift attention between atoms and not between energies and forces. The value is that of the likelihood for any
    `beta`: that of the weighted sum would say nothing, since it falls when all variances do.
    """
    nll = 0.5 * (variance.log() + squared_error / (residuals * variance))
    weight = variance.detach() ** beta
    weighted = nll * (weight / weight.mean())
    return weighted + (nll - weighted).detach()


@dataclass(frozen=True, kw_only=True, repr=False)
class GaussianLoss(WithStress):
    """w_E · mean over structures + w_F · mean over force residuals of the negative log likelihood.

    With a `stress_weight`, + w_S · mean over the components of the virial, stress times volume, of theirs.
    """

    scale: float  # eV, of the network
    likelihood: Form = "components"
    energy_weight: float = 0.1
    force_weight: float = 1.0
    beta: float = 0.0
    stress_weight: float = 0.0

    def __call__(self, evaluation: Evaluation, batch: Batch) -> Tensor:
        errors = errors_of(evaluation, batch)
        variance = variances(evaluation.heads["spread"], batch, self.scale)
        residuals = COMPONENTS[self.likelihood]
        of_atoms, of_structures = variance.force[errors.atoms], variance.energy[errors.structures]
        force = gaussian_nll(errors.force_squared, of_atoms, residuals=residuals, beta=self.beta)
        energy = gaussian_nll(errors.energy.square(), of_structures, beta=self.beta)
        loss = self.energy_weight * mean(energy) + self.force_weight * mean(force)
        if not self.stress_weight or variance.virial is None:
            return loss
        squared, cells = virial_errors(evaluation, batch)
        return loss + self.stress_weight * mean(
            gaussian_nll(squared, variance.virial[cells], residuals=VIRIAL, beta=self.beta)
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class MeanVariance(MaximumLikelihood):
    """The recipe. `likelihood`: "components", or "norm" as in the study; `beta`: see `gaussian_nll`."""

    beta: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta: got {self.beta}, expected 0 (likelihood) <= beta <= 1 (squared error)")

    def fit(self, train: Dataset, valid: Dataset, *, seed: int, progress: bool = True) -> FittedMeanVariance:
        """Train; `seed` fixes initial weights and shuffling."""

        def loss(scale: float) -> GaussianLoss:
            return GaussianLoss(
                scale=scale,
                likelihood=self.likelihood,
                energy_weight=self.energy_weight,
                force_weight=self.force_weight,
                beta=self.beta,
                stress_weight=self.stress_weight,
            )

        def start(force: float, *sums: float) -> tuple[float, ...]:
            return force * (3 / COMPONENTS[self.likelihood]) ** 0.5, *sums

        size = 3 if self.stress_weight else 2
        model, history = self.train_by_likelihood(
            train, valid, seed=seed, head="spread", size=size, start=start, loss=loss, progress=progress
        )
        fitted = FittedMeanVariance(model, likelihood=self.likelihood, factors=(1.0,) * size, history=history)
        return fitted.rescaled(valid) if self.rescale else fitted


class FittedMeanVariance(SelfAssessing):
    """A network and the standard deviations it predicts of its own errors."""

    kind = "mve"

    def of_atoms(self, heads: Mapping[str, Tensor], scale: Tensor) -> Tensor:
        """As `predict`; the squares of the second column add up to the variance of the energy."""
        force, energy = (positive(heads["spread"][:, :2]) * scale).unbind(-1)
        norm = (COMPONENTS[self.likelihood] / 3) ** 0.5
        return torch.stack([self.factors[0] * norm * force, self.factors[1] * energy], dim=-1)

    def predict(self, batch: Batch) -> Prediction:
        """All of the uncertainty is aleatoric: the method takes whatever it cannot fit for noise, and knows no other.

        Learnt from the norm, |ΔF|² = σ² on average; each of the three components then has a third of it.
        """
        result = evaluate(self.model, batch)
        variance = variances(result.heads["spread"], batch, self.model.scale)
        force = self.factors[0] * (variance.force * (COMPONENTS[self.likelihood] / 3)).sqrt()
        energy = self.factors[1] * variance.energy.sqrt()
        stress = (
            None
            if variance.virial is None or not self.knows_stress
            else self.factors[2] * stress_deviation(variance.virial, batch)
        )
        return Prediction(
            energy=result.energy,
            forces=result.forces,
            stress=result.stress,
            force_uncertainty=force,
            energy_uncertainty=doubtful(self.model, batch, energy.double()),
            stress_uncertainty=stress,
            atom_energy_uncertainty=self.of_atoms(result.heads, self.model.scale)[:, 1].double(),
            force_parts=Parts(aleatoric=force, epistemic=torch.zeros_like(force)),
            energy_parts=Parts(aleatoric=energy.double(), epistemic=torch.zeros_like(energy.double())),
        )
