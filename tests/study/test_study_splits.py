"""Which data are used for what: maps are fitted to the validation set and to nothing else, groups stay together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ase
import numpy as np
import pytest
import samples
import torch

from uqlib import calibration
from uqlib.calibration import Recalibrated, recipe
from uqlib.calibration.maps import Affine
from uqlib.loops import shelf
from uqlib.loops.shelf import Shelved
from uqlib.methods import LastLayer
from uqlib.structures.datasets import Dataset
from uqlib.study import work
from uqlib.study.grid import resplit

BRIEF = {"network": samples.NETWORK, "settings": samples.BRIEF}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, int]]:
    """Of each calibration: the data it was given, and how many structures were predicted."""
    found: list[tuple[bytes, int]] = []
    real = calibration.calibrate

    def spy(kind: Any, prediction: Any, data: Dataset, **more: Any) -> Any:
        found.append((positions(data), len(prediction.energy)))
        return real(kind, prediction, data, **more)

    monkeypatch.setattr(calibration, "calibrate", spy)
    monkeypatch.setattr(recipe, "calibrate", spy)
    monkeypatch.setattr(shelf, "calibrate", spy)
    return found


def positions(data: Dataset) -> bytes:
    return b"".join(frame.positions.tobytes() for frame in data.atoms)


def test_the_study_recalibrates_on_the_validation_set(asked: list) -> None:
    data = samples.dataset({"train": 8, "valid": 6, "test": 5})
    predictor = LastLayer(**BRIEF).fit(data["train"], data["valid"], seed=0, progress=False)
    scores = work._scores(predictor, data, ["test"], "affine")
    assert asked == [(positions(data["valid"]), 6)]
    assert scores["test"]["structures"] == 5
    assert scores["test"]["after"] is not None


@pytest.mark.parametrize("how", ["recipe", "shelf"])
def test_a_recalibrated_recipe_uses_the_validation_set(asked: list, how: str, tmp_path) -> None:
    data = samples.dataset({"train": 8, "valid": 6})
    method: Any = Recalibrated(method=LastLayer(**BRIEF))
    if how == "shelf":
        method = Shelved(method=method, shelf=tmp_path)
    method.fit(data["train"], data["valid"], seed=0, progress=False)
    assert asked == [(positions(data["valid"]), 6)]


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_group_is_never_divided_when_splits_are_drawn_anew(seed: int) -> None:
    frames = []
    for group in range(12):
        for frame in range(3):
            atoms = samples.label(samples.rattled("H2O", 10 * group + frame))
            atoms.info["group"] = f"g{group}"
            frames.append(atoms)
    splits = {"train": range(18), "valid": range(18, 27), "test": range(27, 36)}
    data = Dataset(name="a", atoms=tuple(frames), splits={name: tuple(found) for name, found in splits.items()})
    drawn = resplit(data, seed)
    groups = [{frame.info["group"] for frame in drawn[name].atoms} for name in splits]
    assert [len(drawn.splits[name]) for name in splits] == [18, 9, 9]
    assert groups[0].isdisjoint(groups[1] | groups[2])
    assert groups[1].isdisjoint(groups[2])
    assert drawn.splits != data.splits
    assert drawn.splits != resplit(data, seed + 10).splits


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_a_map_of_energies_is_of_energies_per_atom(factor: int) -> None:
    """The same error and uncertainty of each atom in structures of any size: the map must find one."""
    random = np.random.default_rng(0)
    sizes = [3 * factor if k % 2 else 3 for k in range(40)]
    frames, errors = [], []
    for k, size in enumerate(sizes):
        places = random.uniform(-0.2, 0.2, (size, 3)) + np.arange(size)[:, None] * [1.5, 0, 0]
        frame = samples.label(ase.Atoms(f"H{size}", places))
        frames.append(frame)
        errors.append(size * 0.1 * (1 if k % 3 else -1))
    data = Dataset(name="a", atoms=tuple(frames))
    atoms = torch.tensor(sizes, dtype=torch.float64)
    prediction = calibration_input(data, torch.tensor(errors, dtype=torch.float64), 0.05 * atoms)
    found = calibration.calibrate("scalar", prediction, data)
    assert found.energy is not None
    assert float(found.energy(torch.tensor(0.05))) == pytest.approx(0.1, rel=1e-6)
    again = found(prediction, data.batch())
    assert again.energy_uncertainty is not None
    torch.testing.assert_close(again.energy_uncertainty.double(), 0.1 * atoms, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("count", [1, 4, 30])
def test_a_map_with_an_offset_is_applied_to_each_atom(count: int) -> None:
    """sigma² = u² + 0.01 of an atom: of a structure, sigma is not as large as if it were one atom."""
    data = Dataset(name="a", atoms=(samples.label(ase.Atoms(f"H{count}", np.arange(count)[:, None] * [1.5, 0, 0])),))
    found = calibration.Calibrator(
        kind="affine", unit="eV/Å", forces={0: Affine(slope=1.0, offset=0.0)}, energy=Affine(slope=1.0, offset=0.01),
        level=None, data="a", structures=1, groups=1,
    )  # fmt: skip
    prediction = calibration_input(data, torch.zeros(1, dtype=torch.float64), torch.tensor([0.3], dtype=torch.float64))
    said = found(prediction, data.batch()).energy_uncertainty
    assert said is not None
    assert float(said) == pytest.approx(count * ((0.3 / count) ** 2 + 0.01) ** 0.5)


def calibration_input(data: Dataset, errors: torch.Tensor, uncertainty: torch.Tensor) -> Any:
    from uqlib.prediction import Prediction

    forces = torch.as_tensor(data.forces)
    noise = torch.randn(forces.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = Prediction(
        energy=torch.as_tensor(data.energies) + errors,
        forces=forces + noise,
        force_uncertainty=torch.ones(len(forces), dtype=torch.float64),
        unit="eV/Å",
    )
    return replace(plain, energy_uncertainty=uncertainty)
