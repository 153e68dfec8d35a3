"""`calibrate`: fit maps for the forces and the energies of one predictor, together a `Calibrator`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from uqlib.calibration.conformal import Conformal
from uqlib.calibration.maps import Affine, Isotonic, LogAffine, Scalar
from uqlib.metrics import UndefinedMetric, allowed_directions
from uqlib.metrics.checks import as_deviations, as_fraction, as_vectors
from uqlib.prediction import Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset

Kind = Literal["scalar", "affine", "isotonic", "conformal"]
Unit = Literal["eV/Å", "nats"]
Map = Scalar | Affine | LogAffine | Isotonic | Conformal
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The maps that `calibrate` fits, by name."""
MAPS = {kind.__name__: kind for kind in (Scalar, Affine, LogAffine, Isotonic, Conformal)}
ALL = 0  # stands for all elements where atomic numbers stand


class Structures(Protocol):
    """What a `Calibrator` reads of a `Batch`."""

    @property
    def atomic_numbers(self) -> Tensor: ...  # (N,)
    @property
    def structure_of_atom(self) -> Tensor: ...  # (N,)


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """Maps from the uncertainties of one predictor to standard deviations; made by `calibrate`."""

    kind: Kind
    unit: Unit  # of the uncertainties that it takes
    forces: Mapping[int, Map]  # atomic number -> map of eV/Å; `ALL` for all elements together
    energy: Map | None  # of eV/atom; None where the predictor has no uncertainty of the energy
    level: float | None  # of conformal intervals, the only one they speak of
    data: str  # what it was fitted to
    structures: int
    groups: int  # of correlated structures

    def __call__(self, prediction: Prediction, structures: Structures) -> Prediction:
        """The same energies and forces with recalibrated uncertainties, in eV and eV/Å, differentiable.

        Raises ValueError for uncertainties in another unit, and for an element without a map.
        """
        if prediction.unit != self.unit:
            raise ValueError(
                f"prediction: its uncertainty is in {prediction.unit!r}, this calibrator was fitted to {self.unit!r}; "
                "calibrate the predictor at hand"
            )
        energy = prediction.energy_uncertainty
        if energy is not None and self.energy is not None:
            atoms = torch.bincount(structures.structure_of_atom, minlength=len(energy)).to(energy)
            energy = atoms * self.energy(energy / atoms if self.unit == "eV/Å" else energy)
        else:
            energy = None
        numbers = structures.atomic_numbers.to(prediction.force_uncertainty.device)
        forces = self._forces(prediction.force_uncertainty, numbers)
        # The two parts of an uncertainty are not told apart by errors, which are their sum.
        return replace(
            prediction,
            force_uncertainty=forces,
            energy_uncertainty=energy,
            unit="eV/Å",
            force_parts=None,
            energy_parts=None,
        )

    def _forces(self, uncertainty: Tensor, numbers: Tensor) -> Tensor:
        if ALL in self.forces:
            return self.forces[ALL](uncertainty)
        if unknown := sorted(set(numbers.tolist()) - set(self.forces)):
            raise ValueError(
                f"atomic_numbers: got {unknown}, this calibrator has maps for {sorted(self.forces)}; calibrate "
                "with per_element=False or on data that hold these elements"
            )
        sigma = torch.zeros_like(uncertainty)
        for number, element in self.forces.items():
            sigma = torch.where(numbers == number, element(uncertainty), sigma)
        return sigma

    def __str__(self) -> str:
        lines = [f"{self.kind}, fitted to {self.data}: {self.structures} structures in {self.groups} groups"]
        for number, found in self.forces.items():
            lines.append(f"  forces{'' if number == ALL else f' on Z = {number}'} (eV/Å): {found}")
        return "\n".join([*lines, *([] if self.energy is None else [f"  energy (eV/atom): {self.energy}"])])


