"""What the page would say of methods that do not differ, over and over: errors of its rules, and what they can find.

Results are drawn, and everything after that is the page's own code. All methods are alike, or differ by what is stated.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats

from uqlib.networks.training import Settings
from uqlib.study import Grid, Results, System, advice, prose, verdict
from uqlib.study.contests import ALL, PAPER, judged, margin
from uqlib.study.families import Key, judge, seeds_needed
from uqlib.study.results import OUTSIDE, QUESTIONS
from uqlib.study.statistics import hodges_lehmann, seed_interval

METHODS = (*PAPER, "llpr", "shallow", "bootstrap", "dropout")
SPLITS = {"in-domain": ("test",), "near": ("path",), "far": ("hot",)}
PAGES = 200
SURE = stats.binom.ppf(0.999, PAGES, 0.05) / PAGES  # more than that in so many pages is no luck at 5 %


class Drawn(Results):
    """Results whose scores come from a random generator in place of files."""

    def values(self, metric: str, system: str, split: str, *, quantity: str = "force", stage: str = "before"):
        drawn = self.cells["scores"][system, split, metric, stage]  # pyright: ignore[reportArgumentType]
        return np.exp(drawn) if metric == "MAE" else drawn


class Keys(dict[tuple[str, int, str], dict[str, object]]):
    """Every cell is there; its scores are under the key "scores"."""

    def __contains__(self, key: object) -> bool:
        return True


def page(
    rng: np.random.Generator,
    *,
    seeds: int = 10,
    systems: int = 3,
    own: float = 0.0,
    shift: float = 0.0,
    skewed: bool = False,
) -> Results:
    """Scores of all methods. `own`: sd of what a method is worth on a system, with noise of 1 over seeds.

    Questions and splits of a seed have most of their noise in common, as they have where networks are. `shift`: by
    which the ensemble's scores are better.
    """
    names = [f"system {k}" for k in range(systems)]
    each = {n: System(name=n, data="ammonia", training=Settings(), regimes=SPLITS) for n in names}
    grid = Grid(scale="drawn", methods=METHODS, seeds=tuple(range(seeds)), recalibration="affine", resplit=False,
                network={}, systems=each)  # fmt: skip
    draw = (lambda size: rng.exponential(size=size) - 1) if skewed else (lambda size: rng.normal(size=size))
    scores, worths, splits = {}, {}, [split for named in SPLITS.values() for split in named]
    for name in names:
        worth = own * rng.normal(size=len(METHODS)) + shift * (np.arange(len(METHODS)) == 0)
        worths[name], shared = worth, draw((seeds, len(METHODS)))
        for split in splits:
            for asked in QUESTIONS.values():
                noise = 0.8 * shared + 0.6 * draw((seeds, len(METHODS)))
                good = asked.sign * (worth + noise)
                if asked.metric == "MAE":
                    good = 0.1 * good + {"test": 0.0, "path": 1.0, "hot": 3.0}[split]
                for stage in ("before", "after"):
                    scores[name, split, asked.metric, stage] = good + (stage == "before") * 0.1 * draw(good.shape)
    cells: Any = Keys()
    cells |= {"scores": scores, "worth": worths}
    for name in names:
        cells[name, 0, METHODS[0]] = {"splits": dict.fromkeys(splits)}
    return Drawn(grid=grid, cells=cells)


def claims_anything(results: Results) -> bool:
    return any(c.outcome in ("better", "worse") for found in judged(results).values() for c in found.values())


@pytest.mark.parametrize(("seeds", "skewed"), [(3, False), (5, False), (10, False), (10, True)])
def test_methods_that_do_not_differ_are_seldom_said_to_differ(seeds: int, skewed: bool) -> None:
    rng, pages = np.random.default_rng(seeds), PAGES if seeds == 10 else 20
    wrong = [claims_anything(page(rng, seeds=seeds, skewed=skewed)) for _ in range(pages)]
    if seeds < seeds_needed(3):
        assert not any(wrong)
    assert np.mean(wrong) <= SURE


def test_no_advice_among_methods_that_do_not_differ() -> None:
    rng = np.random.default_rng(1)
    wrong, pages = 0, 100
    for _ in range(pages):
        found = advice.advise(page(rng)).values()
        fits = [len(next(iter(each.rank.values()))) for each in found]
        wrong += any(len(each.unbeaten[s]) < n for each, n in zip(found, fits, strict=True) for s in each.unbeaten)
    assert wrong / pages <= stats.binom.ppf(0.999, pages, 0.05) / pages


@pytest.mark.parametrize("between", [0.5, 0.96])
def test_where_systems_differ_at_random_no_direction_is_wrong(between: float) -> None:
    """What a method is worth is drawn for each system, with so large a share of the variance of its scores.

    In general no method is better. On a system one is, and the page may say so, but not the wrong way round; and it
    says nothing that is not about a system.
    """
    rng, pages, wrong, made = np.random.default_rng(5), 100, 0, 0
    for _ in range(pages):
        results = page(rng, own=np.sqrt(between / (1 - between)))
        worth = results.cells["worth"]  # pyright: ignore[reportArgumentType]
        turned = []
        for system, found in judged(results).items():
            for key, contrast in found.items():
                if key.measure != "recalibration" and contrast.outcome in ("better", "worse"):
                    one, other = (worth[system][METHODS.index(m)] for m in (key.method, key.rival))
                    turned.append((contrast.outcome == "better") != (one > other))
        wrong, made = wrong + any(turned), made + len(turned)
        for finding in verdict.findings(results):
            assert set(finding.rulings) <= set(results.systems)
            text = prose.in_turn(finding)
            assert f"of {len(results.systems)} systems" in text or "no seeds" in text
    assert wrong / pages <= stats.binom.ppf(0.999, pages, 0.05) / pages
    assert made / pages > 10


def test_a_difference_of_the_stated_size_is_found() -> None:
    """`detectable` is found in four of five repetitions, or about that."""
    rng, found, size = np.random.default_rng(2), 0, []
    key = Key(ALL, "mve", "ensemble", OUTSIDE)
    noise = [judge({n: {key: rng.normal(size=10)} for n in "abc"}, margin)["a"][key] for _ in range(200)]
    reach = float(np.median([c.detectable for c in noise]))
    for _ in range(400):
        shifted = {n: {key: reach + rng.normal(size=10)} for n in "abc"}
        contrast = judge(shifted, lambda _: 0.1)["a"][key]
        found += contrast.outcome == "better"
        size.append(contrast.estimate)
    assert 0.7 < found / 400 < 0.92
    assert np.mean(size) == pytest.approx(reach, abs=0.1)


def test_a_steady_difference_is_found_on_the_whole_page() -> None:
    """Of four standard deviations of a seed's score."""
    rng = np.random.default_rng(3)
    rulings = [verdict.findings(page(rng, shift=4.0))[0].rulings.values() for _ in range(20)]
    assert np.mean([ruling == "upheld" for page_ in rulings for ruling in page_]) > 0.7


