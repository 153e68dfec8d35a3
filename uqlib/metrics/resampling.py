"""Error bars on the metrics themselves, by bootstrap over predictions or over groups of them.

A correlation of 0.6 from fifty structures may be anything from 0.4 to 0.8. No metric in the book stands without its
error bar, and where predictions are correlated (atoms of one structure, frames of one trajectory, components of
one force) whole groups are resampled: otherwise the error bar comes out too small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .checks import UndefinedMetric, as_finite, as_fraction

ROUND_OFF = 1e-12  # of a value; an error bar below it says that nothing varies


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and how far it can be trusted.

    `str(estimate)` gives "0.88 ± 0.02", rounded to what the standard error supports; `f"{estimate:.3f}"` gives both
    numbers in that format.
    """

    value: float
    low: float  # end of the interval that holds a share `level` of the resampled values
    high: float
    standard_error: float
    level: float
    resamples: int  # resamples in which the metric was defined

    def __str__(self) -> str:
        if self.standard_error <= ROUND_OFF * abs(self.value):  # each resample gave the same
            return f"{self.value:.4g} ± 0"
        if not self.standard_error < math.inf:
            return f"{self.value:.4g} ± {self.standard_error:.1g}"
        exponent = math.floor(math.log10(self.standard_error))
        # Two digits of an error bar that starts with 1 (0.014), one of any other (0.03).
        digits = 1 if self.standard_error < 1.95 * 10.0**exponent else 0
        scale = math.floor(math.log10(max(abs(self.value), self.standard_error)))
        if -6 < scale < 6:
            decimals = digits - exponent
            value, error = round(self.value, decimals), round(self.standard_error, decimals)
            return f"{value:.{max(decimals, 0)}f} ± {error:.{max(decimals, 0)}f}"
        decimals = max(scale - exponent + digits, 0)
        value, error = self.value / 10.0**scale, self.standard_error / 10.0**scale
        return f"({value:.{decimals}f} ± {error:.{decimals}f})e{scale:+03d}"

    def __format__(self, spec: str) -> str:
        return str(self) if not spec else f"{format(self.value, spec)} ± {format(self.standard_error, spec)}"

    def __repr__(self) -> str:
        return (
            f"Estimate({self}; {100 * self.level:g} % interval {self.low:.4g} to {self.high:.4g}, "
            f"{self.resamples} resamples)"
        )


def bootstrap(
    metric: Callable[..., Tensor],
    *tensors: Tensor,
    groups: Tensor | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """The value of `metric(*tensors)` with its sampling error.

    Predictions are drawn with replacement, as many as there are, and scored again, `resamples` times. The standard
    error is the standard deviation of these scores, the interval runs between their percentiles. A score
    that cannot be negative and is almost zero (miscalibration area, ENCE) is biased upwards by resampling: there the
    interval may lie above the value, and means "not distinguishable from zero".

    Args:
        metric: Any function of the tensors that returns one number. To fix an option, wrap it:
            `bootstrap(lambda e, u: roc_auc(e, u, threshold=0.1), error, uncertainty)`.
        tensors: Each (n,) or (n, ...); resampled together along the first dimension.
        groups: (n,) integer label of the group of each prediction, for example `batch.structure_of_atom`. Whole groups
            are then drawn. None: every prediction is independent of the others.
        resamples: At least 2. Errors of the error bar itself are about 1 / sqrt(2 resamples). Or 0 for the value alone,
            where error bars come from elsewhere (training seeds, say): the ends of the interval are then nan.
        seed: Of the resampling; the same seed gives the same error bar.
        level: Share of the resampled values between `low` and `high`.

    Returns:
        The value on the data as they are, with the error bar.

    Raises:
        ValueError: Lengths differ, not finite, fewer than two predictions or groups, arguments out of range.
        UndefinedMetric: The metric has no value on the data, or on more than a tenth of the resamples (a threshold that
            only a few errors exceed).

    Source: B. Efron, Ann. Stat. 7, 1 (1979); groups: A. C. Davison, D. V. Hinkley, Bootstrap Methods and their
    Application (1997), section 3.8.
    """
    if resamples < 2 and resamples != 0:
        raise ValueError(
            f"resamples is {resamples}, expected at least 2, or 0 for no error bar; about 1000 give a steady interval"
        )
    level = as_fraction("level", level)
    members, starts, sizes = _group_members(_common_length(tensors), groups)
    value = float(metric(*tensors))
    if resamples == 0:
        return Estimate(value=value, low=math.nan, high=math.nan, standard_error=math.nan, level=level, resamples=0)
    generator = torch.Generator().manual_seed(seed)
    scores: list[float] = []
    for _ in range(resamples):
        chosen = _draw(members, starts, sizes, generator).to(tensors[0].device)
        try:
            scores.append(float(metric(*(tensor[chosen] for tensor in tensors))))
        except UndefinedMetric:
            continue  # counted below
    if len(scores) < 0.9 * resamples:
        raise UndefinedMetric(
            f"the metric had no value in {resamples - len(scores)} of {resamples} resamples, expected a tenth at most; "
            "choose a less extreme threshold or score more data"
        )
    resampled = torch.tensor(scores, dtype=torch.float64)
    low, high = interval(resampled, level)
    error = float(resampled.std())
    return Estimate(value=value, low=low, high=high, standard_error=error, level=level, resamples=len(scores))


def interval(values: Tensor, level: float) -> tuple[float, float]:
    """Ends of the central interval that holds a share `level` of the values (n,)."""
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(values.to(torch.float64).cpu(), ends).tolist()
    return low, high


def _common_length(tensors: tuple[Tensor, ...]) -> int:
    if not tensors:
        raise ValueError("tensors is empty, expected at least one tensor to resample after the metric")
    for position, tensor in enumerate(tensors):
        as_finite(f"tensors[{position}]", tensor)
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if any(not shape for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(f"tensors have shapes {shapes}, expected the same first dimension, one row per prediction")
    return shapes[0][0]


def _group_members(n: int, groups: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Rows sorted by group (n,), where each group starts among them (g,) and its size (g,)."""
    if groups is None:
        members, sizes = torch.arange(n), torch.ones(n, dtype=torch.int64)
    else:
        if groups.shape != (n,) or groups.is_floating_point():
            raise ValueError(
                f"groups has shape {tuple(groups.shape)} and dtype {groups.dtype}, expected ({n},) integers, the label "
                "of each prediction's group; three force components per atom need repeat_interleave(3)"
            )
        members = groups.cpu().argsort(stable=True)
        sizes = torch.unique(groups.cpu(), return_counts=True)[1]
    if len(sizes) < 2:
        unit = "predictions" if groups is None else "groups"
        raise ValueError(f"{len(sizes)} {unit} arrived, expected at least 2: one alone says nothing about the scatter")
    return members, sizes.cumsum(0) - sizes, sizes


def _draw(members: Tensor, starts: Tensor, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Row indices of as many groups as there are, drawn with replacement."""
    drawn = torch.randint(len(sizes), (len(sizes),), generator=generator)
    if len(members) == len(sizes):  # every group is one prediction
        return members[drawn]
    length = sizes[drawn]
    # Position 0, 1, 2 ... in the drawn list, minus where its group begins there, plus where it begins in `members`.
    shift = starts[drawn] - (length.cumsum(0) - length)
    return members[torch.arange(int(length.sum())) + shift.repeat_interleave(length)]
