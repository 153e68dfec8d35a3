"""`CalculatorCommittee`: calculators of ASE that answer the same question, uncertain where they disagree.

The members may be networks from any package, force fields or approximate quantum chemistry. Nothing is trained. Members
that share an error do not see it: three parametrisations of one idea agree with each other sooner than with the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from ase.stress import voigt_6_to_full_3x3_stress
from torch import Tensor

from uqlib.common.devices import Target, targets
from uqlib.prediction import Members, Prediction
from uqlib.structures.batch import DEFAULT_CUTOFF, Batch
from uqlib.structures.datasets import Dataset
from uqlib.structures.notices import say
from uqlib.structures.pieces import pieces


class CalculatorCommittee:
    """At least two calculators as one predictor: their mean, and their spread as a standard deviation.

    Each calculator sees elements, positions and cell, and nothing else: charges and spins belong into its own settings.
    `references`, one mapping from atomic numbers to eV a member, are subtracted from its energies: different methods
    count energies from different zeros, and without a common one the spread of their energies means nothing.
    `referred_to` finds them. Errors of the calculators are passed on.
    """

    def __init__(
        self, calculators: Sequence[Calculator], *, references: Sequence[Mapping[int, float]] | None = None
    ) -> None:
        if len(calculators) < 2:
            raise ValueError(f"calculators: got {len(calculators)}, expected at least 2; one has nobody to differ from")
        if references is not None and len(references) != len(calculators):
            raise ValueError(f"references: got {len(references)} for {len(calculators)} calculators, expected one each")
        self.calculators = list(calculators)
        self.references = [dict(r) for r in references] if references is not None else None
        self.dtype, self.device = torch.float64, torch.device("cpu")  # of batches; calculators have their own

    @property
    def cutoff(self) -> float:
        """Of the pairs in a batch, which no calculator looks at: they find their own."""
        return DEFAULT_CUTOFF

    @property
    def knows_stress(self) -> bool:
        """Whether there is a `stress_uncertainty`: all members have a stress."""
        return all("stress" in calculator.implemented_properties for calculator in self.calculators)

    def to(
        self, *target: Target, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None
    ) -> CalculatorCommittee:
        """The same members, for batches in another floating-point type or on another device, where results go, too."""
        place = targets(target, device=device, dtype=dtype)
        found = CalculatorCommittee(self.calculators, references=self.references)
        found.device, found.dtype = place[0] or self.device, place[1] or self.dtype
        return found

    def predict(self, batch: Batch) -> Prediction:
        """Mean over members; uncertainty of an atom's force: root of the mean over x, y, z of the members' variance.

        Stress is there where all members have one and a structure is periodic in all directions. Raises ValueError
        for positions that require a gradient, and for elements without a reference.
        """
        energies, forces, stress = self.evaluate_members(batch)
        device = batch.positions.device
        return Prediction(
            energy=energies.mean(0).to(device),
            forces=forces.mean(0).to(batch.positions),
            force_uncertainty=forces.var(0).mean(-1).sqrt().to(batch.positions),
            energy_uncertainty=energies.var(0).sqrt().to(device),
            stress=None if stress is None else stress.mean(0).to(batch.positions),
            stress_uncertainty=None if stress is None else stress.var(0).sqrt().to(batch.positions),
        )

    def evaluate_members(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Each member's energies (M, S) eV, forces (M, N, 3) eV/Å and stress (M, S, 3, 3) eV/Å³, float64 on the CPU."""
        if batch.positions.requires_grad:
            raise ValueError(
                "batch: its positions require a gradient, and calculators of ASE give forces but not their slopes; "
                "wrap a torch network in ForeignModel for what climbs uncertainties"
            )
        frames = _frames(batch)
        with_stress = self.knows_stress
        energies, forces, stress = [], [], []
        for number, calculator in enumerate(self.calculators):
            found = [_ask(calculator, frame, with_stress) for frame in frames]
            zero = [0.0 if self.references is None else _zero(self.references[number], frame) for frame in frames]
            energies.append([f[0] for f in found] - np.array(zero))
            forces.append(np.concatenate([f[1] for f in found]))
            stress.append(np.stack([f[2] for f in found]))
        periodic = any(frame.pbc.all() for frame in frames)
        return (
            torch.as_tensor(np.array(energies)),
            torch.as_tensor(np.array(forces)),
            torch.as_tensor(np.array(stress)) if with_stress and periodic else None,
        )

    def members(self, batch: Batch) -> Members:
        """Each calculator as one member; errors as `predict`."""
        energy, forces, stress = self.evaluate_members(batch)
        return Members(energy=energy, forces=forces, stress=stress)

    def referred_to(self, data: Dataset) -> CalculatorCommittee:
        """The same members, each with the references that bring its energies closest to the labels of `data`.

        By least squares over the numbers of atoms of each element; elements that always occur in the same proportion
        share what there is. Uses the labels' energies only: forces need no reference. Structures without an energy are
        left out, which is said in a `DataWarning`. Raises ValueError where none has one, and for elements that occur
        only where there is none.
        """
        data = _with_energies(data)
        counts = np.array([[np.sum(frame.numbers == z) for z in data.elements] for frame in data.atoms], dtype=float)
        plain = CalculatorCommittee(self.calculators)
        energies = torch.cat([plain.evaluate_members(batch)[0] for batch in _batches(plain, data)], dim=1)
        found = [np.linalg.lstsq(counts, member.numpy() - data.energies, rcond=None)[0] for member in energies]
        references = [dict(zip(data.elements, map(float, shift), strict=True)) for shift in found]
        return CalculatorCommittee(self.calculators, references=references)


