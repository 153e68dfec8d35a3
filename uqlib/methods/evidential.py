"""Deep evidential regression: the network predicts a distribution over Gaussians, not one of them.

Amini, Schwarting, Soleimany, Rus, "Deep evidential regression", NeurIPS 2020, arXiv:1910.02600; for molecules,
Soleimany et al., ACS Cent. Sci. 2021; for forces, Tan et al. 2023, arXiv:2305.01754. Equation numbers are those of the
first.

A label is drawn from a Gaussian whose mean μ and variance σ² are themselves drawn, from a normal-inverse-gamma
distribution that the network predicts (eq. 4): σ² ~ Inverse-Gamma(α, β) and μ ~ N(prediction, σ²/ν). Read as a prior,
ν and 2α count imagined observations behind the mean and behind the variance: the *evidence*. What is left after μ
and σ² have been integrated out is a Student's t, and its likelihood trains the network.
"""

from __future__ import annotations

import math
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

SMALLEST_ALPHA = 1.5  # three degrees of freedom; at α = 1 the variance β/(α - 1) is infinite
START_NU, START_ALPHA = 1.0, 3.0


class Evidence(NamedTuple):
    """A normal-inverse-gamma distribution around each prediction, (N,) atoms or (S,) structures."""

    nu: Tensor  # imagined observations behind the mean
    alpha: Tensor  # half as many as stand behind the variance; more than 1
    beta: Tensor  # (eV/Å)² or eV²

    @property
    def aleatoric(self) -> Tensor:
        """E[σ²] = β/(α - 1) (eq. 5): the expected noise."""
        return self.beta / (self.alpha - 1)

    @property
    def epistemic(self) -> Tensor:
        """Var[μ] = β/(ν(α - 1)) (eq. 5): how far the mean may be off."""
        return self.aleatoric / self.nu


def evidence(head: Tensor, scale: Tensor | float) -> Evidence:
    """From three numbers of the head, (N, 3), and the network's scale in eV."""
    nu, alpha, width = positive(head).unbind(-1)
    return Evidence(nu, SMALLEST_ALPHA + alpha, (scale * width).square())


def of_structures(atoms: Evidence, batch: Batch) -> Evidence:
    """The evidence for energies, (S,), from that for the contributions of the atoms, (N,).

    Both variances add up over atoms, as those of independent contributions do. α is the mean over atoms, weighted by
    their variance. These three fix the distribution: ν is the ratio of the two sums.
    """
    aleatoric, epistemic = sum_of_atoms(atoms.aleatoric, batch), sum_of_atoms(atoms.epistemic, batch)
    share = atoms.aleatoric + atoms.epistemic
    alpha = sum_of_atoms(share * atoms.alpha, batch) / sum_of_atoms(share, batch)
    return Evidence(aleatoric / epistemic, alpha, aleatoric * (alpha - 1))


def student_nll(squared_error: Tensor, evidence: Evidence, *, dimensions: int = 1) -> Tensor:
    """-log of the density of an error with squared length `squared_error`, constants included; (N,) or (S,).

    Eq. 8 for one dimension. In three, all components of a force share one σ²; integrating it out gives a t
    distribution in three dimensions, which depends on the length of the error alone. (A product of three
    one-dimensional ones would depend on how the molecule is turned.)
    """
    nu, alpha, beta = evidence
    half = dimensions / 2
    omega = 2 * beta * (1 + nu)
    return (
        half * (math.pi / nu).log()
        - alpha * omega.log()
        + (alpha + half) * (nu * squared_error + omega).log()
        + alpha.lgamma()
        - (alpha + half).lgamma()
    )


def misplaced_evidence(error: Tensor, evidence: Evidence) -> Tensor:
    """|error| · (2ν + α), (N,) or (S,): evidence where there are errors is to be taken back (eq. 9)."""
    return error.abs() * (2 * evidence.nu + evidence.alpha)


@dataclass(frozen=True, kw_only=True, repr=False)
class EvidentialLoss(WithStress):
    """w_E · mean over structures + w_F · mean over force residuals, of likelihood and λ times the regulariser (eq. 10).

    The regulariser sees errors in units of the network's scale (energies: per atom), so that λ has no unit. With a
    `stress_weight` the virial, stress times volume, has its likelihood, too: one t in the six dimensions that it has.
    """

    scale: float  # eV, of the network
    likelihood: Form = "components"
    energy_weight: float = 0.1
    force_weight: float = 1.0
    regulariser: float = 0.01
    stress_weight: float = 0.0

    def __call__(self, evaluation: Evaluation, batch: Batch) -> Tensor:
        errors, head = errors_of(evaluation, batch), evaluation.heads["evidence"]
        force, energy = evidence(head[:, :3], self.scale), of_structures(evidence(head[:, 3:6], self.scale), batch)
        force = Evidence(*(value[errors.atoms] for value in force))
        energy = Evidence(*(value[errors.structures] for value in energy))
        residuals = COMPONENTS[self.likelihood]
        force_nll = student_nll(errors.force_squared, force, dimensions=residuals) / residuals
        force_error = (errors.force_squared / residuals + 1e-16).sqrt() / self.scale
        energy_error = errors.energy / batch.atoms_per_structure[errors.structures] / self.scale
        force_loss = force_nll + self.regulariser * misplaced_evidence(force_error, force)
        energy_loss = student_nll(errors.energy.square(), energy) + self.regulariser * misplaced_evidence(
            energy_error, energy
        )
        loss = self.energy_weight * mean(energy_loss) + self.force_weight * mean(force_loss)
        return loss + self.stress_weight * self._of_stress(evaluation, batch) if self.stress_weight else loss

    def _of_stress(self, evaluation: Evaluation, batch: Batch) -> Tensor:
        squared, cells = virial_errors(evaluation, batch)
        whole = of_structures(evidence(evaluation.heads["evidence"][:, 6:], self.scale), batch)
        virial = Evidence(*(value[cells] for value in whole))
        error = (squared / VIRIAL + 1e-16).sqrt() / batch.atoms_per_structure[cells] / self.scale
        nll = student_nll(squared, virial, dimensions=VIRIAL) / VIRIAL
        return mean(nll + self.regulariser * misplaced_evidence(error, virial))


