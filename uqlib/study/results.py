"""Results of the study as arrays: scores of all methods, system by system and seed by seed, in and out of domain.

A *block* is one seed on one system: all methods start from the same seed and meet the same data there, so that they can
be compared in pairs. Blocks of one system are independent trainings. The splits of one block are not: they are scored
with the same networks, and are averaged before anything is tested. Blocks of different systems are never mixed.

What lies *out of domain* is measured: splits on which the plain network makes larger errors than on the test set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from uqlib import methods
from uqlib.methods.shared.recipes import AfterTraining
from uqlib.study.grid import FOLDER, Grid, load_grid
from uqlib.study.running import Digests
from uqlib.study.statistics import ranks, seed_interval
from uqlib.study.stored import read_cell

FEWEST_SEEDS = 3  # of a system that counts: with fewer, its luck would pass for a result
INSIDE, OUTSIDE, EASIER = "in domain", "out of domain", "no harder than the test set"
DOMAINS = (INSIDE, OUTSIDE)
"""Where methods are compared. What is new and yet no harder than the test set belongs to neither."""
Quantity = Literal["force", "energy"]
Stage = Literal["before", "after"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A metric, and which of its values are good."""

    metric: str
    asks: str
    stage: Stage  # of recalibration; "after" where only a standard deviation has a value
    sign: int  # +1: more is better
    logarithmic: bool = False  # compared by ratios: scales differ between splits
    label: str = ""  # for axes, with unit


QUESTIONS: Mapping[str, Question] = {
    "accuracy": Question(
        metric="MAE", asks="how large are the errors?", stage="before", sign=-1, logarithmic=True, label="MAE"
    ),
    "order": Question(
        metric="Spearman", asks="are the uncertain ones the bad ones?", stage="before", sign=1,
        label="Spearman correlation"
    ),
    "detection": Question(
        metric="ROC-AUC", asks="is the worst tenth found?", stage="before", sign=1, label="ROC-AUC"
    ),
    "size": Question(
        metric="miscalibration", asks="are the error bars of the right size?", stage="after", sign=-1,
        label="miscalibration area",
    ),
    "likelihood": Question(
        metric="NLL", asks="how likely are the errors under the error bars?", stage="after", sign=-1, label="NLL (nats)"
    ),
}  # fmt: skip
"""What each answer is ranked by."""