def _with_energies(data: Dataset) -> Dataset:
    known = data.known("energy")
    if known.all():
        return data
    if not known.any():
        raise ValueError(f"data: none of {len(data)} structures of {data.name!r} has an energy, expected some")
    found = data.having("energy")
    if lost := sorted(set(data.elements) - set(found.elements)):
        names = ", ".join(chemical_symbols[z] for z in lost)
        raise ValueError(f"data: no structure of {data.name!r} with {names} has an energy, expected some; add one")
    say(f"data: references are of the {len(found)} of {len(data)} structures of {data.name!r} with an energy", depth=2)
    return found


def _batches(committee: CalculatorCommittee, data: Dataset) -> Iterator[Batch]:
    return pieces(data, cutoff=committee.cutoff, dtype=committee.dtype, labels=False)


def _frames(batch: Batch) -> list[ase.Atoms]:
    """The structures as ASE has them, a fresh set: calculators keep what they are given."""
    sizes = batch.atoms_per_structure.tolist()
    points = batch.positions.double().cpu().split(sizes)
    numbers = batch.atomic_numbers.cpu().split(sizes)
    cells = batch.cell.double().cpu().numpy()
    return [
        ase.Atoms(z.numpy(), positions=p.numpy(), cell=cell, pbc=np.abs(cell).sum(axis=1) > 0)
        for z, p, cell in zip(numbers, points, cells, strict=True)
    ]


def _ask(calculator: Calculator, frame: ase.Atoms, with_stress: bool) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces and stress (nan where there is none) of one member for one structure."""
    frame.calc = calculator
    energy, forces = frame.get_potential_energy(), frame.get_forces()
    stress = np.full((3, 3), np.nan)
    if with_stress and frame.pbc.all():
        stress = voigt_6_to_full_3x3_stress(frame.get_stress())
    frame.calc = None
    return float(energy), np.array(forces), stress


def _zero(reference: Mapping[int, float], frame: ase.Atoms) -> float:
    if unknown := sorted({int(z) for z in frame.numbers} - set(reference)):
        raise ValueError(
            f"atomic_numbers: got {unknown}, references are known for {sorted(reference)}; use `referred_to` with data "
            "that hold these elements"
        )
    return sum(reference[int(z)] for z in frame.numbers)
