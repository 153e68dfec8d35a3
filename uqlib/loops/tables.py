"""The campaign's tables for a page: two factors, survival, barriers, and what the first labels brought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from uqlib.loops.outcomes import LEARNERS, OWN, Campaign
from uqlib.study.words import label

Row = list[str | float | None]


def two_factors(campaign: Campaign, system: str, rule: str) -> tuple[list[str], list[Row]]:
    """Heads and rows: who chose the labels, who learns from them, and the percentage that lasts where it is hottest."""
    heads = ["who chose", "seeds", *(f"learnt by {learner}" for learner in LEARNERS)]
    rows: list[Row] = []
    for driver in campaign.drivers(system):
        bands = [campaign.band(system, driver, learner, rule, last=True) for learner in LEARNERS]
        rows.append([label(driver), float(bands[0].seeds), *map(str, bands)])
    return heads, rows


def survivals(campaign: Campaign, system: str, rule: str) -> tuple[list[str], list[Row]]:
    """Heads and rows: trajectories that last on each driver's own potential, before and after, in percent."""
    kelvin = [f"{temperature:g}" for temperature in campaign.grid.systems[system].survival.ends.temperatures]
    heads = ["who chose", *(f"{t} K, {when}" for t in kelvin for when in ("before", "after"))]
    rows: list[Row] = []
    for driver in campaign.drivers(system):
        bands = [
            campaign.band(system, driver, OWN, rule, last=last, kelvin=t) for t in kelvin for last in (False, True)
        ]
        rows.append([label(driver), *map(str, bands)])
    return heads, rows


def barriers(campaign: Campaign, system: str) -> tuple[list[str], list[Row]]:
    """Heads and rows: largest error of the barrier on each driver's own potential, over the seeds that have one."""
    heads = ["who chose", "seeds", "largest error before (meV)", "largest error after (meV)", "no barrier found"]
    rows: list[Row] = []
    for driver in campaign.drivers(system):
        seeds = campaign.seeds(system, [driver])
        found = [
            [campaign.potential(system, seed, driver, OWN, last=last)["barrier"] for seed in seeds]
            for last in (False, True)
        ]
        known = [[1000 * abs(b["error"]) for b in each if b and b["error"] is not None] for each in found]
        largest = [max(each) if each else None for each in known]
        rows.append([label(driver), float(len(seeds)), *largest, float(len(seeds) - len(known[1]))])
    return heads, rows


def first_labels(campaign: Campaign, system: str) -> tuple[list[str], list[Row]]:
    """Heads and rows: force errors of each driver's own potential after its first labels, over those before them.

    Geometric means over seeds. Below one: the labels helped. Loops that found nothing to label are not among them.
    """
    splits = list(campaign.grid.systems[system].judged)
    heads = ["who chose", "seeds", "labels", *splits]
    rows: list[Row] = []
    for driver in campaign.drivers(system):
        seeds = campaign.seeds(system, [driver])
        cells = [campaign.cells[system, seed, driver] for seed in seeds]
        grown = [cell for cell in cells if len(cell["generations"]) > 1]
        bought = float(np.mean([cell["generations"][0]["labelled"] for cell in cells]))
        ratios = [[np.log(_mae(cell, 1, split) / _mae(cell, 0, split)) for cell in grown] for split in splits]
        means = [float(np.exp(np.mean(each))) if each else None for each in ratios]
        rows.append([label(driver), float(len(grown)), bought, *means])
    return heads, rows


def _mae(cell: Mapping[str, Any], generation: int, split: str) -> float:
    return cell["generations"][generation]["errors"][split]["force MAE"]