@dataclass(frozen=True, kw_only=True, repr=False)
class Evidential(MaximumLikelihood):
    """The recipe. `likelihood`: "components", or "norm" as in the study; `regulariser`: λ of eq. 10."""

    regulariser: float = 0.01
    warm_up: float = 0.0  # the tails of a t forgive the large errors of the beginning, and ranking is better without

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.regulariser < math.inf:
            raise ValueError(f"regulariser: got {self.regulariser}, expected a finite number, 0 or more")

    def fit(self, train: Dataset, valid: Dataset, *, seed: int, progress: bool = True) -> FittedEvidential:
        """Train; `seed` fixes initial weights and shuffling."""

        def loss(scale: float) -> EvidentialLoss:
            return EvidentialLoss(
                scale=scale,
                likelihood=self.likelihood,
                energy_weight=self.energy_weight,
                force_weight=self.force_weight,
                regulariser=self.regulariser,
                stress_weight=self.stress_weight,
            )

        def start(force: float, *sums: float) -> list[float]:
            force *= (3 / COMPONENTS[self.likelihood]) ** 0.5
            to_beta = ((START_ALPHA - 1) * START_NU / (1 + START_NU)) ** 0.5  # both parts together are the variance
            certain = [START_NU, START_ALPHA - SMALLEST_ALPHA]
            return [number for error in (force, *sums) for number in (*certain, error * to_beta)]

        quantities = 3 if self.stress_weight else 2
        model, history = self.train_by_likelihood(
            train, valid, seed=seed, head="evidence", size=3 * quantities, start=start, loss=loss, progress=progress
        )
        fitted = FittedEvidential(model, likelihood=self.likelihood, factors=(1.0,) * quantities, history=history)
        return fitted.rescaled(valid) if self.rescale else fitted


class FittedEvidential(SelfAssessing):
    """A network and the evidence that it claims to have for its predictions."""

    kind = "evidential"

    def predict(self, batch: Batch) -> Prediction:
        """Uncertainty: root of both variances together, that of the Student's t. The parts are given, too.

        Learnt from the norm, both are variances of the norm: each of the three components has a third of them.
        """
        result = evaluate(self.model, batch)
        forces, energy = self.evidence(result, batch)
        force_parts = _parts(forces, self.factors[0] * (COMPONENTS[self.likelihood] / 3) ** 0.5)
        energy_parts = _parts(Evidence(*(value.double() for value in energy)), self.factors[1])
        stress = None
        if self.knows_stress:
            virial = of_structures(evidence(result.heads["evidence"][:, 6:], self.model.scale), batch)
            stress = self.factors[2] * stress_deviation(virial.aleatoric + virial.epistemic, batch)
        return Prediction(
            energy=result.energy,
            forces=result.forces,
            stress=result.stress,
            force_uncertainty=_whole(force_parts),
            energy_uncertainty=doubtful(self.model, batch, _whole(energy_parts)),
            stress_uncertainty=stress,
            atom_energy_uncertainty=self.of_atoms(result.heads, self.model.scale)[:, 1].double(),
            force_parts=force_parts,
            energy_parts=energy_parts,
        )

    def of_atoms(self, heads: Mapping[str, Tensor], scale: Tensor) -> Tensor:
        """As `predict`; the squares of the second column add up to the variance of the energy."""
        both = [evidence(heads["evidence"][:, three], scale) for three in (slice(0, 3), slice(3, 6))]
        force, energy = ((found.aleatoric + found.epistemic).sqrt() for found in both)
        norm = (COMPONENTS[self.likelihood] / 3) ** 0.5
        return torch.stack([self.factors[0] * norm * force, self.factors[1] * energy], dim=-1)

    def evidence(self, result: Evaluation, batch: Batch) -> tuple[Evidence, Evidence]:
        """For the force of each atom, (N,), and for the energy of each structure, (S,)."""
        head = result.heads["evidence"]
        scale = self.model.scale
        return evidence(head[:, :3], scale), of_structures(evidence(head[:, 3:6], scale), batch)


def _parts(evidence: Evidence, factor: float) -> Parts:
    return Parts(aleatoric=factor * evidence.aleatoric.sqrt(), epistemic=factor * evidence.epistemic.sqrt())


def _whole(parts: Parts) -> Tensor:
    return (parts.aleatoric.square() + parts.epistemic.square()).sqrt()
