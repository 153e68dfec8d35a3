"""Is a difference more than the luck of the seeds? Ranks over blocks, the tests that belong to them, and intervals.

J. Demšar, "Statistical comparisons of classifiers over multiple data sets", J. Mach. Learn. Res. 7, 1 (2006), is the
source of the recipe: ranks in each block, Friedman's test whether there is any difference at all, Nemenyi's critical
difference between average ranks; and for one method against others, Wilcoxon's test with Holm's correction.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

LEVEL = 0.05  # of significance, everywhere


def ranks(good: np.ndarray) -> np.ndarray:
    """(blocks, methods) -> ranks in each block: 1 for the largest; ties share theirs; nan comes last."""
    filled = np.where(np.isnan(good), -np.inf, good)
    return stats.rankdata(-filled, axis=1)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Average ranks of several methods over blocks, and what can be said about their differences."""

    methods: tuple[str, ...]  # best first
    average: np.ndarray  # (methods,)
    blocks: int
    p_value: float  # of Friedman's test: all methods alike
    critical: float  # average ranks that differ by less cannot be told apart (Nemenyi)

    @property
    def cliques(self) -> list[tuple[str, ...]]:
        """Largest groups of neighbours in rank that cannot be told apart; they may overlap. Of two methods or more."""
        found: list[tuple[int, int]] = []
        for first in range(len(self.methods)):
            last = max(i for i in range(len(self.methods)) if self.average[i] - self.average[first] <= self.critical)
            if last > first and (not found or last > found[-1][1]):
                found.append((first, last))
        return [tuple(self.methods[first : last + 1]) for first, last in found]


def compare_ranks(methods: Sequence[str], found: np.ndarray, *, level: float = LEVEL) -> Comparison:
    """Friedman's test and Nemenyi's critical difference for (blocks, methods) ranks or averages of ranks.

    They are ranked again in each block, as the tests want. Raises ValueError for fewer than three methods or two
    blocks.
    """
    names, (blocks, k) = list(methods), found.shape
    if k != len(methods) or k < 3 or blocks < 2:
        raise ValueError(f"found: got shape {found.shape} for {len(methods)} methods, expected at least 2 blocks and 3")
    again = ranks(-found)
    average = again.mean(0)
    order = np.argsort(average, kind="stable")
    alike = bool((again == again[:, :1]).all())
    return Comparison(
        methods=tuple(names[int(i)] for i in order),
        average=average[order],
        blocks=blocks,
        p_value=1.0 if alike else float(stats.friedmanchisquare(*again.T).pvalue),
        critical=critical_difference(k, blocks, level=level),
    )


@functools.cache  # the quantile takes a second
def critical_difference(methods: int, blocks: int, *, level: float = LEVEL) -> float:
    """Nemenyi: q · sqrt(k (k + 1) / 6 N), q of the studentized range over sqrt 2 (Demšar, eq. 2 of section 3.2.2)."""
    q = float(stats.studentized_range.ppf(1 - level, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * blocks))


Outcome = Literal["better", "worse", "not told apart"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One method against another over blocks."""

    median: float  # of the differences; positive: the first is better
    p_value: float  # two-sided, corrected for all pairs that were asked at once
    blocks: int
    smallest: float  # p value that this many blocks can give at best, so corrected

    @property
    def outcome(self) -> Outcome:
        if self.p_value >= LEVEL or self.median == 0:
            return "not told apart"
        return "better" if self.median > 0 else "worse"

    @property
    def could_tell(self) -> bool:
        """Whether there are blocks enough for any difference to be significant."""
        return self.smallest < LEVEL


def pairs(differences: Mapping[str, np.ndarray]) -> dict[str, Pair]:
    """Wilcoxon's signed-rank test of each (blocks,) of differences, with Holm's correction for all together.

    Positive: better. Where only one of the two had a value, let the difference be infinite; nan where neither had.
    """
    kept = {name: np.nan_to_num(d[~np.isnan(d)], posinf=1e9, neginf=-1e9) for name, d in differences.items()}
    raw = {name: wilcoxon(values) for name, values in kept.items()}
    corrected = holm(raw)
    return {
        name: Pair(
            median=float(np.median(values)) if len(values) else 0.0,
            p_value=corrected[name],
            blocks=len(values),
            smallest=min(1.0, len(kept) * 2.0 ** (1 - len(values))) if len(values) else 1.0,
        )
        for name, values in kept.items()
    }


def wilcoxon(values: np.ndarray) -> float:
    """Two-sided p value of the signed-rank test, exact also with ties; zeros are left out, as by Wilcoxon.

    F. Wilcoxon, Biometrics Bull. 1, 80 (1945). All signs being equally likely, the distribution of the sum of the
    positive ranks is built up rank by rank.
    """
    kept = values[values != 0]
    twice = np.rint(2 * stats.rankdata(np.abs(kept))).astype(int)  # whole numbers, also where ties share a rank
    ways = np.ones(1)  # of reaching each sum
    for rank in twice:
        ways = np.append(ways, np.zeros(rank)) + np.append(np.zeros(rank), ways)
    positive = int(twice[kept > 0].sum())
    smaller = min(positive, int(twice.sum()) - positive)
    return float(min(1.0, 2 * ways[: smaller + 1].sum() / ways.sum()))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Corrected for their number, step by step from the smallest: S. Holm, Scand. J. Stat. 6, 65 (1979)."""
    corrected, highest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = highest
    return {name: corrected[name] for name in p_values}


def seed_interval(
    values: np.ndarray, strata: Sequence[str], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """(2, methods) ends of the bootstrap interval of the mean over (blocks, methods).

    Seeds are drawn with replacement within each of the `strata` (blocks,), the systems: these are the ones that were
    chosen, and no sample of anything.
    """
    rng = np.random.default_rng(seed)
    names = np.asarray(strata)
    drawn = np.concatenate(
        [
            rng.choice(np.flatnonzero(names == name), size=(resamples, (names == name).sum()))
            for name in np.unique(names)
        ],
        axis=1,
    )
    return np.quantile(values[drawn].mean(1), [(1 - level) / 2, (1 + level) / 2], axis=0)
