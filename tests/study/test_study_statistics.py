"""The statistics of the verdict, against numbers worked by hand, other packages, or printed in the sources."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from uqlib.study import Key, hodges_lehmann, judge, ranks, seed_interval
from uqlib.study.families import needed_shift, signs, step_down

KEY = Key("rank", "a", "b", "here")


def wide(_: Key) -> float:
    return 1.0


def test_ranks_by_hand() -> None:
    good = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0], [np.nan, 5.0, np.inf]])
    assert ranks(good).tolist() == [[1, 3, 2], [1.5, 1.5, 3], [3, 2, 1]]


def test_hodges_lehmann_by_hand() -> None:
    """Of 1, 2, 9 the means of all pairs are 1, 1.5, 2, 5, 5.5, 9, whose median is 3.5."""
    found = hodges_lehmann(np.array([[1.0], [2.0], [9.0]]))
    assert found.value.tolist() == [3.5]
    assert (found.low[0], found.high[0]) == (-np.inf, np.inf)


def test_the_interval_of_ten_seeds_is_that_of_the_tables() -> None:
    """Hollander and Wolfe: of ten, the ninth mean of pairs from each end, with a coverage of 95.1 %."""
    values = np.random.default_rng(0).normal(size=(10, 4))
    means = np.sort(np.stack([(values[i] + values[j]) / 2 for i in range(10) for j in range(i, 10)]), axis=0)
    found = hodges_lehmann(values, level=0.95)
    assert found.low == pytest.approx(means[8])
    assert found.high == pytest.approx(means[-9])


@pytest.mark.parametrize("seeds", [6, 8, 10])
def test_interval_and_signed_rank_test_agree(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    values = rng.normal(size=(seeds, 60)) + np.linspace(0, 2, 60)
    found = hodges_lehmann(values)
    for k in range(60):
        p_value = stats.wilcoxon(values[:, k], method="exact").pvalue
        assert (found.low[k] > 0 or found.high[k] < 0) == (p_value < 0.05)


def test_direction_is_that_of_what_is_tested() -> None:
    """Sixteen slightly negative and fifteen large positive differences: the median alone would call them worse."""
    values = np.array([-0.01 * k for k in range(1, 17)] + [5.0 + k for k in range(15)])
    found = judge({"a": {KEY: values}}, wide)["a"][KEY]
    assert np.median(values) < 0
    assert found.estimate > 0
    assert found.outcome == "better"


def test_all_turns_of_the_signs() -> None:
    assert sorted(map(tuple, signs(3))) == [(-1, -1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, 1)]
    assert signs(14).shape == (4096, 14)
    assert (signs(14)[0] == 1).all()


def test_step_down_by_hand() -> None:
    """Four seeds, eight turns. One does as well as four that agree; two, with a contrast in which one disagrees.

    In five of eight the latter has a sum of two or more.
    """
    steady, mixed = np.ones(4), np.array([1.0, 1.0, 1.0, -1.0])
    assert step_down(steady[:, None], level=0.2)[0] == pytest.approx([1 / 8])
    p_values, luck = step_down(np.stack([steady, mixed], axis=1), level=0.2)
    assert p_values == pytest.approx([2 / 8, 5 / 8])
    assert luck == np.inf
    assert step_down(np.zeros((4, 1)), level=0.2)[0] == [1.0]


def test_one_contrast_is_fishers_test() -> None:
    values = np.array([1.3, 0.2, -0.4, 2.2, 0.9, 1.1])
    found, _ = step_down(values[:, None], level=0.05)
    turned = [abs((s * values).mean()) for s in signs(6)]
    assert found[0] == np.mean(np.array(turned) >= abs(values.mean()) - 1e-12)


def test_what_is_steady_is_not_paid_for_by_what_is_not() -> None:
    """Fifty contrasts of noise beside one that is steady: Holm's correction would leave nothing with ten seeds."""
    rng = np.random.default_rng(4)
    asked = {KEY._replace(rival=str(k)): rng.normal(size=10) for k in range(50)}
    asked[KEY] = 3 + 0.1 * rng.normal(size=10)
    assert 51 * 2 / 2**10 > 0.05
    assert judge({"a": asked}, wide)["a"][KEY].p_value == pytest.approx(2 / 2**10)


def test_four_outcomes() -> None:
    rng = np.random.default_rng(5)
    noise = rng.normal(size=10)
    asked = {"better": 9 + noise, "worse": -9 + noise, "equivalent": 0.1 * noise, "undecided": 0.5 + 3 * noise}
    keys = {name: KEY._replace(rival=name) for name in asked}
    found = judge({"a": {keys[name]: values for name, values in asked.items()}}, wide)["a"]
    assert {name: found[key].outcome for name, key in keys.items()} == {name: name for name in asked}
    undecided = found[keys["undecided"]]
    assert undecided.low < 0 < undecided.high
    assert undecided.margin == 1
    assert 0 < undecided.detectable < np.inf


def test_the_level_is_shared_by_the_experiments() -> None:
    values = {KEY: 5 + np.random.default_rng(1).normal(size=7)}
    alone, many = (judge(dict.fromkeys("abcd"[:n], values), wide)["a"][KEY] for n in (1, 4))
    assert many.p_value == pytest.approx(4 * alone.p_value)
    assert (alone.outcome, many.outcome) == ("better", "undecided")


def test_few_seeds_can_tell_nothing() -> None:
    for seeds in (1, 2, 3, 5):
        found = judge({"a": {KEY: 100 + np.arange(float(seeds))}}, wide)["a"][KEY]
        assert found.outcome == "undecided"
        assert found.detectable == np.inf
        assert found.seeds == seeds


def test_power_is_that_of_the_noncentral_t() -> None:
    shift = needed_shift(3.0, 10)
    assert stats.nct.sf(3.0, 9, shift) == pytest.approx(0.8)
    assert needed_shift(np.inf, 10) == np.inf


def test_seed_interval_is_students() -> None:
    values = np.random.default_rng(1).normal(size=(6, 2)) + np.array([0.0, 5.0])
    low, high = seed_interval(values, ["a"] * 6)
    for column in (0, 1):
        expected = stats.ttest_1samp(values[:, column], 0).confidence_interval(0.95)
        assert (low[column], high[column]) == pytest.approx((expected.low, expected.high))


def test_systems_are_no_sample() -> None:
    """Two systems far apart, no scatter in either: nothing is uncertain about their mean; and each weighs the same."""
    values = np.array([[0.0]] * 5 + [[10.0]] * 3)
    low, high = seed_interval(values, ["a"] * 5 + ["b"] * 3)
    assert (low[0], high[0]) == (5, 5)
    assert np.isinf(seed_interval(values[:6], ["a"] * 5 + ["b"])).all()


def test_refused() -> None:
    with pytest.raises(ValueError, match=r"experiments\['a'\]: expected finite differences, as many in each"):
        judge({"a": {KEY: np.ones(3), KEY._replace(rival="c"): np.ones(4)}}, wide)
    with pytest.raises(ValueError, match="expected finite"):
        judge({"a": {KEY: np.array([1.0, np.nan])}}, wide)
