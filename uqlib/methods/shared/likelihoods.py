"""What the methods share whose network also predicts how wrong it is, and learns that by maximum likelihood.

Such a network has a *head* beside its energy: a few further numbers for each atom. They become a standard deviation of
the atom's force and the atom's share in the variance of the energy; which distribution they belong to is the business
of each method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from uqlib.methods.shared.recipes import SingleNetwork
from uqlib.networks.evaluation import Evaluation, evaluate
from uqlib.networks.losses import Labelled, Loss, WithStress, labels_of, stress_errors
from uqlib.networks.memory import pieces_of
from uqlib.networks.painn import PaiNN, Perceptron
from uqlib.networks.references import set_reference
from uqlib.networks.training import Settings
from uqlib.structures.batch import LABELS, Batch
from uqlib.structures.datasets import Dataset

Form = Literal["components", "norm"]
"""What of a force error is the residual: its three components, or its norm as one number, as in Tan et al. 2023."""

COMPONENTS = {"components": 3, "norm": 1}
SMALLEST = 1e-4  # of what `positive` returns, in units of the network's scale: likelihoods have a pole at zero


VIRIAL = 6  # components of a symmetric tensor: those off its diagonal count with sqrt(2), so that rotations leave it be


class Errors(NamedTuple):
    """What a likelihood needs of the labels, of the n atoms and s structures that have them."""

    force_squared: Tensor  # (n,)  sum over the three components, (eV/Å)²
    energy: Tensor  # (s,)  eV, signed
    atoms: Tensor | slice = slice(None)  # which these are
    structures: Tensor | slice = slice(None)


def errors_of(evaluation: Evaluation, batch: Batch) -> Errors:
    """Predicted less true, where it is known. Raises ValueError for a batch without labels."""
    error = Labelled.of(evaluation, batch)
    energy = error.energy.to(evaluation.forces.dtype)
    return Errors(error.forces.square().sum(-1), energy, error.atoms, error.structures)


def virial_errors(evaluation: Evaluation, batch: Batch) -> tuple[Tensor, Tensor]:
    """Squared length (k,) eV² of the error of stress times volume, of structures with a label, and which these are.

    The length is that of all nine components. A virial is a sum over atoms, as an energy is, and so is its variance.
    """
    error, cells = stress_errors(evaluation, batch)
    volume = torch.linalg.det(batch.cell.index_select(0, cells)).abs()
    return error.square().sum((-2, -1)) * volume.square(), cells


def stress_deviation(virial: Tensor, batch: Batch) -> Tensor:
    """(S, 3, 3) eV/Å³ standard deviations of a stress, from the variance (S,) eV² of one of `VIRIAL` components.

    The diagonal has the whole of it, what is off it half: nine errors then have the squared length of six. nan without
    a volume.
    """
    volume = torch.linalg.det(batch.cell).abs()
    of_one = virial.sqrt() / volume.masked_fill(volume == 0, torch.nan)
    halves = torch.full((3, 3), 0.5, dtype=of_one.dtype, device=of_one.device).fill_diagonal_(1.0).sqrt()
    return of_one[:, None, None] * halves


def sum_of_atoms(values: Tensor, batch: Batch) -> Tensor:
    """(N,) -> (S,). Variances of energies are sums over atoms, taken as independent: molecules far apart add up."""
    return values.new_zeros(batch.n_structures).index_add(0, batch.structure_of_atom, values)


def positive(raw: Tensor) -> Tensor:
    """softplus(raw) = log(1 + exp(raw)) and a floor: from any number to a positive one, smoothly."""
    return F.softplus(raw) + SMALLEST


def raw_of(value: float) -> float:
    """The raw number that `positive` turns into `value`, or into twice the floor where that is larger."""
    return math.log(math.expm1(max(value - SMALLEST, SMALLEST)))


@dataclass(frozen=True, kw_only=True, repr=False)
class MaximumLikelihood(WithStress, SingleNetwork):
    """How a network that predicts its own error is trained.

    First, for the share `warm_up` of the epochs, `loss` is minimised as for any other: a network that is still wrong
    everywhere may call its errors noise and neglect them (Seitzer et al. 2022). Then the heads begin at the size of the
    errors that are left, which keeps the likelihood tame, and the likelihood takes over. A long warm-up makes the
    uncertainty worse: the heads then never see errors larger than those of a network that fits its data.

    With a `stress_weight` the head has a share for the stress, too, and there is a `stress_uncertainty`; without, it is
    None: nothing has taught the network what to say. The warm-up has its own weight for it, that of `loss`.
    """

    warm_up: float = 0.1  # share of `settings.epochs` before the likelihood
    likelihood: Form = "components"
    energy_weight: float = (
        0.1  # of the mean over structures of the energies' negative log likelihood; more harms forces
    )
    force_weight: float = 1.0  # of the mean over force components of theirs
    stress_weight: float = 0.0  # of the mean over the components of the stress of theirs; `OF_LIKELIHOOD` is usual
    rescale: bool = True  # multiply the uncertainties by what the validation set asks for, see `SelfAssessing.rescaled`
    settings: Settings = field(default_factory=lambda: Settings(schedule="cosine"))

    def __post_init__(self) -> None:
        if not 0 <= self.warm_up < 1:
            raise ValueError(f"warm_up: got {self.warm_up}, expected a share of the epochs, 0 <= warm_up < 1")
        check_form(self.likelihood)
        self.check_weight()

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the likelihood, and of the warm-up where there is one."""
        used = {*labels_of(self), *(labels_of(self.loss) if self.warm_up else ())}
        return tuple(label for label in LABELS if label in used)

    def train_by_likelihood(
        self,
        train: Dataset,
        valid: Dataset,
        *,
        seed: int,
        head: str,
        size: int,
        start: Callable[..., Sequence[float]],
        loss: Callable[[float], Loss],
        progress: bool = True,
    ) -> tuple[PaiNN, list[dict[str, float]]]:
        """The trained network and its history through both stages.

        `start` gives the first values of the head's `size` numbers, from the errors of a force component, of an energy
        and, where it is learnt, of a virial, the latter two divided by the root of the number of atoms, in units of the
        network's scale. `loss` makes the likelihood from that scale, eV.
        """
        model = self.untrained(train, valid, seed=seed, heads={head: size})
        set_reference(model, train)
        epochs = round(self.warm_up * self.settings.epochs)
        history = []
        if epochs:
            settings = replace(self.settings, epochs=epochs)
            warm = self.train_network(
                model, train, valid, seed=seed, settings=settings, stage="warm-up", progress=progress
            )
            model, history = warm.model, warm.history
        scale = float(model.scale)
        errors = typical_errors(model, train)
        if self.stress_weight:
            errors = (*errors, typical_virial_error(model, train))
        start_head(model, head, start(*(error / scale for error in errors)))
        trained = self.train_network(
            model,
            train,
            valid,
            seed=seed,
            loss=loss(scale),
            settings=replace(self.settings, epochs=self.settings.epochs - epochs),
            stage="likelihood",
            progress=progress,
        )
        return trained.model, history + trained.history


