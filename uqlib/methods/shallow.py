"""Shallow ensemble: one network with many last layers, trained so that their spread is the error.

Kellner, Ceriotti, "Uncertainty quantification by direct propagation of shallow ensembles", Mach. Learn.: Sci. Technol.
2024, arXiv:2402.16621. The members share everything but their last layer, which costs next to nothing. Left alone they
would agree by and by; what keeps them apart is the loss, the likelihood of the labels under a Gaussian with the
members' mean and variance.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from uqlib.batch import Batch
from uqlib.datasets import Dataset
from uqlib.last_layer import UncertainLastLayer
from uqlib.painn import PaiNN, Perceptron
from uqlib.prediction import Evaluation, evaluate
from uqlib.single import SingleNetwork
from uqlib.training import Settings

HEAD = "members"
FLOOR = 1e-3  # eV/atom; a variance of zero would make the likelihood infinite


@dataclass(frozen=True, kw_only=True)
class ShallowLoss:
    """w_E · mean over structures + w_F · mean over force components of the negative log likelihood, in nats.

    The energy's variance is that of the members (eq. 5 of the paper) and a small floor. The forces are those of the
    mean; their variance is one number for all, since that of the members would take a backward pass for each of them.
    """

    scale: float  # eV, of the network
    force_error: float  # eV/Å, root mean square of a component
    energy_weight: float = 0.1
    force_weight: float = 1.0

    def __call__(self, evaluation: Evaluation, batch: Batch) -> Tensor:
        if batch.energy is None or batch.forces is None:
            raise ValueError("batch: training needs energies and forces, this one has no labels")
        variance = member_deviations(evaluation, batch, self.scale).square().mean(1)
        variance = variance + (FLOOR * batch.atoms_per_structure).square()
        error = (evaluation.energy - batch.energy).to(variance.dtype)
        energy = 0.5 * (variance.log() + error.square() / variance)
        force = 0.5 * ((evaluation.forces - batch.forces) / self.force_error).square()
        return self.energy_weight * energy.mean() + self.force_weight * force.mean()


def member_deviations(evaluation: Evaluation, batch: Batch, scale: float) -> Tensor:
    """(S, M) what each member's energy differs from the mean, eV, times sqrt(M / (M - 1)): variances are mean squares.

    The mean is the network's own energy; only differences between the columns of the head count.
    """
    head = evaluation.heads[HEAD]
    members = head.shape[1]
    each = (head - head.mean(1, keepdim=True)) * (scale * (members / (members - 1)) ** 0.5)
    return each.new_zeros(batch.n_structures, members).index_add(0, batch.structure_of_atom, each)


@dataclass(frozen=True, kw_only=True)
class Shallow(SingleNetwork):
    """The recipe: `members` last layers, over hidden units of their own. `settings` and `loss` are the warm-up's.

    After it the likelihood is maximised with `likelihood_settings`. With `sized` (the paper's recalibration) two
    factors, for energies and forces, are then set on the validation set.
    """

    members: int = 16
    likelihood_settings: Settings = field(default_factory=lambda: Settings(epochs=100, learning_rate=1e-3))
    energy_weight: float = 0.1
    force_weight: float = 1.0
    sized: bool = True

    def __post_init__(self) -> None:
        if self.members < 2:
            raise ValueError(f"members: got {self.members}, expected at least 2")

    def fit(self, train: Dataset, valid: Dataset, *, seed: int, progress: bool = True) -> UncertainLastLayer:
        """Train the trunk and the mean, then all of it by likelihood."""
        model = self.untrained(train, valid, seed=seed, heads={HEAD: self.members})
        warm = self.train_network(model, train, valid, seed=seed, stage="warm-up", progress=progress)
        model = warm.model
        energy_error, force_error = _errors(model, valid)
        _start(model, train, energy_error)
        loss = ShallowLoss(
            scale=float(model.scale),
            force_error=force_error,
            energy_weight=self.energy_weight,
            force_weight=self.force_weight,
        )
        trained = self.train_network(
            model,
            train,
            valid,
            seed=seed,
            loss=loss,
            settings=self.likelihood_settings,
            stage="likelihood",
            progress=progress,
        )
        fitted = UncertainLastLayer(
            trained.model, deviations_of(trained.model), head=HEAD, history=[*warm.history, *trained.history]
        )
        return fitted.sized(valid) if self.sized else fitted


@torch.no_grad()
def deviations_of(model: PaiNN) -> Tensor:
    """(H + 1, M) in float64: each member's last layer and bias less their mean, over sqrt(M - 1)."""
    head = model.heads[HEAD]
    assert isinstance(head, Perceptron)
    assert head.outer.bias is not None
    members = torch.cat([head.outer.weight, head.outer.bias]).double()
    return (members - members.mean(1, keepdim=True)) / (members.shape[1] - 1) ** 0.5


def _errors(model: PaiNN, data: Dataset) -> tuple[float, float]:
    """Root mean square errors of energies, eV, and of force components, eV/Å."""
    batch = data.batch(cutoff=model.cutoff, dtype=model.embedding.dtype)
    result = evaluate(model, batch)
    assert batch.energy is not None
    assert batch.forces is not None
    energy, forces = result.energy - batch.energy, result.forces - batch.forces
    return float(energy.square().mean().sqrt()), float(forces.square().mean().sqrt())


@torch.no_grad()
def _start(model: PaiNN, data: Dataset, energy_error: float) -> None:
    """Let the members, drawn at random, begin with as much disagreement as the mean has error."""
    batch = data.batch(cutoff=model.cutoff, dtype=model.embedding.dtype)
    spread = member_deviations(evaluate(model, batch), batch, float(model.scale)).square().mean().sqrt()
    head = model.heads[HEAD]
    assert isinstance(head, Perceptron)
    head.outer.weight.mul_(energy_error / float(spread))
