"""The stored loops are those of the stored file: nothing stale, labels that are there, numbers that add up."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from uqlib.loops import FOLDER, load_grid
from uqlib.loops.running import cell_path, labels_file, what_is_left
from uqlib.structures import datasets

GRID = load_grid()
UNITS = [unit for unit in GRID.units() if cell_path(FOLDER, unit).exists()]


@pytest.fixture(params=UNITS, ids=str)
def stored(request: pytest.FixtureRequest) -> tuple[Any, dict[str, Any]]:
    return request.param, json.loads(cell_path(FOLDER, request.param).read_text(encoding="utf-8"))


def test_nothing_is_stale_and_nothing_is_beside_the_file() -> None:
    left, kept, stale = what_is_left(GRID, FOLDER)
    assert stale == []
    assert kept == len(UNITS) == len(list(FOLDER.glob("*/*/*.json"))) > 0
    assert kept + len(left) == len(GRID.units())


def test_counts_add_up(stored: tuple[Any, dict[str, Any]]) -> None:
    unit, cell = stored
    system, generations = GRID.systems[unit.system], cell["generations"]
    size = system.start.train.number
    for generation in generations:
        assert generation["train"] == size
        assert generation["labelled"] == len(generation["added"] or []) <= system.labels
        assert generation["labelled"] + len(generation["failed"]) == generation["candidates"].get("kept", 0)
        size += generation["labelled"]
        for survival in generation["survival"].values():
            for times in survival["broke"].values():
                assert len(times) <= survival["replicas"]
                assert all(0 < time <= survival["fs"] for time in times)
        for found in generation["errors"].values():
            assert all(found[name] is None or found[name] > 0 for name in ("force MAE", "force RMSE", "energy MAE"))
    assert len(generations) == system.generations + 1 or generations[-1]["labelled"] == 0
    assert {learner["after"]["train"] for learner in cell["learners"].values()} == {size}


@pytest.mark.parametrize("system", sorted({unit.system for unit in UNITS}))
def test_labels_are_there_with_the_energies_that_the_cells_name(system: str) -> None:
    lines = [json.loads(line) for line in labels_file(FOLDER, system).read_text(encoding="utf-8").splitlines()]
    labels = {line["name"]: line for line in lines if "name" in line}
    rest = GRID.systems[system].survival.rest.energy(datasets.load(GRID.systems[system].data))
    for unit in (unit for unit in UNITS if unit.system == system):
        cell = json.loads(cell_path(FOLDER, unit).read_text(encoding="utf-8"))
        for name, energy in (entry for g in cell["generations"] for entry in g["added"] or []):
            assert labels[name]["energy"] - rest == pytest.approx(energy, abs=1e-4 * max(1, abs(energy)))
            assert np.shape(labels[name]["forces"]) == np.shape(labels[name]["positions"])


def test_drivers_of_a_seed_begin_alike() -> None:
    beginnings: dict[tuple[str, int], set[str]] = {}
    for unit in UNITS:
        cell = json.loads(cell_path(FOLDER, unit).read_text(encoding="utf-8"))
        beginnings.setdefault((unit.system, unit.seed), set()).add(json.dumps(cell["start"]))
        own = {json.dumps(learner["before"]["errors"]) for learner in cell["learners"].values()}
        assert len(own) == 2, "a network and an ensemble"
    assert all(len(found) == 1 for found in beginnings.values())
    assert len(set.union(*beginnings.values())) == len(beginnings), "drawn anew with the seed"