def calibrate(
    kind: Kind, prediction: Prediction, data: Dataset, *, per_element: bool = False, level: float | None = None
) -> Calibrator:
    """Fit maps for forces and, where the predictor has an uncertainty of them, for energies.

    Each force component counts as one error with the uncertainty of its atom, unless symmetry makes it zero. Energies
    and their uncertainties are divided by the number of atoms, so that structures of different size share one map.

    Args:
        kind: "scalar" sigma = a u; "affine" sigma² = a u² + b, or log sigma = a u + b for scores in nats; "isotonic"
            any non-decreasing function; "conformal" intervals ± q u with a guarantee, at one level.
        prediction: What the predictor says of `data`: `predict(predictor, data)`.
        data: Labelled structures, neither trained on nor scored afterwards. Its groups of correlated frames count as
            one draw each for "conformal".
        per_element: A map of the forces for each element, instead of one for all.
        level: Of "conformal", between 0 and 1; default 0.9.

    Raises:
        ValueError: Unknown kind; a level without "conformal"; predictions of other data; scores in nats with "scalar"
            or "conformal"; too few groups; errors that are all zero; a score that is the same everywhere.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}, expected one of {KINDS}")
    if level is not None and kind != "conformal":
        raise ValueError(f"level: got {level} with kind {kind!r}; only 'conformal' intervals have a level")
    if prediction.unit == "nats" and kind in ("scalar", "conformal"):
        raise ValueError(
            f"kind: got {kind!r} for a score in nats, which has no size to be multiplied; use 'affine' or 'isotonic', "
            "and 'conformal' over the result, on other held-out data"
        )
    level = as_fraction("level", 0.9 if level is None else level) if kind == "conformal" else None
    sizes = np.array([len(frame) for frame in data.atoms])
    if len(prediction.energy) != len(data) or len(prediction.forces) != sizes.sum():
        raise ValueError(
            f"prediction: got {len(prediction.energy)} structures and {len(prediction.forces)} atoms, {data.name!r} "
            f"has {len(data)} and {sizes.sum()}; predict the same data set"
        )
    atoms = torch.as_tensor(sizes)
    groups = torch.as_tensor(np.unique(data.groups, return_inverse=True)[1])
    fit = _Fit(kind=kind, unit=prediction.unit, level=level)
    numbers = torch.as_tensor(np.concatenate([frame.numbers for frame in data.atoms]))
    return Calibrator(
        kind=kind,
        unit=prediction.unit,
        forces=_fit_forces(
            fit, prediction, data, numbers, groups.repeat_interleave(torch.as_tensor(sizes)), per_element
        ),
        energy=_fit_energy(fit, prediction, data, atoms, groups),
        level=level,
        data=data.name,
        structures=len(data),
        groups=int(groups.max()) + 1,
    )


def _fit_forces(
    fit: _Fit, prediction: Prediction, data: Dataset, numbers: Tensor, groups: Tensor, per_element: bool
) -> dict[int, Map]:
    said, label = prediction.forces.detach().cpu().double(), torch.as_tensor(data.forces)
    directions = allowed_directions(Batch.from_atoms(data.atoms, dtype=torch.float64), said, label)
    error = (directions @ (said - label)[:, :, None])[:, :, 0]
    there = directions.any(dim=2)  # errors that symmetry makes zero would teach that uncertainties are too large
    uncertainty = prediction.force_uncertainty.detach().cpu()
    maps = {}
    for number in data.elements if per_element else (ALL,):
        chosen = there & ((numbers == number) | (number == ALL))[:, None]
        if not bool(chosen.any()):
            raise UndefinedMetric(f"data: symmetry makes every force on Z = {number} zero, expected some errors")
        spread, group = (values[:, None].expand_as(chosen)[chosen] for values in (uncertainty, groups))
        maps[number] = fit(error[chosen], spread, group, name="force_uncertainty")
    return maps


def _fit_energy(fit: _Fit, prediction: Prediction, data: Dataset, sizes: Tensor, groups: Tensor) -> Map | None:
    if prediction.energy_uncertainty is None:
        return None
    error = (prediction.energy.detach().cpu().double() - torch.as_tensor(data.energies)) / sizes
    spread = prediction.energy_uncertainty.detach().cpu().double()
    return fit(error, spread / sizes if fit.unit == "eV/Å" else spread, groups, name="energy_uncertainty")


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """One kind of map, to be fitted to forces and to energies."""

    kind: Kind
    unit: Unit
    level: float | None

    def __call__(self, error: Tensor, uncertainty: Tensor, groups: Tensor, *, name: str) -> Map:
        error, uncertainty = as_vectors(**{"error": error, name: uncertainty})
        if not bool(error.any()):
            raise ValueError("data: every error is zero, expected held-out errors; was the predictor trained on them?")
        if self.unit == "eV/Å":
            uncertainty = as_deviations(name, uncertainty, positive=self.kind in ("scalar", "conformal"))
        if self.kind in ("affine", "isotonic") and bool((uncertainty == uncertainty[0]).all()):
            raise UndefinedMetric(
                f"{name} is {float(uncertainty[0]):.3g} everywhere, expected different values: nothing can be learned "
                "about how errors grow with it"
            )
        if self.kind == "scalar":
            return Scalar.fit(error, uncertainty)
        if self.kind == "affine":
            return (Affine if self.unit == "eV/Å" else LogAffine).fit(error, uncertainty)
        if self.kind == "isotonic":
            return Isotonic.fit(error, uncertainty, proportional=self.unit == "eV/Å")
        assert self.level is not None
        return Conformal.fit(error, uncertainty, groups, level=self.level)
