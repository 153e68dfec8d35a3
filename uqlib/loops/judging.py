"""What is measured of a potential: errors and their ranking, the barrier, and how long dynamics last on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch

from uqlib import calibration, metrics
from uqlib.loops.barrier import band_of, height_on
from uqlib.loops.settings import System, Watched
from uqlib.loops.shelf import Shelved, remembered
from uqlib.loops.survival import survive
from uqlib.metrics import UndefinedMetric
from uqlib.prediction import Predictor, predict
from uqlib.structures.datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Judges potentials on one system."""

    system: System
    data: Dataset
    reference: dict[str, Any] | None  # the true barrier

    def __call__(
        self, method: Shelved, train: Dataset, valid: Dataset, seed: int, watched: Watched | None
    ) -> dict[str, Any]:
        """Of the potential that `method` makes of these data, from the shelf where it is there already.

        The uncertainty is judged for each method; what rests on forces alone once for all methods that share them.
        """
        method.fit(train, valid, seed=seed, progress=False)
        own, forces = method.path(train, valid, seed), method.forces(train, valid, seed)
        return {
            "errors": remembered(own, ["errors", self.system.judged], lambda: self._errors(own)),
            "barrier": self._barrier(forces),
            "survival": {f"{t:g}": self._survival(forces, t, watched.steps) for t in watched.temperatures}
            if watched
            else {},
        }

    @property
    def rest(self) -> ase.Atoms:
        return self.system.survival.rest.find(self.data)

    def _errors(self, fitted: Path) -> dict[str, Any]:
        predictor = calibration.load(fitted)
        return {split: errors(predictor, self._split(split)) for split in self.system.judged}

    def _split(self, split: str) -> Dataset:
        part, number = self.data[split], self.system.judged[split]
        return part.take(range(min(number, len(part)))) if number else part

    def _barrier(self, fitted: Path) -> dict[str, Any] | None:
        settings = self.system.barrier
        if settings is None or self.reference is None:
            return None
        found = remembered(
            fitted,
            ["barrier", settings],
            lambda: height_on(calibration.load(fitted), band_of(self.data, settings), settings),
        )
        true = self.reference["height"]
        return {**found, "error": None if None in (found["height"], true) else found["height"] - true}

    def _survival(self, fitted: Path, temperature: float, steps: int) -> dict[str, Any]:
        settings = self.system.survival
        return remembered(
            fitted,
            ["survival", settings.rest, settings.rules, settings.replicas, settings.timestep, settings.every,
             temperature, steps],
            lambda: survive(calibration.load(fitted), self.rest, settings, temperature, steps),
        )  # fmt: skip


def errors(predictor: Predictor, data: Dataset) -> dict[str, float | None]:
    """Mean absolute and root mean square errors of forces (eV/Å), of energies (eV/atom), and rank correlation.

    The correlation is that of an atom's force uncertainty and force error, None where there is none.
    """
    found = predict(predictor, data)
    off = found.forces.double() - torch.as_tensor(data.forces)
    sizes = np.array([len(frame) for frame in data.atoms])
    energy = (found.energy.double().numpy() - data.energies) / sizes
    try:
        ranking = float(metrics.spearman(found.force_uncertainty, off.square().mean(1).sqrt()))
    except (UndefinedMetric, ValueError):
        ranking = None
    values = {
        "force MAE": float(off.abs().mean()),
        "force RMSE": float(off.square().mean().sqrt()),
        "energy MAE": float(np.abs(energy).mean()),
    }
    return {**{name: value if np.isfinite(value) else None for name, value in values.items()}, "Spearman": ranking}
