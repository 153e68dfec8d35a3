"""Energies, forces and stress, their references and uncertainties, in the form in which the metrics want them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from . import accuracy
from .checks import as_deviations, as_finite
from .symmetry import Geometry, allowed_directions

_ELEMENTS = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr "
    "Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt "
    "Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv "
    "Ts Og"
)
SYMBOLS = _ELEMENTS.split()
"""Of the elements, by atomic number."""

SYMMETRIC = 1e-6  # of the largest uncertainty: less is round-off of a component of the stress that symmetry makes zero


class Predicted(Protocol):
    """What `report` reads of a `uqlib.Prediction`."""

    @property
    def energy(self) -> Tensor: ...  # (S,) eV
    @property
    def forces(self) -> Tensor: ...  # (N, 3) eV/Å
    @property
    def force_uncertainty(self) -> Tensor: ...  # (N,)
    @property
    def energy_uncertainty(self) -> Tensor | None: ...  # (S,)
    @property
    def unit(self) -> str: ...  # "eV/Å" or "nats"


class Labelled(Protocol):
    """What `report` reads of a `uqlib.Batch`."""

    @property
    def atomic_numbers(self) -> Tensor: ...  # (N,)
    @property
    def structure_of_atom(self) -> Tensor: ...  # (N,)
    @property
    def energy(self) -> Tensor | None: ...  # (S,) eV
    @property
    def forces(self) -> Tensor | None: ...  # (N, 3) eV/Å


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """Predictions of one kind, their references and uncertainties, in eV per atom, eV/Å or eV/Å³."""

    name: str
    unit: str  # "eV/atom", "eV/Å" or "eV/Å³"
    predicted: Tensor  # (n,) or (n, 3)
    reference: Tensor  # the same shape
    uncertainty: Tensor | None  # (n,)
    deviations: bool  # whether the uncertainty is a standard deviation, not only a ranking
    groups: Tensor  # (n,) integers: what is correlated shares one
    calibration: tuple[Tensor, Tensor] | None = None  # (m,), (m,) signed errors and deviations of a held-out split
    directions: Tensor | None = None  # (n, 3, 3) in which forces are allowed by symmetry; None: in all
    exact: Tensor | None = None  # (n,) whether symmetry leaves no error, as an uncertainty of next to nothing tells

    @property
    def components(self) -> Literal[1, 3]:
        return 3 if self.predicted.dim() == 2 else 1

    @property
    def error(self) -> Tensor:
        """(n,) one error for each uncertainty, for ranking."""
        if self.components == 3:
            return accuracy.atom_force_error(self.predicted, self.reference)
        return as_finite("prediction", self.predicted) - as_finite("reference", self.reference)

    @property
    def parts(self) -> tuple[Tensor, Tensor]:
        """(n,), (n,) or (3 n,), (3 n,): signed errors and their standard deviations, for Gaussians.

        Of forces fewer than 3 n where symmetry makes some components zero, which are left out.
        """
        assert self.uncertainty is not None
        if self.components == 3:
            return accuracy.force_components(
                self.predicted, self.reference, self.uncertainty, directions=self.directions
            )
        error, std = self.error, as_deviations(f"{self.name}_uncertainty", self.uncertainty, positive=False)
        return (error, std) if self.exact is None else (error[~self.exact], std[~self.exact])

    @property
    def part_groups(self) -> Tensor:
        """The group of each of the `parts`."""
        if self.exact is not None:
            return self.groups[~self.exact]
        if self.directions is None:
            return self.groups.repeat_interleave(self.components)
        return self.groups.repeat_interleave(self.directions.any(dim=2).sum(dim=1).to(self.groups.device))

    def of(self, chosen: Tensor, *, name: str) -> Quantity:
        """The chosen predictions (n,) alone. The calibration split stays whole: its one factor holds for all."""
        uncertainty = None if self.uncertainty is None else self.uncertainty[chosen]
        return replace(
            self,
            name=name,
            predicted=self.predicted[chosen],
            reference=self.reference[chosen],
            uncertainty=uncertainty,
            groups=self.groups[chosen],
            directions=None if self.directions is None else self.directions[chosen],
            exact=None if self.exact is None else self.exact[chosen],
        )


def quantities(
    prediction: Predicted,
    batch: Labelled,
    *,
    groups: Tensor | None = None,
    held_out: Mapping[str, tuple[Tensor, Tensor]] | None = None,
    stress: bool = False,
) -> list[Quantity]:
    """Energies per atom and forces of a prediction, as far as `batch` has labels for them, and stress if asked for.

    Args:
        prediction: S structures, N atoms.
        batch: The same, with labels. Where it has pairs of atoms, too, as a `uqlib.Batch` does, components of forces
            that symmetry makes zero are left out of the scores that judge the size of an uncertainty.
        groups: (S,) integers; structures that share one are resampled together. None: each stands alone.
        held_out: Name of the quantity -> signed errors and standard deviations of a calibration split.
        stress: Also the six components of the stress, each a prediction of its own, of those structures that have one
            predicted and a label: unlike energies and forces, most structures have none.

    Raises:
        ValueError: No labels, or shapes that do not fit.
    """
    for label, shape in (("energy", prediction.energy.shape), ("forces", prediction.forces.shape)):
        reference = getattr(batch, label)
        if reference is not None and reference.shape != shape:
            raise ValueError(
                f"batch: its {label} has shape {tuple(reference.shape)}, the prediction {tuple(shape)}; "
                "predict these very structures"
            )
        if reference is not None and bool((missing := reference.isnan().reshape(len(reference), -1).any(1)).any()):
            rows = missing.nonzero()[:, 0]
            of = torch.unique(rows if label == "energy" else batch.structure_of_atom[rows])
            raise ValueError(
                f"batch: {len(of)} of {len(prediction.energy)} structures have no {label} (the first is {int(of[0])}); "
                f"score those that have: data.having({label!r})"
            )
    cells = stress_quantity(prediction, batch, groups=groups) if stress else None
    if batch.energy is None and batch.forces is None and cells is None:
        raise ValueError("batch: it has no labels, expected energy, forces or both; scores compare with a reference")
    groups = _groups(groups, len(prediction.energy))
    held_out = held_out or {}
    is_deviation = prediction.unit != "nats"
    found: list[Quantity] = []
    if batch.energy is not None:
        per_atom = 1.0 / torch.bincount(batch.structure_of_atom, minlength=len(prediction.energy)).double()
        said = prediction.energy_uncertainty
        scale = per_atom if is_deviation else 1.0
        found.append(
            Quantity(
                name="energy",
                unit="eV/atom",
                predicted=prediction.energy.detach().double() * per_atom,
                reference=batch.energy.double() * per_atom,
                uncertainty=None if said is None else said.detach().double() * scale,
                deviations=is_deviation,
                groups=groups,
                calibration=held_out.get("energy"),
            )
        )
    if batch.forces is not None:
        found.append(
            Quantity(
                name="forces",
                unit="eV/Å",
                predicted=prediction.forces.detach().double(),
                reference=batch.forces.double(),
                uncertainty=prediction.force_uncertainty.detach().double(),
                deviations=is_deviation,
                groups=groups[batch.structure_of_atom],
                calibration=held_out.get("forces"),
                directions=_directions(batch, prediction.forces, batch.forces),
            )
        )
    return found if cells is None else [*found, replace(cells, calibration=held_out.get("stress"))]


def voigt(stress: Tensor) -> Tensor:
    """(S, 3, 3) to (S, 6) in ASE's order: xx, yy, zz, yz, xz, xy."""
    return stress.flatten(1)[:, [0, 4, 8, 5, 2, 1]]