def check_form(likelihood: str) -> None:
    """Raises ValueError for anything but the two forms."""
    if likelihood not in COMPONENTS:
        raise ValueError(f"likelihood: got {likelihood!r}, expected 'components' or 'norm'")


def typical_errors(model: PaiNN, data: Dataset) -> tuple[float, float]:
    """RMS of a force component, eV/Å, and of an energy over the root of its number of atoms, eV."""
    force = energy = 0.0
    atoms = structures = 0
    for batch in pieces_of(model, data):
        errors = errors_of(evaluate(model, batch), batch)
        force += float(errors.force_squared.double().sum()) / 3
        energy += float((errors.energy.double().square() / batch.atoms_per_structure[errors.structures]).sum())
        atoms, structures = atoms + len(errors.force_squared), structures + len(errors.energy)
    return math.sqrt(force / max(atoms, 1)), math.sqrt(energy / max(structures, 1))


def typical_virial_error(model: PaiNN, data: Dataset) -> float:
    """RMS of one of `VIRIAL` components of stress times volume, over the root of the number of atoms, eV."""
    total, structures = 0.0, 0
    for batch in pieces_of(model, data):
        squared, cells = virial_errors(evaluate(model, batch), batch)
        total += float((squared.double() / (VIRIAL * batch.atoms_per_structure[cells])).sum())
        structures += len(cells)
    return math.sqrt(total / max(structures, 1))


@torch.no_grad()
def start_head(model: PaiNN, head: str, values: Sequence[float]) -> None:
    """Set the last biases of a head, in place, so that `positive` of its numbers lies around `values`."""
    perceptron = model.heads[head]
    assert isinstance(perceptron, Perceptron)
    assert perceptron.outer.bias is not None
    perceptron.outer.bias.copy_(torch.tensor([[raw_of(value) for value in values]]))
