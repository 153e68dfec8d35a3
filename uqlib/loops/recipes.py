"""The file's words made recipes: methods on the network that all share, proposals, and an oracle that is timed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ase
import numpy as np

from uqlib.active_learning import FromPool, Proposal
from uqlib.active_learning.labels import name_of
from uqlib.active_learning.proposals import Candidates
from uqlib.calibration import Recalibrated
from uqlib.loops.settings import POOL, Driver, System
from uqlib.methods import METHODS, Ensemble, LastLayer, Shallow
from uqlib.oracles import Oracle, labelled_copy
from uqlib.prediction import Predictor
from uqlib.structures.datasets import Dataset
from uqlib.study import costs

DIGITS = 7  # of a label: eV and eV/Å to a hundredth of what the electronic structure is converged to


def recipe(system: System, driver: Driver) -> Any:
    """The method that asks, on the system's network and with its length of training.

    A second training, by likelihood, has half of the epochs and the learning rate that the method gives it. A score in
    nats is the logarithm of something already, but of what size nobody says, and against E/kT the size decides: hence
    `recalibration`, whose maps are fitted anew to the validation set in each generation.
    """
    known: Any = METHODS[driver.method]
    changes: dict[str, Any] = {"network": dict(system.network), "settings": system.training, **driver.options}
    if isinstance(known, Shallow):
        own = known.likelihood_settings
        changes["likelihood_settings"] = replace(
            system.training, epochs=max(system.training.epochs // 2, 1), learning_rate=own.learning_rate
        )
    found = replace(known, **changes)
    return Recalibrated(method=found, kind=driver.recalibration) if driver.recalibration else found  # pyright: ignore[reportArgumentType]


def learners(system: System, members: int) -> dict[str, Any]:
    """Who learns from everyone's data: a plain network (its LLPR uncertainty moves no force), and an ensemble."""
    common: dict[str, Any] = {"network": dict(system.network), "settings": system.training}
    return {"one network": LastLayer(**common), "ensemble": Ensemble(members=members, **common)}


def proposal(system: System, driver: Driver, data: Dataset) -> Proposal:
    """Where the driver's geometries come from. Raises TypeError for options that the proposal does not have."""
    if driver.proposal == POOL:
        return FromPool(pool=data["train"], name=f"{system.data}/train")
    return replace(system.proposals[driver.proposal], **driver.proposal_options)


@dataclass(frozen=True)
class Diary:
    """A file to which processor seconds are appended, an entry a line: what was spent stays known after a kill."""

    path: Path

    def write(self, what: str, seconds: float) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            file.write((json.dumps([what, round(seconds, 3)]) + "\n").encode())

    def total(self, what: str) -> float:
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return round(sum(seconds for word, seconds in map(json.loads, lines) if word == what), 3)


@dataclass(frozen=True)
class TimedOracle:
    """An oracle whose labels are rounded to `DIGITS`, which keeps files small, and timed."""

    oracle: Oracle
    diary: Diary = field(compare=False)

    @property
    def label_name(self) -> str:
        """What its labels are called: those of the oracle, rounded."""
        return f"{name_of(self.oracle)} to 1e-{DIGITS}"

    @property
    def version(self) -> str:
        return getattr(self.oracle, "version", "")

    def label(self, atoms: ase.Atoms) -> ase.Atoms:
        """As the oracle's own."""
        seconds, found = costs.seconds(lambda: self.oracle.label(atoms))
        self.diary.write("labelling", seconds)
        results: Mapping[str, Any] = found.calc.results
        stress = np.round(found.get_stress(voigt=False), DIGITS + 2) if "stress" in results else None
        return labelled_copy(
            atoms,
            energy=round(float(results["energy"]), DIGITS),
            forces=np.round(results["forces"], DIGITS),
            stress=stress,
        )


@dataclass(frozen=True)
class TimedProposal:
    """A proposal that is timed."""

    proposal: Proposal
    diary: Diary = field(compare=False, repr=False)

    @property
    def continues(self) -> bool:
        """Whether the proposal goes on from where it stood."""
        return getattr(self.proposal, "continues", False)

    def candidates(self, predictor: Predictor, train: Dataset, *, number: int, seed: int, **more: Any) -> Candidates:
        """As the proposal's own."""
        own: Any = self.proposal.candidates
        seconds, found = costs.seconds(lambda: own(predictor, train, number=number, seed=seed, **more))
        self.diary.write("proposing", seconds)
        return found
