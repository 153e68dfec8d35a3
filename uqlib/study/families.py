"""All comparisons that a page prints, judged together: better, worse, equivalent or undecided.

An *experiment* is what shares its seeds: one system. Its contrasts are differences of two methods, one for each seed.
The level of 5 % belongs to the page. Each experiment gets an equal share of it, and within one the share holds for all
contrasts together: if no two methods differ, the chance that the page says anywhere that they do is 5 % at most.

Within an experiment the signs of the differences are turned, all contrasts of a seed at once, in every possible way:
that is what differences without a direction would have given as well. The largest of all contrasts' statistics, over
all these turns, says what luck can do. P. H. Westfall and S. S. Young, Resampling-Based Multiple Testing (Wiley,
1993), section 2.6 (step-down max T); of the signs, R. A. Fisher, The Design of Experiments (1935), section 21.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy import optimize, stats

from uqlib.study.statistics import LEVEL, hodges_lehmann

Outcome = Literal["better", "equivalent", "worse", "undecided"]
EXACT = 12  # seeds up to which all turns of the signs are tried
TURNS = 4096  # of the signs, with more seeds
POWER = 0.8  # with which a difference of `Contrast.detectable` would be found


class Key(NamedTuple):
    """What is compared: by which measure, one method against another, and where."""

    measure: str
    method: str
    rival: str
    domain: str


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One method against another on one system. Positive: the first is better."""

    estimate: float  # Hodges-Lehmann
    low: float  # ends of its interval, 95 % for this contrast alone; infinite where there are too few seeds
    high: float
    p_value: float  # two-sided, corrected for all contrasts of the page
    seeds: int
    margin: float  # differences that are smaller do not matter
    detectable: float  # difference that would be found with a probability of 80 %; inf where none can be
    outcome: Outcome


def judge(
    experiments: Mapping[str, Mapping[Key, np.ndarray]], margin: Callable[[Key], float]
) -> dict[str, dict[Key, Contrast]]:
    """Experiment -> contrast -> what is found, corrected for all that is asked.

    A contrast is "equivalent" where its 90 % interval lies within the margins: two one-sided tests at 5 % (D. J.
    Schuirmann, J. Pharmacokinet. Biopharm. 15, 657, 1987), each contrast for itself. It is "better" or "worse" where
    the corrected p value is below 5 %, and mean and estimate agree in their sign. All else is "undecided".

    Args:
        experiments: Name -> contrast -> (seeds,) differences, as many in all contrasts of an experiment.
        margin: Of each contrast, set before anything is looked at.

    Raises:
        ValueError: Contrasts of an experiment with different numbers of seeds, or values that are not finite.
    """
    return {name: _judged(name, asked, margin, len(experiments)) for name, asked in experiments.items() if asked}


def _judged(
    name: str, asked: Mapping[Key, np.ndarray], margin: Callable[[Key], float], experiments: int
) -> dict[Key, Contrast]:
    if len({len(values) for values in asked.values()}) > 1 or not all(np.isfinite(v).all() for v in asked.values()):
        raise ValueError(f"experiments[{name!r}]: expected finite differences, as many in each contrast")
    found = np.stack(list(asked.values()), axis=1)
    seeds, mean = len(found), found.mean(0)
    raw, luck = step_down(found, level=LEVEL / experiments)
    p_values = np.minimum(1.0, experiments * raw)
    estimate, narrow = hodges_lehmann(found), hodges_lehmann(found, level=1 - 2 * LEVEL)
    spread = found.std(0, ddof=1) if seeds > 1 else np.full(len(asked), np.inf)
    reach = needed_shift(luck, seeds) / np.sqrt(seeds)
    judged = {}
    for k, key in enumerate(asked):
        allowed, value = margin(key), estimate.value[k]
        outcome: Outcome = "undecided"
        if -allowed < narrow.low[k] and narrow.high[k] < allowed:
            outcome = "equivalent"
        elif p_values[k] < LEVEL and mean[k] * value > 0:
            outcome = "better" if value > 0 else "worse"
        judged[key] = Contrast(
            estimate=float(value),
            low=float(estimate.low[k]),
            high=float(estimate.high[k]),
            p_value=float(p_values[k]),
            seeds=seeds,
            margin=allowed,
            detectable=float(reach * spread[k]) if np.isfinite(reach) else np.inf,
            outcome=outcome,
        )
    return judged


def step_down(found: np.ndarray, *, level: float) -> tuple[np.ndarray, float]:
    """(contrasts,) p values of (seeds, contrasts) differences, corrected for their number; and what luck can do.

    The statistic is |mean| / root mean square, which grows with Student's t and has a value where nothing scatters. The
    second of the results is the t that chance exceeds in a share `level` of all turns; infinite where no turn is so
    rare.
    """
    seeds = len(found)
    size = np.sqrt((found**2).mean(0))
    scaled = np.divide(found, size, out=np.zeros_like(found), where=size > 0)
    turned = np.abs(signs(seeds) @ scaled) / seeds
    observed = np.abs(scaled.mean(0))
    order = np.argsort(-observed, kind="stable")
    largest = np.maximum.accumulate(turned[:, order[::-1]], axis=1)[:, ::-1]  # of this one and all that follow
    raw = (largest >= observed[order] - 1e-9).mean(0)
    p_values = np.empty(len(order))
    p_values[order] = np.maximum.accumulate(raw)
    rare = np.sort(largest[:, 0])[::-1][: int(level * len(turned)) + 1]
    edge = float(rare[-1]) if 1 / len(turned) <= level else 1.0
    return p_values, np.inf if edge > 1 - 1e-9 else edge * np.sqrt((seeds - 1) / (1 - edge**2))


@functools.cache
def signs(seeds: int) -> np.ndarray:
    """(turns, seeds) of ±1: all that differ by more than the sign of the whole, or a sample with the one as it is."""
    if seeds <= EXACT:
        bits = np.arange(2 ** (seeds - 1))[:, None] >> np.arange(seeds) & 1
        return 1.0 - 2.0 * bits
    drawn = np.random.default_rng(seeds).choice([-1.0, 1.0], size=(TURNS - 1, seeds))
    return np.concatenate([np.ones((1, seeds)), drawn])


@functools.lru_cache(maxsize=256)
def needed_shift(luck: float, seeds: int) -> float:
    """Mean over its standard error of differences whose t exceeds `luck` with a probability of 80 %."""
    if not np.isfinite(luck):
        return np.inf
    return float(optimize.brentq(lambda shift: stats.nct.sf(luck, seeds - 1, shift) - POWER, 0.0, 4 * luck + 4))


def seeds_needed(experiments: int) -> int:
    """How many seeds an experiment must have before any difference, however steady, can be found on such a page."""
    return next(seeds for seeds in range(2, 60) if experiments * 2.0 ** (1 - seeds) < LEVEL)
