"""Deep ensemble: several networks that differ by chance; where they disagree, they cannot all be right.

Lakshminarayanan, Pritzel, Blundell, "Simple and scalable predictive uncertainty estimation using deep ensembles",
NeurIPS 2017, arXiv:1612.01474. For potentials the spread of the forces is what counts: the members' energies may
share an error that no force shows.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from uqlib import storage
from uqlib.batch import Batch
from uqlib.datasets import Dataset
from uqlib.painn import PaiNN
from uqlib.prediction import Evaluation, Prediction, evaluate
from uqlib.training import EnergyForceLoss, Loss, Settings, Trained, train

# Above this many rows of pairs for all members, one pass after another is as fast and needs less memory.
PAIRS_FOR_ONE_PASS = 2000


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """The recipe. Members differ in initial weights and shuffling and, with `bootstrap`, in their data.

    `network` goes to `PaiNN`: `{"features": 32}`. With `checkpoints`, a folder, an interrupted `fit` continues.
    """

    members: int = 5
    network: Mapping[str, int | float] = field(default_factory=dict)
    loss: Loss = field(default_factory=EnergyForceLoss)
    settings: Settings = field(default_factory=Settings)
    bootstrap: bool = False
    checkpoints: str | Path | None = None

    def __post_init__(self) -> None:
        if self.members < 2:
            raise ValueError(
                f"members: got {self.members}, expected at least 2; one network has nobody to disagree with"
            )

    def fit(
        self, train: Dataset, valid: Dataset, *, seed: int, executor: Executor | None = None, progress: bool = True
    ) -> FittedEnsemble:
        """Train the members, one after another or in the workers of any `concurrent.futures.Executor`."""
        seeds = [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(self.members)]
        if executor is None:
            trained = [self.fit_member(train, valid, index, s, progress) for index, s in enumerate(seeds)]
        else:
            jobs = [executor.submit(self.fit_member, train, valid, index, s, False) for index, s in enumerate(seeds)]
            trained = [job.result() for job in jobs]
        return FittedEnsemble([t.model for t in trained], histories=[t.history for t in trained])

    def fit_member(self, train_set: Dataset, valid: Dataset, index: int, seed: int, progress: bool) -> Trained:
        """One member. Its number only names it; all that sets it apart comes from its seed."""
        if self.bootstrap:
            train_set = _drawn_with_replacement(train_set, seed)
        elements = sorted({*train_set.elements, *valid.elements})
        return train(
            PaiNN(elements=elements, seed=seed, **self.network),  # pyright: ignore[reportArgumentType]
            train_set,
            valid,
            seed=seed,
            loss=self.loss,
            settings=self.settings,
            checkpoint=None if self.checkpoints is None else Path(self.checkpoints) / f"member-{index}.ckpt",
            progress=progress,
            label=f"member {index + 1} of {self.members}",
        )


class FittedEnsemble:
    """Trained members. Predicts their mean, and their spread as a standard deviation."""

    def __init__(self, models: Sequence[PaiNN], *, histories: Sequence[list[dict[str, float]]] = ()) -> None:
        if len(models) < 2 or any(m.recipe != models[0].recipe for m in models):
            raise ValueError(f"models: got {len(models)} networks, expected at least two made by the same recipe")
        self.models = [model.requires_grad_(False).eval() for model in models]
        self.histories = list(histories)
        self._together = stack(self.models)

    @property
    def cutoff(self) -> float:
        return self.models[0].cutoff

    def predict(self, batch: Batch) -> Prediction:
        """Mean over members; uncertainty of an atom's force: root of the mean over x, y, z of the members' variance."""
        members = self.evaluate_members(batch)
        return Prediction(
            energy=members.energy.mean(0),
            forces=members.forces.mean(0),
            stress=members.stress.mean(0),
            force_uncertainty=_root(members.forces.var(0).mean(-1)),
            energy_uncertainty=_root(members.energy.var(0)),
        )

    def evaluate_members(self, batch: Batch) -> Evaluation:
        """What each member says, with a leading axis for the members."""
        if batch.n_pairs * len(self.models) <= PAIRS_FOR_ONE_PASS:
            return evaluate(self._together, batch)
        return Evaluation.stack([evaluate(model, batch) for model in self.models])

    def to(self, target: torch.dtype | torch.device | str) -> FittedEnsemble:
        """A copy in another floating-point type or on another device: `predict` wants batches of the same."""
        return FittedEnsemble([copy.deepcopy(model).to(target) for model in self.models], histories=self.histories)

    def save(self, path: str | Path) -> None:
        """Weights and recipe; errors as `storage.save`."""
        payload = {
            "recipe": self.models[0].recipe,
            "weights": [model.state_dict() for model in self.models],
            "histories": self.histories,
        }
        storage.save(path, payload, kind="ensemble")

    @classmethod
    def load(cls, path: str | Path) -> FittedEnsemble:
        """What `save` wrote; errors as `storage.load`."""
        payload = storage.load(path, kind="ensemble")
        recipe = {**payload["recipe"], "members": None}
        models = []
        for weights in payload["weights"]:
            model = PaiNN(**recipe).to(weights["embedding"].dtype)
            model.load_state_dict(weights)
            models.append(model)
        return cls(models, histories=payload["histories"])


def stack(models: Sequence[PaiNN]) -> PaiNN:
    """One network that carries the weights of all: `members` of the result is their number."""
    together = PaiNN(**{**models[0].recipe, "members": len(models)}).to(models[0].embedding.dtype)
    states = [model.state_dict() for model in models]
    shapes = {name: value.shape for name, value in together.state_dict().items()}
    stacked = {name: torch.stack([state[name] for state in states]).reshape(shapes[name]) for name in shapes}
    together.load_state_dict(stacked)
    return together.requires_grad_(False).eval()


def _drawn_with_replacement(data: Dataset, seed: int) -> Dataset:
    """As many structures as there are. Drawn again where an element is left out: its energy could not be known."""
    rng = np.random.default_rng(seed)
    while True:
        drawn = data.take(rng.integers(len(data), size=len(data)), name=f"{data.name} (bootstrap)")
        if drawn.elements == data.elements:
            return drawn


def _root(variance: Tensor) -> Tensor:
    """sqrt whose slope stays finite where all members agree (one atom alone in space, say)."""
    return (variance + 1e-16).sqrt()
