"""All methods side by side: one network shared, the same length for all, tables that say what was found."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import samples

from uqlib.methods import EVERY
from uqlib.networks import training
from uqlib.networks.training import Settings
from uqlib.prediction import predict
from uqlib.study import comparison, scoring
from uqlib.study.comparison import Comparison, compare

DATA = samples.dataset({"train": 12, "valid": 4, "test": 8})
RECIPES = {name: EVERY[name] for name in ("snapshot", "llpr", "gmm", "shallow")}
SIZES: Any = {"network": samples.NETWORK, "epochs": 5, "seed": 0, "resamples": 20, "progress": False}


@pytest.fixture(scope="module")
def stages() -> list[str]:
    return []


@pytest.fixture(scope="module")
def found(stages: list[str]) -> Comparison:
    original, patch = training.train, pytest.MonkeyPatch()

    def train(*args: Any, **options: Any):
        stages.append(f"{options['label']}: {options['settings'].epochs} epochs")
        return original(*args, **options)

    patch.setattr("uqlib.methods.shared.recipes.train", train)
    result = compare(DATA, RECIPES, **SIZES)
    patch.undo()
    return result


def test_one_network_is_shared(found: Comparison, stages: list[str]) -> None:
    cycles = [f"cycle-{n}: 1 epochs" for n in range(5)]
    assert stages == ["network: 5 epochs", *cycles, "likelihood: 2 epochs"]
    assert list(found.scores) == list(found.cost) == list(RECIPES)


def test_the_shared_training_counts(found: Comparison) -> None:
    for method in ("llpr", "gmm", "shallow"):
        assert found.cost[method].training > found.plain.training
    assert found.plain.relative_to(found.plain) == (1.0, 1.0, 1.0)


def test_scores_are_those_of_scoring(found: Comparison) -> None:
    settings = Settings(epochs=5, learning_rate=comparison.SETTINGS.learning_rate, plateau=1)
    recipe = comparison.adapt(RECIPES["snapshot"], samples.NETWORK, settings, None)
    fitted = recipe.fit(DATA["train"], DATA["valid"], seed=0, progress=False)
    expected = scoring.score(predict(fitted, DATA["test"]), DATA["test"], resamples=20)
    assert found.scores["snapshot"]["test"] == expected


def test_text(found: Comparison) -> None:
    text, markdown = found.as_text(), found.as_text(markdown=True)
    for shown in (text, markdown):
        assert shown.splitlines()[0].endswith("seed 0")
        for words in (*RECIPES, "test: force", "test: energy", "MAE (meV/atom)", "one network", "memory", "±"):
            assert words in shown
    (row,) = [line for line in text.split("test: energy")[0].splitlines() if line.startswith("gmm")]
    assert row.split()[-1] == "–", "a score in nats has no size"
    tables = [block for block in markdown.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3
    assert all(len({line.count("|") for line in table.splitlines()}) == 1 for table in tables)


def test_error_bars_that_are_too_small_are_marked(found: Comparison) -> None:
    scores = {m: {"path": dataclasses.replace(s["test"], grouped=False)} for m, s in found.scores.items()}
    text = dataclasses.replace(found, scores=scores).as_text()
    assert "path *: force" in text
    assert "the error bars take them as independent" in text.splitlines()[-1]
    assert "the error bars" not in found.as_text()


def test_json(found: Comparison) -> None:
    again = json.loads(json.dumps(found.as_dict()))
    assert again["scores"]["gmm"]["test"]["force"]["miscalibration"] is None
    estimate = found.scores["llpr"]["test"].force["MAE"]
    assert estimate is not None
    assert again["scores"]["llpr"]["test"]["force"]["MAE"]["value"] == estimate.value
    assert again["cost"]["llpr"]["memory"] == found.cost["llpr"].memory


def test_every_method_can_be_adapted() -> None:
    recipes: dict[str, Any] = dict(EVERY)
    for name, recipe in recipes.items():
        settings = Settings(epochs=7, batch_size=3, plateau=2)
        adapted = comparison.adapt(recipe, samples.NETWORK, settings, Path("folder") / name)
        assert (adapted.settings.epochs, adapted.settings.batch_size, adapted.settings.plateau) == (7, 3, 2)
        assert adapted.checkpoints == Path("folder") / name
        assert dataclasses.replace(adapted, network=recipe.network, settings=recipe.settings) != adapted


def test_interrupted_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = {"snapshot": RECIPES["snapshot"]}
    first = compare(DATA, recipes, checkpoints=tmp_path, **SIZES)
    monkeypatch.setattr(training._Run, "one_epoch", None)
    assert compare(DATA, recipes, checkpoints=tmp_path, **SIZES).scores == first.scores


def test_refused() -> None:
    with pytest.raises(ValueError, match="got 0 recipes"):
        compare(DATA, {}, **SIZES)
    with pytest.raises(ValueError, match="and another split to score"):
        compare(samples.dataset({"train": 12, "valid": 4}), RECIPES, **SIZES)


def test_stress_is_learnt_by_all_and_has_its_table() -> None:
    """The network that is shared learns it, too: what is built on it says how sure it is of the stress."""
    data = samples.with_cells({"train": 12, "valid": 4, "test": 8})
    recipes = {name: EVERY[name] for name in ("llpr", "gmm", "mve")}
    without, asked = (compare(data, recipes, **SIZES, stress=stress) for stress in (0.0, 50.0))
    for found in (without, asked):
        text = found.as_text()
        assert [line for line in text.splitlines() if line.startswith("test")] == [
            "test: force", "test: energy", "test: stress",
        ]  # fmt: skip
        assert set(found.as_dict()["scores"]["llpr"]["test"]) == {"grouped", "force", "energy", "stress"}
    for method in ("llpr", "mve"):
        before, after = (found.scores[method]["test"].stress["MAE"] for found in (without, asked))
        assert before is not None
        assert after is not None
        assert before.value != after.value
    assert asked.scores["llpr"]["test"].stress["miscalibration"] is not None
    assert asked.scores["gmm"]["test"].stress["miscalibration"] is None, "a score in nats is none of the stress"
    with pytest.raises(ValueError, match="stress"):
        compare(DATA, recipes, **SIZES, stress=1.0)
