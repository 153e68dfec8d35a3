"""Any predictor under ASE: results, dynamics, relaxation, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import ase
import numpy as np
import pytest
import samples
import torch
from ase import units as ase_units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from samples import batch_of, crystal, rattled

from uqlib.interfaces import CalculatorCommittee
from uqlib.interfaces.ase import UncertaintyCalculator
from uqlib.methods.shared.committee import Committee
from uqlib.prediction import Prediction
from uqlib.structures.batch import Batch

PREDICTOR = Committee([copy.deepcopy(samples.small_network(seed=seed)) for seed in range(2)])


class Spring:
    """E = Σ (d - 1.2)² over pairs; atoms at larger distances are less certain. No stress, no energy uncertainty."""

    cutoff, dtype, device = samples.CUTOFF, torch.float64, torch.device("cpu")

    def predict(self, batch: Batch) -> Prediction:
        i, j = batch.pairs
        vector = batch.positions[j] - batch.positions[i]
        distance = vector.norm(dim=1, keepdim=True)
        pull = 2 * (distance - 1.2) * vector / distance
        energy = 0.5 * (distance[:, 0] - 1.2).square().sum().double()
        forces = torch.zeros_like(batch.positions).index_add(0, i, pull)
        return Prediction(
            energy=energy[None], forces=forces, force_uncertainty=batch.positions.norm(dim=1), unit="nats"
        )


@pytest.fixture
def calculator() -> UncertaintyCalculator:
    return UncertaintyCalculator(PREDICTOR, dtype=torch.float64)


@pytest.mark.parametrize("structure", [rattled("NH3", 0), crystal()], ids=["molecule", "crystal"])
def test_results_are_the_predictors(calculator: UncertaintyCalculator, structure: ase.Atoms) -> None:
    atoms, p = structure.copy(), PREDICTOR.predict(batch_of(structure))
    atoms.calc = calculator
    assert atoms.get_potential_energy() == pytest.approx(p.energy.item(), abs=1e-9)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_forces(), p.forces, atol=1e-9)
    uncertainty: Any = calculator.get_property("force_uncertainty", atoms)
    np.testing.assert_allclose(uncertainty, p.force_uncertainty, atol=1e-9)
    assert p.energy_uncertainty is not None
    assert calculator.get_property("energy_uncertainty", atoms) == pytest.approx(p.energy_uncertainty.item())
    assert isinstance(calculator.results["energy_uncertainty"], float)
    assert calculator.results["unit"] == "eV/Å"


def test_stress_in_the_order_of_ase(calculator: UncertaintyCalculator) -> None:
    atoms = crystal()
    atoms.calc = calculator
    stress = PREDICTOR.predict(batch_of(atoms)).stress
    assert stress is not None
    np.testing.assert_allclose(atoms.get_stress(voigt=False), stress[0], atol=1e-12)
    numerical = np.zeros(6)
    for index, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * 1e-5 / 2
            strain[b, a] += sign * 1e-5 / 2
            moved = atoms.copy()
            moved.set_cell(np.asarray(atoms.cell) @ strain, scale_atoms=True)
            moved.calc = calculator
            energies.append(moved.get_potential_energy())
        numerical[index] = (energies[0] - energies[1]) / (2e-5 * atoms.get_volume())
    np.testing.assert_allclose(atoms.get_stress(), numerical, atol=1e-6)


def test_no_stress_without_a_volume(calculator: UncertaintyCalculator) -> None:
    sheet = crystal()
    sheet.set_cell(np.asarray(sheet.cell) * [[1], [1], [0]])
    sheet.pbc = [True, True, False]
    boxed = rattled("NH3", 0)
    boxed.set_cell([8, 8, 8])
    for atoms, words in (
        (rattled("NH3", 0), "got a molecule"),
        (boxed, "got a molecule"),
        (sheet, r"without a volume.*periodic along \[True, True, False\].*give it the missing vectors"),
    ):
        atoms.calc = calculator
        assert np.isfinite(atoms.get_forces()).all()
        with pytest.raises(PropertyNotImplementedError, match=words):
            atoms.get_stress()
        assert np.isfinite(atoms.get_forces()).all()
    lone = crystal()
    lone.calc = UncertaintyCalculator(Spring())
    with pytest.raises(PropertyNotImplementedError, match="this predictor gives none"):
        lone.get_stress()


@pytest.mark.parametrize("pbc", [(True, True, False), (False, True, True), (False, True, False)])
def test_stress_of_slabs_and_wires(calculator: UncertaintyCalculator, pbc: tuple[bool, bool, bool]) -> None:
    """In the directions that are periodic it is the slope of the energy, as everywhere."""
    slab = crystal()
    slab.pbc = pbc
    open_ones = [axis for axis in range(3) if not pbc[axis]]
    stretched = np.asarray(slab.cell).copy()
    stretched[open_ones] *= 4
    slab.set_cell(stretched)
    slab.calc = calculator
    stress = slab.get_stress()
    free = slab.copy()
    stretched[open_ones] = 0
    free.set_cell(stretched)
    free.calc = calculator
    np.testing.assert_array_equal(free.get_forces(), slab.get_forces())
    assert free.get_potential_energy() == slab.get_potential_energy(), "vacuum changes nothing"
    for index, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        if pbc[a] and pbc[b]:
            energies = []
            for sign in (1, -1):
                strain = np.eye(3)
                strain[a, b] += sign * 1e-5 / 2
                strain[b, a] += sign * 1e-5 / 2
                moved = slab.copy()
                moved.set_cell(np.asarray(slab.cell) @ strain, scale_atoms=True)
                moved.calc = calculator
                energies.append(moved.get_potential_energy())
            slope = (energies[0] - energies[1]) / (2e-5 * slab.get_volume())
            assert stress[index] == pytest.approx(slope, abs=1e-6)


def test_a_slab_for_whom_every_vector_is_a_period() -> None:
    """A committee of ASE's calculators asks the cell what is periodic: then the vacuum has to be wide."""
    slab = bulk("Cu", "fcc", a=3.7, cubic=True)
    slab.pbc = [True, True, False]
    slab.calc = UncertaintyCalculator(CalculatorCommittee([EMT(), EMT()]), dtype=torch.float64)
    with pytest.raises(PropertyNotImplementedError, match="widen the vacuum"):
        slab.get_stress()
    slab.set_cell(np.asarray(slab.cell) * [[1], [1], [5]])
    wide = slab.copy()
    wide.calc = EMT()
    np.testing.assert_allclose(slab.get_stress(), wide.get_stress(), atol=1e-9)


