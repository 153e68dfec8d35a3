"""The verdict, its sentences, and the advice, on results that are made up to be clear."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from made_up_study import METHODS, NAMES, by_regime, like_the_study, made_up, rulings, same, two_systems

from uqlib.study import (
    DOMAINS,
    Results,
    advice,
    contests,
    judged,
    prose,
    verdict,
)
from uqlib.study.contests import ALL, Answers
from uqlib.study.grid import Variant
from uqlib.study.results import INSIDE, OUTSIDE
from uqlib.study.words import p_text, signed


@pytest.fixture(scope="module")
def results() -> Results:
    return made_up(like_the_study())


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
    assert "- *b*: **contradicted**.\n  - MVE against ensemble in domain: +" in prose.in_turn(title)


def test_p_values_stay_on_their_side_of_the_level() -> None:
    assert p_text(0.0498) == "p = 0.0498"
    assert p_text(0.0502) == "p = 0.0502"
    assert p_text(0.0123) == "p = 0.012"
    assert signed(-1.25, 1) == "−1.2"


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
    assert prose.hanging(results, judged(results)).startswith("4 rulings, each by 5 sets of questions: ")


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
    heads, rows = prose.errors(results, "a")
    assert [len(row) for row in rows] == [len(heads)] * len(METHODS)
    assert heads[1] == "test (1.0 ×)"
    assert rows[0][1] == pytest.approx(np.exp(-0.7), rel=0.05)


@pytest.mark.parametrize(("longer", "expected"), [(0.2, "upheld"), (0.95, "contradicted"), (0.7, "contradicted")])
def test_the_ensemble_beside_networks_that_cost_as_much(longer: float, expected: str) -> None:
    """ "neighbours" stands for a network that was trained for longer."""
    quality = like_the_study(ensemble=same(0.7), neighbours=same(longer))
    made = made_up(quality, noise=0.01)
    grid = dataclasses.replace(made.grid, methods=(*METHODS[:4], "longer"), variants={"longer": Variant(method="gmm")})
    cells = {(s, seed, "longer" if m == "neighbours" else m): cell for (s, seed, m), cell in made.cells.items()}
    last = verdict.findings(Results(grid=grid, cells=cells))[-1]
    assert last.claim == "At equal cost, too, ensembling generalises best."
    assert last.rulings == {"a": expected}
    assert len(verdict.findings(made)) == len(NAMES), "without such networks nothing is said of them"


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
