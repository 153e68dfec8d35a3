"""What the methods share whose network also predicts how wrong it is, and learns that by maximum likelihood.

Such a network has a *head* beside its energy: a few further numbers for each atom. They become a standard deviation of
the atom's force and the atom's share in the variance of the energy; which distribution they belong to is the business
of each method.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from uqlib.common import storage
from uqlib.common.devices import Target, targets
from uqlib.interfaces.metatomic import write
from uqlib.methods.shared.exporting import SpreadTerms, WithoutMembers
from uqlib.methods.shared.recipes import SingleNetwork
from uqlib.networks.evaluation import Evaluation, evaluate
from uqlib.networks.losses import Labelled, Loss
from uqlib.networks.memory import bytes_per_pair, pieces_of
from uqlib.networks.painn import PaiNN, Perceptron, moved
from uqlib.networks.references import set_reference
from uqlib.networks.training import Settings
from uqlib.prediction import Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset

Form = Literal["components", "norm"]
"""What of a force error is the residual: its three components, or its norm as one number, as in Tan et al. 2023."""

COMPONENTS = {"components": 3, "norm": 1}
SMALLEST = 1e-4  # of what `positive` returns, in units of the network's scale: likelihoods have a pole at zero


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


def sum_of_atoms(values: Tensor, batch: Batch) -> Tensor:
    """(N,) -> (S,). Variances of energies are sums over atoms, taken as independent: molecules far apart add up."""
    return values.new_zeros(batch.n_structures).index_add(0, batch.structure_of_atom, values)


def positive(raw: Tensor) -> Tensor:
    """softplus(raw) = log(1 + exp(raw)) and a floor: from any number to a positive one, smoothly."""
    return F.softplus(raw) + SMALLEST


def raw_of(value: float) -> float:
    """The raw number that `positive` turns into `value`, or into twice the floor where that is larger."""
    return math.log(math.expm1(max(value - SMALLEST, SMALLEST)))


@dataclass(frozen=True, kw_only=True)
class MaximumLikelihood(SingleNetwork):
    """How a network that predicts its own error is trained.

    First, for the share `warm_up` of the epochs, `loss` is minimised as for any other: a network that is still wrong
    everywhere may call its errors noise and neglect them (Seitzer et al. 2022). Then the heads begin at the size of the
    errors that are left, which keeps the likelihood tame, and the likelihood takes over. A long warm-up makes the
    uncertainty worse: the heads then never see errors larger than those of a network that fits its data.
    """

    warm_up: float = 0.1  # share of `settings.epochs` before the likelihood
    likelihood: Form = "components"
    energy_weight: float = (
        0.1  # of the mean over structures of the energies' negative log likelihood; more harms forces
    )
    force_weight: float = 1.0  # of the mean over force components of theirs
    rescale: bool = True  # multiply the uncertainties by what the validation set asks for, see `SelfAssessing.rescaled`
    settings: Settings = field(default_factory=lambda: Settings(schedule="cosine"))

    def __post_init__(self) -> None:
        if not 0 <= self.warm_up < 1:
            raise ValueError(f"warm_up: got {self.warm_up}, expected a share of the epochs, 0 <= warm_up < 1")
        check_form(self.likelihood)

    def train_by_likelihood(
        self,
        train: Dataset,
        valid: Dataset,
        *,
        seed: int,
        head: str,
        size: int,
        start: Callable[[float, float], Sequence[float]],
        loss: Callable[[float], Loss],
        progress: bool = True,
    ) -> tuple[PaiNN, list[dict[str, float]]]:
        """The trained network and its history through both stages.

        `start` gives the first values of the head's `size` numbers, from the errors of a force component and of an
        energy, the latter divided by the root of the number of atoms, in units of the network's scale. `loss` makes
        the likelihood from that scale, eV.
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
        start_head(model, head, start(*(error / scale for error in typical_errors(model, train))))
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


@torch.no_grad()
def start_head(model: PaiNN, head: str, values: Sequence[float]) -> None:
    """Set the last biases of a head, in place, so that `positive` of its numbers lies around `values`."""
    perceptron = model.heads[head]
    assert isinstance(perceptron, Perceptron)
    assert perceptron.outer.bias is not None
    perceptron.outer.bias.copy_(torch.tensor([[raw_of(value) for value in values]]))


