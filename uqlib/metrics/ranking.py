"""Does the uncertainty put the predictions in the right order? Spearman, ROC-AUC, sparsification.

Nothing here looks at the size of an uncertainty, only at its order: a score in any unit, of any sign, will do.
Errors may be given signed; their magnitude is what counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from .checks import UndefinedMetric, as_deviations, as_fraction, as_vectors
from .resampling import Estimate, interval


def spearman(error: Tensor, uncertainty: Tensor) -> Tensor:
    """Spearman rank correlation between the magnitude of the error and the uncertainty.

    1: the more uncertain prediction is always the worse one; 0: no relation. Even a perfect uncertainty stays well
    below 1, because it is the width of a distribution from which each error is a single draw: compare with
    `ideal_spearman`. Ties take the mean of their ranks.

    Args:
        error: (n,) errors, signed or not.
        uncertainty: (n,) any score that should grow with the error.

    Returns:
        Scalar between -1 and 1.

    Raises:
        ValueError: Lengths differ, empty, or not finite.
        UndefinedMetric: Error or uncertainty is the same for all predictions.

    Source: C. Spearman, Am. J. Psychol. 15, 72 (1904).
    """
    error, uncertainty = as_vectors(error=error, uncertainty=uncertainty)
    magnitude = error.abs()
    for name, values in (("error", magnitude), ("uncertainty", uncertainty)):
        if bool((values == values[0]).all()):
            raise UndefinedMetric(
                f"{name} is {float(values[0]):.3g} for all {len(values)} predictions, expected at least two different "
                "values: a rank correlation with a constant is undefined; score a larger or more varied set"
            )
    return _rank_correlation(average_ranks(magnitude), average_ranks(uncertainty))


CORRELATIONS = (0.5, 0.9, 1.0)  # of the errors in a group, which nobody knows: the interval holds for all of them


def ideal_spearman(
    uncertainty: Tensor,
    *,
    components: Literal[1, 3] = 1,
    groups: Tensor | None = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """The rank correlation that these uncertainties would reach if they were perfectly calibrated, by simulation.

    Errors are drawn from Gaussians of exactly the stated widths, and ranked. The narrower the range of the
    uncertainties, the lower the value; a measured correlation above `high` hints at errors that are not
    Gaussian, one below `low` at uncertainties that are wrong.

    Atoms of one structure are often wrong together. Then there are fewer independent errors than atoms, and a perfect
    model scatters more. With `groups` the interval spans those for errors in a group that have nothing in common, half,
    most or all.

    Args:
        uncertainty: (n,) standard deviations, not negative.
        components: 1 for energies and single components; 3 for errors made by `atom_force_error`, which
            average three components and are therefore easier to rank.
        groups: (n,) integers; what may be wrong together shares one, for example `batch.structure_of_atom`. None: all
            errors are independent, as those of energies are.
        draws: Simulated data sets, for each correlation.
        seed: Of the simulation.
        level: Share of the simulated values between `low` and `high`.

    Returns:
        Mean over the simulated data sets of independent errors; the standard error is the largest scatter about it.

    Raises:
        ValueError: Negative, empty or not finite uncertainties, or arguments out of range.
        UndefinedMetric: All uncertainties are equal.

    Source: the argument is that of M. H. Rasmussen, C. Duan, H. J. Kulik, J. H. Jensen, J. Cheminform. 15, 121 (2023).
    """
    (uncertainty,) = as_vectors(uncertainty=as_deviations("uncertainty", uncertainty, positive=False))
    if bool((uncertainty == uncertainty[0]).all()):
        raise UndefinedMetric(
            f"uncertainty is {float(uncertainty[0]):.3g} for all {len(uncertainty)} predictions, expected at least two "
            "different values: nothing can be ranked by a constant"
        )
    if components not in (1, 3) or draws < 2:
        raise ValueError(f"components is {components!r} and draws {draws!r}, expected 1 or 3 and at least 2")
    group = _distinct(groups, len(uncertainty))
    correlations = (0.0,) if group is None else (0.0, *CORRELATIONS)
    level, generator = as_fraction("level", level), torch.Generator().manual_seed(seed)
    found = [_simulated(uncertainty, components, group, shared, draws, generator) for shared in correlations]
    ends = [interval(simulated, level) for simulated in found]
    value = float(found[0].mean())
    spread = max(float(simulated.std()) for simulated in found)
    return Estimate(
        value=value,
        low=min(low for low, _ in ends),
        high=max(high for _, high in ends),
        standard_error=spread,
        level=level,
        resamples=draws,
    )


def _distinct(groups: Tensor | None, n: int) -> Tensor | None:
    """Number of the group of each of n predictions, from 0; None where each is a group of its own."""
    if groups is None:
        return None
    if groups.shape != (n,) or groups.is_floating_point():
        raise ValueError(
            f"groups has shape {tuple(groups.shape)} and dtype {groups.dtype}, expected ({n},) integers, the label of "
            "each prediction's group"
        )
    names, group = torch.unique(groups.cpu(), return_inverse=True)
    return None if len(names) == n else group


def _simulated(
    uncertainty: Tensor, components: int, group: Tensor | None, shared: float, draws: int, generator: torch.Generator
) -> Tensor:
    """(draws,) rank correlations of calibrated errors with a correlation `shared` inside the groups."""
    ranks = average_ranks(uncertainty)
    simulated = torch.empty(draws, dtype=torch.float64)
    for draw in range(draws):
        noise = torch.randn(components, len(uncertainty), generator=generator, dtype=torch.float64)
        if group is not None and shared:
            common = torch.randn(components, int(group.max()) + 1, generator=generator, dtype=torch.float64)
            noise = (1 - shared) ** 0.5 * noise + shared**0.5 * common[:, group]
        error = uncertainty * noise.to(uncertainty.device).square().mean(dim=0).sqrt()
        simulated[draw] = _rank_correlation(average_ranks(error), ranks)
    return simulated


def roc_auc(error: Tensor, uncertainty: Tensor, threshold: float) -> Tensor:
    """Area under the ROC curve for finding the predictions whose error exceeds `threshold`.

    It is the probability that a prediction with a large error has a larger uncertainty than one with a small error,
    ties counting one half (the Mann-Whitney statistic): 1 finds them all, 0.5 is guessing.

    Args:
        error: (n,) errors, signed or not.
        uncertainty: (n,) any score that should grow with the error.
        threshold: In the unit of the error. The value depends on it: see `roc_auc_sweep`.

    Returns:
        Scalar between 0 and 1.

    Raises:
        ValueError: Lengths differ, empty, or not finite.
        UndefinedMetric: No error, or every error, exceeds the threshold.

    Source: J. A. Hanley, B. J. McNeil, Radiology 143, 29 (1982).
    """
    error, uncertainty = as_vectors(error=error, uncertainty=uncertainty)
    large = error.abs() > threshold
    positives = int(large.sum())
    negatives = len(large) - positives
    if positives == 0 or negatives == 0:
        raise UndefinedMetric(
            f"threshold is {threshold:.3g} and {positives} of {len(large)} errors exceed it, expected some "
            f"above and some below; the errors run from {float(error.abs().min()):.3g} to "
            f"{float(error.abs().max()):.3g}"
        )
    rank_sum = average_ranks(uncertainty)[large].sum()
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def roc_auc_sweep(
    error: Tensor, uncertainty: Tensor, quantiles: Sequence[float] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
) -> tuple[Tensor, Tensor]:
    """ROC-AUC with "large error" meaning, in turn, the worst 50 %, 40 % ... 5 % of the predictions.

    Args:
        error: (n,) errors, signed or not.
        uncertainty: (n,) any score that should grow with the error.
        quantiles: Of the magnitude of the error, between 0 and 1, taken as thresholds.

    Returns:
        Thresholds (q,) in the unit of the error, and ROC-AUC (q,).

    Raises:
        ValueError, UndefinedMetric: As `roc_auc`.
    """
    error, uncertainty = as_vectors(error=error, uncertainty=uncertainty)
    levels = torch.tensor([as_fraction("quantiles", q) for q in quantiles], dtype=torch.float64, device=error.device)
    thresholds = torch.quantile(error.abs(), levels)
    return thresholds, torch.stack([roc_auc(error, uncertainty, float(threshold)) for threshold in thresholds])


def sparsification_curve(error: Tensor, uncertainty: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean absolute error of what is left when the most uncertain predictions are thrown away.

    Args:
        error: (n,) errors, signed or not.
        uncertainty: (n,) any score that should grow with the error.

    Returns:
        Share thrown away (n,), from 0 up to 1 - 1/n; remaining error (n,) by this uncertainty; remaining error (n,)
        by an oracle that knows the errors. Errors are divided by that of the whole set. Where uncertainties tie,
        the curve is the mean over all orders of the tied predictions.

    Raises:
        ValueError: Lengths differ, empty, or not finite.
        UndefinedMetric: Every error is zero.

    Source: E. Ilg et al., ECCV 2018 (arXiv:1802.07095).
    """
    error, uncertainty = as_vectors(error=error, uncertainty=uncertainty)
    magnitude = error.abs()
    if float(magnitude.max()) == 0.0:
        raise UndefinedMetric("error is zero for all predictions, expected some errors: there is nothing to throw away")
    ordered, order = uncertainty.sort()
    _, group, counts = torch.unique_consecutive(ordered, return_inverse=True, return_counts=True)
    tied_mean = torch.zeros_like(counts, dtype=torch.float64).index_add_(0, group, magnitude[order]) / counts
    kept = torch.arange(1, len(error) + 1, dtype=torch.float64, device=error.device)
    by_uncertainty = (tied_mean[group].cumsum(0) / kept).flip(0) / magnitude.mean()
    by_oracle = (magnitude.sort().values.cumsum(0) / kept).flip(0) / magnitude.mean()
    return 1.0 - kept.flip(0) / len(error), by_uncertainty, by_oracle


def ause(error: Tensor, uncertainty: Tensor) -> Tensor:
    """Area under the sparsification error: the gap between the two curves of `sparsification_curve`, averaged.

    0: as good as knowing the errors. Arguments and errors as for `sparsification_curve`.

    Returns:
        Scalar, not negative.
    """
    _, by_uncertainty, by_oracle = sparsification_curve(error, uncertainty)
    return (by_uncertainty - by_oracle).mean()


def _rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    first, second = first - first.mean(), second - second.mean()
    return (first * second).sum() / (first.square().sum() * second.square().sum()).sqrt()


def average_ranks(values: Tensor) -> Tensor:
    """Ranks from 1 to n of `values` (n,); tied values share the mean of their ranks, as in `scipy.stats.rankdata`."""
    ordered, order = values.sort()
    _, group, counts = torch.unique_consecutive(ordered, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).to(torch.float64)
    mean_rank = last - (counts.to(torch.float64) - 1.0) / 2.0
    return torch.empty_like(values, dtype=torch.float64).index_put_((order,), mean_rank[group])
