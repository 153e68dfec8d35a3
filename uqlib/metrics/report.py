"""`report`: everything that can be asked of a prediction and its uncertainties, as one table with error bars."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from . import gaussian, ranking
from .checks import UndefinedMetric
from .quantities import SYMBOLS, Labelled, Predicted, Quantity, quantities
from .suite import LARGE, METRICS, Scores, roc_name, score
from .table import Report

BINS = 10


def report(
    prediction: Predicted,
    batch: Labelled,
    *,
    groups: Tensor | None = None,
    calibration: tuple[Predicted, Labelled] | None = None,
    name: str = "",
    wanted: Collection[str] = tuple(METRICS),
    by_element: bool = True,
    resamples: int = 200,
    seed: int = 0,
) -> Report:
    """Hold a prediction against the labels of `batch`: energies per structure, forces per atom and element, and stress.

    Energies are divided by the number of atoms, and so is their uncertainty. Errors of forces are ranked per atom
    (`atom_force_error`); whatever assumes a Gaussian looks at each component (`force_components`). A score in nats
    gets the ranking metrics only, and the report says why. Each of the six components of a stress is a prediction;
    those structures count that have one and a label.

    Args:
        prediction: For example a `uqlib.prediction.Prediction`: S structures, N atoms.
        batch: The structures, with labels: energy, forces, or both.
        groups: (S,) integers; frames of one trajectory share one, since the bootstrap draws groups whole.
            Atoms always stay with their frame. None: every structure is a group of its own.
        calibration: Prediction and batch of a split neither trained on nor scored here; its one factor for energies
            and its one factor for forces make the calibrated NLL. None: that row is left out.
        name: Of what is scored, for the title.
        wanted: Names out of `metrics.METRICS`, full or short.
        by_element: Also score the forces on each element alone.
        resamples: Of each bootstrap.
        seed: Of the bootstrap.

    Returns:
        The table, and the curves behind it. Energies in meV/atom, forces in meV/Å, stress in meV/Å³ (0.16 GPa); NLL in
        nats of eV/atom, eV/Å and eV/Å³.

    Raises:
        ValueError: Labels missing or of another shape than the prediction, NaN, negative standard deviations, groups
            of the wrong shape, fewer than two groups, unknown metrics.
    """
    kept = [] if calibration is None else quantities(*calibration, stress=True)
    held_out = {quantity.name: quantity.parts for quantity in kept if quantity.uncertainty is not None}
    asked = quantities(prediction, batch, groups=groups, held_out=held_out, stress=True)
    columns = [score(quantity, wanted, resamples=resamples, seed=seed) for quantity in asked]
    curves = {q.name: _curves(q, column) for q, column in zip(asked, columns, strict=True)}
    present = [int(z) for z in torch.unique(batch.atomic_numbers)]
    forces = [quantity for quantity in asked if quantity.name == "forces"]
    if by_element and forces and len(present) > 1:
        for z in present:
            chosen = forces[0].of(batch.atomic_numbers == z, name=f"forces on {SYMBOLS[z]}")
            columns.append(score(chosen, wanted, resamples=resamples, seed=seed))
    return Report(
        title=f"{name or 'prediction'}: {len(prediction.energy)} structures, {len(prediction.forces)} atoms",
        columns=tuple(columns),
        notes=_notes(columns, len(prediction.energy) if groups is None else len(groups.unique()), resamples),
        curves=curves,
    )


def _notes(columns: Sequence[Scores], groups: int, resamples: int) -> tuple[str, ...]:
    """How to read the error bars, and why some numbers are missing."""
    notes = [f"±: standard error; {resamples} bootstrap resamples of {groups} groups of structures, drawn whole."]
    if "NLL" in columns[0].values:
        what = "energies in eV/atom and forces in eV/Å"
        if any(column.name == "stress" for column in columns):
            what = "energies in eV/atom, forces in eV/Å and stress in eV/Å³"
        notes.append(f"NLL: in nats, of {what}; another unit shifts it.")
    for reason in dict.fromkeys(reason for column in columns for reason in column.missing.values()):
        without = [column.name for column in columns if reason in column.missing.values()]
        names = [name for name in METRICS if any(column.missing.get(name) == reason for column in columns)]
        kinds = dict.fromkeys(METRICS[name].asks for name in names)
        what = ", ".join(names) if len(names) < 4 else f"numbers that judge {' and '.join(kinds)}"
        notes.append(f"No {what} for {', '.join(without)}: {reason}.")
    return tuple(notes)


def _curves(quantity: Quantity, column: Scores) -> dict[str, Tensor]:
    """What `plots.report_page` draws of one quantity, as far as it exists."""
    curves = {"predicted": quantity.predicted.reshape(-1), "reference": quantity.reference.reshape(-1)}
    if quantity.uncertainty is None:
        return curves
    curves |= {"error": quantity.error.abs(), "uncertainty": quantity.uncertainty}
    found = [(share, column.values[roc_name(share)]) for share in LARGE if roc_name(share) in column.values]
    if found:
        curves["detection_share"] = torch.tensor([share for share, _ in found])
        curves["detection"] = torch.tensor([[value.value, value.low, value.high] for _, value in found])
    try:
        curves["removed"], curves["remaining"], curves["remaining_ideal"] = ranking.sparsification_curve(
            quantity.error, quantity.uncertainty
        )
        if quantity.deviations:
            curves["expected"], curves["observed"] = gaussian.calibration_curve(*quantity.parts)
            bins = min(BINS, len(quantity.parts[0]))
            curves["bin_predicted"], curves["bin_found"] = gaussian.error_based_calibration(*quantity.parts, bins=bins)
    except UndefinedMetric:
        pass  # the notes of the report say why the number that belongs to the curve is missing
    return curves
