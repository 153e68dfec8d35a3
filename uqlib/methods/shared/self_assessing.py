"""The predictor of the methods whose network says how wrong it is; `likelihoods` has how that is learnt."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uqlib.common import storage
from uqlib.common.devices import Target, targets
from uqlib.interfaces.metatomic import write
from uqlib.methods.shared.exporting import SpreadTerms, WithoutMembers
from uqlib.methods.shared.likelihoods import VIRIAL, check_form, errors_of
from uqlib.methods.shared.one_network import OfOneNetwork
from uqlib.networks.evaluation import evaluate
from uqlib.networks.losses import stress_errors
from uqlib.networks.memory import pieces_of
from uqlib.networks.painn import PaiNN, moved
from uqlib.prediction import Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset


class SelfAssessing(OfOneNetwork[PaiNN], WithoutMembers, ABC):
    """A trained network that predicts its own error, and the form of the likelihood that taught it."""

    kind: str  # of file
    why_no_members = "the network states the size of its error, and no other potential stands behind that"

    def __init__(
        self,
        model: PaiNN,
        *,
        likelihood: str = "components",
        factors: tuple[float, ...] = (
            1.0,
            1.0,
        ),  # on the uncertainties of forces, energies and, if learnt, stress
        history: Sequence[Mapping[str, float]] = (),
    ) -> None:
        check_form(likelihood)
        self.model, self.likelihood, self.factors = model.requires_grad_(False).eval(), likelihood, factors
        self.history = [dict(epoch) for epoch in history]

    @property
    def knows_stress(self) -> bool:
        """Whether there is a `stress_uncertainty`: labels of stress have to teach it."""
        return len(self.factors) > 2

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
        force, energy, stress = [0.0, 0], [0.0, 0], [0.0, 0]  # sums of (error/σ)², and of how many
        for batch in pieces_of(self.model, valid):
            result, said = evaluate(self.model, batch), self.predict(batch)
            errors = errors_of(result, batch)
            assert said.energy_uncertainty is not None
            force[0] += float((errors.force_squared / said.force_uncertainty[errors.atoms].square()).double().sum()) / 3
            energy[0] += float((errors.energy / said.energy_uncertainty[errors.structures]).double().square().sum())
            force[1], energy[1] = force[1] + len(errors.force_squared), energy[1] + len(errors.energy)
            if said.stress_uncertainty is not None:
                error, cells = stress_errors(result, batch)
                of_cells = (error / said.stress_uncertainty[cells]).double().square()
                upper = torch.ones_like(of_cells).triu()
                stress[0] += float((upper * of_cells).sum()) / VIRIAL
                stress[1] += len(cells)
        found = [total / count if count else 1.0 for total, count in (force, energy, stress)]
        factors = tuple(old * math.sqrt(new) for old, new in zip(self.factors, found, strict=False))
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
