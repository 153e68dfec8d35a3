"""Any `Predictor` as an ASE calculator, so that all of ASE runs on it and still hears how far to trust each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from uqlib.interfaces.neighbours import KeptNeighbours
from uqlib.prediction import Prediction, Predictor, placed
from uqlib.structures.batch import Batch

SAME_ENERGY = 1e-6  # eV/atom


class UncertaintyCalculator(Calculator):
    """Energies (eV), forces (N, 3) (eV/Å), stress (6,) (eV/Å³) and their uncertainties.

    `atoms.calc = UncertaintyCalculator(predictor)` serves dynamics, relaxation and everything else of ASE. The
    uncertainties come with every calculation and cost nothing more to ask for:

    * `calc.get_property("energy_uncertainty", atoms)`: float, eV, or nats where `unit` is "nats"; not there (ASE
      raises `PropertyNotImplementedError`) where the method gives none
    * `calc.get_property("force_uncertainty", atoms)`: (N,) eV/Å or nats, one an atom
    * `calc.get_property("stress_uncertainty", atoms)`: (6,) eV/Å³, as the stress; not there without one
    * `calc.get_property("atom_energy_uncertainty", atoms)`: (N,) eV, of an atom's share in the energy
    * `calc.results["unit"]`: "eV/Å" if they are standard deviations, "nats" if they can only rank

    ASE's own writers leave the uncertainties out. `error_bars.keep(atoms)` is a copy that has them in a file, too.

    Stress is there for structures with a periodic direction and a cell of three vectors. That of a slab or a wire is
    for the volume of this cell, vacuum included, as in other codes. Cell filters with `mask=[1, 1, 0, 0, 0, 1]` relax a
    slab in its plane. Elsewhere ASE's `PropertyNotImplementedError` says what is missing.

    For relaxations to tight thresholds and for long dynamics calculate in float64. Neighbours are searched anew when an
    atom has moved by about half the `skin` (Å) since the last search (`calc.neighbours.searches` counts them) or the
    cell has shrunk accordingly; the results are the same.

    `dtype` and `device`: the predictor's own, or others to which a copy of it is brought: `dtype="float64"`,
    `device="cuda"`, `device="auto"` for a GPU if there is one. Raises TypeError for what is no predictor, ValueError
    for other types, for a device that is not there, and for a negative skin.

    Calculations raise ValueError for elements that the predictor does not know, for positions that are not finite, for
    atoms on top of each other, and for what else `Batch.from_atoms` refuses.
    """

    implemented_properties: ClassVar[list[str]] = [  # pyright: ignore[reportIncompatibleVariableOverride]
        "energy",
        "free_energy",
        "forces",
        "stress",
        "energy_uncertainty",
        "force_uncertainty",
        "stress_uncertainty",
        "atom_energy_uncertainty",
    ]
    # The network sees elements, positions and cell: nothing else needs a new calculation.
    ignored_changes: ClassVar[set[str]] = {"initial_charges", "initial_magmoms"}  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        predictor: Predictor,
        *,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        skin: float = 1.0,
    ) -> None:
        predictor = placed(predictor, device=device, dtype=dtype)
        super().__init__()
        self.predictor = predictor
        self.neighbours = KeptNeighbours(predictor.cutoff, skin=skin)

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Called by ASE when something is asked of atoms that have changed. Everything is computed at once."""
        super().calculate(atoms, list(properties), list(system_changes))  # keeps a copy, without a calculator
        structure = self.atoms
        if structure is None:
            raise ValueError("atoms: got none, expected a structure; ask through `atoms.get_forces()`")
        batch = self.neighbours.batch(structure, dtype=self.predictor.dtype).to(self.predictor.device)
        prediction = self.predictor.predict(batch)
        energy = float(prediction.energy[0])
        results = {
            "energy": energy,
            "free_energy": energy,  # ASE's optimisers ask for the energy that belongs to the forces by this name
            "forces": prediction.forces.double().cpu().numpy(),
            "force_uncertainty": prediction.force_uncertainty.double().cpu().numpy(),
            "unit": prediction.unit,
        }
        if prediction.energy_uncertainty is not None:
            results["energy_uncertainty"] = float(prediction.energy_uncertainty[0])
        if prediction.atom_energy_uncertainty is not None:
            results["atom_energy_uncertainty"] = prediction.atom_energy_uncertainty.double().cpu().numpy()
        if structure.pbc.all():
            results |= _of_the_cell(prediction)
        self.results = results
        if {"stress", "stress_uncertainty"} & set(properties) and "stress" not in results:
            results |= self._stress_of_a_slab(structure, batch, prediction)

    def _stress_of_a_slab(self, structure: ase.Atoms, batch: Batch, prediction: Prediction) -> dict[str, np.ndarray]:
        """Stress and its uncertainty, (6,) eV/Å³, of a cell with a volume that is periodic in some directions.

        The pairs know which these are. Only the stress, which is a virial over a volume, asks for the other vectors.
        """
        if not structure.pbc.any():
            raise PropertyNotImplementedError("stress: got a molecule, expected a periodic structure; set `atoms.pbc`")
        if structure.cell.rank < 3:
            raise PropertyNotImplementedError(
                f"stress: got a cell without a volume, {np.asarray(structure.cell).tolist()} Å, periodic along "
                f"{structure.pbc.tolist()}; give it the missing vectors, vacuum included: "
                "`atoms.center(vacuum=10, axis=2)`, if it is the third"
            )
        cell = torch.as_tensor(np.asarray(structure.cell)[None]).to(batch.cell)
        again = self.predictor.predict(replace(batch, cell=cell))
        if again.stress is None:
            raise PropertyNotImplementedError("stress: this predictor gives none, expected one that does")
        if abs(float(again.energy[0] - prediction.energy[0])) > SAME_ENERGY * len(structure):
            raise PropertyNotImplementedError(
                f"stress: a {type(self.predictor).__name__} takes every vector of a cell for a period, and the energy "
                "changes with those of the vacuum; widen the vacuum beyond its cutoff"
            )
        return _of_the_cell(again)


def _of_the_cell(prediction: Prediction) -> dict[str, np.ndarray]:
    """Stress and its uncertainty, as far as they are predicted, in ASE's form: (6,) eV/Å³."""
    found = {"stress": prediction.stress, "stress_uncertainty": prediction.stress_uncertainty}
    return {
        name: full_3x3_to_voigt_6_stress(value[0].double().cpu().numpy())
        for name, value in found.items()
        if value is not None
    }
