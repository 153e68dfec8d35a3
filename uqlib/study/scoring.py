"""Scores of predictors, side by side: the questions of `uqlib.metrics` asked of several splits at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from uqlib import metrics
from uqlib.metrics import FULL_NAME, METRICS, Estimate
from uqlib.metrics.layout import as_text
from uqlib.prediction import Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset

SHOWN = ("MAE", "RMSE", "Spearman", "ROC-AUC", "miscalibration")
"""What is asked for unless something else is wanted. Names out of `metrics.METRICS`, short where there are such."""

TOO_SMALL = "* frames of one path or trajectory: the error bars take them as independent and are too small"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Metric -> value with its bootstrap error bar, or None where the metric has no value on these data.

    MAE and RMSE are in meV/atom, meV/Å and, of the stress, meV/Å³. ROC-AUC is for finding the worst tenth of the
    errors. The miscalibration area is None for uncertainties in nats, which are no standard deviations.
    """

    energy: Mapping[str, Estimate | None]
    force: Mapping[str, Estimate | None]
    grouped: bool  # whether trajectories were resampled as wholes; with a single one, its frames are
    stress: Mapping[str, Estimate | None] = field(default_factory=dict)  # of its six components; empty without labels

    def of(self) -> dict[str, tuple[str, Mapping[str, Estimate | None]]]:
        """Quantity -> its unit and its scores, of those for which there is a truth."""
        found = {
            "energy": ("meV/atom", self.energy),
            "force": ("meV/Å", self.force),
            "stress": ("meV/Å³", self.stress),
        }
        return {name: (unit, each) for name, (unit, each) in found.items() if any(v is not None for v in each.values())}


def score(
    prediction: Prediction,
    data: Dataset,
    *,
    resamples: int = 500,
    seed: int = 0,
    wanted: Collection[str] = SHOWN,
) -> Scores:
    """Hold a prediction for `data` against its labels: `metrics.report` has more to say.

    `wanted`: names out of `metrics.METRICS`, full or short; what is found is called as it was asked for. Error bars:
    bootstrap over groups of correlated frames (`Dataset.groups`), in which atoms stay with their frame; none with
    `resamples=0`.
    Where no structure has an energy, or none has forces, there is no value of theirs. The stress is scored where there
    are labels, in those structures that have one.
    Raises ValueError for unknown names, and where `data` has no labels, lacks some of one kind (`data.having("forces")`
    takes those that have), has fewer than two structures, or is not what was predicted.
    """
    atoms = sum(len(frame) for frame in data.atoms)
    if len(prediction.energy) != len(data) or len(prediction.forces) != atoms:
        raise ValueError(
            f"prediction: got {len(prediction.energy)} structures and {len(prediction.forces)} atoms, {data.name!r} "
            f"has {len(data)} and {atoms}; predict the same data set"
        )
    groups, grouped = groups_of(data)
    labelled = _labelled(data)
    found = metrics.quantities(prediction, labelled, groups=groups, stress=True)
    found = [q for q in found if q.name != "stress" or len(q.groups.unique()) > 1]  # of one cell there is no error bar
    values = {q.name: metrics.score(q, wanted, resamples=resamples, seed=seed).values for q in found}
    energy, force, stress = (
        {name: values.get(quantity, {}).get(full_name(name)) for name in wanted}
        for quantity in ("energy", "forces", "stress")
    )
    return Scores(energy=energy, force=force, stress=stress if "stress" in values else {}, grouped=grouped)


def full_name(name: str) -> str:
    """In `metrics.METRICS`, of a metric that may be called by its short name."""
    return FULL_NAME.get(name, name)


def groups_of(data: Dataset) -> tuple[torch.Tensor, bool]:
    """(S,) integers, equal for correlated frames; and whether they are. A single trajectory falls into its frames."""
    labels, group = np.unique(data.groups, return_inverse=True)
    return (torch.as_tensor(group), True) if len(labels) > 1 else (torch.arange(len(data)), False)


def _labelled(data: Dataset) -> Batch:
    """The data set in full precision, with the pairs of atoms in which symmetries show."""
    labels = {
        "energy": torch.as_tensor(data.energies) if data.known("energy").any() else None,
        "forces": torch.as_tensor(data.forces) if data.known("forces").any() else None,
    }
    return replace(Batch.from_atoms(data.atoms, dtype=torch.float64), **labels)


def table(scores: Mapping[str, Scores]) -> str:
    """Split -> scores, as lines of text: a row for each split and quantity, a column for each metric."""
    rows = [("split", "of", *heads())]
    for split, both in scores.items():
        for quantity, (unit, found) in both.of().items():
            rows.append((split if both.grouped else f"{split} *", quantity, *cells(found, f" {unit}")))
    lines = as_text(rows)
    return "\n".join(lines if all(both.grouped for both in scores.values()) else [*lines, TOO_SMALL])


def heads(unit: str = "") -> list[str]:
    """Names of what is shown, followed by `unit` where it is theirs."""
    return [f"{name}{unit}" if _has_unit(name) else name for name in SHOWN]


def cells(found: Mapping[str, Estimate | None], unit: str = "") -> list[str]:
    """The values that belong under `heads`, followed by `unit` where it is theirs."""
    return ["–" if found[m] is None else f"{found[m]}{unit if _has_unit(m) else ''}" for m in SHOWN]


def _has_unit(name: str) -> bool:
    return METRICS[full_name(name)].unit == "same"
