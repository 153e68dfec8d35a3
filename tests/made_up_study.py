"""Results of the study that are made up to be clear: qualities, from which all scores follow."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from uqlib.networks.training import Settings
from uqlib.study import Grid, Results, System, verdict
from uqlib.study.grid import REGIMES
from uqlib.study.work import WRITTEN

METHODS = ("ensemble", "mve", "evidential", "gmm", "neighbours")
REGIME_SPLITS = {"in-domain": ("test",), "near": ("path",), "far": ("hot", "grid")}
SCALE = {"in-domain": 1.0, "near": 3.0, "far": 20.0}
COST = {"ensemble": 5.0, "mve": 1.1, "evidential": 1.1, "gmm": 1.01, "neighbours": 1.0}


def made_up(quality: dict[str, dict[str, float]], seeds: int = 10, *, noise: float = 0.02) -> Results:
    """Method -> regime -> quality, 0 to 1, from which all scores follow, with some noise from seed to seed."""
    system = System(name="a", data="ammonia", training=Settings(), regimes=REGIME_SPLITS)
    grid = Grid(scale="made-up", methods=METHODS, seeds=tuple(range(seeds)), recalibration="affine", resplit=False,
                network={}, systems={"a": system})  # fmt: skip
    rng = np.random.default_rng(0)
    cells: dict[tuple[str, int, str], dict[str, Any]] = {}
    for seed, method in itertools.product(grid.seeds, METHODS):
        splits = {}
        for regime, names in REGIME_SPLITS.items():
            for split in names:
                q = quality[method][regime] + noise * rng.normal()
                values = {
                    **dict.fromkeys(WRITTEN, 0.0), "MAE": SCALE[regime] * np.exp(-q), "Spearman": q,
                    "ROC-AUC": 0.5 + q / 2, "miscalibration": 0.5 - 0.4 * q, "NLL": 3 - q,
                }  # fmt: skip
                before = dict(values, miscalibration=None, NLL=None) if method in ("gmm", "neighbours") else values
                splits[split] = {
                    "before": {"force": before, "energy": before},
                    "after": {"force": values, "energy": values},
                }
        cost = {"training": COST[method], "inference": COST[method], "memory": 1}
        cells["a", seed, method] = {
            "system": "a", "method": method, "seed": seed, "train": 80, "wall_s": 36.0, "splits": splits, "cost": cost,
            "one_network": None if method == "mve" else {"training": 1.0, "inference": 1.0, "memory": 1},
            "hardware": {"processor": "abacus"},
        }  # fmt: skip
    return Results(grid=grid, cells=cells)


def by_regime(inside: float, near: float, far: float) -> dict[str, float]:
    return {"in-domain": inside, "near": near, "far": far}


def like_the_study(**changes: dict[str, float]) -> dict[str, dict[str, float]]:
    """Qualities under which the conclusions of the study hold, as far as this grid can tell."""
    quality: dict[str, dict[str, float]] = {
        "ensemble": by_regime(0.7, 0.8, 0.6),
        "mve": by_regime(0.8, 0.3, 0.2),
        "evidential": by_regime(0.4, 0.2, 0.1),
        "gmm": by_regime(0.3, 0.6, 0.5),
        "neighbours": by_regime(0.1, 0.1, 0.9),
    }
    return {**quality, **changes}


def same(value: float) -> dict[str, float]:
    return dict.fromkeys(REGIMES, value)


def two_systems() -> Results:
    """System "a" with ten seeds, as the study found; "b" with nine, on which MVE is best everywhere."""
    a, b = made_up(like_the_study()), made_up(like_the_study(mve=same(0.95)), seeds=9)
    grid = dataclasses.replace(a.grid, systems=dict.fromkeys(("a", "b"), a.grid.systems["a"]))
    return Results(grid=grid, cells={**a.cells, **{("b", seed, m): cell for (_, seed, m), cell in b.cells.items()}})


NAMES = ("consistency", "no_winner", "generalisation", "robustness", "in_domain_only", "mixture", "evidential")


def rulings(results: Results, system: str = "a") -> dict[str, str]:
    found = zip(NAMES, verdict.findings(results), strict=True)
    return {name: each.rulings.get(system, "none") for name, each in found}
