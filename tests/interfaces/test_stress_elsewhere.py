"""The stress and its uncertainty at the doors: ASE, its files, calculators, networks from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import samples
import test_models
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import full_3x3_to_voigt_6_stress
from samples import batch_of, rattled
from test_ase import PREDICTOR, Spring

from uqlib.interfaces import CalculatorCommittee, error_bars
from uqlib.interfaces.ase import UncertaintyCalculator
from uqlib.methods.llpr import LastLayer
from uqlib.methods.shared.hidden_units import last_layer
from uqlib.prediction import predict
from uqlib.structures.dataset import Dataset
from uqlib.structures.notices import DataWarning


def plain(values: torch.Tensor | None) -> np.ndarray:
    assert values is not None
    return full_3x3_to_voigt_6_stress(values[0].numpy())


def asked(atoms: ase.Atoms, name: str) -> np.ndarray:
    """What the calculator says of it."""
    found = atoms.calc.get_property(name, atoms)  # pyright: ignore[reportOptionalMemberAccess]
    assert isinstance(found, np.ndarray)
    return found


def test_in_ase() -> None:
    atoms = samples.skewed(0)
    expected = PREDICTOR.predict(batch_of(atoms))
    atoms.calc = UncertaintyCalculator(PREDICTOR, dtype="float64")
    np.testing.assert_allclose(asked(atoms, "stress_uncertainty"), plain(expected.stress_uncertainty))
    np.testing.assert_allclose(atoms.get_stress(), plain(expected.stress))
    assert expected.atom_energy_uncertainty is not None
    np.testing.assert_allclose(asked(atoms, "atom_energy_uncertainty"), expected.atom_energy_uncertainty)
    molecule = rattled("NH3", 0)
    molecule.calc = atoms.calc
    for name in ("stress", "stress_uncertainty"):
        with pytest.raises(PropertyNotImplementedError):
            molecule.calc.get_property(name, molecule)
    bare = samples.crystal()
    bare.calc = UncertaintyCalculator(Spring())
    for name in ("stress_uncertainty", "atom_energy_uncertainty"):
        with pytest.raises(PropertyNotImplementedError):
            bare.calc.get_property(name, bare)


def test_of_a_slab_where_it_is_asked_for() -> None:
    slab = samples.skewed(1)
    slab.pbc = [True, True, False]
    slab.calc = UncertaintyCalculator(PREDICTOR, dtype="float64")
    slab.get_forces()
    assert "stress_uncertainty" not in slab.calc.results
    found = asked(slab, "stress_uncertainty")
    assert found.shape == (6,)
    assert (found > 0).all()
    thick = slab.copy()
    thick.set_cell(np.asarray(slab.cell) * [[1.0], [1.0], [2.0]])
    thick.calc = UncertaintyCalculator(PREDICTOR, dtype="float64")
    np.testing.assert_allclose(2 * asked(thick, "stress_uncertainty"), found, rtol=1e-6)


@pytest.mark.parametrize("ending", ["xyz", "traj", "db", "json"])
def test_in_the_files_of_ase(ending: str, tmp_path: Path) -> None:
    data = samples.with_cells({"all": 4})
    said = predict(PREDICTOR, data, dtype="float64")
    error_bars.write(tmp_path / f"said.{ending}", error_bars.attach(data.atoms, said))
    again = error_bars.read(tmp_path / f"said.{ending}")
    assert said.stress_uncertainty is not None
    assert said.atom_energy_uncertainty is not None
    assert ["uqlib_stress_uncertainty" in frame.info for frame in again] == [False, True, False, True]
    for k in (1, 3):
        expected = plain(said.stress_uncertainty[k : k + 1])
        np.testing.assert_allclose(again[k].info["uqlib_stress_uncertainty"], expected, atol=1e-8)
        np.testing.assert_allclose(again[k].get_stress(), data.atoms[k].get_stress(), err_msg="the label")
    spread = np.concatenate([frame.arrays["uqlib_atom_energy_uncertainty"] for frame in again])
    np.testing.assert_allclose(spread, said.atom_energy_uncertainty, atol=1e-8)
    computed = samples.skewed(2)
    computed.calc = UncertaintyCalculator(PREDICTOR, dtype="float64")
    computed.get_forces()
    kept = error_bars.keep(computed)
    assert kept.info["uqlib_stress_uncertainty"].shape == (6,)
    assert kept.arrays["uqlib_atom_energy_uncertainty"].shape == (4,)


def test_of_calculators() -> None:
    pair: Any = test_models.pair_potentials()
    committee, cell = CalculatorCommittee(pair), samples.skewed(3)
    found = committee.predict(batch_of(rattled("NH3", 0), cell))
    each = []
    for calculator in pair:
        cell.calc = calculator
        each.append(cell.get_stress(voigt=False))
    assert found.stress_uncertainty is not None
    assert torch.isnan(found.stress_uncertainty[0]).all()
    np.testing.assert_allclose(found.stress_uncertainty[1], np.std(each, axis=0, ddof=1))
    frames = [rattled("NH3", 1), samples.skewed(4).copy(), rattled("O2", 1)]
    apart, together = predict(committee, frames, batch_size=1), predict(committee, frames)
    for name in ("stress", "stress_uncertainty"):  # a batch of molecules has none at all
        torch.testing.assert_close(getattr(apart, name), getattr(together, name), equal_nan=True)


def test_references_are_of_what_has_an_energy() -> None:
    data = samples.dataset({"all": 12})
    committee = CalculatorCommittee(test_models.pair_potentials())
    holes = Dataset(name="holes", atoms=(*data.atoms, *(rattled("NH3", k) for k in range(3))))
    with pytest.warns(DataWarning, match="references are of the 12 of 15 structures of 'holes' with an energy"):
        found = committee.referred_to(holes)
    assert found.references == committee.referred_to(data).references
    with pytest.raises(ValueError, match="data: no structure of 'odd' with C has an energy"):
        committee.referred_to(Dataset(name="odd", atoms=(*data.atoms, rattled("CH4", 0))))
    with pytest.raises(ValueError, match="data: none of 1 structures of 'bare' has an energy"):
        committee.referred_to(Dataset(name="bare", atoms=(rattled("CH4", 0),)))


@pytest.mark.parametrize("kind", ["ours", "foreign"])
@pytest.mark.parametrize("mixed", [False, True])
def test_hidden_units_under_strain(kind: str, mixed: bool) -> None:
    """Their slope with strain, over the volume, by finite differences; nan for a molecule."""
    model: Any = samples.small_network() if kind == "ours" else test_models.foreign(torch.float64)
    batch = batch_of(samples.skewed(5), rattled("NH3", 0))
    units = last_layer(model, batch).hidden.shape[1]
    mix = torch.linspace(-1.0, 1.0, 2 * units, dtype=torch.float64).view(units, 2) if mixed else None
    found = last_layer(model, batch, mix=mix, strain=True).strain
    assert found is not None
    assert torch.isnan(found[:, 1]).all()
    volume, step = torch.linalg.det(batch.cell[0]).abs(), 1e-5
    for a, b in ((0, 0), (1, 2), (2, 2), (0, 1)):
        strain = torch.zeros(3, 3, dtype=torch.float64)
        strain[a, b] += step / 2
        strain[b, a] += step / 2
        up, down = (last_layer(model, samples.strained(batch, s * strain), mix=mix).hidden[0] for s in (1, -1))
        torch.testing.assert_close(found[:, 0, a, b], (up - down) / (2 * step * volume), rtol=1e-6, atol=1e-8)
    assert last_layer(model, batch, mix=mix).strain is None


def test_a_network_from_elsewhere_has_it_too() -> None:
    data = samples.with_cells()
    fitted = LastLayer(ridge=1e-3).fit_to(test_models.foreign(), data["train"], data["valid"], seed=0)
    p = predict(fitted, data["test"])
    assert p.stress_uncertainty is not None
    assert bool((p.stress_uncertainty[1::2] > 0).all())
    assert p.atom_energy_uncertainty is not None
