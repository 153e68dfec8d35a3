"""What came of the campaign, read from its cells: who chose the labels, who learns from them, and how long both last.

A seed counts where all drivers of a comparison are done; all drivers of a seed began with the same structures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uqlib.dynamics import survival_over_seeds
from uqlib.loops.grid import Grid, Unit
from uqlib.loops.reading import FOLDER, load_grid
from uqlib.loops.running import cell_path
from uqlib.study.cells import digest
from uqlib.study.contests import PAPER, Answers
from uqlib.study.families import Contrast, Key, seeds_needed
from uqlib.study.verdict import ROBUSTNESS, Finding, Ruling
from uqlib.study.words import contrast_text

RULES = ("book", "study")
OWN, NETWORK, ENSEMBLE = "its own method", "one network", "ensemble"
LEARNERS = (OWN, NETWORK, ENSEMBLE)
EXPERIMENT = "{} loops"
"""Name of an experiment in the family of the page."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """A fraction of trajectories that last to the end, over seeds, with a 95 % band that allows for their number.

    Written in percent: "97 (14 to 100)".
    """

    value: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        return f"{100 * self.value:.0f} ({100 * self.low:.0f} to {100 * self.high:.0f})"


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """Cells of the loops that belong to a grid; made by `load_campaign`."""

    grid: Grid
    cells: Mapping[tuple[str, int, str], Mapping[str, Any]]  # (system, seed, driver) -> cell
    stale: tuple[str, ...] = ()

    def seeds(self, system: str, drivers: Sequence[str]) -> list[int]:
        """Those from which all of these drivers are done."""
        known = self.grid.systems[system].seeds
        return [seed for seed in known if all((system, seed, driver) in self.cells for driver in drivers)]

    def drivers(self, system: str) -> list[str]:
        """Those that are done from at least one seed, in the order of the grid."""
        return [d for d in self.grid.drivers if self.seeds(system, [d])]

    def fractions(
        self, system: str, driver: str, learner: str, rule: str, seeds: Sequence[int], *, last: bool = True
    ) -> np.ndarray:
        """(seeds,) fractions of trajectories that last where it is hottest, on the last potential or the first."""
        found = [self.watched(system, seed, driver, learner, last=last) for seed in seeds]
        return np.array([1 - len(each["broke"][rule]) / each["replicas"] for each in found])

    def watched(
        self, system: str, seed: int, driver: str, learner: str, *, last: bool, kelvin: str = ""
    ) -> Mapping[str, Any]:
        """Replicas, time and breaks of one potential, as the cell has them; at the highest temperature of all."""
        hottest = f"{max(self.grid.systems[system].survival.learners.temperatures):g}"
        return self.potential(system, seed, driver, learner, last=last)["survival"][kelvin or hottest]

    def potential(self, system: str, seed: int, driver: str, learner: str, *, last: bool) -> Mapping[str, Any]:
        """What is known of the first or the last potential that somebody made of a driver's data."""
        cell = self.cells[system, seed, driver]
        if learner == OWN:
            return cell["generations"][-1 if last else 0]
        return cell["learners"][learner]["after" if last else "before"]

    def band(self, system: str, driver: str, learner: str, rule: str, *, last: bool, kelvin: str = "") -> Band:
        """Over all seeds from which the driver is done."""
        seeds = self.seeds(system, [driver])
        runs = [
            _durations(self.watched(system, seed, driver, learner, last=last, kelvin=kelvin), rule) for seed in seeds
        ]
        ends = (0.0, 1.0)  # what one potential does says nothing of those from other seeds
        if len(runs) > 1:
            found = survival_over_seeds(runs, seed=0)
            ends = (float(found.low[-1]), float(found.high[-1]))
        mean = float(np.mean([1 - broken.mean() for _, broken in runs]))
        return Band(value=mean, low=ends[0], high=ends[1], seeds=len(seeds))


def load_campaign(folder: str | Path = FOLDER, grid: Grid | None = None) -> Campaign:
    """The committed loops, or those in a folder of yours; those made with other settings are named and left out.

    Raises ValueError for a file that is no cell.
    """
    grid, folder = grid or load_grid(), Path(folder)
    cells, stale = {}, []
    for unit in grid.units():
        path = cell_path(folder, unit)
        if not path.exists():
            continue
        try:
            cell = json.loads(path.read_text(encoding="utf-8"))
            fresh = cell["digest"] == digest(unit.identity())
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a cell of the loops ({error}); delete it and run them again") from error
        if fresh:
            cells[_key(unit)] = cell
        else:
            stale.append(str(path.relative_to(folder)))
    return Campaign(grid=grid, cells=cells, stale=tuple(stale))


