"""Deep ensemble: several networks that differ by chance; where they disagree, they cannot all be right.

Lakshminarayanan, Pritzel, Blundell, "Simple and scalable predictive uncertainty estimation using deep ensembles",
NeurIPS 2017, arXiv:1612.01474. For potentials the spread of the forces is what counts: the members' energies may
share an error that no force shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from uqlib.common.devices import as_device
from uqlib.methods.shared.committee import Committee
from uqlib.networks.labels import check_labels
from uqlib.networks.losses import EnergyForceLoss, Loss, labels_of
from uqlib.networks.origin import origin
from uqlib.networks.painn import PaiNN
from uqlib.networks.training import Settings, Trained, train
from uqlib.structures.datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """The recipe. Members differ in initial weights and shuffling and, with `bootstrap`, in their data.

    `network` goes to `PaiNN`: `{"features": 32}`. With `checkpoints`, a folder, an interrupted `fit` continues.
    `device`: where the training runs and where the committee then is, "auto" for a GPU if there is one.
    """

    members: int = 5
    network: Mapping[str, int | float] = field(default_factory=dict)
    loss: Loss = field(default_factory=EnergyForceLoss)
    settings: Settings = field(default_factory=Settings)
    bootstrap: bool = False
    checkpoints: str | Path | None = None
    device: str | torch.device = field(default="cpu", repr=False, compare=False)  # no part of what is learnt

    def __post_init__(self) -> None:
        if self.members < 2:
            raise ValueError(
                f"members: got {self.members}, expected at least 2; one network has nobody to disagree with"
            )

    def fit(
        self, train: Dataset, valid: Dataset, *, seed: int, executor: Executor | None = None, progress: bool = True
    ) -> Committee:
        """Train the members, one after another or in the workers of any `concurrent.futures.Executor`."""
        check_labels(train, valid, labels_of(self.loss))
        seeds = [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(self.members)]
        if executor is None:
            trained = [self.fit_member(train, valid, index, s, progress) for index, s in enumerate(seeds)]
        else:
            jobs = [executor.submit(self.fit_member, train, valid, index, s, False) for index, s in enumerate(seeds)]
            trained = [job.result() for job in jobs]
        return Committee([t.model for t in trained], histories=[t.history for t in trained])

    def fit_member(self, train_set: Dataset, valid: Dataset, index: int, seed: int, progress: bool) -> Trained:
        """One member. Its number only names it; all that sets it apart comes from its seed."""
        given = train_set
        if self.bootstrap:
            train_set = _drawn_with_replacement(given, seed)
        elements = sorted({*train_set.elements, *valid.elements})
        trained = train(
            PaiNN(elements=elements, seed=seed, **self.network).to(as_device(self.device)),  # pyright: ignore[reportArgumentType]
            train_set,
            valid,
            seed=seed,
            loss=self.loss,
            settings=self.settings,
            checkpoint=None if self.checkpoints is None else Path(self.checkpoints) / f"member-{index}.ckpt",
            progress=progress,
            label=f"member {index + 1} of {self.members}",
        )
        trained.model.trained_on = origin(given)  # not of what was drawn from it
        return trained


def _drawn_with_replacement(data: Dataset, seed: int) -> Dataset:
    """As many structures as there are, and one more for each element that was left out: its energy must be known."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(data), size=len(data)).tolist()
    present = [{int(number) for number in atoms.numbers} for atoms in data.atoms]
    found = set[int]().union(*(present[index] for index in drawn))
    for element in data.elements:
        if element not in found:
            drawn.append(int(rng.choice([index for index, there in enumerate(present) if element in there])))
            found |= present[drawn[-1]]
    return data.take(drawn, name=f"{data.name} (bootstrap)")
