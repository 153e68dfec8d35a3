"""Shallow ensemble: one network with many last layers, trained so that their spread is the error.

Kellner, Ceriotti, "Uncertainty quantification by direct propagation of shallow ensembles", Mach. Learn.: Sci. Technol.
2024, arXiv:2402.16621. The members share everything but their last layer, which costs next to nothing. Left alone they
would agree by and by; what keeps them apart is the loss, the likelihood of the labels under a Gaussian with the
members' mean and variance.

With `score="crps"` the continuous ranked probability score of the same Gaussian takes the likelihood's place, one of
the losses that arXiv:2602.15747 compares. Errors then count by their size, not by their square over the variance:
outliers pull less, and a variance far too small costs less. That paper also asks which labels the members have to see;
`score_of` shows them energies alone or forces alone, and the mean still learns from both.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from uqlib.methods.shared.hidden_units import last_layer
from uqlib.methods.shared.last_layer import UncertainLastLayer
from uqlib.methods.shared.recipes import SingleNetwork
from uqlib.networks.evaluation import Evaluation, evaluate
from uqlib.networks.losses import Labelled, WithStress, gaussian_crps, labels_of, mean, stress_errors
from uqlib.networks.memory import pieces_of
from uqlib.networks.painn import PaiNN, Perceptron, moved
from uqlib.networks.training import Settings
from uqlib.structures.batch import LABELS, Batch
from uqlib.structures.datasets import Dataset

HEAD, SPREAD, STRESS = "members", "spread", "spread of the stress"
FLOOR = 0.1  # of the error at the end of the warm-up; a variance of zero would make the likelihood infinite
Score = Literal["nll", "crps"]
"""Of a Gaussian: the negative log likelihood, or the continuous ranked probability score."""
ScoreOf = Literal["both", "energy", "forces"]
"""The labels by which members are told apart; stress goes with the forces, being a slope of the energy as they are."""


@dataclass(frozen=True, kw_only=True, repr=False)
class ShallowLoss(WithStress):
    """w_E · mean over structures + w_F · mean over force components of the negative log likelihood, in nats.

    A Gaussian with the members' variance and a small floor (eq. 5 of the paper, there for energies). The components of
    an atom's force share theirs, the mean over x, y, z: what is learnt then does not depend on the axes. With a
    `stress_weight`, + w_S · mean over the nine components of the stress, which share theirs in the same way.

    With `score="crps"` the same means of `gaussian_crps`, each over the error at the end of the warm-up, that is over
    ten floors: energies and forces then have no unit, and the weights mean what they mean for the likelihood. Labels
    that `score_of` leaves out enter by the likelihood of a Gaussian with one variance for all of a batch, the one that
    suits it best: half the logarithm of the mean squared error. The mean learns from them, the spread does not.
    """

    energy_floor: float  # eV/atom
    force_floor: float  # eV/Å
    energy_weight: float = 0.1
    force_weight: float = 1.0
    stress_floor: float = 0.0  # eV/Å³
    stress_weight: float = 0.0
    score: Score = "nll"
    score_of: ScoreOf = "both"

    def __call__(self, evaluation: Evaluation, batch: Batch) -> Tensor:
        error = Labelled.of(evaluation, batch)
        spread, forces = evaluation.heads[SPREAD], evaluation.forces
        energy = spread[:, 0].new_zeros(batch.n_structures, spread.shape[-1])
        energy = energy.index_add(0, batch.structure_of_atom, spread[:, 0]).square().sum(1)
        energy = energy + (self.energy_floor * batch.atoms_per_structure).square()
        force = spread[:, 1:].square().sum(-1).mean(1, keepdim=True) + self.force_floor**2
        energy, force = energy[error.structures], force[error.atoms]
        energies, sizes = error.energy.to(forces.dtype).square(), batch.atoms_per_structure[error.structures]
        alone = self.score_of
        of_energies = self.of(energies, energy, self.energy_floor * sizes, hidden=alone == "forces")
        of_forces = self.of(error.forces.square(), force, self.force_floor, hidden=alone == "energy")
        loss = self.energy_weight * of_energies + self.force_weight * of_forces
        if not self.stress_weight:
            return loss
        of_cells, cells = stress_errors(evaluation, batch)
        stress = evaluation.heads[STRESS].index_select(0, cells).square().sum(-1).mean((1, 2), keepdim=True)
        stress = stress + self.stress_floor**2
        return loss + self.stress_weight * self.of(
            of_cells.square(), stress, self.stress_floor, hidden=alone == "energy"
        )

    def of(self, squared: Tensor, variance: Tensor, floor: Tensor | float, *, hidden: bool) -> Tensor:
        """The mean score of the errors. `floor`, a standard deviation, is a tenth of that at the end of the warm-up."""
        usual = floor / FLOOR
        if hidden:
            return 0.5 * (mean(squared / usual**2) + FLOOR**2).log()
        if self.score == "nll":
            return mean(0.5 * (variance.log() + squared / variance))
        return mean(gaussian_crps(squared, variance) / usual)


def with_members(model: PaiNN, batch: Batch, *, train: bool = False, stress: bool = False) -> Evaluation:
    """`evaluate`, with the members' deviations from the mean beside it.

    `heads[SPREAD]` (N, 4, M): of each atom's energy, eV, and of its force, eV/Å, over sqrt(M - 1). Where asked for,
    `heads[STRESS]` (S, 3, 3, M) in eV/Å³.
    """
    result = evaluate(model, batch, train=train)
    with torch.set_grad_enabled(train):
        root = deviations_of(model) * model.scale
        found = last_layer(model, batch, head=HEAD, mix=root[:-1], train=train, strain=stress)
        members = result.heads[HEAD] * model.scale
        energy = (members - members.mean(1, keepdim=True)) / (members.shape[1] - 1) ** 0.5
        spread = torch.cat([energy.unsqueeze(1), -found.slopes.permute(1, 2, 0)], dim=1)
    heads = {**result.heads, SPREAD: spread}
    if found.strain is not None:
        heads[STRESS] = found.strain.permute(1, 2, 3, 0)
    return replace(result, heads=heads)


@dataclass(frozen=True, kw_only=True, repr=False)
class Shallow(WithStress, SingleNetwork):
    """The recipe: `members` last layers, over hidden units of their own. `settings` and `loss` are the warm-up's.

    After it the likelihood is maximised with `likelihood_settings`, in which `stress_weight` is that of the stress (the
    warm-up's is in `loss`). `score="crps"` minimises that score instead; `score_of` says of which labels. With
    `sized` (the paper's recalibration) factors for energies, forces and, if there are
    labels, stress are then set on the validation set.
    """

    members: int = 8
    likelihood_settings: Settings = field(
        default_factory=lambda: Settings(epochs=100, learning_rate=3e-3, schedule="cosine")
    )
    energy_weight: float = 0.1
    force_weight: float = 1.0
    sized: bool = True
    stress_weight: float = 0.0
    score: Score = "nll"
    score_of: ScoreOf = "both"

    def __post_init__(self) -> None:
        if self.members < 2:
            raise ValueError(f"members: got {self.members}, expected at least 2")
        if self.score not in ("nll", "crps"):
            raise ValueError(f"score: got {self.score!r}, expected 'nll', the likelihood, or 'crps'")
        if self.score_of not in ("both", "energy", "forces"):
            raise ValueError(f"score_of: got {self.score_of!r}, expected 'both', 'energy' or 'forces'")
        self.check_weight()

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the likelihood and of the warm-up."""
        return tuple(label for label in LABELS if label in {*labels_of(self), *labels_of(self.loss)})

    def fit(self, train: Dataset, valid: Dataset, *, seed: int, progress: bool = True) -> UncertainLastLayer:
        """Train a plain network, then `continue_from` it."""
        model = self.untrained(train, valid, seed=seed)
        warm = self.train_network(model, train, valid, seed=seed, stage="warm-up", progress=progress)
        fitted = self.continue_from(warm.model, train, valid, seed=seed, progress=progress)
        fitted.history = [*warm.history, *fitted.history]
        return fitted

    def continue_from(
        self, model: PaiNN, train: Dataset, valid: Dataset, *, seed: int, progress: bool = True
    ) -> UncertainLastLayer:
        """Give a trained network its members and train all of it by likelihood; `model` itself is left alone."""
        model = with_heads(model, self.members, seed=seed)
        refer_to(model, train)
        energy_error, force_error, stress_error = _errors(model, valid)
        loss = ShallowLoss(
            energy_floor=FLOOR * energy_error,
            force_floor=FLOOR * force_error,
            energy_weight=self.energy_weight,
            force_weight=self.force_weight,
            stress_floor=FLOOR * stress_error if self.stress_weight else 0.0,
            stress_weight=self.stress_weight,
            score=self.score,
            score_of=self.score_of,
        )
        trained = self.train_network(
            model,
            train,
            valid,
            seed=seed,
            loss=loss,
            settings=self.likelihood_settings,
            evaluator=partial(with_members, stress=True) if self.stress_weight else with_members,
            stage="likelihood",
            progress=progress,
        )
        refer_to(trained.model, train)
        root = deviations_of(trained.model).double()
        fitted = UncertainLastLayer(trained.model, root, head=HEAD, history=trained.history)
        return fitted.sized(valid) if self.sized else fitted


def with_heads(model: PaiNN, members: int, *, seed: int) -> PaiNN:
    """A copy of a trained network that has members, too: on the hidden units of the readout, with weights by chance.

    These differ far more than the errors are large. That is on purpose: the likelihood brings them together where the
    data speak, and leaves them apart in the directions of which the data say nothing.
    """
    grown = moved(PaiNN(**{**model.recipe, "heads": {HEAD: members}}, seed=seed), model.device, model.dtype)
    grown.load_state_dict(model.state_dict(), strict=False)
    head = grown.heads[HEAD]
    assert isinstance(head, Perceptron)
    head.inner.load_state_dict(model.readout.inner.state_dict())
    return grown


@torch.no_grad()
def refer_to(model: PaiNN, data: Dataset) -> None:
    """Set the members' biases so that they differ least from the mean in the energies of `data`, by least squares.

    What a network has learnt from forces it knows up to a constant, and members know as many constants. Each is told
    its own, as the network itself was by the reference energies.
    """
    head, sizes, totals = model.heads[HEAD], [], []
    assert isinstance(head, Perceptron)
    assert head.outer.bias is not None
    for batch in pieces_of(model, data, structures=len(data), labels=False):
        atoms = evaluate(model, batch).heads[HEAD]
        atoms = atoms - atoms.mean(1, keepdim=True)
        start = atoms.new_zeros(batch.n_structures, atoms.shape[1])
        totals.append(start.index_add(0, batch.structure_of_atom, atoms))
        sizes.append(batch.atoms_per_structure.to(model.dtype))
    n, total = torch.cat(sizes), torch.cat(totals)
    head.outer.bias.sub_(n @ total / n.square().sum())


def deviations_of(model: PaiNN) -> Tensor:
    """(H + 1, M) each member's last layer and bias less their mean, over sqrt(M - 1)."""
    head = model.heads[HEAD]
    assert isinstance(head, Perceptron)
    assert head.outer.bias is not None
    members = torch.cat([head.outer.weight, head.outer.bias])
    return (members - members.mean(1, keepdim=True)) / (members.shape[1] - 1) ** 0.5


def _errors(model: PaiNN, data: Dataset) -> tuple[float, float, float]:
    """Root mean square errors of energies, eV/atom, of force components, eV/Å, and of those of the stress, eV/Å³."""
    energies, errors, stresses = [], [], []
    for batch in pieces_of(model, data, structures=len(data)):
        result = evaluate(model, batch)
        error = Labelled.of(result, batch)
        stresses.append(stress_errors(result, batch)[0])
        energies.append(error.energy / batch.atoms_per_structure[error.structures])
        errors.append(error.forces)
    energy, forces, stress = (float(mean(torch.cat(e).square()).sqrt()) for e in (energies, errors, stresses))
    return energy, forces, stress
