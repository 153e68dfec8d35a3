"""Files in, splits out: what is read is what was written, and nothing broken gets through."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import samples
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from samples import crystal, rattled

from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset
from uqlib.structures.notices import DataWarning

FRAME = """\
2
Properties=species:S:1:pos:R:3:{prefix}forces:R:3 {prefix}energy=-12.5 group=run7 pbc="F F F"
O 0.0 0.0 0.0 0.1 0.2 0.3
H 0.0 0.0 1.0 -0.1 -0.2 -0.3
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("prefix", ["REF_", ""])
@pytest.mark.parametrize("ending", [".xyz", ".extxyz"])
def test_extended_xyz(tmp_path: Path, prefix: str, ending: str) -> None:
    data = datasets.read(write(tmp_path / f"mine{ending}", 3 * FRAME.format(prefix=prefix)))
    assert (len(data), data.name, data.elements) == (3, "mine", (1, 8))
    assert data.energies.tolist() == [-12.5] * 3
    np.testing.assert_allclose(data.forces[:2], [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])
    assert data.forces.shape == (6, 3)
    assert data.groups.tolist() == ["run7"] * 3
    batch = data.batch()
    assert batch.energy is not None
    assert batch.forces is not None
    assert batch.stress is None


def test_stress_of_an_extended_xyz(tmp_path: Path) -> None:
    atoms = crystal()
    stress = 0.1 * np.array([[1.0, 0.4, 0.5], [0.4, 2.0, 0.6], [0.5, 0.6, 3.0]])
    atoms.info["REF_stress"] = stress
    ase.io.write(tmp_path / "mine.xyz", atoms, format="extxyz")
    batch = datasets.read(tmp_path / "mine.xyz").batch()
    assert batch.stress is not None
    np.testing.assert_allclose(batch.stress[0], stress, rtol=1e-6)


def test_ase_database(tmp_path: Path) -> None:
    original = samples.dataset()
    database = connect(tmp_path / "mine.db")
    for atoms in original.atoms:
        database.write(atoms)
    data = datasets.read(tmp_path / "mine.db")
    np.testing.assert_array_equal(data.energies, original.energies)
    np.testing.assert_array_equal(data.forces, original.forces)
    assert data.batch().energy is not None


def test_written_and_read_again(tmp_path: Path) -> None:
    original = samples.dataset()
    ase.io.write(tmp_path / "mine.xyz", list(original.atoms), format="extxyz")
    data = datasets.read(tmp_path / "mine.xyz")
    np.testing.assert_allclose(data.energies, original.energies, rtol=1e-12)
    np.testing.assert_allclose(data.forces, original.forces, atol=1e-7)


def cut(text: str) -> str:
    return text[: text.rindex("H 0.0") + 12]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("in the last frame", cut(2 * FRAME.format(prefix="REF_"))),
        ("a line short", "\n".join(FRAME.format(prefix="REF_").splitlines()[:-1])),
        ("after the header", "\n".join(FRAME.format(prefix="REF_").splitlines()[:2])),
        ("a word for a number", FRAME.format(prefix="REF_").replace("0.2", "abc")),
        ("no count of atoms", FRAME.format(prefix="REF_")[2:]),
        ("an unknown element", FRAME.format(prefix="REF_").replace("O 0.0", "Xq 0.0")),
        ("a table that is none", "a,b,c\n1,2,3\n"),
        ("empty", ""),
        ("bytes", "\x00\x01\x02"),
    ],
)
def test_broken_extended_xyz(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path / "broken.xyz", text)
    with pytest.raises(ValueError, match=r"broken\.xyz"):
        datasets.read(path)


