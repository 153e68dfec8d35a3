"""What one network without any uncertainty gets wrong, split by split: the baseline that the data chapters share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uqlib import metrics
from uqlib.metrics import Estimate
from uqlib.metrics.layout import as_text
from uqlib.networks.evaluation import evaluate
from uqlib.networks.painn import PaiNN
from uqlib.structures.datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class SplitErrors:
    """Errors of one network on one split. Estimates are None where there are too few structures for an error bar."""

    structures: int
    energy_error: Tensor  # (S,) eV/atom, signed
    atom_error: Tensor  # (N,) eV/Å, as `metrics.atom_force_error`
    structure_error: Tensor  # (S,) eV/Å, root mean square over the force components of a structure
    energy: Estimate | None  # mean absolute error, meV/atom
    force: Estimate | None  # mean absolute error of the force components, meV/Å
    force_size: float  # mean absolute force component of the labels, meV/Å: the error of predicting no force
    grouped: bool  # whether trajectories were resampled as wholes; with a single one, its frames are


def split_errors(
    model: PaiNN, data: Dataset, *, splits: Sequence[str] | None = None, batch_size: int = 20, seed: int = 0
) -> dict[str, SplitErrors]:
    """Errors of `model` on each split of `data` (or on those named), with error bars by bootstrap.

    Groups of correlated frames are resampled as wholes, atoms stay with their structure. Raises KeyError for splits
    that the data set does not have, ValueError where labels are missing.
    """
    return {
        name: _errors_on(model, data[name], batch_size, seed) for name in (data.splits if splits is None else splits)
    }


def origins(data: Dataset) -> list[str]:
    """Split and source of each structure in a few words, such as "hot, md-600K"; for those in no split the source."""
    split_of = {index: name for name, indices in data.splits.items() for index in indices}
    words = [(split_of.get(index), frame.info.get("source")) for index, frame in enumerate(data.atoms)]
    return [", ".join(dict.fromkeys(str(word) for word in pair if word is not None)) for pair in words]


def intervals(errors: Mapping[str, SplitErrors]) -> dict[str, tuple[float, float, float]]:
    """Force error of each split that has an error bar: value, lower and upper end of its interval, meV/Å."""
    return {name: (e.force.value, e.force.low, e.force.high) for name, e in errors.items() if e.force is not None}


def table(errors: Mapping[str, SplitErrors]) -> str:
    """Split -> mean absolute errors, as lines of text for a page 76 characters wide.

    The last column holds the force error relative to the mean size of a force component.
    """
    rows: list[tuple[str, ...]] = [("split", "frames", "energy (meV/atom)", "force (meV/Å)", "relative")]
    for name, found in errors.items():
        mae = 1000 * float(found.atom_error.mean()) if found.force is None else found.force.value
        rows.append(
            (
                name if found.grouped else f"{name} *",
                str(found.structures),
                *("–" if estimate is None else str(estimate) for estimate in (found.energy, found.force)),
                f"{100 * mae / found.force_size:.0f} %",
            )
        )
    lines = as_text(rows)
    if not all(found.grouped for found in errors.values()):
        lines.append("* one scan or trajectory: frames taken as independent, error bars too small")
    return "\n".join(lines)


def _errors_on(model: PaiNN, data: Dataset, batch_size: int, seed: int) -> SplitErrors:
    energies, forces = _predict(model, data, batch_size)
    sizes = torch.tensor([len(frame) for frame in data.atoms])
    labels, group = np.unique(data.groups, return_inverse=True)
    grouped = len(labels) > 1
    groups = torch.as_tensor(group) if grouped else torch.arange(len(data))
    truth = torch.as_tensor(data.forces)
    energy_error = (energies - torch.as_tensor(data.energies)) / sizes
    structure = torch.arange(len(data)).repeat_interleave(sizes)
    atom_error = metrics.atom_force_error(forces, truth)
    return SplitErrors(
        structures=len(data),
        energy_error=energy_error,
        atom_error=atom_error,
        structure_error=_mean_within(atom_error.square(), structure, sizes).sqrt(),
        energy=_estimate(metrics.mae, 1000 * energy_error, torch.zeros_like(energy_error), groups=groups, seed=seed),
        force=_estimate(metrics.mae, 1000 * forces, 1000 * truth, groups=groups[structure], seed=seed),
        force_size=1000 * float(truth.abs().mean()),
        grouped=grouped,
    )


def _predict(model: PaiNN, data: Dataset, batch_size: int) -> tuple[Tensor, Tensor]:
    """Energies (S,) in eV and forces (N, 3) in eV/Å, in float64."""
    dtype = model.embedding.dtype
    parts = [
        evaluate(model, data.batch(chosen, cutoff=model.cutoff, dtype=dtype))
        for chosen in torch.arange(len(data)).split(batch_size)
    ]
    return torch.cat([part.energy.double() for part in parts]), torch.cat([part.forces.double() for part in parts])


def _mean_within(values: Tensor, structure: Tensor, sizes: Tensor) -> Tensor:
    return torch.zeros(len(sizes), dtype=values.dtype).index_add(0, structure, values) / sizes


def _estimate(metric: Callable[..., Tensor], *tensors: Tensor, groups: Tensor, seed: int) -> Estimate | None:
    if len(torch.unique(groups)) < 2:
        return None
    return metrics.bootstrap(metric, *tensors, groups=groups, resamples=500, seed=seed)