def test_a_slab_relaxes_in_its_plane() -> None:
    slab = bulk("Cu", "fcc", a=3.7, cubic=True)
    slab.pbc = [True, True, False]
    slab.set_cell(np.asarray(slab.cell) * [[1], [1], [5]])
    slab.set_constraint(FixAtoms([0, 1]))
    height, scaled = np.asarray(slab.cell)[2].copy(), slab.get_scaled_positions()[0]
    slab.calc = UncertaintyCalculator(CalculatorCommittee([EMT(), EMT()]), dtype=torch.float64)
    before = np.abs(slab.get_stress()[[0, 1, 5]]).max()
    BFGS(FrechetCellFilter(slab, mask=[1, 1, 0, 0, 0, 1]), logfile=None).run(fmax=1e-3, steps=60)  # pyright: ignore[reportArgumentType]
    assert np.abs(slab.get_stress()[[0, 1, 5]]).max() < 0.1 * before
    np.testing.assert_allclose(np.asarray(slab.cell)[2], height, atol=1e-6)
    np.testing.assert_allclose(slab.get_scaled_positions()[0], scaled, atol=1e-9)


def test_a_method_without_energy_uncertainty() -> None:
    atoms = rattled("NH3", 0)
    atoms.calc = UncertaintyCalculator(Spring())
    assert atoms.get_forces().dtype == np.float64
    assert atoms.calc.results["unit"] == "nats"
    with pytest.raises(PropertyNotImplementedError):
        atoms.calc.get_property("energy_uncertainty", atoms)


