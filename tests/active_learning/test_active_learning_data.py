"""The stored runs of active learning are what their script makes: its settings, all runs, numbers that are numbers."""

from __future__ import annotations

import json
import math

import ase.io
import pytest

from scripts.campaigns import active_learning_ammonia, active_learning_ethanol
from scripts.campaigns import silica_active_learning as silica
from scripts.campaigns.active_learning_runs import Experiment

EXPERIMENTS = [active_learning_ammonia.EXPERIMENT, active_learning_ethanol.EXPERIMENT]


@pytest.fixture(scope="module", params=EXPERIMENTS, ids=[experiment.name for experiment in EXPERIMENTS])
def experiment(request: pytest.FixtureRequest) -> Experiment:
    return request.param


@pytest.fixture(scope="module")
def stored(experiment: Experiment) -> dict:
    return json.loads(experiment.results.read_text(encoding="utf-8"))


def test_settings_are_those_of_the_script(experiment: Experiment, stored: dict) -> None:
    settings = experiment.settings()
    assert {name: stored[name] for name in settings} == settings


def test_all_runs_are_there_once(experiment: Experiment, stored: dict) -> None:
    found = [(run["method"], run["proposal"], run["seed"]) for run in stored["runs"]]
    assert sorted(found) == sorted(experiment.jobs)
    assert experiment.first_seed > 4  # the settings were chosen with 0 to 4
    assert not {100, 101} & {seed for _, _, seed in found}  # and with these


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


def test_numbers_are_finite_and_labels_add_up(experiment: Experiment, stored: dict) -> None:
    for run in stored["runs"]:
        size = experiment.start["train"]
        assert len(run["generations"]) == experiment.generations + 1
        assert len(run["added"]) == experiment.generations
        for generation, new in zip(run["generations"], [*run["added"], []], strict=True):
            assert generation["train"] == size
            assert generation["valid"] == experiment.start["valid"]
            assert len(generation["measures"]) == len(run["generations"][0]["measures"]) >= 3
            assert all(math.isfinite(value) for value in generation["measures"].values())
            assert generation["labelled"] == len(new) <= experiment.labels
            assert all(math.isfinite(value) for label in new for value in label.values())
            size += len(new)
        rival = {"more of the same"} if experiment.same else set()
        assert set(run["lifetimes"]) == {"before", "after"} | rival
        assert all(set(run[word]) == set(run["generations"][0]["measures"]) for word in rival)
        for lived in run["lifetimes"].values():
            assert set(lived) == {f"{temperature:g}" for temperature in experiment.temperatures}
            for found in lived.values():
                assert len(found["durations"]) == len(found["broken"]) == 16
                assert all(0 < duration <= 500 for duration in found["durations"])


@pytest.fixture(scope="module", params=[True, False], ids=["classical", "dft"])
def classical(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(scope="module")
def glass(classical: bool) -> dict:
    return json.loads((silica.RESULTS / f"{silica.name_of(classical)}.json").read_text(encoding="utf-8"))


def test_silica_settings_are_those_of_the_script(classical: bool, glass: dict) -> None:
    settings = silica.settings(classical=classical)
    assert {name: glass[name] for name in settings} == settings


def test_silica_runs_are_all_there_and_add_up(classical: bool, glass: dict) -> None:
    assert [run["seed"] for run in glass["runs"]] == ([0, 1, 2] if classical else [0])
    last = {json.dumps(run["generations"][-1]["measures"]) for run in glass["runs"]}
    assert len(last) == len(glass["runs"])
    for run in glass["runs"]:
        size = silica.COLD["train"]
        for generation in run["generations"]:
            assert generation["train"] == size
            assert generation["labelled"] <= silica.LABELS
            assert all(math.isfinite(value) for value in generation["measures"].values())
            size += generation["labelled"]
        assert set(run["more of the same"]) == set(run["generations"][0]["measures"])
        assert set(run["lifetimes"]) == {"before", "after", "more of the same"}
        for lived in run["lifetimes"].values():
            assert set(lived) == {f"{temperature:g}" for temperature in silica.TEMPERATURES}
            assert all(len(found["broken"]) == silica.DYNAMICS["replicas"] for found in lived.values())


def test_silica_structures_are_those_of_the_first_run(classical: bool, glass: dict) -> None:
    """As many labelled as were bought, with labels; endings for every potential and temperature."""
    labelled, endings = (
        list(ase.io.iread(silica.RESULTS / f"{silica.name_of(classical)}_{kind}.xyz"))
        for kind in ("labelled", "dynamics")
    )
    bought = [generation["labelled"] for generation in glass["runs"][0]["generations"]]
    assert [sum(atoms.info["generation"] == k for atoms in labelled) for k in range(len(bought))] == bought
    assert all("REF_energy" in atoms.info and "REF_forces" in atoms.arrays for atoms in labelled)
    assert len(endings) == 3 * len(silica.TEMPERATURES) * silica.DYNAMICS["replicas"]
