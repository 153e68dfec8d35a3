"""What a grid would take before it is run: cells and processor hours, from a few steps of each of its trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from uqlib.methods.shared.recipes import SingleNetwork
from uqlib.study import comparison, costs
from uqlib.study.grid import SHARED, Grid, Unit, group_of

STEPS = 3  # of a training, timed
FIRST = 1  # steps that both of the timed trainings have
NETWORKS = {"ensemble": 5.0, "bootstrap": 5.0, "mve": 1.2, "evidential": 1.2, "shallow": 0.5}
"""Group or method -> about how many trainings of one plain network it takes; one for all others."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of one system."""

    system: str
    cells: int
    hours: float  # of one processor, on this machine as it is now


def estimate(grid: Grid, only: Sequence[str] = ()) -> list[Estimate]:
    """System by system. Trainings only: predictions and scores come on top, about a tenth.

    Raises ValueError as `Grid.units` and `System.load`, OSError where published data cannot be had.
    """
    units, found = grid.units(only), []
    for system in dict.fromkeys(unit.system for unit in units):
        mine = [unit for unit in units if unit.system == system]
        networks: dict[str, float] = {}  # of trainings that are as long as each other: variants have their own length
        for unit in mine:
            name = unit.methods[0] if unit.methods[0] in grid.variants else ""
            networks[name] = networks.get(name, 0.0) + trainings(unit)
        seconds = sum(number * _seconds(grid, system, name, mine[0].seed) for name, number in networks.items())
        found.append(Estimate(system=system, cells=sum(len(unit.methods) for unit in mine), hours=seconds / 3600))
    return found


def trainings(unit: Unit) -> float:
    """How many trainings of one network a unit takes."""
    if group_of(unit.methods[0]) != SHARED:
        return NETWORKS.get(unit.methods[0], 1.0)
    return (NETWORKS["ensemble"] if "ensemble" in unit.methods else 1.0) + (
        NETWORKS["shallow"] if "shallow" in unit.methods else 0.0
    )


def _seconds(grid: Grid, system: str, method: str, seed: int) -> float:
    """Processor time of one training of one network, from a few steps of it."""
    settings, data = grid.training_of(system, method), grid.load(system, seed)
    train, valid = data["train"], data["valid"].take([0])
    recipe = comparison.adapt(SingleNetwork(), grid.network_of(system, method), replace(settings, epochs=1), None)

    def timed(steps: int) -> tuple[float, int]:
        part = train.take(range(min(steps * settings.batch_size, len(train))))
        start = recipe.untrained(part, valid, seed=seed)
        spent, _ = costs.seconds(lambda: recipe.train_network(start, part, valid, seed=seed, progress=False))
        return spent, len(part)

    timed(FIRST)  # finds its tools
    (less, few), (more, many) = timed(FIRST), timed(FIRST + STEPS)
    return max(more - less, 0.0) / max(many - few, 1) * len(train) * settings.epochs
