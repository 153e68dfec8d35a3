"""Split conformal prediction: intervals that hold a stated share of new errors, whatever their distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Conformal:
    """The interval ± quantile · u holds a new error with a probability of at least `level`, on average.

    That is a theorem for finite samples and any distribution of errors, on one condition: the new structure must be
    exchangeable with the calibration structures. It speaks of the average over structures, not of each one, and of
    no level but this. As a standard deviation the map gives quantile · u / z, with z the half width of the Gaussian
    interval of the same level: `coverage(..., level)` then measures the guarantee.
    """

    quantile: float  # of |error| / u
    level: float
    groups: int  # independent ones in the calibration data

    @classmethod
    def fit(cls, error: Tensor, uncertainty: Tensor, groups: Tensor, *, level: float) -> Conformal:
        """The (1 - alpha) quantile with the correction for finite samples, over whole groups.

        One error per group: the ceil((n + 1) level)-th smallest of the n ratios |error| / u. Errors that share a group
        (atoms of a molecule, frames of a trajectory) are not n independent draws: each of K groups gets the
        weight 1 / (K + 1), shared among its members, and the rest of the weight lies at infinity.

        Args:
            error: (n,) signed errors.
            uncertainty: (n,) positive standard deviations in the unit of the errors.
            groups: (n,) integers.
            level: Share of new errors that the interval is to hold, between 0 and 1.

        Raises:
            ValueError: Too few groups for this level; the message says how many are needed.

        Source: H. Papadopoulos et al., ECML 2002; J. Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018), section 5.2
        (ratios); groups: Y. Lee, R. F. Barber, R. Willett, arXiv:2306.06342.
        """
        _, group, counts = torch.unique(groups, return_inverse=True, return_counts=True)
        needed = needed_groups(level)
        if len(counts) < needed:
            raise ValueError(
                f"data: got {len(counts)} independent groups of structures, a level of {level:g} needs at least "
                f"{needed}: with fewer the interval would be infinite; use more calibration data or a lower level"
            )
        ratio, order = (error.double().abs() / uncertainty.double()).sort()
        weight = 1.0 / ((len(counts) + 1) * counts[group[order]].double())
        # A share that is reached exactly must not be missed by the last digit of a sum.
        position = int((weight.cumsum(0) < level - 1e-9).sum())
        return cls(quantile=float(ratio[position]), level=level, groups=len(counts))

    def __call__(self, uncertainty: Tensor) -> Tensor:
        return self.half_width(uncertainty) / gaussian_half_width(self.level)

    def half_width(self, uncertainty: Tensor) -> Tensor:
        """Of the interval of this level, in the unit of the uncertainty."""
        return self.quantile * uncertainty

    def __str__(self) -> str:
        return f"± {self.quantile:.3g} u holds {100 * self.level:g} %"


def needed_groups(level: float) -> int:
    """Fewest groups for which the interval is finite: n with ceil((n + 1) level) <= n."""
    return math.ceil(level / (1.0 - level) - 1e-9)


def gaussian_half_width(level: float) -> float:
    """Half width of the central interval of a standard normal that holds a share `level`."""
    return math.sqrt(2.0) * float(torch.erfinv(torch.tensor(level, dtype=torch.float64)))
