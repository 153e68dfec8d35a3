"""The full set of questions, asked of one quantity: energies, or the forces on all atoms or on those of one element.

`METRICS` is the list: adding a metric there adds a row to every report. Some names are long; each metric may be called
by its short name as well, wherever one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from . import accuracy, gaussian, ranking
from .checks import UndefinedMetric
from .quantities import Quantity
from .resampling import Estimate, bootstrap

LARGE = (0.5, 0.4, 0.3, 0.2, 0.1, 0.05)  # "a large error" is one of the worst half, ... one of the worst twentieth
WORST = 0.1  # which of these a short "ROC-AUC" means
DRAWS = 200  # simulated data sets behind "if calibrated"
SMALLER_UNIT = 1000.0  # eV -> meV


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One row of a report. `of` returns the function to be resampled, with all it must keep fixed."""

    asks: Literal["accuracy", "order", "size"]
    of: Callable[[Quantity], Callable[..., Tensor]]
    short: str = ""  # name at the head of a narrow column, where its own is too long for that
    unit: Literal["same", "nats", ""] = ""  # same: that of the quantity, in thousandths
    ideal: str = "0"
    simulated: bool = False  # what the uncertainties promise; the errors are not looked at

    @property
    def needs_deviations(self) -> bool:
        return self.asks == "size" or self.simulated


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What `score` found, by full names. A metric without a value is in `missing`, with the reason."""

    name: str
    unit: str  # of values whose metric has the unit of the quantity: "meV/atom" or "meV/Å"
    predictions: int
    values: Mapping[str, Estimate]
    missing: Mapping[str, str] = field(default_factory=dict)


def _detection(quantity: Quantity, share: float) -> Callable[..., Tensor]:
    threshold = float(torch.quantile(quantity.error.abs(), 1.0 - share))  # the same one in every resample
    return partial(ranking.roc_auc, threshold=threshold)


def _calibrated_nll(quantity: Quantity) -> Callable[..., Tensor]:
    if quantity.calibration is None:
        raise UndefinedMetric("it needs a split of its own: pass calibration=(prediction, batch) of held-out data")
    error, std = quantity.calibration
    return partial(gaussian.calibrated_nll, calibration_error=error, calibration_std=std)


def roc_name(share: float) -> str:
    """Name of the metric that finds the worst `share` of the errors."""
    return f"ROC-AUC, worst {100 * share:g} %"


CALIBRATED_RANK = "Spearman if calibrated"
NEXT_ROW = "next row"  # the ideal of a row that is computed in another: `CALIBRATED_RANK`

METRICS: Mapping[str, Metric] = {
    "MAE": Metric(asks="accuracy", of=lambda _: accuracy.mae, unit="same"),
    "RMSE": Metric(asks="accuracy", of=lambda _: accuracy.rmse, unit="same"),
    "Spearman": Metric(asks="order", of=lambda _: ranking.spearman, ideal=NEXT_ROW),
    CALIBRATED_RANK: Metric(asks="order", of=lambda _: ranking.spearman, ideal="", simulated=True),
    **{
        roc_name(s): Metric(
            asks="order", of=partial(_detection, share=s), short="ROC-AUC" if s == WORST else "", ideal="1"
        )
        for s in LARGE
    },
    "AUSE": Metric(asks="order", of=lambda _: ranking.ause),
    "miscalibration area": Metric(asks="size", of=lambda _: gaussian.miscalibration_area, short="miscalibration"),
    "ENCE": Metric(asks="size", of=lambda _: gaussian.ence),
    "coverage of 68 %": Metric(asks="size", of=lambda _: partial(gaussian.coverage, level=0.68), ideal="0.68"),
    "coverage of 95 %": Metric(
        asks="size", of=lambda _: partial(gaussian.coverage, level=0.95), short="coverage", ideal="0.95"
    ),
    "sharpness": Metric(asks="size", of=lambda _: lambda _, std: gaussian.sharpness(std), unit="same", ideal="RMSE"),
    "NLL": Metric(asks="size", of=lambda _: gaussian.nll, unit="nats", ideal="low"),
    "calibrated NLL": Metric(asks="size", of=_calibrated_nll, unit="nats", ideal="low"),
    "CRPS": Metric(asks="size", of=lambda _: gaussian.crps, unit="same", ideal="low"),
    "interval score, 95 %": Metric(asks="size", of=lambda _: gaussian.interval_score, unit="same", ideal="low"),
}
"""By name, in the order of the report: is it accurate, is it in the right order, is it of the right size?"""

FULL_NAME: Mapping[str, str] = {metric.short: name for name, metric in METRICS.items() if metric.short}
"""Short name -> name in `METRICS`."""

ONLY_A_RANKING = (
    "the uncertainty is a score in nats, which ranks and has no size; make it a standard deviation on held-out data "
    "first: uqlib.calibration.calibrate('affine' or 'isotonic', prediction, data)"
)


def score(quantity: Quantity, wanted: Collection[str] = tuple(METRICS), *, resamples: int, seed: int) -> Scores:
    """The wanted metrics of one quantity, each with the error bar of a bootstrap over its groups.

    Args:
        quantity: What to score.
        wanted: Names out of `METRICS`, full or short.
        resamples: Of each bootstrap.
        seed: Of each bootstrap, and of the simulation behind "if calibrated".

    Raises:
        ValueError: An unknown name, or what the metrics refuse: shapes, NaN, negative deviations, a single group.
    """
    if unknown := [name for name in wanted if name not in METRICS and name not in FULL_NAME]:
        raise ValueError(f"wanted: got {unknown}, expected names out of {list(METRICS)}")
    values: dict[str, Estimate] = {}
    missing: dict[str, str] = {}
    for name in (FULL_NAME.get(name, name) for name in wanted):
        metric = METRICS[name]
        if reason := _not_asked(quantity, metric):
            missing[name] = reason
            continue
        try:
            value = _estimate(quantity, metric, resamples, seed)
        except UndefinedMetric as error:
            missing[name] = str(error)
        else:
            values[name] = _scaled(value, SMALLER_UNIT) if metric.unit == "same" else value
    unit = f"m{quantity.unit}"
    return Scores(name=quantity.name, unit=unit, predictions=len(quantity.groups), values=values, missing=missing)


def _not_asked(quantity: Quantity, metric: Metric) -> str:
    if metric.asks != "accuracy" and quantity.uncertainty is None:
        return "the prediction has no uncertainty for it"
    return ONLY_A_RANKING if metric.needs_deviations and not quantity.deviations else ""


def _estimate(quantity: Quantity, metric: Metric, resamples: int, seed: int) -> Estimate:
    if metric.simulated:
        assert quantity.uncertainty is not None
        return ranking.ideal_spearman(
            quantity.uncertainty, components=quantity.components, groups=quantity.groups, draws=DRAWS, seed=seed
        )
    groups = quantity.groups
    if metric.asks == "accuracy":
        data = (quantity.predicted, quantity.reference)
    elif metric.asks == "order":
        assert quantity.uncertainty is not None
        data = (quantity.error, quantity.uncertainty)
    else:
        data = quantity.parts
        groups = quantity.part_groups
    return bootstrap(metric.of(quantity), *data, groups=groups, resamples=resamples, seed=seed)


def _scaled(value: Estimate, factor: float) -> Estimate:
    return replace(
        value,
        value=factor * value.value,
        low=factor * value.low,
        high=factor * value.high,
        standard_error=factor * value.standard_error,
    )