def stress_quantity(prediction: Predicted, batch: Labelled, *, groups: Tensor | None = None) -> Quantity | None:
    """The six components of the stress, of the structures that have one predicted and a label; None without any.

    Arguments as `quantities`, of which it is a part.
    """
    predicted, label = getattr(prediction, "stress", None), getattr(batch, "stress", None)
    if predicted is None or label is None:
        return None
    predicted, label = voigt(predicted.detach().double()), voigt(label.double())
    there = (predicted - label).isfinite().all(1)
    if not bool(there.any()):
        return None
    said = getattr(prediction, "stress_uncertainty", None)
    spread = None if said is None else voigt(said.detach().double())[there].flatten()
    exact = None if spread is None else spread <= SYMMETRIC * spread.max()
    return Quantity(
        name="stress",
        unit="eV/Å³",
        predicted=predicted[there].flatten(),
        reference=label[there].flatten(),
        uncertainty=spread,
        deviations=True,
        groups=_groups(groups, len(prediction.energy)).to(there.device)[there].repeat_interleave(6),
        exact=exact if exact is not None and bool(exact.any()) and not bool(exact.all()) else None,
    )


def _directions(batch: Labelled, predicted: Tensor, reference: Tensor) -> Tensor | None:
    """(N, 3, 3), or None where there is no geometry, or no symmetry in it."""
    if not isinstance(batch, Geometry):
        return None
    directions = allowed_directions(batch, predicted, reference)
    return None if bool(directions.any(dim=2).all()) else directions


def _groups(groups: Tensor | None, structures: int) -> Tensor:
    if groups is None:
        return torch.arange(structures)
    if groups.shape != (structures,) or groups.is_floating_point():
        raise ValueError(
            f"groups: got shape {tuple(groups.shape)} and dtype {groups.dtype}, expected ({structures},) integers, one "
            "a structure (not one an atom)"
        )
    return groups
