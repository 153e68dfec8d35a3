"""Maps from an uncertainty to a standard deviation. None ever puts a larger uncertainty below a smaller one.

Each is fitted to signed errors (n,) and uncertainties (n,) by a class method, holds plain numbers, and is applied to a
tensor of any shape, differentiably. Errors are assumed Gaussian with mean zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

LARGEST = 1e6  # eV or eV/Å; keeps exp() of a score from far outside finite
FLOOR = 0.03  # of the root mean square error: the smallest standard deviation that an isotonic fit may claim

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scalar:
    """sigma = factor · u. Maximum likelihood: the factor is the root mean square of error over uncertainty.

    Source: D. Levi et al., Sensors 22, 5540 (2022), scaling of standard deviations.
    """

    factor: float

    @classmethod
    def fit(cls, error: Tensor, uncertainty: Tensor) -> Scalar:
        """Uncertainties are positive, in the unit of the errors."""
        return cls(factor=float((error / uncertainty).square().mean().sqrt()))

    def __call__(self, uncertainty: Tensor) -> Tensor:
        return self.factor * uncertainty

    def __str__(self) -> str:
        return f"σ = {self.factor:.3g} u"


@dataclass(frozen=True, kw_only=True)
class Affine:
    """sigma² = slope · u² + offset, by maximum likelihood; both are positive.

    The offset stands for errors that the uncertainty does not see, such as those all members of an ensemble share.
    """

    slope: float
    offset: float  # eV² or (eV/Å)²

    @classmethod
    def fit(cls, error: Tensor, uncertainty: Tensor) -> Affine:
        """Uncertainties are not negative, in the unit of the errors, and not all zero."""
        e2, u2 = _array(error) ** 2, _array(uncertainty) ** 2
        error_unit, spread_unit = e2.mean(), u2.mean()  # both terms are then of order one
        e2, u2 = e2 / error_unit, u2 / spread_unit

        def loss(logs: Array) -> tuple[float, Array]:
            slope, offset = np.exp(logs)
            variance = slope * u2 + offset
            pull = 0.5 * (1.0 / variance - e2 / variance**2)
            gradient = np.array([(pull * u2).mean() * slope, pull.mean() * offset])
            return float(0.5 * (np.log(variance) + e2 / variance).mean()), gradient

        starts = [np.log([a, 1.0 - a]) for a in (0.99, 0.5, 0.01)]  # the loss may have more than one minimum
        slope, offset = np.exp(_minimum(loss, starts, bounds=[(-20.0, 10.0), (-20.0, 10.0)]))
        return cls(slope=float(slope * error_unit / spread_unit), offset=float(offset * error_unit))

    def __call__(self, uncertainty: Tensor) -> Tensor:
        return (self.slope * uncertainty.square() + self.offset).sqrt()

    def __str__(self) -> str:
        return f"σ² = {self.slope:.3g} u² + ({math.sqrt(self.offset):.3g})²"


@dataclass(frozen=True, kw_only=True)
class LogAffine:
    """log sigma = slope · u + offset, by maximum likelihood, for scores in nats, which may be negative.

    The slope is positive; a slope of almost zero says that the score knows nothing of the errors. Far outside the
    calibration data sigma grows without measure, up to `LARGEST`, where it stays: an exponential takes no advice.
    """

    slope: float  # 1 / nats
    offset: float  # log of eV or eV/Å

    @classmethod
    def fit(cls, error: Tensor, uncertainty: Tensor) -> LogAffine:
        """Uncertainties are any numbers, not all equal."""
        e2, u = _array(error) ** 2, _array(uncertainty)
        error_unit, center, width = e2.mean(), u.mean(), u.std()
        e2, v = e2 / error_unit, (u - center) / width

        def loss(line: Array) -> tuple[float, Array]:
            exponent = line[0] * v + line[1]
            surprise = e2 * np.exp(-2.0 * exponent)
            gradient = np.array([(v * (1.0 - surprise)).mean(), (1.0 - surprise).mean()])
            return float((exponent + 0.5 * surprise).mean()), gradient

        slope, offset = _minimum(loss, [np.array([0.1, 0.0])], bounds=[(1e-6, 20.0), (-20.0, 20.0)])  # it is convex
        slope = slope / width
        return cls(slope=float(slope), offset=float(offset + 0.5 * np.log(error_unit) - slope * center))

    def __call__(self, uncertainty: Tensor) -> Tensor:
        return (self.slope * uncertainty + self.offset).clamp_max(math.log(LARGEST)).exp()

    def __str__(self) -> str:
        return f"log σ = {self.slope:.3g} u {'+' if self.offset >= 0 else '-'} {abs(self.offset):.3g}"


@dataclass(frozen=True, kw_only=True)
class Isotonic:
    """sigma² is the non-decreasing function of u that comes closest to the squared errors, linear between its knots.

    It has steps on which different uncertainties become one, and where the gradient is zero. Below the first knot it
    is constant. Beyond the last there are no data: standard deviations go on in proportion, sigma = sigma_last ·
    u / u_last, so that the far away still ranks as far away; for scores in nats, where no proportion is known, it
    stays constant.

    Source: V. Kuleshov, N. Fenner, S. Ermon, ICML 2018 (arXiv:1807.00263), on squared errors as D. Levi et al.,
    Sensors 22, 5540 (2022) look at them; the fit is `sklearn.isotonic.IsotonicRegression`.
    """

    knots: tuple[float, ...]  # u, in increasing order
    variances: tuple[float, ...]  # eV² or (eV/Å)²
    proportional: bool  # how to go on beyond the last knot

    @classmethod
    def fit(cls, error: Tensor, uncertainty: Tensor, *, proportional: bool, floor: float = FLOOR) -> Isotonic:
        """`floor` in units of the root mean square error keeps the smallest sigma positive."""
        e2 = _array(error) ** 2
        from sklearn.isotonic import IsotonicRegression  # large: not for each worker

        regression = IsotonicRegression(increasing=True, y_min=float(floor**2 * e2.mean()), out_of_bounds="clip")
        regression.fit(_array(uncertainty), e2)
        knots, variances = regression.X_thresholds_.tolist(), regression.y_thresholds_.tolist()
        return cls(knots=tuple(knots), variances=tuple(variances), proportional=proportional)

    def __call__(self, uncertainty: Tensor) -> Tensor:
        u = uncertainty.double()  # neighbouring knots may coincide in float32
        knots, variances = u.new_tensor(self.knots), u.new_tensor(self.variances)
        last = len(knots) - 1
        right = torch.searchsorted(knots, u.detach().contiguous()).clamp(min(1, last), last)
        left = (right - 1).clamp_min(0)
        width = (knots[right] - knots[left]).clamp_min(torch.finfo(u.dtype).tiny)
        share = ((u - knots[left]) / width).clamp(0.0, 1.0)
        sigma = (variances[left] + share * (variances[right] - variances[left])).sqrt()
        if self.proportional and self.knots[-1] > 0:
            sigma = sigma * (u / knots[-1]).clamp_min(1.0)
        return sigma.to(uncertainty.dtype)

    def __str__(self) -> str:
        low, high = (math.sqrt(variance) for variance in (self.variances[0], self.variances[-1]))
        return f"σ from {low:.3g} to {high:.3g} over {len(self.knots)} knots"


def _array(tensor: Tensor) -> Array:
    return tensor.detach().double().cpu().numpy()


def _minimum(
    loss: Callable[[Array], tuple[float, Array]], starts: list[Array], *, bounds: list[tuple[float, float]]
) -> Array:
    """Where the loss, returned with its gradient, is lowest, as found from the best of several starts."""
    options = {"ftol": 1e-14, "gtol": 1e-10, "maxiter": 1000}
    found = [
        optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options) for start in starts
    ]
    return min(found, key=lambda result: result.fun).x
