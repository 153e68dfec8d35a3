"""The stored runs of active learning are what their script makes: its settings, all runs, numbers that are numbers."""

from __future__ import annotations

import itertools
import json
import math

import active_learning_ammonia as script
import pytest


@pytest.fixture(scope="module")
def stored() -> dict:
    return json.loads(script.RESULTS.read_text(encoding="utf-8"))


def test_settings_are_those_of_the_script(stored: dict) -> None:
    assert {name: stored[name] for name in script.settings()} == script.settings()


def test_all_runs_are_there_once(stored: dict) -> None:
    planned = [
        (method, proposal, seed)
        for method, seeds in script.SEEDS.items()
        for proposal, seed in itertools.product(script.PROPOSALS, range(seeds))
    ]
    found = [(run["method"], run["proposal"], run["seed"]) for run in stored["runs"]]
    assert sorted(found) == sorted(planned)
    assert 100 not in {seed for _, _, seed in found}  # the seed that the settings were chosen with


def test_seeds_and_proposals_differ(stored: dict) -> None:
    """Same potential to begin with where only the proposal differs; nothing else twice."""
    first: dict[tuple[str, int], set[str]] = {}
    for run in stored["runs"]:
        measures = json.dumps(run["generations"][0]["measures"])
        first.setdefault((run["method"], run["seed"]), set()).add(measures)
    assert all(len(kinds) == 1 for kinds in first.values())
    assert len(set.union(*first.values())) == len(first)
    last = [json.dumps(run["generations"][-1]["measures"]) for run in stored["runs"]]
    assert len(set(last)) == len(last)


def test_numbers_are_finite_and_labels_add_up(stored: dict) -> None:
    for run in stored["runs"]:
        size = script.START["train"]
        assert len(run["added"]) == len(run["generations"]) - 1
        for generation, new in zip(run["generations"], [*run["added"], []], strict=True):
            assert generation["train"] == size
            assert generation["valid"] == script.START["valid"]
            assert len(generation["measures"]) == 6
            assert all(math.isfinite(value) for value in generation["measures"].values())
            assert generation["labelled"] == len(new) <= script.LABELS
            assert all(math.isfinite(value) for label in new for value in label.values())
            size += len(new)
        for lived in run["lifetimes"].values():
            assert len(lived["durations"]) == len(lived["broken"]) == 16
            assert all(0 < duration <= 500 for duration in lived["durations"])
        assert {"before", "after"} == set(run["lifetimes"])
