"""Results of the study: read, averaged, ranked, and set apart by what is measured to lie out of domain."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from made_up_study import COST, METHODS, NAMES, SCALE, by_regime, like_the_study, made_up, two_systems

from uqlib.study import (
    DOMAINS,
    QUESTIONS,
    UNCERTAINTY,
    Key,
    Results,
    contests,
    do_unit,
    judged,
    load_grid,
    load_results,
    prose,
    verdict,
)
from uqlib.study.contests import ALL
from uqlib.study.results import EASIER, FEWEST_SEEDS, INSIDE, OUTSIDE


@pytest.fixture(scope="module")
def results() -> Results:
    return made_up(like_the_study())


def test_only_complete_blocks_count(results: Results) -> None:
    assert results.systems == {"a": 10}
    cells = {key: cell for key, cell in results.cells.items() if key != ("a", 3, "mve")}
    fewer = dataclasses.replace(results, cells=cells)
    assert fewer.systems == {"a": 9}
    assert ("a", 3) not in fewer.blocks
    assert dataclasses.replace(results, cells={}).systems == {}
    assert made_up(like_the_study(), seeds=FEWEST_SEEDS).systems == {"a": FEWEST_SEEDS}
    assert made_up(like_the_study(), seeds=FEWEST_SEEDS - 1).systems == {}


def test_what_lies_out_of_domain_is_measured(results: Results) -> None:
    assert results.domains["a"] == {"test": INSIDE, "path": OUTSIDE, "hot": OUTSIDE, "grid": OUTSIDE}
    expected = SCALE["near"] * np.exp(-(0.6 - 0.3))  # of the plain network, that under the mixture
    assert results.plain == "gmm"
    assert np.median(results.novelty("a")["path"]) == pytest.approx(expected, rel=0.05)
    easy = made_up(like_the_study(gmm=by_regime(0.3, 2.0, 0.5)))  # on the path the network does better than on its test
    assert easy.domains["a"]["path"] == EASIER
    assert easy.splits("a", OUTSIDE) == ["hot", "grid"]
    assert "Left out, no harder than the test set: `path` (0.5 ×)." in prose.domains_in_words(easy)
    even = made_up(like_the_study(gmm=by_regime(0.3, 0.3 + np.log(3.0), 0.5)))  # neither harder nor easier
    assert even.domains["a"]["path"] == EASIER


def test_each_system_stands_alone() -> None:
    both = two_systems()
    assert both.systems == {"a": 10, "b": 9}
    alone = made_up(like_the_study())
    for question in QUESTIONS:
        assert both.answers(question, OUTSIDE)["a"] == pytest.approx(alone.answers(question, OUTSIDE)["a"])
    found, by_itself = judged(both), judged(alone)
    assert set(found["a"]) == set(by_itself["a"])
    for key, contrast in by_itself["a"].items():
        assert found["a"][key].estimate == contrast.estimate
        assert found["a"][key].p_value == pytest.approx(min(1.0, 2 * contrast.p_value))


def test_values_answers_and_ranks(results: Results) -> None:
    values = results.values("MAE", "a", "hot")
    assert values.shape == (10, 5)
    assert values[0, 1] == results.cells["a", 0, "mve"]["splits"]["hot"]["before"]["force"]["MAE"]
    assert np.isnan(results.values("NLL", "a", "hot")[:, 3]).all()
    both = np.stack([results.values("MAE", "a", split) for split in ("path", "hot", "grid")])
    assert results.answers("accuracy", OUTSIDE)["a"] == pytest.approx(-np.log(both).mean(0))
    size = [results.values("miscalibration", "a", split, stage="after") for split in ("path", "hot", "grid")]
    assert results.answers("size", OUTSIDE)["a"] == pytest.approx(-np.mean(size, axis=0))
    ranks = results.ranks(("order",), INSIDE)["a"]
    assert ranks.mean(0).argmin() == METHODS.index("mve")
    assert ranks.sum(1) == pytest.approx([15] * 10)
    several = results.ranks(UNCERTAINTY, OUTSIDE)["a"]
    assert several == pytest.approx(np.mean([results.ranks((q,), OUTSIDE)["a"] for q in UNCERTAINTY], axis=0))


def test_there_is_one_average_rank(results: Results) -> None:
    """Scoreboard, figure and contrasts have the same."""
    board = {(row[0], row[2]): row[-1] for row in prose.scoreboard(results)}
    for domain in DOMAINS:
        average = prose.average_ranks(results, domain)["a"]
        assert [board[prose.label(m), domain] for m in METHODS] == pytest.approx(list(average))
        contrast = contests.contrasts(results)["a"][Key(ALL, "ensemble", "mve", domain)]
        assert contrast.mean() == pytest.approx(average[1] - average[0])


def test_systems_without_a_test_set(results: Results) -> None:
    system = dataclasses.replace(results.grid.systems["a"], regimes={"far": ("hot",)})
    far = dataclasses.replace(results, grid=dataclasses.replace(results.grid, systems={"a": system}))
    assert far.splits("a") == far.splits("a", OUTSIDE) == ["hot"]
    assert far.answers("order", INSIDE) == {}
    assert len(verdict.findings(far)) == len(NAMES)
    assert "`hot`" in prose.domains_in_words(far)


def test_costs_are_multiples_of_one_network(results: Results) -> None:
    assert results.costs("training")["a"][0] == pytest.approx([COST[m] for m in METHODS])
    unknown = {**results.cells}
    cell = unknown["a", 0, "mve"]
    unknown["a", 0, "mve"] = {**cell, "cost": {**cell["cost"], "training": None}}
    again = dataclasses.replace(results, cells=unknown)
    assert np.isnan(again.costs("training")["a"][0, 1])
    assert prose.typical_cost(again, "training")["mve"] == pytest.approx(1.1)


def test_every_contrast_has_one_outcome(results: Results) -> None:
    """Nobody is compared twice by the same measure in the same place, the other way round included."""
    for found in contests.contrasts(results).values():
        named = [(key.measure, frozenset((key.method, key.rival)), key.domain) for key in found]
        assert len(set(named)) == len(named)


@pytest.fixture(scope="module")
def committed() -> Results:
    return load_results("teaching")


def test_committed_results_belong_to_the_committed_grid(committed: Results) -> None:
    assert committed.stale == ()
    assert committed.blocks
    for system, seed in committed.blocks:
        for method in committed.grid.methods:
            assert set(committed.cells[system, seed, method]["splits"]) == set(committed.splits(system))
    for question in QUESTIONS:
        for domain in DOMAINS:
            found = committed.answers(question, domain)
            assert set(found) == set(committed.systems)
            assert all(np.isfinite(answers).all() for answers in found.values())


def test_a_committed_cell_is_what_the_committed_code_gives(committed: Results) -> None:
    """One cell done again. Other processors round otherwise, and a training makes much of little: hence the room."""
    key = ("ammonia", 0, "gmm")
    (cell,) = do_unit(load_grid("teaching").units(["ammonia/0/gmm"])[0])
    before = committed.cells[key]
    assert (cell["digest"], cell["data_digest"]) == (before["digest"], before["data_digest"])
    for split, found in cell["splits"].items():
        for stage in ("before", "after"):
            again, known = found[stage]["force"], before["splits"][split][stage]["force"]
            assert again["MAE"] == pytest.approx(known["MAE"], rel=0.3), split
            assert again["Spearman"] == pytest.approx(known["Spearman"], abs=0.2), split


def test_stale_and_broken_cells(tmp_path: Path, committed: Results) -> None:
    cell = committed.cells["ammonia", 0, "mve"]
    path = tmp_path / "ammonia" / "0" / "mve.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**cell, "digest": "0"}))
    found = load_results("teaching", folder=tmp_path)
    assert (found.stale, found.cells) == (("ammonia/0/mve.json",), {})
    path.write_text("{")
    with pytest.raises(ValueError, match=r"mve\.json: not a cell of the study"):
        load_results("teaching", folder=tmp_path)
