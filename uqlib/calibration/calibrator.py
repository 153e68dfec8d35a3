"""`Calibrator`: maps for the forces, the energies and the stress of one predictor; `calibrate` makes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from uqlib.calibration.conformal import Conformal
from uqlib.calibration.maps import Affine, Isotonic, LogAffine, Scalar
from uqlib.prediction import Prediction

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
    stress: Map | None = None  # of eV/Å³; None where the predictor has no uncertainty of it, or the data no labels
    known: Mapping[str, int] | None = None  # label -> structures that have it, where not all have all that were fitted

    def __call__(self, prediction: Prediction, structures: Structures) -> Prediction:
        """The same energies, forces and stress with recalibrated uncertainties, in eV, eV/Å and eV/Å³, differentiable.

        An uncertainty that no label was there for is left out (None), as is that of an atom's energy, which has no
        labels anywhere.

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
        stress = prediction.stress_uncertainty
        numbers = structures.atomic_numbers.to(prediction.force_uncertainty.device)
        forces = self._forces(prediction.force_uncertainty, numbers)
        # The two parts of an uncertainty are not told apart by errors, which are their sum.
        return replace(
            prediction,
            force_uncertainty=forces,
            energy_uncertainty=energy,
            stress_uncertainty=None if stress is None or self.stress is None else self.stress(stress),
            atom_energy_uncertainty=None,
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
        of = {name: f", {count} structures" for name, count in (self.known or {}).items()}
        for number, found in self.forces.items():
            where = "" if number == ALL else f" on Z = {number}"
            lines.append(f"  forces{where} (eV/Å{of.get('forces', '')}): {found}")
        if self.energy is not None:
            lines.append(f"  energy (eV/atom{of.get('energy', '')}): {self.energy}")
        if self.stress is not None:
            lines.append(f"  stress (eV/Å³{of.get('stress', '')}): {self.stress}")
        return "\n".join(lines)
