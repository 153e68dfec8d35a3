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
    DOMAINS,
    QUESTIONS,
    UNCERTAINTY,
    Grid,
    Key,
    Results,
    System,
    advice,
    contests,
    do_unit,
    judged,
    load_grid,
    load_results,
    prose,
    verdict,
)
from uqlib.study.contests import ALL, Answers
from uqlib.study.grid import REGIMES
from uqlib.study.results import EASIER, FEWEST_SEEDS, INSIDE, OUTSIDE
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


NAMES = ("consistency", "no_winner", "generalisation", "robustness", "in_domain_only", "mixture", "evidential")


def rulings(results: Results, system: str = "a") -> dict[str, str]:
    found = zip(NAMES, verdict.findings(results), strict=True)
    return {name: each.rulings.get(system, "none") for name, each in found}


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


def test_systems_may_disagree() -> None:
    both = two_systems()
    out = prose.average_ranks(both, OUTSIDE)
    assert METHODS[int(out["b"].argmin())] == "mve"
    assert METHODS[int(out["a"].argmin())] != "mve"
    (rho,) = prose.agreement(both, OUTSIDE).values()
    assert -1 < rho < 1
    assert "and MVE on b; correlation of orders: a and b" in prose.agreement_in_words(both)
    assert prose.agreement_in_words(made_up(like_the_study())).startswith("One system only")
    title = verdict.findings(both)[0]
    assert title.rulings == {"a": "upheld", "b": "contradicted"}
    assert verdict.counted(title.rulings) == "upheld on 1 of 2 systems, contradicted on 1"
    assert "- *b*: **contradicted**. MVE against ensemble in domain: +" in prose.in_turn(title)


def test_p_values_stay_on_their_side_of_the_level() -> None:
    assert p_text(0.0498) == "p = 0.0498"
    assert p_text(0.0502) == "p = 0.0502"
    assert p_text(0.0123) == "p = 0.012"
    assert signed(-1.25, 1) == "−1.2"


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


def test_conclusions_of_the_study_on_data_that_follow_it(results: Results) -> None:
    assert rulings(results) == {
        "consistency": "upheld",
        "no_winner": "upheld",
        "generalisation": "upheld",
        "robustness": "none",
        "in_domain_only": "upheld",
        "mixture": "upheld",
        "evidential": "upheld",
    }


@pytest.mark.parametrize(
    ("changes", "conclusion"),
    [
        ({"mve": same(0.95)}, "consistency"),
        ({"mve": same(0.95)}, "in_domain_only"),
        ({"mve": by_regime(0.2, 0.1, 0.05)}, "in_domain_only"),
        ({"mve": same(0.95)}, "generalisation"),
        ({"mve": same(0.95)}, "no_winner"),
        ({"mve": by_regime(0.8, 0.9, 0.8)}, "mixture"),
        ({"evidential": same(0.95)}, "evidential"),
    ],
)
def test_conclusions_contradicted(changes: dict[str, dict[str, float]], conclusion: str) -> None:
    assert rulings(made_up(like_the_study(**changes)))[conclusion] == "contradicted"


def test_not_beaten_is_not_good() -> None:
    """MVE is good out of domain where it is shown to be equivalent to the ensemble, not where nothing is shown."""
    alike = made_up(like_the_study(mve=by_regime(0.9, 0.8, 0.6)))
    assert Answers(judged(alike)["a"]).outcome(ALL, "mve", "ensemble", OUTSIDE) == "equivalent"
    assert rulings(alike)["in_domain_only"] == "contradicted"
    noisy = made_up(like_the_study(mve=by_regime(0.7, 0.8, 0.6)), seeds=4, noise=0.5)
    assert rulings(noisy)["in_domain_only"] == "undecided"


def test_few_seeds_decide_nothing() -> None:
    few = made_up(like_the_study(), seeds=4)
    assert set(rulings(few).values()) == {"undecided", "none"}
    assert "no difference can be found" in prose.family_in_words(judged(few))


def test_contrasts_are_asked_in_any_order(results: Results) -> None:
    answers = Answers(judged(results)["a"])
    assert answers.outcome(ALL, "ensemble", "mve", OUTSIDE) == "better"
    assert answers.outcome(ALL, "mve", "ensemble", OUTSIDE) == "worse"
    assert answers.outcome(ALL, "mve", "nobody", OUTSIDE) == "undecided"
    assert answers.outcomes(ALL, "mve", ["ensemble"], DOMAINS)[1] == "worse"


def test_what_hangs_on_the_question(results: Results) -> None:
    heads, rows = prose.by_measure_table(results, judged(results))
    assert heads[2:] == list(contests.SETS)
    assert len(rows) == 4
    assert all(row[2] == "upheld" for row in rows)
    assert prose.hanging(results, judged(results)).startswith("4 rulings, each by 7 sets of questions: ")


def test_every_contrast_has_one_outcome(results: Results) -> None:
    """Nobody is compared twice by the same measure in the same place, the other way round included."""
    for found in contests.contrasts(results).values():
        named = [(key.measure, frozenset((key.method, key.rival)), key.domain) for key in found]
        assert len(set(named)) == len(named)


def test_later_methods(results: Results) -> None:
    found = judged(results)
    assert prose.later(results, found)[0][0] == "neighbours"
    assert prose.later(results, found)[0][1].endswith("(worse)")
    assert "worse: neighbours (1 of 1)." in prose.later_in_words(results, found)


def test_prose(results: Results) -> None:
    text = prose.coverage(results)
    for words in ("**a** (data set `ammonia`): 10 seeds, 80 training structures", "50 cells, from 0.0 processor hours"):
        assert words in text
    # One network, the ensemble's other four, MVE, and what evidential, GMM and neighbours add to one: 6.21 s a seed.
    assert prose.training_hours(results) == pytest.approx(10 * (1 + 4 + 1.1 + 0.1 + 0.01 + 0.0) / 3600)
    assert "a, in domain: it shrinks by +0.000" in prose.recalibration(judged(results)).replace("−", "+")
    assert prose.listed([]) == "none"
    assert prose.listed(["a", "b", "c"]) == "a, b and c"
    board = prose.scoreboard(results)
    assert len(board) == 10
    assert all(len(row) == len(prose.SCOREBOARD) for row in board)
    assert board[0][:3] == ["ensemble", "a", INSIDE]
    assert board[0][3] == pytest.approx(np.exp(-0.7), rel=0.05)
    heads, rows = prose.errors(results)
    assert [len(row) for row in rows] == [len(heads)] * 4
    assert rows[0][4] == pytest.approx(np.exp(-0.7), rel=0.05)


def test_advice(results: Results) -> None:
    found = advice.advise(results)
    everything = found["whatever it costs"]
    assert set(everything.average) == set(METHODS)
    assert list(everything.average.values()) == sorted(everything.average.values())
    assert everything.unbeaten["a"][0] == next(iter(everything.average))
    ready = found["a potential that is there already"]
    assert set(ready.average) == {"gmm", "neighbours"}
    assert "(no new training)" in ready.in_words()
    both = advice.advise(two_systems())["whatever it costs"]
    assert both.unbeaten["b"][0] == "mve"
    assert "mve" not in both.unbeaten["a"]
    assert both.everywhere == tuple(m for m in both.average if m in both.unbeaten["a"] and m in both.unbeaten["b"])
    with pytest.raises(ValueError, match="nothing fits 'nowhere'"):
        advice.advise(results, {"nowhere": advice.Situation(name="nowhere", questions=("order",), domains=("space",))})


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