class SelfAssessing(WithoutMembers, ABC):
    """A trained network that predicts its own error, and the form of the likelihood that taught it."""

    kind: str  # of file
    why_no_members = "the network states the size of its error, and no other potential stands behind that"

    def __init__(
        self,
        model: PaiNN,
        *,
        likelihood: str = "components",
        factors: tuple[float, float] = (1.0, 1.0),  # on the uncertainties of forces and of energies
        history: Sequence[Mapping[str, float]] = (),
    ) -> None:
        check_form(likelihood)
        self.model, self.likelihood, self.factors = model.requires_grad_(False).eval(), likelihood, factors
        self.history = [dict(epoch) for epoch in history]

    @property
    def cutoff(self) -> float:
        return self.model.cutoff

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def bytes_per_pair(self) -> int:
        return bytes_per_pair(self.model)

    @abstractmethod
    def predict(self, batch: Batch) -> Prediction: ...

    @abstractmethod
    def of_atoms(self, heads: Mapping[str, Tensor], scale: Tensor) -> Tensor:
        """(N, 2) standard deviations of a component of each atom's force, eV/Å, and of its share in the energy, eV."""

    def export(self, path: str | Path) -> None:
        """Write a file that ASE, i-PI, LAMMPS and others run: see `interfaces.metatomic`; errors as its `write`."""
        write(SpreadTerms(self.model, self.of_atoms), path, kind=self.kind, description="one network, its own errors")

    def rescaled(self, valid: Dataset) -> Any:
        """A copy whose uncertainties are of the right size on average over `valid`, by a factor for each quantity.

        While the learning rate is high, each step shifts the energies of all structures together. The heads learn the
        size of that, and are left behind when the rate falls. Also, the weights that are kept, a running average, err
        less on the training data than those whose errors the heads saw, and more on other data. The factors, roots of
        the mean of (error/σ)², make up for all of this; the likelihood of a Gaussian is highest there.
        """
        force = energy = 0.0
        atoms = structures = 0
        for batch in pieces_of(self.model, valid):
            errors, said = errors_of(evaluate(self.model, batch), batch), self.predict(batch)
            assert said.energy_uncertainty is not None
            force += float((errors.force_squared / said.force_uncertainty[errors.atoms].square()).double().sum()) / 3
            energy += float((errors.energy / said.energy_uncertainty[errors.structures]).double().square().sum())
            atoms, structures = atoms + len(errors.force_squared), structures + len(errors.energy)
        found = force / atoms if atoms else 1.0, energy / structures if structures else 1.0
        factors = tuple(old * math.sqrt(new) for old, new in zip(self.factors, found, strict=True))
        return type(self)(self.model, likelihood=self.likelihood, factors=factors, history=self.history)  # pyright: ignore[reportArgumentType]

    def to(
        self, *target: Target, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None
    ) -> Any:
        """A copy in another floating-point type, on another device, or both: `to("cuda", torch.float64)`."""
        model = moved(self.model, *targets(target, device=device, dtype=dtype))
        return type(self)(model, likelihood=self.likelihood, factors=self.factors, history=self.history)

    def save(self, path: str | Path) -> None:
        """Weights and recipe; errors as `storage.save`."""
        payload = {
            "recipe": self.model.recipe,
            "weights": self.model.state_dict(),
            "trained_on": self.model.trained_on,
            "likelihood": self.likelihood,
            "factors": list(self.factors),
            "history": self.history,
        }
        storage.save(path, payload, kind=self.kind)

    @classmethod
    def load(cls, path: str | Path) -> Any:
        """What `save` wrote; errors as `storage.load`."""
        payload = storage.load(path, kind=cls.kind)
        model = PaiNN(**payload["recipe"]).to(payload["weights"]["embedding"].dtype)
        model.load_state_dict(payload["weights"])
        model.trained_on = payload.get("trained_on")  # not in files of before
        factors = tuple(payload["factors"])
        return cls(model, likelihood=payload["likelihood"], factors=factors, history=payload["history"])
