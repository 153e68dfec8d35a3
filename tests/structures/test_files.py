"""Files of the user's own, in each format, with units stated or refused."""

from pathlib import Path

import ase.db
import numpy as np
import pytest
from ase.build import molecule
from ase.io import write

from uqlib.structures import datasets
from uqlib.structures.arrays import labelled
from uqlib.structures.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE


def _frames(count: int) -> list:
    rng = np.random.default_rng(count)
    water = molecule("H2O")
    return [
        labelled(water.numbers, water.positions + 0.05 * rng.normal(size=(3, 3)), -470.0 - k, rng.normal(size=(3, 3)))
        for k in range(count)
    ]


def _archive(path: Path, **changes: np.ndarray) -> Path:
    frames = _frames(4)
    arrays = {
        "z": frames[0].numbers,
        "R": np.array([f.positions for f in frames]) / ANGSTROM_PER_BOHR,
        "E": np.array([f.get_potential_energy() for f in frames]) / EV_PER_HARTREE,
        "F": np.array([f.get_forces() for f in frames]) / (EV_PER_HARTREE / ANGSTROM_PER_BOHR),
    }
    np.savez(path, **{**arrays, **changes})
    return path


def test_a_folder_is_one_data_set_with_a_group_per_file(tmp_path: Path) -> None:
    for name, count in (("run_a", 3), ("run_b", 5)):
        write(tmp_path / f"{name}.xyz", _frames(count), format="extxyz")
    data = datasets.read(tmp_path)
    assert len(data) == 8
    assert list(data.groups) == ["run_a"] * 3 + ["run_b"] * 5
    split = data.split(seed=0, train=5, test=3)
    assert set(split["train"].groups) == {"run_b"}
    assert set(split["test"].groups) == {"run_a"}


def test_an_ase_database(tmp_path: Path) -> None:
    frames = _frames(3)
    database = ase.db.connect(tmp_path / "set.db")
    for frame in frames:
        database.write(frame)
    data = datasets.read(tmp_path / "set.db")
    assert data.energies == pytest.approx([-470.0, -471.0, -472.0])
    assert data.forces == pytest.approx(np.concatenate([f.get_forces() for f in frames]))


def test_a_numpy_archive_in_atomic_units(tmp_path: Path) -> None:
    data = datasets.read(_archive(tmp_path / "set.npz"), energy_unit="hartree", length_unit="bohr")
    frames = _frames(4)
    assert data.energies == pytest.approx([f.get_potential_energy() for f in frames])
    assert data.forces == pytest.approx(np.concatenate([f.get_forces() for f in frames]))
    assert data.atoms[2].positions == pytest.approx(frames[2].positions)


def test_a_numpy_archive_without_units_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="energy_unit"):
        datasets.read(_archive(tmp_path / "set.npz"))
    with pytest.raises(ValueError, match="calories"):
        datasets.read(_archive(tmp_path / "set.npz"), energy_unit="calories")


def test_units_for_a_file_that_states_its_own_are_refused(tmp_path: Path) -> None:
    (frame,) = _frames(1)
    frame.set_cell([9.0, 9.0, 9.0])
    write(tmp_path / "POSCAR", frame, format="vasp")
    with pytest.raises(ValueError, match="own units"):
        datasets.read(tmp_path / "POSCAR", energy_unit="kcal/mol")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"R": np.zeros((4, 2, 3))}, r"positions has shape \(4, 2, 3\), expected \(4, 3, 3\)"),
        ({"F": np.zeros((3, 3, 3))}, "forces has shape"),
        ({"z": np.array([8, None, 1])}, "plain arrays"),
    ],
)
def test_a_broken_numpy_archive_says_what_is_wrong(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        datasets.read(_archive(tmp_path / "set.npz", **changes), energy_unit="eV")


def test_a_truncated_numpy_archive_is_named(tmp_path: Path) -> None:
    path = _archive(tmp_path / "set.npz")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"set\.npz.*cut short"):
        datasets.read(path, energy_unit="eV")


def test_an_empty_folder_holds_no_structures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no structures"):
        datasets.read(tmp_path)