def _key(unit: Unit) -> tuple[str, int, str]:
    return unit.system, unit.seed, unit.driver


def contrasts(campaign: Campaign, systems: Sequence[str] | None = None) -> dict[str, dict[Key, np.ndarray]]:
    """Experiment -> contrast -> (seeds,) differences in the fraction of trajectories that last, of the last potentials.

    The ensemble's loops against those of each single model, as they are (`its own method`); the same labels, all learnt
    by one plain network, so that only the choice differs; and the same labels of the ensemble's, learnt by an ensemble
    and by one network, so that only the learner differs. Each by both sets of rules.
    """
    found = {}
    for system in systems or campaign.grid.systems:
        if any(driver not in campaign.grid.drivers for driver in PAPER):
            continue
        seeds = campaign.seeds(system, PAPER)
        if not seeds:
            continue
        asked: dict[Key, np.ndarray] = {}
        for rule in RULES:
            if rule not in campaign.grid.systems[system].survival.rules:
                continue
            last = {
                (driver, learner): campaign.fractions(system, driver, learner, rule, seeds)
                for driver in PAPER
                for learner in LEARNERS
            }
            measure = measure_of(rule)
            for rival in PAPER[1:]:
                for learner in (OWN, NETWORK):
                    difference = last["ensemble", learner] - last[rival, learner]
                    asked[Key(measure, "ensemble", rival, learner)] = difference
            asked[Key(measure, "ensemble", "one network", "ensemble's labels")] = (
                last["ensemble", ENSEMBLE] - last["ensemble", NETWORK]
            )
        found[EXPERIMENT.format(system)] = asked
    return found


def measure_of(rule: str) -> str:
    """Name of the measure in a contrast."""
    return f"survival by the {rule}'s rules"


def robustness(campaign: Campaign, found: Mapping[str, Mapping[Key, Contrast]]) -> Finding:
    """Ensembling gives the most robust potentials: as ruled on each system of the campaign.

    `found`: all contrasts of the page, judged as one family, with those of `contrasts` among them.
    """
    rulings: dict[str, Ruling] = {}
    evidence, counts, needed = {}, {}, seeds_needed(len(found))
    for system in campaign.grid.systems:
        if judged := found.get(EXPERIMENT.format(system)):
            rulings[system], evidence[system] = _put(judged, needed)
            counts[system] = next(iter(judged.values())).seeds
    return Finding(
        claim=ROBUSTNESS,
        test="The fraction of trajectories that last, at the highest temperature, on the last potential of each loop. "
        "Upheld if more last after the ensemble's loops than after those of MVE, evidential regression and GMM, by our "
        "rules and by the study's. Contradicted if by either more last after one of these, or as many within the "
        "margin.",
        rulings=rulings,
        evidence=evidence,
        few={system: f"{seeds} seeds" for system, seeds in counts.items() if seeds < needed},
    )


def _put(judged: Mapping[Key, Contrast], needed: int) -> tuple[Ruling, str]:
    """The ruling on one system, and why."""
    seeds, answers = next(iter(judged.values())).seeds, Answers(judged)
    if seeds < needed:
        return "undecided", f"Before there are {needed} seeds nothing can be found."
    rules = [rule for rule in RULES if any(key.measure == measure_of(rule) for key in judged)]
    seen = [answers.outcome(measure_of(rule), "ensemble", rival, OWN) for rule in rules for rival in PAPER[1:]]
    told = [
        contrast_text("ensemble", rival, f"by the {rule}'s rules", *known, scale=100, unit=" %")
        for rule in rules
        for rival in PAPER[1:]
        if (known := answers.contrast(measure_of(rule), "ensemble", rival, OWN))
    ]
    if any(outcome in ("worse", "equivalent") for outcome in seen):
        return "contradicted", "; ".join(told)
    return "upheld" if all(outcome == "better" for outcome in seen) else "undecided", "; ".join(told)


def _durations(watched: Mapping[str, Any], rule: str) -> tuple[np.ndarray, np.ndarray]:
    """How long each replica was watched, fs, and whether it broke then."""
    broke = watched["broke"][rule]
    whole = watched["replicas"] - len(broke)
    return np.array([*broke, *[watched["fs"]] * whole]), np.array([True] * len(broke) + [False] * whole)
