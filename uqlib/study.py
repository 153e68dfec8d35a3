"""Scores of predictors, side by side: every question of `uqlib.metrics` asked of energies and of forces at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uqlib import metrics
from uqlib.datasets import Dataset
from uqlib.metrics import Estimate, UndefinedMetric
from uqlib.prediction import Prediction

WORST = 0.9  # an error is called large, for ROC-AUC, when it is beyond this quantile of the errors
METRICS = ("MAE", "RMSE", "Spearman", "ROC-AUC", "miscalibration")


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Metric -> value with its bootstrap error bar, or None where the metric has no value on these data.

    MAE and RMSE are in meV/atom and meV/Å. ROC-AUC is for finding the worst tenth of the errors. The miscalibration
    area is None for uncertainties in nats, which are no standard deviations.
    """

    energy: Mapping[str, Estimate | None]
    force: Mapping[str, Estimate | None]
    grouped: bool  # whether trajectories were resampled as wholes; with a single one, its frames are


def score(prediction: Prediction, data: Dataset, *, resamples: int = 500, seed: int = 0) -> Scores:
    """Hold a prediction for `data` against its labels.

    Error bars: bootstrap over groups of correlated frames (`Dataset.groups`), in which atoms stay with their frame.
    Raises ValueError where `data` has no labels, fewer than two structures, or is not what was predicted.
    """
    sizes = torch.tensor([len(frame) for frame in data.atoms])
    if len(prediction.energy) != len(data) or len(prediction.forces) != int(sizes.sum()):
        raise ValueError(
            f"prediction: got {len(prediction.energy)} structures and {len(prediction.forces)} atoms, {data.name!r} "
            f"has {len(data)} and {int(sizes.sum())}; predict the same data set"
        )
    labels, group = np.unique(data.groups, return_inverse=True)
    grouped = len(labels) > 1
    group_of_structure = torch.as_tensor(group) if grouped else torch.arange(len(data))
    options = {"resamples": resamples, "seed": seed}
    return Scores(
        energy=_score_energies(prediction, data, sizes, group_of_structure, options),
        force=_score_forces(prediction, data, group_of_structure.repeat_interleave(sizes), options),
        grouped=grouped,
    )


def table(scores: Mapping[str, Scores]) -> str:
    """Split -> scores, as lines of text: a row for each split and quantity, a column for each metric."""
    rows: list[tuple[str, ...]] = [("split", "of", "MAE", "RMSE", "Spearman", "ROC-AUC", "miscal. area")]
    for split, both in scores.items():
        for quantity, unit, found in (("energy", " meV/atom", both.energy), ("force", " meV/Å", both.force)):
            units = (unit, unit, "", "", "")
            cells = ["–" if found[m] is None else f"{found[m]}{u}" for m, u in zip(METRICS, units, strict=True)]
            rows.append((split if both.grouped else f"{split} *", quantity, *cells))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    if any(not both.grouped for both in scores.values()):
        lines.append("* frames of one path or trajectory: the error bars take them as independent and are too small")
    return "\n".join(lines)


def _score_energies(
    prediction: Prediction, data: Dataset, sizes: Tensor, groups: Tensor, options: dict[str, int]
) -> dict[str, Estimate | None]:
    per_atom = 1000.0 / sizes
    predicted, reference = prediction.energy * per_atom, torch.as_tensor(data.energies) * per_atom
    uncertainty = prediction.energy_uncertainty
    scores = _accuracy(predicted, reference, groups, options)
    if uncertainty is None:
        return scores | dict.fromkeys(METRICS[2:])
    error, spread = predicted - reference, uncertainty * per_atom
    scores |= _ranking(error, spread, groups, options)
    deviations = (error, spread) if prediction.unit == "eV/Å" else None
    return scores | _calibration(deviations, groups, options)


def _score_forces(
    prediction: Prediction, data: Dataset, groups: Tensor, options: dict[str, int]
) -> dict[str, Estimate | None]:
    predicted, reference = 1000.0 * prediction.forces.double(), 1000.0 * torch.as_tensor(data.forces)
    spread = 1000.0 * prediction.force_uncertainty.double()
    scores = _accuracy(predicted, reference, groups, options)
    scores |= _ranking(metrics.atom_force_error(predicted, reference), spread, groups, options)
    deviations = metrics.force_components(predicted, reference, spread) if prediction.unit == "eV/Å" else None
    return scores | _calibration(deviations, groups.repeat_interleave(3), options)


def _accuracy(predicted: Tensor, reference: Tensor, groups: Tensor, options: dict[str, int]):
    return {
        "MAE": _estimate(metrics.mae, predicted, reference, groups=groups, **options),
        "RMSE": _estimate(metrics.rmse, predicted, reference, groups=groups, **options),
    }


def _ranking(error: Tensor, spread: Tensor, groups: Tensor, options: dict[str, int]):
    threshold = float(torch.quantile(error.abs().double(), WORST))

    def roc_auc(e: Tensor, u: Tensor) -> Tensor:
        return metrics.roc_auc(e, u, threshold)

    return {
        "Spearman": _estimate(metrics.spearman, error, spread, groups=groups, **options),
        "ROC-AUC": _estimate(roc_auc, error, spread, groups=groups, **options),
    }


def _calibration(deviations: Sequence[Tensor] | None, groups: Tensor, options: dict[str, int]):
    if deviations is None:
        return {"miscalibration": None}
    return {"miscalibration": _estimate(metrics.miscalibration_area, *deviations, groups=groups, **options)}


def _estimate(metric: Callable[..., Tensor], *tensors: Tensor, groups: Tensor, **options: int) -> Estimate | None:
    try:
        return metrics.bootstrap(metric, *tensors, groups=groups, **options)
    except UndefinedMetric:
        return None
