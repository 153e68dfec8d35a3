"""Calibration where labels are missing here and there, and of the stress: each map is of what has its label."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import ase
import numpy as np
import pytest
import samples
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from samples import rattled

from uqlib import calibration, methods
from uqlib.calibration import KINDS, Calibrated, Conformal, Scalar, calibrate
from uqlib.metrics import UndefinedMetric, voigt
from uqlib.prediction import Prediction, predict
from uqlib.structures.dataset import Dataset
from uqlib.structures.notices import DataWarning


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def case(count: int = 120, *, seed: int = 0) -> tuple[Dataset, Prediction]:
    """Molecules and skewed cells; errors are twice (forces), three (energies) and four times (stress) what is said."""
    data = samples.with_cells({"all": count}, seed=seed)
    atoms = sum(len(frame) for frame in data.atoms)
    sizes = torch.tensor([len(frame) for frame in data.atoms], dtype=torch.float64)
    label = np.stack(
        [frame.get_stress(voigt=False) if frame.pbc.all() else np.full((3, 3), np.nan) for frame in data.atoms]
    )
    spread = 0.01 + 0.02 * random(count, 3, 3, seed=seed).abs()
    spread = (spread + spread.mT) / 2
    noise = random(count, 3, 3, seed=seed + 1).triu()
    noise = noise + noise.triu(1).mT
    of_force, of_energy = 0.1 + random(atoms, seed=seed + 2).abs(), 0.01 + 0.01 * random(count, seed=seed + 3).abs()
    return data, Prediction(
        energy=torch.as_tensor(data.energies) + 3 * sizes * of_energy * random(count, seed=seed + 4),
        forces=torch.as_tensor(data.forces) + 2 * of_force[:, None] * random(atoms, 3, seed=seed + 5),
        stress=torch.as_tensor(label) + 4 * spread * noise,
        force_uncertainty=of_force,
        energy_uncertainty=sizes * of_energy,
        stress_uncertainty=spread.where(torch.as_tensor(label).isfinite(), torch.nan),
        atom_energy_uncertainty=of_force,
    )


def without(data: Dataset, label: str, every: int) -> Dataset:
    """No such label on every so many-th structure."""
    frames: list[ase.Atoms] = []
    for k, frame in enumerate(data.atoms):
        bare = frame.copy()
        results = {name: value for name, value in frame.calc.results.items() if name != label or k % every}  # pyright: ignore
        bare.calc = SinglePointCalculator(bare, **results)
        frames.append(bare)
    return replace(data, atoms=tuple(frames))


def test_the_stress_has_a_map_of_its_own() -> None:
    data, said = case()
    factors = calibrate("scalar", said, data)
    assert isinstance(factors.stress, Scalar)
    assert factors.stress.factor == pytest.approx(4.0, rel=0.1)
    assert "stress (eV/Å³, 60 structures): σ = " in str(factors)
    again, test = case(seed=7)
    for kind in KINDS:
        better = calibrate(kind, said, data)(test, again.batch(labels=False))
        assert better.stress_uncertainty is not None
        assert torch.isnan(better.stress_uncertainty[0::2]).all()
        label = torch.as_tensor(np.stack([frame.get_stress() for frame in again.atoms[1::2]]))
        assert test.stress is not None
        ratio = (voigt(test.stress)[1::2] - label) / voigt(better.stress_uncertainty)[1::2]
        assert float(ratio.square().mean()) == pytest.approx(1.0, abs=0.35), kind
        assert better.atom_energy_uncertainty is None, "no label of it could have told its size"


@pytest.mark.parametrize("kind", ["scalar", "conformal"])
def test_missing_labels_are_masked_and_counted(kind: str) -> None:
    """The maps are those of the structures with all labels, label by label."""
    data, said = case()
    holes = without(without(without(data, "forces", 3), "energy", 4), "stress", 7)
    found = calibrate(kind, said, holes)  # pyright: ignore[reportArgumentType]
    assert found.known == {"forces": 80, "energy": 90, "stress": 51}
    assert "forces (eV/Å, 80 structures)" in str(found)
    there = [k for k in range(120) if k % 3]
    sizes = [len(frame) for frame in data.atoms]
    atoms = torch.cat([torch.full((n,), bool(k % 3)) for k, n in enumerate(sizes)])
    part = replace(
        said,
        energy=said.energy[there], energy_uncertainty=None,
        stress=None, stress_uncertainty=None, atom_energy_uncertainty=None,
        forces=said.forces[atoms], force_uncertainty=said.force_uncertainty[atoms],
    )  # fmt: skip
    assert found.forces == calibrate(kind, part, data.take(there)).forces  # pyright: ignore[reportArgumentType]


def test_whole_labels_are_not_counted() -> None:
    data, said = case()
    cells = data.take(range(1, 120, 2))
    assert calibrate("scalar", predicted(said, data), cells).known is None


def predicted(said: Prediction, data: Dataset) -> Prediction:
    """Of every second structure, the cells."""
    atoms = torch.cat([torch.full((len(frame),), bool(k % 2)) for k, frame in enumerate(data.atoms)])
    of = {name: getattr(said, name)[1::2] for name in ("energy", "energy_uncertainty", "stress", "stress_uncertainty")}
    return Prediction(**of, forces=said.forces[atoms], force_uncertainty=said.force_uncertainty[atoms])


def test_what_no_label_tells_is_left_out_and_said() -> None:
    data, said = case(30)
    with pytest.warns(DataWarning, match="'cells' has no energies; the uncertainty of the energy is left out"):
        found = calibrate("scalar", said, without(data, "energy", 1))
    mended = found(said, data.batch(labels=False))
    assert mended.energy_uncertainty is None
    assert mended.stress_uncertainty is not None
    with pytest.raises(ValueError, match="'cells' have no forces, expected some"):
        calibrate("scalar", said, without(data, "forces", 1))
    plain = calibrate("scalar", said, without(data, "stress", 1))
    assert plain.stress is None
    assert plain(said, data.batch(labels=False)).stress_uncertainty is None
    few = [frame.copy() for frame in data.atoms]
    for bare, frame in zip(few, data.atoms, strict=True):
        kept = {k: v for k, v in frame.calc.results.items() if k != "stress" or frame is data.atoms[1]}  # pyright: ignore
        bare.calc = SinglePointCalculator(bare, **kept)
    with pytest.warns(DataWarning, match="no map for the stress, whose uncertainty is left out"):
        assert calibrate("conformal", said, replace(data, atoms=tuple(few))).stress is None


@pytest.mark.parametrize("together", [1, 2, 4])
def test_components_of_a_stress_and_frames_of_a_run_are_no_independent_draws(together: int) -> None:
    data, said = case(160)
    for k, frame in enumerate(data.atoms):  # cells are every second one
        frame.info["group"] = str(k // (2 * together))
    data = replace(data, atoms=data.atoms)
    found = calibrate("conformal", said, data).stress
    assert isinstance(found, Conformal)
    assert found.groups == 80 // together
    cells = [k for k, frame in enumerate(data.atoms) if frame.pbc.all()]
    assert said.stress is not None
    assert said.stress_uncertainty is not None
    label = torch.as_tensor(np.stack([data.atoms[k].get_stress() for k in cells]))
    spread = voigt(said.stress_uncertainty[cells])
    ratio = ((voigt(said.stress[cells]) - label).abs() / spread).flatten().sort().values
    share = (ratio <= found.quantile).double().mean().item() * (80 // together) / (80 // together + 1)
    assert share == pytest.approx(found.level, abs=0.01)


def test_an_element_without_forces_has_no_map() -> None:
    data = samples.dataset({"all": 12})
    water = {k for k, frame in enumerate(data.atoms) if 8 in frame.numbers}
    frames = [rattled("H2O", k) if k in water else frame for k, frame in enumerate(data.atoms)]
    holes = replace(data, atoms=tuple(frames))
    said = Prediction(
        energy=random(12, seed=0),
        forces=random(sum(map(len, frames)), 3, seed=1),
        force_uncertainty=random(sum(map(len, frames)), seed=2).abs(),
    )
    with pytest.raises(UndefinedMetric, match="no structure with Z = 8 has forces"):
        calibrate("scalar", said, holes, per_element=True)


def test_what_symmetry_makes_zero_teaches_nothing() -> None:
    """Of a cube only the pressure is not zero; members that agree there agree by symmetry."""
    data, said = case(60)
    assert said.stress_uncertainty is not None
    assert said.stress is not None
    off = ~torch.eye(3).bool()
    frames = [frame.copy() for frame in data.atoms]
    for bare, frame in zip(frames, data.atoms, strict=True):
        results = dict(frame.calc.results)  # pyright: ignore[reportOptionalMemberAccess]
        if "stress" in results:
            results["stress"] = np.array([*results["stress"][:3], 0.0, 0.0, 0.0])
        bare.calc = SinglePointCalculator(bare, **results)
    exact = replace(
        said,
        stress=said.stress.masked_fill(off & said.stress.isfinite(), 0.0),
        stress_uncertainty=said.stress_uncertainty.masked_fill(off & said.stress_uncertainty.isfinite(), 1e-12),
    )
    found = calibrate("scalar", exact, replace(data, atoms=tuple(frames)))
    assert isinstance(found.stress, Scalar)
    assert found.stress.factor == pytest.approx(4.0, rel=0.15)


def test_saved_with_its_map_of_the_stress(tmp_path: Path) -> None:
    data = samples.with_cells({"train": 12, "valid": 12})
    recipe = methods.Ensemble(members=2, network=samples.NETWORK, settings=samples.BRIEF)
    fitted = recipe.fit(data["train"], data["valid"], seed=0, progress=False)
    maps = calibrate("affine", predict(fitted, data["valid"]), data["valid"])
    Calibrated(fitted, maps).save(tmp_path / "model.uq")
    again = calibration.load(tmp_path / "model.uq")
    assert isinstance(again, Calibrated)
    assert again.calibrator == maps
    one, other = predict(again, data["valid"]), predict(Calibrated(fitted, maps), data["valid"])
    assert one.stress_uncertainty is not None
    assert other.stress_uncertainty is not None
    torch.testing.assert_close(one.stress_uncertainty, other.stress_uncertainty, equal_nan=True)
    assert not math.isnan(float(one.stress_uncertainty[1, 0, 0]))
