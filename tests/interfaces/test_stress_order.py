"""Six components of a stress, all different, through every door: none changes its place or its sign."""

from __future__ import annotations

from contextlib import nullcontext

import ase
import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from uqlib.interfaces import error_bars
from uqlib.interfaces.ase import UncertaintyCalculator
from uqlib.interfaces.calculators import CalculatorCommittee
from uqlib.oracles import labelled_copy
from uqlib.prediction import Prediction
from uqlib.structures import datasets
from uqlib.structures.batch import Batch

VOIGT = np.array([0.01, -0.02, 0.03, 0.004, -0.005, 0.006])  # xx yy zz yz xz xy, as ASE has them
FULL = np.array([[0.01, 0.006, -0.005], [0.006, -0.02, 0.004], [-0.005, 0.004, 0.03]])
CELL = [[4.0, 0.1, 0.2], [0.0, 4.5, 0.3], [0.0, 0.0, 5.0]]


def crystal() -> ase.Atoms:
    return ase.Atoms("H2", [[0, 0, 0], [1.1, 0.2, 0.3]], cell=CELL, pbc=True)


class Known(Calculator):
    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 - as ASE has it

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, list(properties), list(system_changes))
        self.results = {"energy": 1.0, "forces": np.zeros((2, 3)), "stress": VOIGT.copy()}


def prediction() -> Prediction:
    return Prediction(
        energy=torch.ones(1, dtype=torch.float64),
        forces=torch.zeros(2, 3, dtype=torch.float64),
        force_uncertainty=torch.ones(2, dtype=torch.float64),
        unit="eV/Å",
        stress=torch.as_tensor(FULL)[None],
    )


class Saying:
    """A predictor with one thing to say."""

    cutoff, dtype, device = 3.0, torch.float64, torch.device("cpu")

    def predict(self, batch: Batch) -> Prediction:
        return prediction()


def test_both_ways_of_writing_it_are_one() -> None:
    np.testing.assert_array_equal(full_3x3_to_voigt_6_stress(FULL), VOIGT)


def test_of_an_oracle() -> None:
    np.testing.assert_allclose(labelled_copy(crystal(), energy=0.0, stress=FULL).get_stress(), VOIGT)


def test_into_a_batch() -> None:
    atoms = crystal()
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, stress=VOIGT)
    stress = Batch.from_atoms(atoms, cutoff=3.0, dtype=torch.float64).stress
    assert stress is not None
    np.testing.assert_allclose(stress[0].numpy(), FULL)


@pytest.mark.parametrize("text", ["stress", "virial"])
def test_out_of_a_file(tmp_path, text: str) -> None:
    volume = abs(np.linalg.det(CELL))
    values = FULL if text == "stress" else -FULL * volume
    lattice, rows = " ".join(map(str, np.ravel(CELL))), " ".join(f"{x:.12f}" for x in values.ravel())
    (tmp_path / "a.xyz").write_text(
        f'2\nLattice="{lattice}" Properties=species:S:1:pos:R:3 energy=1.0 {text}="{rows}" pbc="T T T"\n'
        "H 0 0 0\nH 1.1 0.2 0.3\n"
    )
    with pytest.warns(UserWarning, match="virial") if text == "virial" else nullcontext():
        data = datasets.read(tmp_path / "a.xyz")
    np.testing.assert_allclose(data.atoms[0].get_stress(), VOIGT, atol=1e-12)


def test_of_calculators_and_into_one() -> None:
    batch = Batch.from_atoms(crystal(), cutoff=3.0, dtype=torch.float64)
    found = CalculatorCommittee([Known(), Known()]).predict(batch)
    assert found.stress is not None
    np.testing.assert_allclose(found.stress[0].numpy(), FULL)
    atoms = crystal()
    atoms.calc = UncertaintyCalculator(Saying())  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(atoms.get_stress(), VOIGT)


def test_into_a_file(tmp_path) -> None:
    frames = error_bars.attach([crystal()], prediction())
    error_bars.write(tmp_path / "a.xyz", frames)
    np.testing.assert_allclose(ase.io.read(tmp_path / "a.xyz").info["uqlib_stress"], VOIGT)  # pyright: ignore[reportAttributeAccessIssue]
