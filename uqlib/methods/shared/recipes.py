"""What the recipes of one network share: how that network is trained, and how others are built on top of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from uqlib.common.devices import as_device
from uqlib.networks.evaluation import OtherNetwork, evaluate
from uqlib.networks.labels import check_labels
from uqlib.networks.losses import STRESS_WEIGHT, EnergyForceLoss, Loss, labels_of
from uqlib.networks.painn import PaiNN
from uqlib.networks.training import Evaluator, Settings, Trained, train
from uqlib.structures.datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class SingleNetwork:
    """How one network is trained. `network` goes to `PaiNN`: `{"features": 32}`.

    With `checkpoints`, a folder, an interrupted `fit` continues. `device`: where the training runs and where what it
    returns then is, "auto" for a GPU if there is one. All that is random is drawn on the CPU, the same for any device.
    """

    network: Mapping[str, int | float] = field(default_factory=dict)
    loss: Loss = field(default_factory=EnergyForceLoss)
    settings: Settings = field(default_factory=Settings)
    checkpoints: str | Path | None = None
    device: str | torch.device = field(default="cpu", repr=False, compare=False)  # no part of what is learnt

    @property
    def labels(self) -> tuple[str, ...]:
        """Which of "energy", "forces" and "stress" it learns from."""
        return labels_of(self.loss)

    def identity(self) -> dict[str, Any]:
        """What decides the result, for `digest_of`: all fields but where checkpoints lie and which device works."""
        counted = (each.name for each in fields(self) if each.compare and each.name != "checkpoints")
        return {name: getattr(self, name) for name in counted}

    def untrained(
        self, train_set: Dataset, valid: Dataset, *, seed: int, heads: Mapping[str, int] | None = None
    ) -> PaiNN:
        """The network with its initial weights, made for all elements of both sets; errors as `check_labels`."""
        check_labels(train_set, valid, self.labels)
        elements = sorted({*train_set.elements, *valid.elements})
        model = PaiNN(elements=elements, seed=seed, heads=heads, **self.network)  # pyright: ignore[reportArgumentType]
        return model.to(as_device(self.device))

    def train_network(
        self,
        model: PaiNN,
        train_set: Dataset,
        valid: Dataset,
        *,
        seed: int,
        loss: Loss | None = None,
        settings: Settings | None = None,
        before_step: Callable[[PaiNN, int], None] | None = None,
        evaluator: Evaluator = evaluate,
        stage: str = "network",
        progress: bool = True,
    ) -> Trained:
        """Train a copy of `model`; `loss` and `settings` are the recipe's own where none is given.

        `stage` names the checkpoint and the progress bar, for recipes that train more than once.
        """
        return train(
            model,
            train_set,
            valid,
            seed=seed,
            loss=loss or self.loss,
            settings=settings or self.settings,
            before_step=before_step,
            evaluator=evaluator,
            checkpoint=None if self.checkpoints is None else Path(self.checkpoints) / f"{stage}.ckpt",
            progress=progress,
            label=stage,
        )


@dataclass(frozen=True, kw_only=True)
class AfterTraining(SingleNetwork, ABC):
    """A recipe whose uncertainty is added to a trained network and leaves its energies and forces alone."""

    def fit(self, train: Dataset, valid: Dataset, *, seed: int, progress: bool = True) -> Any:
        """Train one network, then `fit_to` it."""
        start = self.untrained(train, valid, seed=seed)
        trained = self.train_network(start, train, valid, seed=seed, progress=progress)
        fitted = self.fit_to(trained.model, train, valid, seed=seed)
        fitted.history = trained.history
        return fitted

    @abstractmethod
    def fit_to(self, model: PaiNN | OtherNetwork, train: Dataset, valid: Dataset, *, seed: int) -> Any:
        """The predictor around `model`, which may serve several recipes. `train` is what it was trained on.

        A network from elsewhere comes as a `foreign.ForeignModel`.
        """


OF_LIKELIHOOD = 0.1  # the usual weight of stress in a likelihood, that of the energies


def with_stress(recipe: Any, times: float = 1.0) -> Any:
    """The recipe with stress in all its losses, with so many times the usual weights; 0 takes it out again.

    These are `losses.STRESS_WEIGHT` of squared errors, and 0.1 of the negative log likelihoods that "mve", "evidential"
    and "shallow" learn from. `with_stress(METHODS["mve"])` then also has a `stress_uncertainty`.
    Raises ValueError for a number below 0, and for a loss that has no weight for stress.
    """
    if not 0 <= times < float("inf"):
        raise ValueError(f"times: got {times}, expected a finite number, 0 or more")
    changes: dict[str, Any] = {}
    if hasattr(recipe, "loss"):
        if not hasattr(recipe.loss, "stress_weight"):
            raise ValueError(f"recipe: its loss {recipe.loss!r} has no stress_weight, expected an EnergyForceLoss")
        changes["loss"] = replace(recipe.loss, stress_weight=times * STRESS_WEIGHT)
    if hasattr(recipe, "stress_weight"):
        changes["stress_weight"] = times * OF_LIKELIHOOD
    if hasattr(recipe, "method"):
        changes["method"] = with_stress(recipe.method, times)
    return replace(recipe, **changes)
