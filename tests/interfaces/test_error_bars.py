"""What was predicted survives the files of ASE, beside the labels and never in their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import samples
import torch
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from uqlib.interfaces import UncertaintyCalculator, error_bars
from uqlib.methods.shared.committee import Committee
from uqlib.prediction import Prediction, predict
from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset

NETWORKS = Committee([samples.small_network(torch.float32, seed=seed) for seed in range(2)])
ENDINGS = ("xyz", "extxyz", "traj", "db", "json")


def computed(atoms: ase.Atoms) -> ase.Atoms:
    atoms.calc = UncertaintyCalculator(NETWORKS)
    atoms.get_forces()
    return atoms


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_the_calculator_computed_survives(ending: str, tmp_path: Path) -> None:
    """Molecules of other sizes, a cell, six atoms (as many as a stress has numbers), a constraint and tags."""
    six = molecule("C2H4")
    six.numbers[six.numbers == 6] = 7
    frames = [computed(atoms) for atoms in (samples.rattled("NH3", 0), samples.crystal(), six)]
    frames[0].set_constraint(FixAtoms([1]))
    frames[0].info |= {"remark": "umbrella", "step": np.int64(7), "fine": np.bool_(True)}
    frames[0].arrays["name"] = np.array(["N1", "H1", "H2", "H3"])
    frames[1].set_tags(range(4))
    frames[1].arrays["site"] = np.arange(4) * 0.5
    kept = [error_bars.keep(atoms) for atoms in frames]
    path = tmp_path / "new" / f"kept.{ending}"
    error_bars.write(path, kept)
    again = error_bars.read(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    for before, atoms, after in zip(frames, kept, again, strict=True):
        assert before.calc is not None
        known = before.calc.results
        assert atoms.calc is None
        assert after.calc is None, "no label came of it"
        for frame in (atoms, after):
            assert frame.info["uqlib_energy"] == pytest.approx(known["energy"], rel=1e-12)
            assert frame.info["uqlib_energy_uncertainty"] == pytest.approx(known["energy_uncertainty"])
            assert frame.info["uqlib_unit"] == "eV/Å"
            np.testing.assert_allclose(frame.arrays["uqlib_forces"], known["forces"], atol=1e-8)
            np.testing.assert_allclose(frame.arrays["uqlib_force_uncertainty"], known["force_uncertainty"], atol=1e-8)
            assert ("uqlib_stress" in frame.info) == bool(before.pbc.all())
        assert len(after.constraints) == len(before.constraints)
        assert set(after.info) == set(atoms.info)
        assert set(after.arrays) == set(atoms.arrays)
    np.testing.assert_allclose(again[1].info["uqlib_stress"], frames[1].get_stress(), atol=1e-8)
    np.testing.assert_allclose(again[1].arrays["site"], frames[1].arrays["site"])
    assert [again[0].info[key] for key in ("remark", "step", "fine")] == ["umbrella", 7, True]
    assert again[0].arrays["name"].tolist() == ["N1", "H1", "H2", "H3"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_predictions_stand_beside_labels(ending: str, tmp_path: Path) -> None:
    data = samples.dataset({"all": 5})
    prediction = predict(NETWORKS, data)
    path = tmp_path / f"predicted.{ending}"
    error_bars.write(path, error_bars.attach(data.atoms, prediction))
    again = Dataset(name="again", atoms=tuple(error_bars.read(path)))
    np.testing.assert_allclose(again.energies, data.energies)
    np.testing.assert_allclose(again.forces, data.forces, atol=1e-8)
    np.testing.assert_allclose(again.info("uqlib_energy"), prediction.energy)
    np.testing.assert_allclose(np.concatenate([a.arrays["uqlib_forces"] for a in again.atoms]), prediction.forces,
                               atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("ending", ["xyz", "db"])
def test_a_file_of_predictions_holds_no_labels(ending: str, tmp_path: Path) -> None:
    bare = Dataset(name="bare", atoms=tuple(samples.rattled("NH3", seed) for seed in range(3)))
    path = tmp_path / f"predicted.{ending}"
    error_bars.write(path, error_bars.attach(bare.atoms, predict(NETWORKS, bare)))
    with pytest.raises(ValueError, match="energy: 3 of 3 structures"):
        datasets.read(path).energies  # noqa: B018


def test_ase_alone_reads_and_writes_extended_xyz(tmp_path: Path) -> None:
    """What dynamics streams frame by frame needs no function of ours to be read."""
    atoms = computed(samples.rattled("H2O", 4))
    ase.io.write(tmp_path / "one.xyz", error_bars.keep(atoms))
    again: Any = ase.io.read(tmp_path / "one.xyz")
    np.testing.assert_allclose(again.arrays["uqlib_forces"], atoms.get_forces(), atol=1e-8)
    assert again.calc is None


def test_without_what_a_method_does_not_give(tmp_path: Path) -> None:
    frames = [samples.rattled("NH3", 0), samples.crystal()]
    prediction = Prediction(
        energy=torch.tensor([1.0, 2.0]), forces=torch.ones(8, 3), force_uncertainty=torch.arange(8.0), unit="nats"
    )
    path = tmp_path / "scores.traj"
    error_bars.write(path, error_bars.attach(frames, prediction))
    first, second = error_bars.read(path)
    assert set(first.info) == set(second.info) == {"uqlib_energy", "uqlib_unit"}
    assert second.arrays["uqlib_force_uncertainty"].tolist() == [4.0, 5.0, 6.0, 7.0]


def test_what_is_refused(tmp_path: Path) -> None:
    atoms = samples.rattled("NH3", 0)
    with pytest.raises(ValueError, match="NoneType as its calculator, expected an UncertaintyCalculator"):
        error_bars.keep(atoms)
    atoms.calc = EMT()
    with pytest.raises(ValueError, match="got a structure with EMT"):
        error_bars.keep(atoms)
    atoms.calc = UncertaintyCalculator(NETWORKS)
    with pytest.raises(ValueError, match=r"nothing is known .* `atoms.get_forces\(\)`"):
        error_bars.keep(atoms)
    atoms.get_forces()
    atoms.positions[0, 0] += 0.1
    with pytest.raises(ValueError, match="nothing is known"):
        error_bars.keep(atoms)
    data = samples.dataset({"all": 4})
    with pytest.raises(ValueError, match="got one of 3 structures with 9 atoms, expected 4 with"):
        error_bars.attach(data.atoms, predict(NETWORKS, data.take([0, 0, 0])))
    with pytest.raises(ValueError, match=r"expected an ending \.xyz"):
        error_bars.write(tmp_path / "frames.cif", [atoms])
    with pytest.raises(ValueError, match="got none to write"):
        error_bars.write(tmp_path / "frames.traj", [])


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "frames.db"
    good = error_bars.keep(computed(samples.rattled("NH3", 0)))
    error_bars.write(path, [good, good])
    error_bars.write(path, [good])
    assert len(error_bars.read(path)) == 1
    bad = good.copy()
    bad.info["thing"] = object()
    before = path.read_bytes()
    with pytest.raises(ValueError, match="'thing' in `info` or `arrays` is a object"):
        error_bars.write(path, [good, bad])
    assert path.read_bytes() == before
