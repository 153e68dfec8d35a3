"""Is the error bar the right size? Metrics that read the uncertainty as the standard deviation of a Gaussian.

Each takes signed errors (n,) and standard deviations (n,) in the unit of the errors. For forces, make both with
`force_components`. A score that only ranks must be calibrated before any of these can be asked.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .checks import as_deviations, as_fraction, as_vectors


def calibration_curve(error: Tensor, std: Tensor, points: int = 100) -> tuple[Tensor, Tensor]:
    """Share of the errors that fall into the central interval that should hold a share p of them, for p from 0 to 1.

    Below the diagonal: error bars too small (overconfident). Above it: too large.

    Args:
        error: (n,) signed errors.
        std: (n,) standard deviations, same unit, not negative.
        points: Values of p, evenly spaced from 0 to 1.

    Returns:
        Expected shares (points,) and observed shares (points,).

    Raises:
        ValueError: Lengths differ, empty, not finite, negative standard deviations, fewer than two points.

    Source: V. Kuleshov, N. Fenner, S. Ermon, ICML 2018 (arXiv:1807.00263), with central intervals.
    """
    error, std = _errors_and_deviations(error, std, positive=False)
    if points < 2:
        raise ValueError(f"points is {points}, expected at least 2 to draw a curve")
    # An error of zero lies inside every interval, also one of width zero, where 0/0 would be NaN.
    in_units_of_std = torch.where(error == 0, 0.0, error.abs() / std)
    expected = torch.linspace(0.0, 1.0, points, dtype=torch.float64, device=error.device)
    half_width = math.sqrt(2.0) * torch.erfinv(expected)
    inside = torch.searchsorted(in_units_of_std.sort().values, half_width, right=True)
    return expected, inside.to(torch.float64) / len(error)


def miscalibration_area(error: Tensor, std: Tensor, points: int = 100) -> Tensor:
    """Area between `calibration_curve` and the diagonal: 0 is perfectly calibrated, 0.5 the worst possible.

    It cannot tell whether large error bars belong to large errors: one constant, well chosen, scores near 0.
    Arguments and errors as for `calibration_curve`.

    Returns:
        Scalar between 0 and 0.5.

    Source: K. Tran et al., Mach. Learn.: Sci. Technol. 1, 025006 (2020).
    """
    expected, observed = calibration_curve(error, std, points)
    gap = observed - expected
    left, right = gap[:-1], gap[1:]
    size = left.abs() + right.abs()
    # Between two points the gap is a straight line; where it crosses zero, two triangles stand for the trapezium.
    crossing = (left.square() + right.square()) / size.clamp_min(torch.finfo(torch.float64).tiny)
    return torch.where(left * right < 0, crossing, size).sum() / (2 * (points - 1))


def coverage(error: Tensor, std: Tensor, level: float = 0.95) -> Tensor:
    """Share of the errors inside the central interval that should hold a share `level`; ideal: `level` itself.

    Args:
        error: (n,) signed errors.
        std: (n,) standard deviations, same unit, not negative.
        level: Between 0 and 1.

    Returns:
        Scalar between 0 and 1.

    Raises:
        ValueError: Lengths differ, empty, not finite, negative standard deviations, level out of range.
    """
    error, std = _errors_and_deviations(error, std, positive=False)
    return (error.abs() <= _half_width(level) * std).to(torch.float64).mean()


def sharpness(std: Tensor) -> Tensor:
    """Root mean square of the standard deviations (n,): how small the error bars are, right or wrong. Same unit.

    Raises:
        ValueError: Empty, not finite, not (n,), or negative.
    """
    (std,) = as_vectors(std=as_deviations("std", std, positive=False))
    return std.square().mean().sqrt()


def nll(error: Tensor, std: Tensor) -> Tensor:
    """Mean negative log likelihood of the errors under Gaussians of the stated widths.

    Args:
        error: (n,) signed errors.
        std: (n,) standard deviations, same unit, positive.

    Returns:
        Scalar in nats; lower is better, negative values are possible. A change of unit shifts it.

    Raises:
        ValueError: Lengths differ, empty, not finite, or standard deviations that are not positive.
    """
    error, std = _errors_and_deviations(error, std, positive=True)
    return (0.5 * (error / std).square() + std.log()).mean() + 0.5 * math.log(2 * math.pi)


def calibrated_nll(error: Tensor, std: Tensor, calibration_error: Tensor, calibration_std: Tensor) -> Tensor:
    """`nll` after the standard deviations were all multiplied by the one factor that suits a calibration split best.

    That factor is the root mean square of error over standard deviation on the calibration split, the maximum of
    the likelihood. What remains is how well the uncertainties tell the predictions apart. The calibration split
    must be neither trained on nor the one scored here.

    Args:
        error: (n,) signed errors of the scored split.
        std: (n,) its standard deviations, positive.
        calibration_error: (m,) signed errors of the calibration split.
        calibration_std: (m,) its standard deviations, positive.

    Returns:
        Scalar in nats.

    Raises:
        ValueError: As `nll`, for either split; or every calibration error is zero.
    """
    names = ("calibration_error", "calibration_std")
    held_out, width = _errors_and_deviations(calibration_error, calibration_std, positive=True, names=names)
    factor = (held_out / width).square().mean().sqrt()
    if float(factor) == 0.0:
        raise ValueError("calibration_error is zero everywhere, expected held-out errors; was the split trained on?")
    return nll(error, factor * std)


def crps(error: Tensor, std: Tensor) -> Tensor:
    """Continuous ranked probability score of Gaussians: the mean absolute error, generalised to distributions.

    Arguments and errors as for `nll`.

    Returns:
        Scalar in the unit of the error; lower is better. Outliers weigh less than in the NLL.

    Source: T. Gneiting, A. E. Raftery, J. Am. Stat. Assoc. 102, 359 (2007), section 4.2, sign changed.
    """
    error, std = _errors_and_deviations(error, std, positive=True)
    z = error / std
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return (std * (z * torch.erf(z / math.sqrt(2.0)) + 2 * density - 1 / math.sqrt(math.pi))).mean()


def interval_score(error: Tensor, std: Tensor, level: float = 0.95) -> Tensor:
    """Mean width of the central intervals of the given level, plus a fine for each error that falls outside.

    Args:
        error: (n,) signed errors.
        std: (n,) standard deviations, same unit, not negative.
        level: Between 0 and 1. The fine is 2 / (1 - level) times the distance to the interval.

    Returns:
        Scalar in the unit of the error; lower is better.

    Raises:
        ValueError: Lengths differ, empty, not finite, negative standard deviations, level out of range.

    Source: T. Gneiting, A. E. Raftery, J. Am. Stat. Assoc. 102, 359 (2007), eq. 43.
    """
    error, std = _errors_and_deviations(error, std, positive=False)
    half_width = _half_width(level) * std
    outside = (error.abs() - half_width).clamp_min(0.0)
    return (2 * half_width + 2 / (1 - level) * outside).mean()


def error_based_calibration(error: Tensor, std: Tensor, bins: int = 10) -> tuple[Tensor, Tensor]:
    """Predicted against found error, in bins of equal count from the smallest to the largest standard deviation.

    Args:
        error: (n,) signed errors.
        std: (n,) standard deviations, same unit, positive.
        bins: At most n.

    Returns:
        Root mean square of the standard deviations (bins,) and of the errors (bins,); ideally equal.

    Raises:
        ValueError: As `nll`; or bins out of range.

    Source: D. Levi et al., Sensors 22, 5540 (2022).
    """
    error, std = _errors_and_deviations(error, std, positive=True)
    if not 1 <= bins <= len(error):
        raise ValueError(f"bins is {bins} for {len(error)} predictions, expected between 1 and {len(error)}")
    order = std.argsort(stable=True)
    pairs = torch.stack((std[order], error[order])).square().tensor_split(bins, dim=1)
    predicted, found = torch.stack([part.mean(dim=1) for part in pairs], dim=1).sqrt()
    return predicted, found


def ence(error: Tensor, std: Tensor, bins: int = 10) -> Tensor:
    """Expected normalised calibration error: mean over bins of |predicted - found| / predicted error. Ideal: 0.

    Unlike the miscalibration area it asks for the right size separately among small and among large uncertainties.
    It is biased upwards when bins hold few points. Arguments, errors and source as for `error_based_calibration`.

    Returns:
        Scalar, not negative.
    """
    predicted, found = error_based_calibration(error, std, bins)
    return ((predicted - found).abs() / predicted).mean()


def _errors_and_deviations(
    error: Tensor, std: Tensor, *, positive: bool, names: tuple[str, str] = ("error", "std")
) -> tuple[Tensor, Tensor]:
    error, std = as_vectors(**{names[0]: error, names[1]: std})
    return error, as_deviations(names[1], std, positive=positive)


def _half_width(level: float) -> float:
    """Half width, in standard deviations, of the central interval of a Gaussian that holds a share `level`."""
    return math.sqrt(2.0) * float(torch.erfinv(torch.tensor(as_fraction("level", level), dtype=torch.float64)))