@cache
def drawn_means(seeds: int) -> np.ndarray:
    """(repetitions, seeds) of noise."""
    return np.random.default_rng(seeds).normal(size=(4000, seeds))


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_hold_the_mean_as_often_as_they_say(seeds: int) -> None:
    low, high = seed_interval(drawn_means(seeds).T, ["a"] * seeds)
    assert np.mean((low < 0) & (high > 0)) == pytest.approx(0.95, abs=0.012)
    three = np.concatenate([k * drawn_means(seeds)[k * 1000 : (k + 1) * 1000].T for k in (1, 2, 3)])
    low, high = seed_interval(three, [system for system in "abc" for _ in range(seeds)])
    assert np.mean((low < 0) & (high > 0)) > 0.93


@pytest.mark.parametrize(("seeds", "level"), [(5, 0.9), (6, 0.95), (10, 0.9), (10, 0.95)])
def test_hodges_lehmann_intervals_hold_the_middle(seeds: int, level: float) -> None:
    for drawn in (drawn_means(seeds), drawn_means(seeds) ** 3):
        found = hodges_lehmann(drawn.T, level=level)
        assert np.mean((found.low < 0) & (found.high > 0)) > level - 0.012


def test_three_seeds_have_no_such_interval() -> None:
    found = hodges_lehmann(drawn_means(3).T)
    assert np.isinf(found.low).all()
    assert np.isinf(found.high).all()


@pytest.mark.parametrize("seeds", [5, 10])
def test_equivalence_is_seldom_claimed_where_a_whole_place_lies_between(seeds: int) -> None:
    rng, key = np.random.default_rng(seeds), Key(ALL, "mve", "ensemble", OUTSIDE)
    for scatter in (0.2, 0.6):
        found = [judge({"a": {key: 1 + scatter * rng.normal(size=seeds)}}, margin)["a"][key] for _ in range(600)]
        assert np.mean([c.outcome == "equivalent" for c in found]) <= stats.binom.ppf(0.999, 600, 0.05) / 600
    near = [judge({"a": {key: 0.1 + 0.2 * rng.normal(size=seeds)}}, margin)["a"][key] for _ in range(50)]
    assert np.mean([c.outcome == "equivalent" for c in near]) > 0.9


def test_how_many_seeds_a_page_needs() -> None:
    assert [seeds_needed(experiments) for experiments in (1, 3, 4)] == [6, 7, 8]