def test_broken_database(tmp_path: Path) -> None:
    path = write(tmp_path / "broken.db", "this is no database, it only has the name of one")
    with pytest.raises(ValueError, match=r"broken\.db: not an ASE database"):
        datasets.read(path)


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.xyz does not exist"):
        datasets.read(tmp_path / "none.xyz")
    with pytest.raises(ValueError, match=r"got 'data\.pdf', expected .* an ending \.xyz, \.extxyz, \.db"):
        datasets.read(write(tmp_path / "data.pdf", "data_"))
    (tmp_path / "folder.xyz").mkdir()
    with pytest.raises(ValueError, match=r"folder\.xyz holds no structures"):
        datasets.read(tmp_path / "folder.xyz")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FRAME.format(prefix="REF_").replace("REF_energy=-12.5", "REF_energy=nan"), "energy: structure 0 .*not finite"),
        (FRAME.format(prefix="REF_").replace("0.2", "inf"), "forces: structure 0 .*'run7'.* not finite"),
        (FRAME.format(prefix="REF_").replace("1.0", "nan"), "positions of structure 0: .*not finite"),
        (FRAME.format(prefix="REF_").replace("1.0", "0.0"), r"0 Å apart"),
        (FRAME.format(prefix="REF_").replace("F F F", "T T T"), "periodic along"),
    ],
)  # fmt: skip
def test_bad_content_is_refused_before_it_is_trained_on(tmp_path: Path, text: str, words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # the reader says it, too
        data = datasets.read(write(tmp_path / "mine.xyz", text))
    with pytest.raises(ValueError, match=words):
        data.batch()


def test_without_labels() -> None:
    bare = Dataset(name="bare", atoms=(rattled("NH3", 0), rattled("H2O", 0)))
    assert "2 structures of H2O, H3N" in repr(bare)
    assert "eV" not in repr(bare)
    assert bare.batch().energy is None
    with pytest.raises(ValueError, match=r"energy: 2 of 2 structures of 'bare' have none"):
        _ = bare.energies
    half = Dataset(name="half", atoms=(samples.label(rattled("NH3", 0)), rattled("NH3", 1)))
    with pytest.raises(ValueError, match=r"forces: 1 of 2 structures of 'half' have none"):
        _ = half.forces
    assert "half" in repr(half)


def test_repr_says_that_a_set_is_partial_and_fits_a_page() -> None:
    data = samples.dataset()
    card = {"level": "a level of theory " * 8, "complete": False, "labelled": 3, "planned": 70}
    text = repr(datasets.Dataset(name="partial", atoms=data.atoms, splits=data.splits, card=card))
    assert "3 of 70 planned" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 76
    assert "planned" not in repr(data)


def test_repr_says_what_one_wants_to_know() -> None:
    text = repr(samples.dataset())
    for words in ("molecules: 20 structures of H2O, H3N, O2", "eV/atom", "eV/Å", "train 12, valid 4, test 4"):
        assert words in text


def test_splits_are_data_sets() -> None:
    data = samples.dataset()
    assert [len(data[s]) for s in ("train", "valid", "test")] == [12, 4, 4]
    assert data["valid"].name == "molecules/valid"
    np.testing.assert_array_equal(data["valid"].energies, data.energies[12:16])
    with pytest.raises(KeyError, match=r"got 'tset', 'molecules' has \['test', 'train', 'valid'\]"):
        data["tset"]
    with pytest.raises(KeyError, match="no splits"):
        data["train"]["train"]


def test_batches_of_a_data_set() -> None:
    data = samples.dataset()
    part = data.batch([3, 1], cutoff=samples.CUTOFF)
    assert part.n_structures == 2
    assert part.energy is not None
    np.testing.assert_array_equal(part.energy, data.energies[[3, 1]])
    assert data.batch(cutoff=samples.CUTOFF) is data.batch(cutoff=samples.CUTOFF), "pairs are found once"
    assert data.batch(cutoff=1.5).n_pairs < data.batch(cutoff=samples.CUTOFF).n_pairs


def test_info() -> None:
    atoms = [rattled("NH3", 0), rattled("NH3", 1)]
    atoms[0].info.update(height=1.0, only_here=2)
    atoms[1].info.update(height=3.0)
    data = Dataset(name="d", atoms=tuple(atoms))
    assert data.info("height").tolist() == [1.0, 3.0]
    with pytest.raises(KeyError, match=r"got 'only_here', every structure of 'd' has \['height'\]"):
        data.info("only_here")


def test_bad_splits() -> None:
    atoms = samples.dataset().atoms
    with pytest.raises(ValueError, match="'nothing' is empty, expected at least one"):
        Dataset(name="nothing", atoms=())
    with pytest.raises(ValueError, match="structure 2 is in 'a' and in 'b'; splits overlap"):
        Dataset(name="d", atoms=atoms, splits={"a": (0, 2), "b": (2, 3)})
    with pytest.raises(ValueError, match="overlap"):
        Dataset(name="d", atoms=atoms, splits={"a": (0, 0)})
    for index in (20, -1):
        with pytest.raises(ValueError, match=f"'a' names structure {index}, there are 20"):
            Dataset(name="d", atoms=atoms, splits={"a": (index,)})


def trajectories(lengths: list[int]) -> Dataset:
    frames = []
    for number, length in enumerate(lengths):
        for _ in range(length):
            atoms = rattled("H2O", len(frames))
            atoms.info["group"] = f"run {number}"
            frames.append(samples.label(atoms))
    return Dataset(name="runs", atoms=tuple(frames))


@pytest.mark.parametrize("seed", range(5))
def test_groups_never_straddle_splits(seed: int) -> None:
    data = trajectories([7, 3, 5, 4, 6, 2, 8, 5]).split(seed=seed, train=20, valid=8, test=8)
    groups = [set(data[split].groups) for split in ("train", "valid", "test")]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert all(0 < len(data[s]) <= size for s, size in (("train", 20), ("valid", 8), ("test", 8)))


def test_random_splits() -> None:
    data = samples.dataset()
    split = data.split(seed=3, train=10, valid=5)
    assert (len(split["train"]), len(split["valid"])) == (10, 5)
    assert split.splits == data.split(seed=3, train=10, valid=5).splits
    assert split.splits != data.split(seed=4, train=10, valid=5).splits
    whole = data.split(seed=0, train=20)
    assert sorted(whole.splits["train"]) == list(range(20))
    loose = trajectories([10, 10]).split(seed=0, by_group=False, train=5, valid=5)
    assert (len(loose["train"]), len(loose["valid"])) == (5, 5)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"train": 15, "valid": 6}, r"got \{'train': 15, 'valid': 6\}, expected .* at most 20"),
        ({"train": 0}, "expected positive numbers"),
        ({"train": 5, "valid": -1}, "expected positive numbers"),
        ({}, "expected positive numbers"),
    ],
)
def test_splits_larger_than_the_data(sizes: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        samples.dataset().split(seed=0, by_group=True, **sizes)  # pyright: ignore[reportArgumentType]


def test_groups_too_large_for_a_split() -> None:
    with pytest.raises(ValueError, match=r"no whole group .* fits into \['valid'\]; groups hold \[10\] frames"):
        trajectories([10, 10]).split(seed=0, train=10, valid=9)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of one of our own sets that may be spoilt."""
    name = datasets.available()[0]
    shutil.copytree(datasets.DATA / name, tmp_path / name)
    monkeypatch.setattr(datasets, "DATA", tmp_path)
    return tmp_path / name


@pytest.mark.parametrize("name", datasets.available())
def test_our_own_sets(name: str) -> None:
    data = datasets.load(name)
    assert data.name == name
    assert sum(len(data[split]) for split in data.splits) == len(data)
    for split, entry in data.card["splits"].items():
        assert len(data[split]) == entry["frames"]
        batch = data[split].batch()
        assert batch.energy is not None
        assert batch.forces is not None
        assert float(np.sqrt(np.mean(data[split].forces ** 2))) == pytest.approx(entry["force_rms"], rel=1e-3)
    assert data.card["licence"] == "CC0-1.0"
    train, other = set(data["train"].groups), set(np.concatenate([data[s].groups for s in data.splits if s != "train"]))
    assert not train & other


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"name: got 'amonia', expected one of \['ammonia'"):
        datasets.load("amonia")


def append_blank(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def change_digit(path: Path) -> None:
    text = path.read_text()
    place = text.rindex("1")
    path.write_text(text[:place] + "2" + text[place + 1 :])


def drop_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("spoil", [append_blank, change_digit, drop_half])
def test_a_file_that_is_not_the_one_on_the_card(folder: Path, spoil: Callable[[Path], None]) -> None:
    spoil(folder / "train.xyz")
    with pytest.raises(ValueError, match=r"train\.xyz: got SHA-256 .*, the card says .*; restore the file from git"):
        datasets.load(folder.name)


def test_missing_split_and_broken_card(folder: Path) -> None:
    (folder / "valid.xyz").unlink()
    with pytest.raises(FileNotFoundError, match=r"valid\.xyz"):
        datasets.load(folder.name)
    card = json.loads((folder / "card.json").read_text())
    for text in ("{", json.dumps({key: value for key, value in card.items() if key != "splits"})):
        (folder / "card.json").write_text(text)
        with pytest.raises(ValueError, match=r"card\.json"):
            datasets.load(folder.name)


def test_reading_leaves_other_arrays_alone(tmp_path: Path) -> None:
    atoms = samples.label(rattled("NH3", 0))
    atoms.arrays["mine"] = np.arange(4.0)
    atoms.info["REF_energy"] = -99.0
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    ase.io.write(tmp_path / "mine.xyz", atoms, format="extxyz")
    (frame,) = datasets.read(tmp_path / "mine.xyz").atoms
    assert frame.arrays["mine"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert frame.get_potential_energy() == -99.0, "REF_energy is the label, whatever else there is"
