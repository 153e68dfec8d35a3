"""Results of the study as arrays: scores of all methods, block by block, in one regime or several.

A *block* is one seed on one system: all methods start from the same seed and meet the same data there, so that they can
be compared in pairs. Blocks of one system are independent trainings on the same data. The splits of one block are not:
they are scored with the same networks, and are averaged before anything is tested.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from uqlib.study.grid import FOLDER, REGIMES, Grid, load_grid
from uqlib.study.running import Digests
from uqlib.study.statistics import ranks

FEWEST_SEEDS = 3  # of a system that counts: with fewer, its luck would pass for a result
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
"""The questions that are about the uncertainty; their ranks together make the rank of a method."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Cells of the study that belong to a grid; made by `load_results`.

    Only complete blocks count, only systems with at least `FEWEST_SEEDS` of them, and as many of one system as of
    another: the first ones of each, so that each system has the same say.
    """

    grid: Grid
    cells: Mapping[tuple[str, int, str], Mapping[str, Any]]  # (system, seed, method) -> cell
    stale: tuple[str, ...] = ()  # files that were made with other settings or data, and left out
    blocks: tuple[tuple[str, int], ...] = field(init=False)  # (system, seed) that count
    spare: Mapping[str, int] = field(init=False)  # system -> how many complete blocks do not

    def __post_init__(self) -> None:
        complete = {
            system: [n for n in self.grid.seeds if all((system, n, m) in self.cells for m in self.grid.methods)]
            for system in self.grid.systems
        }
        enough = {system: seeds for system, seeds in complete.items() if len(seeds) >= FEWEST_SEEDS}
        even = min((len(seeds) for seeds in enough.values()), default=0)
        counted = tuple((system, seed) for system, seeds in enough.items() for seed in seeds[:even])
        object.__setattr__(self, "blocks", counted)
        object.__setattr__(self, "spare", {system: len(seeds) - even for system, seeds in enough.items()})

    @property
    def systems(self) -> dict[str, int]:
        """System -> how many of its blocks count; systems without any are left out."""
        counts = {system: sum(s == system for s, _ in self.blocks) for system in self.grid.systems}
        return {system: count for system, count in counts.items() if count}

    def splits(self, system: str, regimes: Sequence[str] = REGIMES) -> list[str]:
        """The splits of a system in these regimes that were scored."""
        seeds = [seed for s, seed in self.blocks if s == system]
        scored = self.cells[system, seeds[0], self.grid.methods[0]]["splits"] if seeds else {}
        wanted = [split for regime in regimes for split in self.grid.systems[system].regimes.get(regime, ())]
        return [split for split in wanted if split in scored]

    def blocks_in(self, regimes: Sequence[str]) -> list[tuple[str, int]]:
        """The blocks of the systems that have a split in these regimes."""
        return [(system, seed) for system, seed in self.blocks if self.splits(system, regimes)]

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

    def answers(self, question: str, regimes: Sequence[str], *, quantity: Quantity = "force") -> np.ndarray:
        """(blocks, methods), averaged over the splits of the regimes; more is better. Logarithms where ratios count."""
        return self._by_block(question, regimes, quantity, ranked=False)

    def ranks(self, question: str, regimes: Sequence[str], *, quantity: Quantity = "force") -> np.ndarray:
        """(blocks, methods) ranks, 1 for the best, averaged over the splits of the regimes."""
        return self._by_block(question, regimes, quantity, ranked=True)

    def overall_ranks(self, regimes: Sequence[str], *, quantity: Quantity = "force") -> np.ndarray:
        """(blocks, methods) ranks, averaged over splits and over all questions about the uncertainty."""
        return np.mean([self.ranks(question, regimes, quantity=quantity) for question in UNCERTAINTY], axis=0)

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

    def _by_block(self, question: str, regimes: Sequence[str], quantity: Quantity, *, ranked: bool) -> np.ndarray:
        asked = QUESTIONS[question]
        rows = []
        for system in self.systems:
            splits = self.splits(system, regimes)
            if not splits:
                continue
            found = []
            for split in splits:
                values = self.values(asked.metric, system, split, quantity=quantity, stage=asked.stage)
                good = asked.sign * (np.log(values) if asked.logarithmic else values)
                found.append(ranks(good) if ranked else good)
            rows.append(np.mean(found, axis=0))
        return np.concatenate(rows) if rows else np.empty((0, len(self.grid.methods)))


def load_results(scale: str = "teaching", *, folder: str | Path | None = None, grid: Grid | None = None) -> Results:
    """The committed results at one scale, or those in a folder of yours. Stale cells are left out, and named.

    Raises ValueError for an unknown scale, and for a file that is no cell.
    """
    grid = grid or load_grid(scale)
    folder = FOLDER / scale if folder is None else Path(folder)
    digests, cells, stale = Digests(grid), {}, []
    for path in sorted(folder.glob("*/*/*.json")):
        try:
            cell = json.loads(path.read_text(encoding="utf-8"))
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
