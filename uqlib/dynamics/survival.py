"""How long dynamics last: survival curves with confidence bands.

A replica that ran to the end, or was stopped by its uncertainty, did not break: all that is known is that it lasted at
least so long. The estimator of Kaplan and Meier, J. Am. Stat. Assoc. 53, 457 (1958), takes this into account.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import CensoredData, ecdf

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Survival:
    """The fraction that has not broken by each time, a step function: `fraction[k]` holds from `times[k]` on."""

    times: Array  # (T,)  in the unit given, from 0
    fraction: Array  # (T,)
    low: Array  # (T,)  lower end of the pointwise confidence band
    high: Array  # (T,)
    replicas: int

    def at(self, times: ArrayLike) -> Array:
        """Fractions at other times. Beyond the last one nothing is known: the curve is held."""
        place = np.searchsorted(self.times, np.asarray(times, dtype=float), side="right") - 1
        return self.fraction[np.clip(place, 0, None)]


def survival(durations: ArrayLike, broken: ArrayLike, *, level: float = 0.95) -> Survival:
    """Kaplan-Meier curve of independent replicas, with Greenwood's band on the log-log scale (by `scipy.stats.ecdf`).

    Args:
        durations: (S,) how long each was watched.
        broken: (S,) true where it broke then; otherwise the watch ended first.
        level: of the band, at each time for itself. Where the fraction is 1 (or 0) the formula has no width to give;
            there the exact binomial bound for S replicas (Clopper and Pearson) stands in.

    Raises:
        ValueError: no replicas, lengths differ, durations that are negative or not finite.
    """
    durations, broken = _checked(durations, broken)
    last = float(durations.max())
    curve = ecdf(CensoredData(uncensored=durations[broken], right=durations[~broken])).sf
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.filterwarnings(
            "ignore", "The confidence interval is undefined"
        )  # where the fraction is 1 or 0, see below
        band = curve.confidence_interval(confidence_level=level, method="log-log")
    times = np.concatenate([[0.0], curve.quantiles, [last]])
    fraction, low, high = (
        np.concatenate([[1.0], values, values[-1:]])
        for values in (curve.probabilities, band.low.probabilities, band.high.probabilities)
    )
    margin = 1 - ((1 - level) / 2) ** (1 / len(durations))
    low = np.where(fraction == 1, 1 - margin, np.where(fraction == 0, 0.0, low))
    high = np.where(fraction == 1, 1.0, np.where(fraction == 0, margin, high))
    return Survival(times=times, fraction=fraction, low=low, high=high, replicas=len(durations))


def survival_over_seeds(
    runs: Sequence[tuple[ArrayLike, ArrayLike]], *, seed: int, level: float = 0.95, resamples: int = 1000
) -> Survival:
    """Mean of the curves of several training seeds, with a band from drawing whole seeds with replacement.

    Replicas of one network share its faults; to say something of the *method*, networks are what must be counted.
    With a handful of seeds the band is rough, and rather too narrow than too wide.

    Args:
        runs: for each seed the (durations, broken) of its replicas, as in `survival`.
        seed: of the resampling.
        level: of the band.
        resamples: how many draws.

    Raises:
        ValueError: fewer than two seeds, or what `survival` refuses.
    """
    if len(runs) < 2:
        raise ValueError(f"runs: got {len(runs)}, expected at least two training seeds; for one of them use `survival`")
    curves = [survival(durations, broken) for durations, broken in runs]
    times = np.unique(np.concatenate([curve.times for curve in curves]))
    fractions = np.stack([curve.at(times) for curve in curves])
    drawn = np.random.default_rng(seed).integers(len(curves), size=(resamples, len(curves)))
    means = fractions[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    total = sum(curve.replicas for curve in curves)
    return Survival(times=times, fraction=fractions.mean(axis=0), low=low, high=high, replicas=total)


def _checked(durations: ArrayLike, broken: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    times, flags = np.asarray(durations, dtype=float), np.asarray(broken, dtype=bool)
    if times.ndim != 1 or len(times) == 0 or times.shape != flags.shape:
        raise ValueError(f"durations, broken: got shapes {times.shape}, {flags.shape}, expected (S,) and (S,)")
    if not np.isfinite(times).all() or times.min() < 0:
        raise ValueError("durations: got negative values or some that are not finite, expected times from the start")
    return times, flags
