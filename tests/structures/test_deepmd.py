"""Folders of DeePMD-kit: what is read is what was written, and what is broken is named."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from uqlib.structures import datasets
from uqlib.structures.notices import DataWarning

SYMBOLS = ["Na", "Cl"]


def system(folder: Path, *, sets: tuple[int, ...] = (3, 2), seed: int = 0) -> dict[str, np.ndarray]:
    """Write frames of rock salt, so many a set; returns all of them."""
    random = np.random.default_rng(seed)
    salt = bulk("NaCl", "rocksalt", a=5.6)
    frames = sum(sets)
    found = {
        "coord": np.array([(salt.positions + 0.1 * random.normal(size=(2, 3))).ravel() for _ in range(frames)]),
        "box": np.array([(np.asarray(salt.cell) * (1 + 0.01 * k)).ravel() for k in range(frames)]),
        "energy": random.normal(size=frames),
        "force": random.normal(size=(frames, 6)),
        "virial": np.array([(s + s.T).ravel() for s in random.normal(size=(frames, 3, 3))]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "type.raw").write_text("0\n1\n")
    (folder / "type_map.raw").write_text("\n".join(SYMBOLS) + "\n")
    start = 0
    for number, size in enumerate(sets):
        part = folder / f"set.{number:03}"
        part.mkdir()
        for name, values in found.items():
            np.save(part / f"{name}.npy", values[start : start + size].astype(np.float64))
        start += size
    return found


def read(path: Path) -> datasets.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # of one composition, of a virial, of what is not read
        return datasets.read(path)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = system(tmp_path / "salt")
    data = read(tmp_path / "salt")
    assert [str(frame.symbols) for frame in data.atoms] == 5 * ["NaCl"]
    assert all(frame.pbc.all() for frame in data.atoms)
    assert np.allclose([frame.positions.ravel() for frame in data.atoms], written["coord"])
    assert np.allclose([np.ravel(frame.cell) for frame in data.atoms], written["box"])
    assert np.allclose(data.energies, written["energy"])
    assert np.allclose(data.forces.reshape(5, 6), written["force"])
    for frame, virial in zip(data.atoms, written["virial"], strict=True):
        assert frame.calc is not None
        expected = -virial.reshape(3, 3) / frame.get_volume()
        assert np.allclose(frame.calc.results["stress"][[0, 1, 2]], np.diag(expected))
        assert np.allclose(frame.calc.results["stress"][[3, 4, 5]], expected[[1, 0, 0], [2, 2, 1]])


def test_systems_in_folders_are_groups_of_their_own_and_nothing_is_skipped(tmp_path: Path) -> None:
    for seed in (1, 2):
        system(tmp_path / f"salt_{seed}", sets=(2,), seed=seed)
    (tmp_path / "notes.txt").write_text("ours")
    data = read(tmp_path)
    assert sorted(set(data.groups)) == ["salt_1/type", "salt_2/type"]
    assert data.reading is not None
    assert [name for name, _ in data.reading.skipped] == ["notes.txt"]


def test_a_molecule_has_no_cell_and_no_stress(tmp_path: Path) -> None:
    system(tmp_path)
    (tmp_path / "nopbc").touch()
    data = read(tmp_path)
    assert not any(frame.pbc.any() for frame in data.atoms)
    assert not data.known("stress").any()
    assert data.known("forces").all()


def test_sets_need_no_labels(tmp_path: Path) -> None:
    system(tmp_path)
    for path in tmp_path.glob("set.*/[efv]*.npy"):
        path.unlink()
    assert len(datasets.read(tmp_path)) == 5


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda f: (f / "type_map.raw").unlink(), "type_map.raw: is missing, so nobody knows the elements"),
        (lambda f: (f / "type_map.raw").write_text("Na Kl"), "'Kl' is no element"),
        (lambda f: (f / "type_map.raw").write_text("Na"), "got types 0 to 1, type_map.raw names 1"),
        (lambda f: (f / "type.raw").write_text("Na Cl"), "expected one integer an atom"),
        (lambda f: np.save(f / "set.000" / "force.npy", np.ones((3, 5))), r"force.npy: got float64 of shape \(3, 5\)"),
        (lambda f: np.save(f / "set.001" / "energy.npy", np.array(["a", "b"])), "energy.npy: got <U1"),
        (lambda f: (f / "set.000" / "coord.npy").write_bytes(b"\x93NUMPY"), "coord.npy: not a numpy array"),
        (lambda f: (f / "set.000" / "box.npy").unlink(), "box.npy: not a numpy array"),
        (lambda f: [p.unlink() for p in f.glob("set.*/coord.npy")], "but no set.000/coord.npy"),
    ],
)
def test_what_is_broken_is_named(broken, words: str, tmp_path: Path) -> None:
    system(tmp_path)
    broken(tmp_path)
    with pytest.raises(ValueError, match=words):
        datasets.read(tmp_path)
