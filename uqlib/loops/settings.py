"""What a loop is made of: its data, its oracle, who asks, and how it is judged. All of it comes from one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import ase
import numpy as np

from uqlib import methods
from uqlib.active_learning import Attacked, Displaced, FromBiasedDynamics, FromDynamics, OnTheFly
from uqlib.calibration import KINDS
from uqlib.dynamics import Rule
from uqlib.networks.training import Settings
from uqlib.oracles import Oracle
from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset

POOL = "pool"  # the proposal that takes more frames of the training split
PROPOSALS = {
    "attack": Attacked,
    "displacement": Displaced,
    "dynamics": FromDynamics,
    "biased": FromBiasedDynamics,
    "on-the-fly": OnTheFly,
}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`number` structures of a split: the cheapest of `among` that the seed draws from it."""

    number: int
    among: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.among:
            raise ValueError(f"number, among: got {self.number}, {self.among}, expected 1 <= number <= among")


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a loop begins with, per split."""

    train: Sample
    valid: Sample


@dataclass(frozen=True, kw_only=True)
class Where:
    """A frame of a split: its place, or "lowest"."""

    split: str
    frame: int | Literal["lowest"] = 0

    def find(self, data: Dataset) -> ase.Atoms:
        """A copy without labels. Raises ValueError where there is no such frame."""
        found = data[self.split].atoms[self._place(data)].copy()
        found.info = {}
        return found

    def energy(self, data: Dataset) -> float:
        """Its label, eV; errors as `find`."""
        return float(data[self.split].energies[self._place(data)])

    def _place(self, data: Dataset) -> int:
        part = data[self.split]
        place = int(part.energies.argmin()) if self.frame == "lowest" else self.frame
        if isinstance(place, str) or not -len(part) <= place < len(part):
            raise ValueError(f'frame: got {self.frame!r}, expected 0 to {len(part) - 1} or "lowest"')
        return place


@dataclass(frozen=True, kw_only=True)
class Watched:
    """Dynamics at these temperatures (K), for so many steps."""

    temperatures: tuple[float, ...]
    steps: int


@dataclass(frozen=True, kw_only=True)
class Survival:
    """Which dynamics are to survive.

    `rest`: where all replicas begin. `ends`: for the first potential of a loop and the last; `between`: for the others;
    `learners`: for what is trained on the last one's data. `rules`: name of a set -> rules, judged side by side.
    """

    rest: Where
    ends: Watched
    between: Watched
    learners: Watched
    rules: Mapping[str, tuple[Rule, ...]]
    replicas: int = 32
    timestep: float = 0.5  # fs
    every: int = 10  # steps from one look at the rules to the next


@dataclass(frozen=True, kw_only=True)
class Barrier:
    """A path over a barrier: frames `first` to `last` of a split, of which `images` start the band.

    `reference`: "path" where the split is the minimum-energy path of the labels' level, so that its own energies say
    how high it is; "oracle": the same band, relaxed by the oracle.
    """

    split: str
    first: int = 0
    last: int = -1
    images: int = 9
    reference: Literal["path", "oracle"] = "path"
    force: float = 0.01  # eV/Å, largest that is left
    steps: int = 300

    def __post_init__(self) -> None:
        if self.reference not in ("path", "oracle"):
            raise ValueError(f"reference: got {self.reference!r}, expected 'path' or 'oracle'")
        if self.images < 3:
            raise ValueError(f"images: got {self.images}, expected at least 3, both ends among them")


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Who asks for labels: a method with `options` for its recipe, and a proposal with others than the system's.

    `recalibration`: kind of the maps behind the method, for scores in nats; none where empty.
    """

    name: str
    method: str
    proposal: str
    options: Mapping[str, Any] = field(default_factory=dict)
    proposal_options: Mapping[str, Any] = field(default_factory=dict)
    recalibration: str = ""

    def __post_init__(self) -> None:
        expected = {"method": methods.METHODS, "proposal": (*PROPOSALS, POOL), "recalibration": ("", *KINDS)}
        for name, known in expected.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected one of {sorted(known)}")


@dataclass(frozen=True, kw_only=True)
class System:
    """A data set, its oracle, and how loops on it run and are judged."""

    name: str
    data: str  # a name that `datasets.load` knows
    oracle: Oracle
    seeds: tuple[int, ...]
    generations: int
    labels: int  # a generation
    first: int  # labels of generation 0 after which the plain learner is judged as well; 0: not
    start: Start
    network: Mapping[str, int | float]
    training: Settings
    proposals: Mapping[str, Attacked | Displaced | FromDynamics | OnTheFly]
    judged: Mapping[str, int]  # split -> how many of its structures, from the first; 0: all
    survival: Survival
    barrier: Barrier | None = None

    def __post_init__(self) -> None:
        if learnt := sorted({"train", "valid"} & set(self.judged)):
            raise ValueError(f"systems.{self.name}.judged: got {learnt[0]!r}, which is learnt from; expected others")

    def load(self) -> Dataset:
        """The data. Raises ValueError where they lack a split that is named."""
        data = datasets.load(self.data)
        if missing := sorted(set(self.splits) - set(data.splits)):
            raise ValueError(f"systems.{self.name}: {self.data!r} has the splits {sorted(data.splits)}, not {missing}")
        return data

    @property
    def splits(self) -> list[str]:
        """All that a loop looks at."""
        path = [self.barrier.split] if self.barrier else []
        return sorted({"train", "valid", *self.judged, self.survival.rest.split, *path})

    def begin(self, data: Dataset, seed: int) -> tuple[Dataset, Dataset]:
        """Starting data of a seed, the same for all drivers. Raises ValueError where a split is too small."""
        return self._drawn(data, "train", self.start.train, seed), self._drawn(data, "valid", self.start.valid, seed)

    def _drawn(self, data: Dataset, split: str, sample: Sample, seed: int) -> Dataset:
        part = data[split]
        if len(part) < sample.among:
            raise ValueError(f"systems.{self.name}.start.{split}: {sample.among} of {len(part)} structures")
        chosen = np.random.default_rng([seed, len(split)]).permutation(len(part))[: sample.among]
        cheap = chosen[np.argsort(part.energies[chosen], kind="stable")[: sample.number]]
        return part.take(np.sort(cheap), name=f"{self.data}/{split}")