UNCERTAINTY = ("order", "detection", "size", "likelihood")
"""The questions about the uncertainty. A method's *rank* is its average over these, over splits, and over seeds."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Cells of the study that belong to a grid; made by `load_results`.

    Only complete blocks count, and only systems with at least `FEWEST_SEEDS` of them.
    """

    grid: Grid
    cells: Mapping[tuple[str, int, str], Mapping[str, Any]]  # (system, seed, method) -> cell
    stale: tuple[str, ...] = ()  # files that were made with other settings or data, and left out
    blocks: tuple[tuple[str, int], ...] = field(init=False)  # (system, seed) that count
    domains: Mapping[str, Mapping[str, str]] = field(init=False)  # system -> split -> where it lies

    def __post_init__(self) -> None:
        complete = {
            system: [n for n in self.grid.seeds if all((system, n, m) in self.cells for m in self.grid.methods)]
            for system in self.grid.systems
        }
        enough = {system: seeds for system, seeds in complete.items() if len(seeds) >= FEWEST_SEEDS}
        counted = tuple((system, seed) for system, seeds in enough.items() for seed in seeds)
        object.__setattr__(self, "blocks", counted)
        object.__setattr__(self, "domains", {system: self._placed(system) for system in enough})

    @property
    def systems(self) -> dict[str, int]:
        """System -> how many blocks it has; systems without any are left out."""
        counts = {system: sum(s == system for s, _ in self.blocks) for system in self.grid.systems}
        return {system: count for system, count in counts.items() if count}

    @property
    def plain(self) -> str:
        """A method whose forces are those of one plain network."""
        after = (m for m in self.grid.methods if isinstance(methods.METHODS.get(m), AfterTraining))
        return next(after, self.grid.methods[0])

    def splits(self, system: str, domain: str | None = None) -> list[str]:
        """The splits of a system that were scored: those of one domain, or all."""
        return [split for split, where in self.domains[system].items() if domain in (None, where)]

    def novelty(self, system: str) -> dict[str, np.ndarray]:
        """Split -> (seeds,) force error of the plain network there, as a multiple of that on the test set."""
        return {split: np.exp(found) for split, found in self._harder(system, self._scored(system)).items()}

    def values(
        self, metric: str, system: str, split: str, *, quantity: Quantity = "force", stage: Stage = "before"
    ) -> np.ndarray:
        """(seeds, methods) of one metric on one split, in the units of `scoring.Scores`; nan where it has no value."""
        found = [
            [_value(self.cells[system, seed, m]["splits"][split], stage, quantity, metric) for m in self.grid.methods]
            for s, seed in self.blocks
            if s == system
        ]
        return np.array(found, dtype=float)

    def answers(self, question: str, domain: str, *, quantity: Quantity = "force") -> dict[str, np.ndarray]:
        """System -> (seeds, methods), averaged over splits; more is better. Logarithms where ratios count."""
        return self._by_system(lambda s, split: self._good(question, s, split, quantity), domain)

    def ranks(self, questions: Sequence[str], domain: str, *, quantity: Quantity = "force") -> dict[str, np.ndarray]:
        """System -> (seeds, methods) ranks, 1 for the best, averaged over the splits and over the questions."""

        def found(system: str, split: str) -> np.ndarray:
            return np.mean([ranks(self._good(q, system, split, quantity)) for q in questions], axis=0)

        return self._by_system(found, domain)

    def costs(self, what: Literal["training", "inference", "memory"]) -> dict[str, np.ndarray]:
        """System -> (seeds, methods) multiples of what one network costs; nan where an interrupted run did not tell."""
        found: dict[str, np.ndarray] = {}
        for system in self.systems:
            rows = []
            for seed in [n for s, n in self.blocks if s == system]:
                cells = [self.cells[system, seed, method] for method in self.grid.methods]
                plain = next((c["one_network"][what] for c in cells if c["one_network"]), None)
                rows.append([_ratio(cell["cost"][what], plain) for cell in cells])
            found[system] = np.array(rows, dtype=float)
        return found

    def _good(self, question: str, system: str, split: str, quantity: Quantity) -> np.ndarray:
        asked = QUESTIONS[question]
        values = self.values(asked.metric, system, split, quantity=quantity, stage=asked.stage)
        return asked.sign * (np.log(values) if asked.logarithmic else values)

    def _by_system(self, found: Callable[[str, str], np.ndarray], domain: str) -> dict[str, np.ndarray]:
        splits = {system: self.splits(system, domain) for system in self.systems}
        return {system: np.mean([found(system, s) for s in each], axis=0) for system, each in splits.items() if each}

    def _scored(self, system: str) -> list[str]:
        seeds = [seed for s, seed in self.blocks if s == system]
        scored = self.cells[system, seeds[0], self.grid.methods[0]]["splits"]
        return [split for named in self.grid.systems[system].regimes.values() for split in named if split in scored]

    def _harder(self, system: str, splits: Sequence[str]) -> dict[str, np.ndarray]:
        """Split -> (seeds,) logarithm of the plain network's error there over that on the test set."""
        column, named = self.grid.methods.index(self.plain), self.grid.systems[system].regimes.get("in-domain", ())
        errors = {split: np.log(self.values("MAE", system, split)[:, column]) for split in splits}
        known = [errors[split] for split in named if split in errors]
        return {split: found - np.mean(known, axis=0) for split, found in errors.items()} if known else {}

    def _placed(self, system: str) -> dict[str, str]:
        """Split -> its domain. Without a test set nothing can be measured, and all is taken as out of domain."""
        splits = self._scored(system)
        inside, harder = self.grid.systems[system].regimes.get("in-domain", ()), self._harder(system, splits)
        placed = {}
        for split in splits:
            low = seed_interval(harder[split][:, None], [system] * len(harder[split]))[0, 0] if harder else np.inf
            placed[split] = INSIDE if split in inside else OUTSIDE if low > 0 else EASIER
        return placed


def load_results(scale: str = "teaching", *, folder: str | Path | None = None, grid: Grid | None = None) -> Results:
    """The committed results at one scale, or those in a folder of yours. Stale cells are left out, and named.

    Raises ValueError for an unknown scale, and for a file that is no cell.
    """
    grid = grid or load_grid(scale)
    folder = FOLDER / scale if folder is None else Path(folder)
    digests, cells, stale = Digests(grid), {}, []
    for path in sorted(folder.glob("*/*/*.json")):
        try:
            cell = read_cell(path)
            key = (cell["system"], cell["seed"], cell["method"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a cell of the study ({error}); delete it and run the study again") from error
        if key[0] in grid.systems and digests.fresh(cell):
            cells[key] = cell
        else:
            stale.append(str(path.relative_to(folder)))
    return Results(grid=grid, cells=cells, stale=tuple(stale))


def _value(entry: Mapping[str, Any], stage: Stage, quantity: Quantity, metric: str) -> float:
    found = None if entry[stage] is None else entry[stage][quantity][metric]
    return np.nan if found is None else found


def _ratio(value: float | None, plain: float | None) -> float:
    return np.nan if value is None or not plain else value / plain
