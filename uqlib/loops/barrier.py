"""The height of a barrier on a potential itself: its own minima and its own path of least energy between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator

from uqlib.active_learning import LabelStore
from uqlib.active_learning.measures import without_uncertainty
from uqlib.attack import aligned_rmsd
from uqlib.interfaces.ase import UncertaintyCalculator
from uqlib.loops.settings import Barrier
from uqlib.oracles import OracleError
from uqlib.prediction import Predictor
from uqlib.propagation import relax_band
from uqlib.structures.datasets import Dataset


def band_of(data: Dataset, settings: Barrier) -> list[ase.Atoms]:
    """The frames that the band starts as, at even steps along the split."""
    part = data[settings.split]
    last = settings.last % len(part)
    places = np.linspace(settings.first, last, settings.images).round().astype(int)
    return [_bare(part.atoms[place]) for place in places]


def path_height(data: Dataset, settings: Barrier) -> float:
    """Of the split's own labels: highest over lowest energy, eV."""
    energies = data[settings.split].energies
    return float(energies.max() - energies.min())


def height_on(predictor: Predictor, band: Sequence[ase.Atoms], settings: Barrier) -> dict[str, Any]:
    """The barrier on a potential's own surface; as `climb`. In float64: a band sees what float32 rounds away."""
    precise: Any = without_uncertainty(predictor)
    exact = precise.to(torch.float64)
    return climb(lambda: UncertaintyCalculator(exact, dtype=torch.float64), band, settings)


def height_by(store: LabelStore, band: Sequence[ase.Atoms], settings: Barrier) -> dict[str, Any]:
    """The same on the oracle's surface; every label is kept, so that an interrupted band goes on."""
    return climb(lambda: _Labels(store), band, settings)


def climb(calculator: Callable[[], Calculator], band: Sequence[ase.Atoms], settings: Barrier) -> dict[str, Any]:
    """Relax both ends, then the band, then let its highest image climb.

    Returns `height` in eV over the lower end, None where nothing came of it; `why` not, or ""; whether all forces fell
    below `settings.force`; `minimum` and `saddle`: Å (RMSD) from the first frame and from the middle of the band as it
    came, which say whether the potential has its minimum and its saddle where they belong.
    """
    images = [_bare(atoms) for atoms in band]
    try:
        for image in images:
            image.calc = calculator()
        converged = relax_band(images, force=settings.force, steps=settings.steps)
        energies = np.array([image.get_potential_energy() for image in images])
    except (ValueError, ArithmeticError, np.linalg.LinAlgError, OracleError) as error:
        return {"height": None, "converged": False, "why": str(error).splitlines()[0]}
    if not np.isfinite(energies).all():
        return {"height": None, "converged": False, "why": "energies that are not finite"}
    top = int(energies[1:-1].argmax()) + 1
    return {
        "height": float(energies[top] - min(energies[0], energies[-1])),
        "converged": converged,
        "why": "",
        "minimum": float(aligned_rmsd(images[0], [band[0]])[0]),
        "saddle": float(aligned_rmsd(images[top], [band[len(band) // 2]])[0]),
    }


class _Labels(Calculator):
    """A store of labels as a calculator."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE's own way

    def __init__(self, store: LabelStore) -> None:
        super().__init__()
        self.store = store

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = None) -> None:
        super().calculate(atoms, properties, system_changes)
        (found,) = self.store.label([atoms], progress=False)
        if found.error is not None or found.atoms is None or found.atoms.calc is None:
            raise found.error or OracleError("no label", atoms)
        self.results = dict(found.atoms.calc.results)


def _bare(atoms: ase.Atoms) -> ase.Atoms:
    return ase.Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
