"""One unit of the study done: train, predict, recalibrate, score, and measure the cost. A cell for each method."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator

from uqlib import calibration
from uqlib.common.devices import as_device
from uqlib.methods.shared.committee import Committee
from uqlib.methods.shared.recipes import SingleNetwork
from uqlib.metrics import UndefinedMetric
from uqlib.networks.painn import PaiNN
from uqlib.networks.training import Settings
from uqlib.prediction import Prediction, Predictor, predict
from uqlib.structures.datasets import Dataset
from uqlib.study import comparison, costs, scoring
from uqlib.study.cells import Cell, digest, rounded
from uqlib.study.drawing import recalibrating
from uqlib.study.grid import SHARED, Unit, data_digest, group_of
from uqlib.study.machine import hardware, peak_mb, torch_threads, versions

WRITTEN = (*scoring.SHOWN, "AUSE", "coverage", "NLL", "CRPS")  # into a cell: names as for `scoring.score`
ATOMS_AT_ONCE = 1000  # in one batch of a prediction
ATOMS_TO_TIME = 200  # in the batch whose prediction is timed


def do_unit(
    unit: Unit, *, command: str = "", scratch: str | Path | None = None, threads: int = 1, device: str = "cpu"
) -> list[Cell]:
    """Do the work of `unit` in this process, and return its cells, one for each method, as plain data for JSON.

    Args:
        unit: What to do.
        command: By which it was asked for; written into the cells.
        scratch: Folder for checkpoints: work that was interrupted there is continued. Its cost is then not known.
        threads: Of torch, while it lasts.
        device: Where networks are trained and evaluated, "auto" for a GPU if there is one.

    Raises:
        ValueError: As `System.load` and what the recipes refuse.
    """
    with torch_threads(threads):
        _warm_up()
        return _do_unit(unit, command, None if scratch is None else Path(scratch), threads, as_device(device))


@functools.cache
def _warm_up() -> None:
    """The first training in a process takes seconds to find its tools; no method is to be charged for them."""
    atoms = [ase.Atoms("H2", [[0, 0, 0], [0, 0, distance]]) for distance in (0.7, 0.8)]
    for frame in atoms:
        frame.calc = SinglePointCalculator(frame, energy=0.0, forces=np.ones((2, 3)))
    pair, recipe = Dataset(name="warm-up", atoms=tuple(atoms)), SingleNetwork(settings=Settings(epochs=1))
    recipe.train_network(recipe.untrained(pair, pair, seed=0), pair, pair, seed=0, progress=False)


def _do_unit(unit: Unit, command: str, scratch: Path | None, threads: int, device: torch.device) -> list[Cell]:
    grid, system = unit.grid, unit.grid.systems[unit.system]
    data = grid.load(unit.system, unit.seed)
    splits = list(system.scored(data))
    resumed = scratch is not None and any(scratch.rglob("*.ckpt"))
    trainer = _Trainer(unit, data, scratch, device)
    frame = {
        "hardware": hardware(threads, device),
        "versions": versions(),
        "command": command,
        "train": len(data.splits["train"]),
        "valid": len(data.splits["valid"]),
        "data_digest": data_digest(data, [*splits, *recalibrating(data)]),
    }
    cells = []
    for method in unit.methods:
        wall, earlier = time.perf_counter(), trainer.wall  # of a training that this method, too, stands on
        identity = grid.identity(unit.system, method, unit.seed)
        training, predictor = trainer.fit(method)
        scores = _scores(predictor, data, splits, grid.recalibration)
        test = data[splits[0]]
        timed = test.batch(range(_count(test, ATOMS_TO_TIME)), cutoff=predictor.cutoff)
        cost = asdict(costs.measure(predictor, timed, training=training))
        plain = None if trainer.model is None else asdict(costs.measure(trainer.model, timed, training=trainer.seconds))
        cells.append(
            {
                "system": unit.system,
                "method": method,
                "seed": unit.seed,
                "digest": digest(identity),
                **frame,
                "identity": identity,
                "cost": _without_training(cost, resumed),
                "one_network": None if plain is None else _without_training(plain, resumed),
                "wall_s": time.perf_counter() - wall + earlier,
                "peak_mb": peak_mb(),
                "made": datetime.now(UTC).isoformat(timespec="seconds"),
                "splits": scores,
            }
        )
    return [rounded(cell) for cell in cells]


class _Trainer:
    """Fits methods; the network that several of them stand on is trained once, when the first of them needs it."""

    def __init__(self, unit: Unit, data: Dataset, scratch: Path | None, device: torch.device) -> None:
        self.unit, self.scratch, self.device = unit, scratch, device
        self.train, self.valid = data["train"], data["valid"]
        self.model: PaiNN | None = None
        self.seconds = self.wall = 0.0  # that the shared training took

    def fit(self, method: str) -> tuple[float, Predictor]:
        """Processor time of all the training that the method needs, s, and the fitted method."""
        recipe = self._adapted(self.unit.grid.recipe_of(method), method)
        seed = self.unit.seed
        if group_of(method) != SHARED:
            return self._timed(lambda: recipe.fit(self.train, self.valid, seed=seed, progress=False))
        model = self._shared()
        if method == "ensemble":  # the shared network is its first member
            others = replace(recipe, members=recipe.members - 1)
            found, rest = self._timed(lambda: others.fit(self.train, self.valid, seed=seed, progress=False))
            return self.seconds + found, Committee([model, *rest.models])
        found, fitted = self._timed(lambda: comparison.fit(recipe, model, self.train, self.valid, seed, False))
        return self.seconds + found, fitted

    def _shared(self) -> PaiNN:
        if self.model is None:
            started, recipe = time.perf_counter(), self._adapted(SingleNetwork(), "one-network")
            start = recipe.untrained(self.train, self.valid, seed=self.unit.seed)
            options = {"seed": self.unit.seed, "progress": False}
            self.seconds, trained = self._timed(lambda: recipe.train_network(start, self.train, self.valid, **options))
            self.model, self.wall = trained.model, time.perf_counter() - started
        assert self.model is not None
        return self.model

    def _adapted(self, recipe: Any, name: str) -> Any:
        grid, folder = self.unit.grid, None if self.scratch is None else self.scratch / name
        settings, network = grid.training_of(self.unit.system, name), grid.network_of(self.unit.system, name)
        return comparison.adapt(recipe, network, settings, folder, self.device)

    def _timed(self, call: Callable[[], Any]) -> tuple[float, Any]:
        return costs.seconds(call, self.device)


def _scores(predictor: Predictor, data: Dataset, splits: Iterable[str], kind: Any) -> dict[str, Any]:
    """Split -> its scores, before and after recalibration; `after` is None where that has no solution."""
    found: dict[str, Any] = {}
    held = data[next(iter(recalibrating(data)), "valid")]
    try:
        calibrator = calibration.calibrate(kind, _predict(predictor, held), held)
    except UndefinedMetric:
        calibrator = None
    for split in splits:
        part = data[split]
        raw = _predict(predictor, part)
        entry: dict[str, Any] = {
            "structures": len(part),
            "groups": len(set(part.groups)),
            "before": _plain(raw, part),
            "after": None,
        }
        if calibrator is not None:
            entry["after"] = _plain(calibrator(raw, part.batch(cutoff=predictor.cutoff)), part)
        found[split] = entry
    return found


def _plain(prediction: Prediction, part: Dataset) -> dict[str, Any]:
    """Quantity -> metric -> value, None where there is none. It is the seeds that give the error bars."""
    scores = scoring.score(prediction, part, resamples=0, wanted=WRITTEN)
    return {
        quantity: {name: None if value is None else value.value for name, value in found.items()}
        for quantity, found in (("energy", scores.energy), ("force", scores.force))
    }


def _predict(predictor: Predictor, part: Dataset) -> Prediction:
    return predict(predictor, part, batch_size=_count(part, ATOMS_AT_ONCE))


def _count(part: Dataset, atoms: int) -> int:
    """How many structures have about that many atoms, at least one."""
    return min(max(atoms // max(len(frame) for frame in part.atoms), 1), len(part))


def _without_training(cost: dict[str, Any], resumed: bool) -> dict[str, Any]:
    return {**cost, "training": None} if resumed else cost