def test_it_computes_again_exactly_when_atoms_change(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, spring = [], Spring()
    original = spring.predict
    monkeypatch.setattr(spring, "predict", lambda batch: calls.append(1) or original(batch))
    atoms = crystal()
    atoms.calc = UncertaintyCalculator(spring)
    for change in (
        lambda: None,
        lambda: atoms.positions.__iadd__(0.0),
        lambda: atoms.positions.__setitem__((0, 0), 0.3),
        lambda: atoms.numbers.__setitem__(0, 8),
        lambda: atoms.set_cell(np.eye(3) * 3.5),
        lambda: atoms.set_initial_charges([0.1] * 4),
        lambda: setattr(atoms, "pbc", False),
    ):
        change()
        atoms.get_forces()
        atoms.get_potential_energy()
        atoms.calc.get_property("force_uncertainty", atoms)
    assert len(calls) == 1 + 4, "once, and for the position, the element, the cell and the periodicity"


def test_results_cannot_be_spoilt_from_outside(calculator: UncertaintyCalculator) -> None:
    atoms = rattled("NH3", 0)
    atoms.calc = calculator
    before = atoms.get_forces().copy()
    atoms.get_forces()[:] = 99.0
    np.testing.assert_array_equal(atoms.get_forces(), before)


def test_dynamics_conserves_energy(calculator: UncertaintyCalculator) -> None:
    atoms = rattled("NH3", 0, size=0.02)
    atoms.calc = calculator
    width = np.sqrt(atoms.get_masses()[:, None] * ase_units.kB * 300)
    atoms.set_momenta(np.random.default_rng(0).normal(size=(4, 3)) * width)
    totals, potentials = [], []
    dynamics = VelocityVerlet(atoms, timestep=0.1 * ase_units.fs)
    dynamics.attach(lambda: totals.append(atoms.get_total_energy()))
    dynamics.attach(lambda: potentials.append(atoms.get_potential_energy()))
    dynamics.run(100)
    assert np.ptp(potentials) > 1e-3, "something happened"
    assert np.ptp(totals) < 0.02 * np.ptp(potentials)


def test_relaxation() -> None:
    atoms = rattled("NH3", 0)
    atoms.calc = UncertaintyCalculator(Spring(), dtype=torch.float64)
    assert BFGS(atoms, logfile=None).run(fmax=1e-5, steps=200)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(atoms.get_all_distances()[np.triu_indices(4, 1)], 1.2, atol=1e-4)


def test_atoms_that_must_be_refused(calculator: UncertaintyCalculator) -> None:
    methane, lost, fused = rattled("CH4", 0), rattled("NH3", 0), rattled("NH3", 0)
    lost.positions[1, 2] = np.nan
    fused.positions[1] = fused.positions[0]
    for atoms, words in (
        (methane, r"atomic_numbers: got \[6\], this network knows \[1, 7, 8\]"),
        (lost, "positions of structure 0: got values that are not finite"),
        (fused, r"atoms 0 and 1 are 0 Å apart"),
        (ase.Atoms(), "has no atoms"),
    ):
        atoms.calc = calculator
        for _ in range(2):  # the second time no result of an earlier calculation is handed out
            with pytest.raises(ValueError, match=words):
                atoms.get_potential_energy()
    good = rattled("NH3", 1)
    good.calc = calculator
    assert np.isfinite(good.get_forces()).all()


def test_what_is_no_predictor() -> None:
    with pytest.raises(TypeError, match=r"predictor: got a PaiNN, expected what `Method\.fit` returns"):
        UncertaintyCalculator(samples.small_network())  # pyright: ignore[reportArgumentType]


def test_the_type_is_the_predictors_own_or_the_one_asked_for() -> None:
    atoms = rattled("NH3", 0)
    own = UncertaintyCalculator(PREDICTOR)
    assert own.predictor.dtype == torch.float64
    single = UncertaintyCalculator(PREDICTOR, dtype="float32")
    assert single.predictor.dtype == torch.float32
    own.calculate(atoms)
    single.calculate(atoms)
    assert 0 < abs(own.results["energy"] - single.results["energy"]) < 1e-4
