"""Snapshot ensemble: one training that stops in several places on its way.

Huang, Li, Pleiss, Liu, Hopcroft, Weinberger, "Snapshot ensembles: train 1, get M for free", ICLR 2017,
arXiv:1704.00109. The learning rate falls along a cosine to zero, a snapshot is taken, and the rate is raised again so
that the next cycle leaves the minimum and settles in another. M networks for the price of one; how different they are
is another matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from uqlib.methods.shared.committee import Committee
from uqlib.methods.shared.recipes import SingleNetwork
from uqlib.networks.training import Settings
from uqlib.structures.datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Snapshot(SingleNetwork):
    """The recipe. The epochs of `settings` are shared out evenly among `cycles`, each a fall along a cosine (eq. 2)."""

    cycles: int = 5
    settings: Settings = field(default_factory=lambda: Settings(learning_rate=5e-3))

    def __post_init__(self) -> None:
        if self.cycles < 2:
            raise ValueError(
                f"cycles: got {self.cycles}, expected at least 2; one snapshot has nobody to disagree with"
            )
        if self.settings.epochs < self.cycles:
            raise ValueError(
                f"settings: got {self.settings.epochs} epochs for {self.cycles} cycles, expected at least one for each"
            )

    def fit(self, train: Dataset, valid: Dataset, *, seed: int, progress: bool = True) -> Committee:
        """Train one cycle after another, each from the weights that the last one ended with."""
        epochs = self.settings.epochs // self.cycles
        cycle = replace(self.settings, schedule="cosine", epochs=epochs, patience=epochs)  # none of them stops early
        seeds = [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(self.cycles)]
        model = self.untrained(train, valid, seed=seed)
        models, histories = [], []
        for index, shuffling in enumerate(seeds):
            trained = self.train_network(
                model, train, valid, seed=shuffling, settings=cycle, stage=f"cycle-{index}", progress=progress
            )
            model = trained.model
            models.append(model)
            histories.append(trained.history)
        return Committee(models, histories=histories)
