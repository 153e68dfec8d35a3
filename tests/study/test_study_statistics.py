"""The statistics of the verdict, against numbers worked by hand or printed in the sources."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from uqlib.study import statistics
from uqlib.study.statistics import compare_ranks, critical_difference, holm, pairs, ranks, seed_interval, wilcoxon


def test_ranks_by_hand() -> None:
    good = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0], [np.nan, 5.0, np.inf]])
    assert ranks(good).tolist() == [[1, 3, 2], [1.5, 1.5, 3], [3, 2, 1]]


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_values_of_demsar(methods: int, q: float) -> None:
    """Table 5(a) of the paper."""
    blocks = 7
    expected = q * np.sqrt(methods * (methods + 1) / (6 * blocks))
    assert critical_difference(methods, blocks) == pytest.approx(expected, rel=4e-4)


def test_friedman_by_hand() -> None:
    """Three methods always in the same order on four blocks: 12 N / k (k + 1) (sum R² - k (k + 1)² / 4) = 8."""
    found = compare_ranks(["b", "c", "a"], np.tile([2.0, 3.0, 1.0], (4, 1)))
    assert found.methods == ("a", "b", "c")
    assert found.average.tolist() == [1, 2, 3]
    assert found.p_value == pytest.approx(np.exp(-4))  # chi² of 8 with two degrees of freedom
    assert found.cliques == [("a", "b"), ("b", "c")]
    assert 1 < found.critical < 2


def test_averages_are_ranked_again() -> None:
    found = compare_ranks(["a", "b", "c"], np.array([[1.2, 1.9, 2.9], [1.4, 2.4, 2.2]]))
    assert found.average.tolist() == [1, 2.5, 2.5]


def test_equal_methods_are_equal() -> None:
    found = compare_ranks(["a", "b", "c"], np.full((5, 3), 2.0))
    assert found.p_value == 1
    assert found.cliques == [("a", "b", "c")]


def test_many_blocks_tell_apart() -> None:
    rng = np.random.default_rng(0)
    found = compare_ranks(list("abcd"), ranks(rng.normal(size=(300, 4)) + np.array([3.0, 0.0, 0.0, -3.0])))
    assert found.methods[0] == "a"
    assert found.methods[-1] == "d"
    assert found.cliques == [found.methods[1:3]]
    assert found.p_value < 1e-10


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.5, "b": 0.9}) == {"a": 1.0, "b": 1.0}


def test_pairs_by_hand() -> None:
    """Eight positive differences: 2 of 2⁸ signs are as extreme, and there are two pairs to correct for."""
    up = np.arange(1.0, 9.0)
    found = pairs({"up": up, "mixed": up * np.tile([1.0, -1.0], 4)})
    assert found["up"].p_value == pytest.approx(2 * 2 / 256)
    assert found["up"].smallest == pytest.approx(2 * 2 / 256)
    assert (found["up"].outcome, found["up"].median, found["up"].blocks) == ("better", 4.5, 8)
    assert found["mixed"].outcome == "not told apart"
    assert pairs({"down": -up})["down"].outcome == "worse"


@pytest.mark.parametrize("size", [3, 8, 14])
def test_wilcoxon_is_that_of_scipy(size: int) -> None:
    rng = np.random.default_rng(size)
    for shift in (0.0, 0.5, 2.0):
        values = rng.normal(loc=shift, size=size)
        assert wilcoxon(values) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)
    tied = np.array([1.0, 1.0, -1.0, 2.0, 0.0])  # of 16 signs, ranks 2, 2, 2 and 4: sums of at most 2 occur 4 times
    assert wilcoxon(tied) == pytest.approx(2 * 4 / 16)
    assert wilcoxon(np.zeros(4)) == 1


def test_five_blocks_can_tell_nothing() -> None:
    found = pairs({"a": np.arange(1.0, 6.0)})["a"]
    assert found.p_value == pytest.approx(0.0625)
    assert found.outcome == "not told apart"
    assert not found.could_tell
    assert pairs({"a": np.arange(1.0, 7.0)})["a"].could_tell


def test_missing_values_in_pairs() -> None:
    found = pairs({"a": np.array([*np.full(7, np.inf), np.nan]), "none": np.array([np.nan])})
    assert (found["a"].outcome, found["a"].blocks) == ("better", 7)
    assert (found["none"].outcome, found["none"].blocks, found["none"].p_value) == ("not told apart", 0, 1.0)


def test_seed_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(size=(400, 2)) + np.array([0.0, 5.0])
    low, high = seed_interval(values, ["a"] * 400)
    for column in (0, 1):
        expected = stats.norm.interval(0.95, values[:, column].mean(), values[:, column].std() / 20)
        assert (low[column], high[column]) == pytest.approx(expected, abs=0.02)


def test_seeds_are_drawn_within_systems() -> None:
    """Two systems far apart, no scatter in either: nothing is uncertain about their mean."""
    values = np.array([[0.0]] * 5 + [[10.0]] * 5)
    low, high = seed_interval(values, ["a"] * 5 + ["b"] * 5)
    assert (low[0], high[0]) == (5, 5)


def test_refused() -> None:
    with pytest.raises(ValueError, match=r"got shape \(1, 3\) for 3 methods"):
        compare_ranks(list("abc"), np.ones((1, 3)))
    with pytest.raises(ValueError, match="expected at least 2 blocks and 3"):
        compare_ranks(list("ab"), np.ones((4, 2)))
    assert statistics.LEVEL == 0.05
