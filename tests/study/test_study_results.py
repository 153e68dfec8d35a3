"""Results of the study: read, averaged, ranked; the verdict and the advice on results that are made up to be clear."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uqlib.networks.training import Settings
from uqlib.study import (
    QUESTIONS,
    REGIMES,
    Grid,
    Pair,
    Results,
    System,
    advice,
    contests,
    do_unit,
    load_grid,
    load_results,
    prose,
    verdict,
)
from uqlib.study.results import FEWEST_SEEDS
from uqlib.study.words import p_text, signed
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


@pytest.fixture(scope="module")
def results() -> Results:
    return made_up(like_the_study())


def rulings(results: Results) -> dict[str, str]:
    return {f.__name__: found.ruling for f, found in zip(verdict.CONCLUSIONS, verdict.findings(results), strict=True)}


def test_only_complete_blocks_count(results: Results) -> None:
    assert results.systems == {"a": 10}
    cells = {key: cell for key, cell in results.cells.items() if key != ("a", 3, "mve")}
    fewer = dataclasses.replace(results, cells=cells)
    assert fewer.systems == {"a": 9}
    assert ("a", 3) not in fewer.blocks
    assert dataclasses.replace(results, cells={}).systems == {}
    assert made_up(like_the_study(), seeds=FEWEST_SEEDS).systems == {"a": FEWEST_SEEDS}
    assert made_up(like_the_study(), seeds=FEWEST_SEEDS - 1).systems == {}


def two_systems() -> Results:
    """System "a" with ten seeds, as the study found; "b" with nine, on which MVE is best everywhere."""
    a, b = made_up(like_the_study()), made_up(like_the_study(mve=same(0.95)), seeds=9)
    grid = dataclasses.replace(a.grid, systems=dict.fromkeys(("a", "b"), a.grid.systems["a"]))
    return Results(grid=grid, cells={**a.cells, **{("b", seed, m): cell for (_, seed, m), cell in b.cells.items()}})


def test_each_system_has_the_same_say() -> None:
    both = two_systems()
    assert both.systems == {"a": 9, "b": 9}
    assert both.spare == {"a": 1, "b": 0}
    assert "left over: 1 of a." in prose.coverage(both)
    assert "left over" not in prose.coverage(made_up(like_the_study()))
    assert verdict.of_systems(both, ["a"]).systems == {"a": 10}


def test_systems_may_disagree() -> None:
    both = two_systems()
    far = prose.ranks_by_system(both, ("far",))
    assert [int(far[system].argmin()) for system in ("a", "b")] == [METHODS.index("neighbours"), METHODS.index("mve")]
    assert far["a"] == pytest.approx(verdict.of_systems(both, ["a"]).overall_ranks(("far",))[:9].mean(0))
    (rho,) = prose.agreement(both, ("far",)).values()
    assert rho == pytest.approx(1 - 6 * (3**2 + 3 * 1) / (5 * 24))  # MVE from fourth to first, three others one down
    text = prose.agreement_in_words(both)
    assert "**Far** first: neighbours on a and MVE on b; correlation of the orders: a and b +0.40." in text
    assert prose.agreement_in_words(made_up(like_the_study())).startswith("One system only")


def test_a_ruling_may_hang_on_one_system() -> None:
    both = two_systems()
    without = verdict.rulings_without(both)
    names = [conclusion.__name__ for conclusion in verdict.CONCLUSIONS]
    assert dict(zip(names, without["b"], strict=True)) == rulings(made_up(like_the_study()))
    assert dict(zip(names, without["a"], strict=True))["consistency"] == "contradicted"
    assert verdict.rulings_without(made_up(like_the_study())) == {}
    alone = verdict.rulings_alone(both)
    assert (alone["a"], alone["b"]) == (without["b"], without["a"])
    text = prose.steadiness(both)
    assert text.startswith("Leave out one system, and ")
    assert "*mean-variance estimation is good only in domain* (" in text
    assert "upheld without b" in text
    assert prose.steadiness(made_up(like_the_study())).startswith("One system only")
    a = made_up(like_the_study())
    grid = dataclasses.replace(a.grid, systems=dict.fromkeys(("a", "b"), a.grid.systems["a"]))
    twins = Results(grid=grid, cells={**a.cells, **{("b", seed, m): c for (_, seed, m), c in a.cells.items()}})
    assert prose.steadiness(twins) == "All 6 rulings stand when any one system is left out."


def test_p_values_stay_on_their_side_of_the_level() -> None:
    pair = Pair(median=1.0, p_value=0.0498, blocks=30, smallest=0.0)
    assert p_text(pair) == "better, p = 0.0498"
    assert p_text(dataclasses.replace(pair, p_value=0.0123)) == "better, p = 0.012"


def test_values_answers_and_ranks(results: Results) -> None:
    values = results.values("MAE", "a", "hot")
    assert values.shape == (10, 5)
    assert values[0, 1] == results.cells["a", 0, "mve"]["splits"]["hot"]["before"]["force"]["MAE"]
    assert np.isnan(results.values("NLL", "a", "hot")[:, 3]).all()
    both = np.stack([results.values("MAE", "a", split) for split in ("hot", "grid")])
    assert results.answers("accuracy", ("far",)) == pytest.approx(-np.log(both).mean(0))
    size = [results.values("miscalibration", "a", split, stage="after") for split in ("hot", "grid")]
    assert results.answers("size", ("far",)) == pytest.approx(-np.mean(size, axis=0))
    ranks = results.ranks("order", ("in-domain",))
    assert ranks.mean(0).argmin() == METHODS.index("mve")
    assert ranks.sum(1) == pytest.approx([15] * 10)
    assert results.overall_ranks(REGIMES).shape == (10, 5)


def test_regimes_without_splits_have_no_blocks(results: Results) -> None:
    system = dataclasses.replace(results.grid.systems["a"], regimes={"far": ("hot",)})
    far = dataclasses.replace(results, grid=dataclasses.replace(results.grid, systems={"a": system}))
    assert far.blocks_in(("near",)) == []
    assert far.answers("order", ("near",)).shape == (0, 5)
    assert far.splits("a") == ["hot"]
    assert len(verdict.findings(far)) == len(verdict.CONCLUSIONS)
    assert "too few" in prose.standing(far, "near")
    assert "far" in prose.coverage(far)


def test_costs_are_multiples_of_one_network(results: Results) -> None:
    assert results.costs("training")["a"][0] == pytest.approx([COST[m] for m in METHODS])
    unknown = {**results.cells}
    cell = unknown["a", 0, "mve"]
    unknown["a", 0, "mve"] = {**cell, "cost": {**cell["cost"], "training": None}}
    again = dataclasses.replace(results, cells=unknown)
    assert np.isnan(again.costs("training")["a"][0, 1])
    assert prose.typical_cost(again, "training")["mve"] == pytest.approx(1.1)


def test_conclusions_of_the_study_on_data_that_follow_it(results: Results) -> None:
    assert rulings(results) == {
        "consistency": "upheld",
        "no_winner": "upheld",
        "generalisation": "upheld",
        "robustness": "not tested",
        "in_domain_only": "upheld",
        "gmm_out_of_domain": "upheld",
        "evidential_never": "upheld",
    }


def test_conclusions_contradicted() -> None:
    clear = made_up(like_the_study(mve=same(0.95)))
    found = rulings(clear)
    for name in ("consistency", "no_winner", "generalisation", "in_domain_only", "gmm_out_of_domain"):
        assert found[name] == "contradicted", name
    assert found["evidential_never"] == "upheld"
    assert rulings(made_up(like_the_study(evidential=same(0.95))))["evidential_never"] == "contradicted"
    bad_at_home = like_the_study(mve=same(0.0))
    assert rulings(made_up(bad_at_home))["in_domain_only"] == "contradicted"


def test_nothing_is_decided_where_nothing_differs_or_too_little_is_there() -> None:
    alike = made_up({method: same(0.5) for method in METHODS})
    few = made_up(like_the_study(), seeds=5)
    for results in (alike, few):
        found = set(rulings(results).values())
        assert found <= {"undecided", "not tested", "upheld" if results is few else "undecided"}
    assert rulings(few)["consistency"] == "undecided"
    assert "With 5 blocks no difference" in verdict.findings(few)[0].evidence
    assert "no difference, however" not in verdict.findings(made_up(like_the_study()))[0].evidence
    with pytest.raises(ValueError, match="no block is complete"):
        verdict.findings(dataclasses.replace(few, cells={}))


def test_evidence_has_the_numbers(results: Results) -> None:
    four = verdict.among(results, verdict.PAPER)
    assert four.grid.methods == METHODS[:4]
    ranks = four.overall_ranks(("in-domain",))
    expected = signed(float(np.median(ranks[:, 0] - ranks[:, 1])), 2)
    assert f"MVE against ensemble: {expected} in domain" in verdict.findings(results)[0].evidence
    assert signed(-1.25, 1) == "−1.2"


def test_later_methods(results: Results) -> None:
    assert {(m, r) for m, r, _ in contests.later_methods(results)} == {("neighbours", "ensemble")}
    assert prose.later(results)[0][0] == "neighbours"
    assert "(better, p = 0.0" in prose.later(results)[0][3]
    assert "Significantly worse in at least one: neighbours." in prose.later_in_words(results)


def test_prose(results: Results) -> None:
    text = prose.coverage(results)
    for words in (
        "**a** (data set `ammonia`): 10 seeds, 80 training structures",
        "far `hot` and `grid`",
        "50 cells, from 0.0 processor hours",
    ):
        assert words in text
    # One network, the ensemble's other four, MVE, and what evidential, GMM and neighbours add to one: 6.21 s a seed.
    assert prose.training_hours(results) == pytest.approx(10 * (1 + 4 + 1.1 + 0.1 + 0.01 + 0.0) / 3600)
    assert prose.standing(results, "in-domain").startswith("**In domain** MVE comes first (average rank 1")
    assert prose.standing(results, "far").startswith("**Far** neighbours comes first")
    assert "not significantly different (median change −0.000" in prose.recalibration(results)
    assert prose.listed([]) == "none"
    assert prose.listed(["a", "b", "c"]) == "a, b and c"
    board = prose.scoreboard(results)
    assert len(board) == 15
    assert all(len(row) == len(prose.SCOREBOARD) for row in board)
    assert board[0][:3] == ["ensemble", "in domain", 1.0]
    assert board[1][2] == pytest.approx(np.exp(-0.1), rel=0.05)
    assert board[1][3] == pytest.approx(0.8, abs=0.03)


def test_advice(results: Results) -> None:
    situation = advice.SITUATIONS["whatever it costs"]
    everything = advice.advise(results, situation)
    assert set(everything.methods) == set(METHODS)
    assert list(everything.rank) == sorted(everything.rank)
    assert all(
        low <= rank <= high for low, rank, high in zip(everything.low, everything.rank, everything.high, strict=True)
    )
    cheap = advice.advise(results, dataclasses.replace(situation, training=1.05))
    assert set(cheap.methods) == {"gmm", "neighbours"}
    ready = advice.advise(results, dataclasses.replace(situation, trained=True, regimes=("far",)))
    assert ready.methods == ("neighbours", "gmm")
    assert ready.good == ("neighbours",)
    assert str(ready).startswith("**neighbours** (1.0)")
    assert "far (no new training): **neighbours**" in ready.in_words()
    assert ready.in_words().endswith("First on each system alone: neighbours on a.")
    both = advice.advise(two_systems(), dataclasses.replace(situation, regimes=("far",)))
    assert both.first == {"a": "neighbours", "b": "mve"}
    assert both.in_words().endswith("First on each system alone: neighbours on a; MVE on b.")
    with pytest.raises(ValueError, match="no method fits"):
        advice.advise(results, dataclasses.replace(situation, inference=0.1))


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
        for regime in REGIMES:
            assert np.isfinite(committed.answers(question, (regime,))).all()


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
