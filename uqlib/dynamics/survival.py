"""How long dynamics last: survival curves with confidence bands.

A replica that ran to the end did not break: all that is known is that it lasted at least so long. The estimator of
Kaplan and Meier, J. Am. Stat. Assoc. 53, 457 (1958), takes this into account, provided that what ended the watch had
nothing to do with whether the replica was about to break. The end of the run is no such sign; an alarm is. For replicas
that an alarm stopped there is `competing_risks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

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


@dataclass(frozen=True, kw_only=True)
class CompetingRisks:
    """What became of replicas that could break or be stopped by an alarm, whichever came first.

    How many would have lasted without the alarm is not in such data. It lies between two curves: `worst`, where every
    alarm came just before a break, and `best`, where none of the stopped replicas would have broken (A. V. Peterson,
    Proc. Natl. Acad. Sci. 73, 11, 1976).
    """

    times: Array  # (T,)
    broke: Array  # (T,)  fraction that broke before any alarm (Aalen and Johansen, Scand. J. Stat. 5, 141, 1978)
    alarm: Array  # (T,)  fraction that an alarm stopped
    worst: Survival  # fraction without break and without alarm, 1 - broke - alarm
    best: Survival


def survival(durations: ArrayLike, broken: ArrayLike, *, level: float = 0.95) -> Survival:
    """Kaplan-Meier curve of independent replicas, with a band that knows how many were still watched.

    The band is the beta product of Fay, Brittain and Proschan, Biostatistics 14, 723 (2013). As long as all replicas
    are watched it is the exact binomial interval of Clopper and Pearson; where n are left and none broke, it goes down
    to that of n. Greenwood's formula would have no width there, and keep its width however few are left.

    Args:
        durations: (S,) how long each was watched.
        broken: (S,) true where it broke then; otherwise the watch ended first, for a reason that is independent of
            breaking, such as the end of the run. Stopped by an alarm is no such reason: see `competing_risks`.
        level: of the band, at each time for itself.

    Raises:
        ValueError: no replicas, lengths differ, durations that are negative or not finite.
    """
    watched, events = _checked(durations, broken=broken)
    times, at_risk, broke = _counts(watched, events)
    low, high = _beta_product(at_risk, broke, left=(watched > times[:, None]).sum(axis=1), level=level)
    return Survival(
        times=times,
        fraction=np.cumprod(1 - broke / at_risk, dtype=np.float64),
        low=low,
        high=high,
        replicas=len(watched),
    )


def competing_risks(
    durations: ArrayLike, broken: ArrayLike, alarmed: ArrayLike, *, level: float = 0.95
) -> CompetingRisks:
    """What can be said of replicas some of which an alarm stopped: who broke, who was stopped, and bounds of survival.

    From `simulate(..., stop_above=...)`: durations, `ended("broken", "not finite")` and `ended("uncertain")`.

    Args:
        durations: (S,) how long each was watched.
        broken: (S,) true where it broke then, before any alarm.
        alarmed: (S,) true where an alarm stopped it. Neither of the two: the run was over.
        level: of the bands of `worst` and `best`.

    Raises:
        ValueError: as `survival`, and where a replica is both broken and alarmed.
    """
    watched, breaks, stops = _checked(durations, broken=broken, alarmed=alarmed)
    if (breaks & stops).any():
        raise ValueError(
            f"broken, alarmed: {int((breaks & stops).sum())} replicas are both, expected the first of the two events"
        )
    worst = survival(watched, breaks | stops, level=level)
    before = np.concatenate([[1.0], worst.fraction[:-1]])
    broke, alarm = (
        np.cumsum(before * count / at_risk) for _, at_risk, count in (_counts(watched, breaks), _counts(watched, stops))
    )
    best = survival(np.where(stops, watched.max(), watched), breaks, level=level)
    return CompetingRisks(times=worst.times, broke=broke, alarm=alarm, worst=worst, best=best)


def survival_over_seeds(
    runs: Sequence[tuple[ArrayLike, ArrayLike]], *, seed: int, level: float = 0.95, resamples: int = 10_000
) -> Survival:
    """Mean of the curves of several training seeds, with a band that allows for seeds that were not tried.

    Replicas of one network share its faults; to say something of the *method*, networks are what must be counted.
    Seeds are drawn at random weights, together with one more that nobody has seen: it breaks at once for the lower end
    of the band and never for the upper. With seeds that last or break as a whole this is the binomial interval of
    Clopper and Pearson with as many trials as there are seeds; three that all hold leave 29 to 100 %.

    Args:
        runs: for each seed the (durations, broken) of its replicas, as in `survival`. Where one was watched for a
            shorter time than others, and had whole replicas then, the curve ends there.
        seed: of the weights.
        level: of the band, at each time for itself.
        resamples: how many draws.

    Raises:
        ValueError: fewer than two seeds, or what `survival` refuses.

    Source: N. Gaffke, Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative
    variable, Math. Methods Stat. 14, 451 (2005); for bounded variables, E. Learned-Miller and P. S. Thomas,
    arXiv:1905.06208. That it holds the mean often enough is found in all simulations, and not proven.
    """
    if len(runs) < 2:
        raise ValueError(f"runs: got {len(runs)}, expected at least two training seeds; for one of them use `survival`")
    curves = [survival(durations, broken) for durations, broken in runs]
    times = np.unique(np.concatenate([curve.times for curve in curves]))
    times = times[times <= min(curve.times[-1] if curve.fraction[-1] > 0 else np.inf for curve in curves)]
    fractions = np.stack([curve.at(times) for curve in curves])
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(curves) + 1), size=resamples)
    means = weights[:, 1:] @ fractions
    low, high = (
        np.quantile(means, (1 - level) / 2, axis=0),
        np.quantile(means + weights[:, :1], (1 + level) / 2, axis=0),
    )
    total = sum(curve.replicas for curve in curves)
    return Survival(times=times, fraction=fractions.mean(axis=0), low=low, high=np.minimum(high, 1.0), replicas=total)


def _counts(durations: Array, events: NDArray[np.bool_]) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """The times (T,) from 0 at which a watch ended, how many were watched until then, and to how many it happened."""
    times = np.unique(np.append(durations, 0.0))
    at_risk = (durations >= times[:, None]).sum(axis=1)
    return times, at_risk, ((durations == times[:, None]) & events).sum(axis=1)


def _beta_product(
    at_risk: NDArray[np.int64], broke: NDArray[np.int64], *, left: NDArray[np.int64], level: float
) -> tuple[Array, Array]:
    """Both ends (T,) of the band. Each number is the count at a time, `left` of those watched beyond it.

    When d of n break, the true survival shrinks by a factor that is distributed as beta(n - d + 1, d). Until the next
    of those left breaks, it has not shrunk further than by beta(left, 1). Products are taken as a beta with their mean
    and variance, which is exact as long as nobody leaves unbroken.
    """
    left = left.copy()
    left[-1] = at_risk[-1] - broke[-1]  # they are known to be whole at the last time, and it is the end of the curve
    whole = at_risk - broke
    mean = np.cumprod((whole + 1) / (at_risk + 1))
    square = np.cumprod((whole + 1) * (whole + 2) / ((at_risk + 1) * (at_risk + 2)))
    low = _beta_quantile((1 - level) / 2, mean * left / (left + 1), square * left / (left + 2))
    return low, _beta_quantile((1 + level) / 2, mean, square)


def _beta_quantile(share: float, mean: NDArray[np.floating], square: NDArray[np.floating]) -> Array:
    """Of beta distributions with this mean and mean square (T,); those at 0 or 1 have no width."""
    variance = square - mean**2
    wide = variance > 1e-14
    scale = (mean - square)[wide] / variance[wide]
    found = mean.astype(np.float64)
    found[wide] = beta.ppf(share, mean[wide] * scale, (1 - mean[wide]) * scale)
    return found


def _checked(durations: ArrayLike, **flags: ArrayLike) -> tuple[Any, ...]:
    times, events = np.asarray(durations, dtype=float), [np.asarray(flag, dtype=bool) for flag in flags.values()]
    if times.ndim != 1 or len(times) == 0 or any(flag.shape != times.shape for flag in events):
        shapes = ", ".join(str(part.shape) for part in (times, *events))
        raise ValueError(f"durations, {', '.join(flags)}: got shapes {shapes}, expected (S,) for each, S at least 1")
    if not np.isfinite(times).all() or times.min() < 0:
        raise ValueError("durations: got negative values or some that are not finite, expected times from the start")
    return times, *events
