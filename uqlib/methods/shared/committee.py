"""A committee: several trained networks as one predictor, uncertain where they disagree.

What it takes to make the members differ (chance, data, dropout, time) is the business of the methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from uqlib.common import storage
from uqlib.common.devices import Target, targets
from uqlib.interfaces.metatomic import AtomTerms, write
from uqlib.networks.evaluation import Evaluation, evaluate
from uqlib.networks.memory import bytes_per_pair
from uqlib.networks.painn import PaiNN, moved
from uqlib.networks.references import doubtful
from uqlib.prediction import Members, Prediction
from uqlib.structures.batch import Batch

# Above this many rows of pairs for all members, one pass after another is as fast and needs less memory. On a GPU, the
# time of a small pass is that of starting its kernels.
PAIRS_FOR_ONE_PASS = 2000
PAIRS_FOR_ONE_PASS_ON_A_GPU = 200_000


class Committee:
    """Trained networks of one recipe. Predicts their mean, and their spread as a standard deviation."""

    knows_stress = True  # whether there is a `stress_uncertainty`

    def __init__(self, models: Sequence[PaiNN], *, histories: Sequence[list[dict[str, float]]] = ()) -> None:
        if len(models) < 2 or any(m.recipe != models[0].recipe for m in models):
            raise ValueError(f"models: got {len(models)} networks, expected at least two made by the same recipe")
        if len(places := {(m.dtype, m.device) for m in models}) > 1:
            raise ValueError(
                f"models: got networks in {sorted(map(str, places))}, expected one type and one device; bring them "
                "together with their `to`"
            )
        self.models = [model.requires_grad_(False).eval() for model in models]
        self.histories = list(histories)
        self._together = stack(self.models)

    @property
    def cutoff(self) -> float:
        return self.models[0].cutoff

    @property
    def dtype(self) -> torch.dtype:
        return self.models[0].dtype

    @property
    def device(self) -> torch.device:
        return self.models[0].device

    @property
    def bytes_per_pair(self) -> int:
        return bytes_per_pair(self.models[0])

    def predict(self, batch: Batch) -> Prediction:
        """Mean over members; uncertainty of an atom's force: root of the mean over x, y, z of the members' variance."""
        members = self.evaluate_members(batch)
        return Prediction(
            energy=members.energy.mean(0),
            forces=members.forces.mean(0),
            stress=members.stress.mean(0),
            force_uncertainty=_root(members.forces.var(0).mean(-1)),
            energy_uncertainty=doubtful(self.models[0], batch, _root(members.energy.var(0))),
            stress_uncertainty=_root(members.stress.var(0)),
            atom_energy_uncertainty=None if members.atom_energy is None else _root(members.atom_energy.var(0)),
        )

    def evaluate_members(self, batch: Batch) -> Evaluation:
        """What each member says, with a leading axis for the members."""
        most = PAIRS_FOR_ONE_PASS if self.device.type == "cpu" else PAIRS_FOR_ONE_PASS_ON_A_GPU
        if batch.n_pairs * len(self.models) <= most:
            return evaluate(self._together, batch)
        return Evaluation.stack([evaluate(model, batch) for model in self.models])

    def members(self, batch: Batch) -> Members:
        """Each network as one member."""
        found = self.evaluate_members(batch)
        return Members(energy=found.energy, forces=found.forces, stress=found.stress)

    def export(self, path: str | Path) -> None:
        """Write a file that ASE, i-PI, LAMMPS and others run: see `interfaces.metatomic`; errors as its `write`."""
        write(AtomTerms(self._together), path, kind="ensemble", description=f"{len(self.models)} networks, their mean")

    def to(
        self, *target: Target, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None
    ) -> Committee:
        """A copy in another floating-point type, on another device, or both: `to("cuda", torch.float64)`."""
        place = targets(target, device=device, dtype=dtype)
        return Committee([moved(model, *place) for model in self.models], histories=self.histories)

    def save(self, path: str | Path) -> None:
        """Weights and recipe; errors as `storage.save`."""
        payload = {
            "recipe": self.models[0].recipe,
            "weights": [model.state_dict() for model in self.models],
            "histories": self.histories,
            "trained_on": [model.trained_on for model in self.models],
        }
        storage.save(path, payload, kind="ensemble")

    @classmethod
    def load(cls, path: str | Path) -> Committee:
        """What `save` wrote; errors as `storage.load`."""
        payload = storage.load(path, kind="ensemble")
        recipe = {**payload["recipe"], "members": None}
        models = []
        origins = payload.get("trained_on") or [None] * len(payload["weights"])  # not in files of before
        for weights, trained_on in zip(payload["weights"], origins, strict=True):
            model = PaiNN(**recipe).to(weights["embedding"].dtype)
            model.load_state_dict(weights)
            model.trained_on = trained_on
            models.append(model)
        return cls(models, histories=payload["histories"])


def stack(models: Sequence[PaiNN]) -> PaiNN:
    """One network that carries the weights of all: `members` of the result is their number."""
    together = moved(PaiNN(**{**models[0].recipe, "members": len(models)}), models[0].device, models[0].dtype)
    states = [model.state_dict() for model in models]
    shapes = {name: value.shape for name, value in together.state_dict().items()}
    stacked = {name: torch.stack([state[name] for state in states]).reshape(shapes[name]) for name in shapes}
    together.load_state_dict(stacked)
    return together.requires_grad_(False).eval()


def _root(variance: Tensor) -> Tensor:
    """sqrt whose slope stays finite where all members agree (one atom alone in space, say)."""
    return (variance + 1e-16).sqrt()
