"""One loop, from start to end or from where it was interrupted, judged generation by generation. A cell comes of it."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uqlib.active_learning import ActiveLearning, History, LabelStore
from uqlib.active_learning.history import Generation
from uqlib.active_learning.labels import fingerprint, identity
from uqlib.active_learning.loop import derived_seed
from uqlib.common.devices import as_device
from uqlib.common.storage import write_atomically
from uqlib.loops.barrier import band_of, height_by, path_height
from uqlib.loops.grid import Unit
from uqlib.loops.judging import Judge
from uqlib.loops.recipes import Diary, TimedOracle, TimedProposal, learners, proposal, recipe
from uqlib.loops.settings import System
from uqlib.loops.shelf import Shelved
from uqlib.structures.datasets import Dataset
from uqlib.study.cells import Cell, digest, rounded
from uqlib.study.grid import data_digest
from uqlib.study.machine import hardware, peak_mb, torch_threads, versions


def do_unit(
    unit: Unit, *, scratch: str | Path, command: str = "", threads: int = 1, device: str | torch.device = "cpu"
) -> Cell:
    """Run the loop of `unit` in this process and return its cell, plain data for JSON.

    Args:
        unit: what to do.
        scratch: folder that all units share, for labels, fitted methods and what is measured of them. What is there
            is not done again, so that an interrupted unit goes on, and a label that another one bought is not bought.
        command: by which it was asked for; written into the cell.
        threads: of torch, while it lasts.
        device: where networks are trained and evaluated, "auto" for a GPU if there is one.

    Raises:
        ValueError: as `System.load` and what the recipes refuse; a device that is not there.
    """
    with torch_threads(threads):
        return rounded(_Loop(unit, Path(scratch), as_device(device)).cell(command, threads))


def label_folder(scratch: Path, system: System) -> Path:
    """Where the labels of a system lie, a file each."""
    return scratch / "labels" / system.name


def unit_folder(scratch: Path, unit: Unit) -> Path:
    """Of one loop alone."""
    return scratch / unit.system / str(unit.seed) / f"{unit.driver}-{digest(unit.identity())}"


class _Loop:
    """What one loop needs, put together."""

    def __init__(self, unit: Unit, scratch: Path, device: torch.device) -> None:
        self.unit, self.grid, self.device = unit, unit.grid, device
        self.system, self.driver = unit.grid.systems[unit.system], unit.grid.drivers[unit.driver]
        self.data = self.system.load()
        self.train, self.valid = self.system.begin(self.data, unit.seed)
        self.folder, self.labels = unit_folder(scratch, unit), label_folder(scratch, self.system)
        self.shelf = scratch / unit.system / str(unit.seed) / "shelf"
        self.diary = Diary(self.folder / "diary.jsonl")
        self.oracle = TimedOracle(self.system.oracle, self.diary)
        self.method = Shelved(method=recipe(self.system, self.driver), shelf=self.shelf, device=device)
        self.learners = {
            name: Shelved(method=method, shelf=self.shelf, device=device)
            for name, method in learners(self.system, self.grid.learners).items()
        }

    def cell(self, command: str, threads: int) -> Cell:
        wall = time.perf_counter()
        history = ActiveLearning(
            method=self.method,
            oracle=self.oracle,
            propose=TimedProposal(proposal(self.system, self.driver, self.data), self.diary),
            generations=self.system.generations,
            labels=self.system.labels,
            valid_share=0.0,
        ).run(
            self.train,
            self.valid,
            seed=self.unit.seed,
            folder=self.folder,
            label_folder=self.labels,
            progress=False,
        )
        self.judge = Judge(system=self.system, data=self.data, reference=self._reference())
        return {
            "system": self.unit.system,
            "driver": self.unit.driver,
            "seed": self.unit.seed,
            "digest": digest(self.unit.identity()),
            "data_digest": data_digest(self.data, self.system.splits),
            "hardware": hardware(threads, self.device),
            "versions": {**versions(), "oracle": self.oracle.version},
            "command": command,
            "identity": self.unit.identity(),
            "reference": self.judge.reference,
            "start": {split: self._described(part.atoms) for split, part in
                      (("train", self.train), ("valid", self.valid))},
            "generations": [self._generation(history, k) for k in range(len(history.generations))],
            "learners": self._learners(history),
            "first": self._first(history),
            "seconds": {what: self.diary.total(what) for what in ("proposing", "labelling")},
            "wall_s": time.perf_counter() - wall,
            "peak_mb": peak_mb(),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip

    def _generation(self, history: History, k: int) -> dict[str, Any]:
        """What the potential of this generation was like, and what it asked for."""
        known: Generation = history.generations[k]
        train, seed = self._grown(history, k), derived_seed(self.unit.seed, known.number, 0)
        ends = k in (0, len(history.generations) - 1)
        watched = self.system.survival.ends if ends else self.system.survival.between
        found = {
            "number": known.number,
            "train": known.train,
            "candidates": dict(known.candidates),
            "labelled": known.labelled,
            "failed": [reason.splitlines()[0] for reason in known.failed],
            "added": self._described(history.added[k]) if k < len(history.added) else None,
            **self.judge(self.method, train, self.valid, seed, watched),
        }
        return {**found, "training_s": self.method.seconds(train, self.valid, seed)}

    def _learners(self, history: History) -> dict[str, Any]:
        """Who learns from the first data and from all that the driver has bought: the same for every driver."""
        last, found = len(history.generations) - 1, {}
        for name, learner in self.learners.items():
            for when, k in (("before", 0), ("after", last)):
                train, seed = self._grown(history, k), derived_seed(self.unit.seed, k, 0)
                judged = self.judge(learner, train, self.valid, seed, self.system.survival.learners)
                spent = {"training_s": learner.seconds(train, self.valid, seed)}
                found.setdefault(name, {})[when] = {"train": len(train), **judged, **spent}
        return found

    def _first(self, history: History) -> dict[str, Any] | None:
        """The plain network after the first few labels, evenly taken from those of the first round."""
        number, bought = self.system.first, [atoms for added in history.added[:1] for atoms in added]
        if not 0 < number < len(bought):
            return None
        few = [bought[place] for place in np.linspace(0, len(bought) - 1, number).round().astype(int)]
        train = Dataset(name=self.train.name, atoms=(*self.train.atoms, *few))
        seed = derived_seed(self.unit.seed, 1, 0)
        return {"labels": number, **self.judge(self.learners["one network"], train, self.valid, seed, None)}

    def _grown(self, history: History, k: int) -> Dataset:
        new = [atoms for added in history.added[:k] for atoms in added]
        return Dataset(name=self.train.name, atoms=(*self.train.atoms, *new), card=self.train.card)

    def _described(self, frames: Any) -> list[list[Any]]:
        """Name of each label, and its energy, eV a structure above the one at rest."""
        name, floor = identity(self.oracle), self.system.survival.rest.energy(self.data)
        return [[fingerprint(atoms, name), round(atoms.get_potential_energy() - floor, 5)] for atoms in frames]

    def _reference(self) -> dict[str, Any] | None:
        settings = self.system.barrier
        if settings is None:
            return None
        if settings.reference == "path":
            return {"height": path_height(self.data, settings), "by": "the labels of the path"}
        path = (
            self.shelf.parents[1] / f"barrier-{digest([self.unit.identity()['barrier'], identity(self.oracle)])}.json"
        )
        if not path.exists():
            found = height_by(LabelStore(self.labels, self.oracle), band_of(self.data, settings), settings)
            write_atomically(path, json.dumps({**found, "by": "a band of the oracle's"}).encode())
        return json.loads(path.read_text(encoding="utf-8"))
