"""Input without bounds: refused with its name, or worked through, before native code or memory sees it."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uqlib.structures import bounds, datasets, nff
from uqlib.structures.arrays import read_npz
from uqlib.structures.batch import Batch

APART = [
    [[0, 0, 0], [1e6, 0, 0]],
    [[0, 0, 0], [2e4, 2e4, 0]],
    [[-1e8, 0, 0], [1e8, 1e8, 0]],
    [[0, 0, 0], [0, 5e3, 5e3], [0, 5e3, 5e3 + 1]],
]


@pytest.mark.parametrize("positions", APART)
def test_atoms_far_apart_have_the_neighbours_that_they_have(positions: list) -> None:
    """In a process of its own: the search that was asked before ended all of it."""
    code = f"""
import ase
from uqlib.structures.batch import Batch
print(Batch.from_atoms(ase.Atoms("H{len(positions)}", positions={positions})).n_pairs)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 2 * (len(positions) - 2)


@pytest.mark.parametrize(
    ("atoms", "cutoff"),
    [
        (ase.Atoms("H2", [[0, 0, 0], [3e8, 0, 0]]), 5.0),
        (ase.Atoms("H2", [[0, 0, 0], [1, 0, 0]], cell=np.eye(3) * 1e12, pbc=True), 5.0),
        (ase.Atoms("H", cell=np.eye(3) * 0.5, pbc=True), 1e5),
        (ase.Atoms("H1000", np.random.default_rng(0).uniform(size=(1000, 3)), cell=np.eye(3), pbc=True), 80.0),
        (ase.Atoms("H", cell=np.eye(3), pbc=[True, False, False]), 1e10),
    ],
)
def test_what_no_memory_holds_is_refused(atoms: ase.Atoms, cutoff: float) -> None:
    with pytest.raises(ValueError, match=r"positions of structure 0: (got|about) .*(centimetre|in Å|simulation|cell)"):
        Batch.from_atoms(atoms, cutoff=cutoff)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(*3 * [st.floats(-3e8, 3e8, allow_nan=False) | st.floats(-20, 20)]), min_size=1, max_size=6),
    st.tuples(*3 * [st.booleans()]),
    st.sampled_from([4.0, 30.0, 1e4, 1e7]),
    st.floats(0.2, 500.0),
)
def test_any_positions_and_cell(positions: list, pbc: tuple, side: float, cutoff: float) -> None:
    atoms = ase.Atoms(f"H{len(positions)}", positions, cell=np.eye(3) * side + 0.1, pbc=pbc)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "SMALL", 1e6)
        patch.setattr(bounds, "MOST_PAIRS", 1e5)
        try:
            batch = Batch.from_atoms(atoms, cutoff=cutoff, dtype=torch.float64)
        except ValueError:
            return
    assert torch.equal(batch.pairs[:, batch.reverse], batch.pairs.flip(0))


@pytest.mark.parametrize("pbc", [(0, 0, 0), (1, 1, 1), (1, 1, 0), (0, 1, 0)])
def test_both_searches_find_the_same(pbc: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(sum(pbc))
    cell = np.eye(3) * 6 + random.normal(size=(3, 3)) * 0.8
    atoms = ase.Atoms("H8", random.uniform(-3, 9, (8, 3)), cell=cell, pbc=pbc)
    found = []
    for thin in (False, True):
        monkeypatch.setattr(bounds, "_is_long_and_thin", lambda *_, thin=thin: thin)
        batch = Batch.from_atoms(atoms, dtype=torch.float64)
        places = zip(batch.pairs.T.tolist(), batch.shifts.tolist(), strict=True)
        found.append(sorted((*pair, *shift) for pair, shift in places))
    assert found[0] == found[1]
    assert found[0]


def taking(call: Callable[[], object], words: str, seconds: float = 5.0) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match=words):
        call()
    assert time.process_time() - started < seconds


HEAD = 'Properties=species:S:1:pos:R:3 pbc="F F F"'


@pytest.mark.parametrize(
    "text",
    [
        f"30000000\n{HEAD}\nH 0 0 0\n",
        f"1000000000000\n{HEAD}\nH 0 0 0\n",
        f"{'9' * 6000}\n{HEAD}\nH 0 0 0\n",
        "1\nProperties=species:S:1:pos:R:1000000000\nH 0 0 0\n",
        "1\nProperties=species:S:1:pos:R:3:more:R:999999999999\nH 0 0 0\n",
        '1\n"Properties"=species:S:1:pos:R:1000000000\nH 0 0 0\n',
        "1\nProperties=species:S:1:pos:R:-3\nH 0 0 0\n",
        "1\nProperties=Z:R:1:pos:R:3\n1.5 0 0 0\n",
        f"²\n{HEAD}\nH 0 0 0\n",
    ],
)
def test_headers_of_xyz_that_claim_too_much(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xyz").write_text(text)
    taking(lambda: datasets.read(tmp_path / "a.xyz"), r"a\.xyz: not extended XYZ, or cut short \(line \d")


@pytest.mark.parametrize("packer", [gzip, lzma])
def test_compressed_files_that_explode(tmp_path: Path, packer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SMALL", 1e6)
    ending = {"gzip": "gz", "lzma": "xz"}[packer.__name__]
    path = tmp_path / f"a.xyz.{ending}"
    path.write_bytes(packer.compress(b" " * 1_500_000))
    taking(lambda: datasets.read(path), r"a\.xyz\...: .* bytes would become")


def npz(path: Path, **arrays: object) -> Path:
    shapes = {"z": np.array([8, 1]), "R": np.zeros((3, 2, 3)), "E": np.zeros(3), "F": np.zeros((3, 2, 3))}
    shapes["R"][:, 1, 2] = 1.0
    np.savez(path, **{**shapes, **arrays})  # pyright: ignore[reportArgumentType]
    return path


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"z": np.array(8)}, r"kinds has shape \(\)"),
        ({"z": np.array([[8, 1]])}, r"kinds has shape \(1, 2\)"),
        ({"z": np.array([1.5, 1.0])}, r"kinds: got 1\.5, expected whole atomic numbers"),
        ({"z": np.array([0, 1])}, "kinds: got 0, expected whole"),
        ({"z": np.array([8, 119])}, "kinds: got 119, expected whole"),
        ({"z": np.array(["O", "Xy"])}, "kinds: got .*Xy.*, expected symbols"),
        ({"z": np.array([8, 1j])}, "kinds: got complex128"),
        ({"E": np.array("low")}, r"energies has shape \(\)"),
        ({"E": np.zeros((3, 2))}, r"energies has shape \(3, 2\)"),
        ({"E": np.array([1, 2, 3 + 1j])}, "energies: got values of type complex128"),
        ({"E": np.array(["a", "b", "c"])}, "energies: got values of type <U1"),
        ({"R": np.zeros((3, 2, 2))}, r"positions has shape \(3, 2, 2\)"),
        ({"F": np.zeros((3, 3, 2))}, r"forces has shape \(3, 3, 2\)"),
        ({"F": np.zeros((3, 2, 3), dtype=complex)}, "forces: got values of type complex128"),
        ({"E": np.array([None, 1, 2], dtype=object)}, "not a numpy archive of plain arrays"),
    ],
)  # fmt: skip
def test_arrays_that_are_not_what_they_should_be(tmp_path: Path, arrays: dict, words: str) -> None:
    path = npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=rf"a\.npz: {words}"):
        read_npz(path, energy_unit="eV")


@pytest.mark.parametrize("shape", [(100_000, 2, 3), (3, 200_000), (600_000,)])
def test_an_archive_that_explodes_is_refused_unread(
    tmp_path: Path, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zeroed member of megabytes in kilobytes: its header and its size are looked at first."""
    monkeypatch.setattr(bounds, "SMALL", 1e6)
    path = npz(tmp_path / "a.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    packed = tmp_path / "b.npz"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            if entry.filename != "R.npy":
                new.writestr(entry.filename, old.read(entry))
        with new.open("R.npy", "w", force_zip64=True) as part:
            part.write(header.getvalue())
            part.write(bytes(8 * int(np.prod(shape))))
    taking(lambda: read_npz(packed, energy_unit="eV"), r"b\.npz: (R\.npy: .* would become|positions has shape)")


def test_a_member_that_claims_more_than_it_has(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    path = npz(tmp_path / "a.npz")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("energies.npy", header.getvalue() + bytes(24))
    taking(lambda: read_npz(path, energy_unit="eV"), r"a\.npz: .*energies\.npy says shape")


class Dataset:
    """Pickled under the name that NFF has."""


Dataset.__module__, Dataset.__qualname__ = "nff.data.dataset", "Dataset"


def nff_file(path: Path, monkeypatch: pytest.MonkeyPatch, **props: object) -> Path:
    module = type(sys)("nff.data.dataset")
    module.Dataset = Dataset  # pyright: ignore[reportAttributeAccessIssue]
    for name in ("nff", "nff.data"):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    monkeypatch.setitem(sys.modules, "nff.data.dataset", module)
    made = Dataset()
    known = {"nxyz": [torch.tensor([[8, 0, 0, 0], [1, 0, 0, 1.0]])], "energy": [torch.tensor(1.0)]}
    made.__dict__ = {"props": {**known, **props}, "units": "eV"}
    torch.save(made, path)
    return path


LAUGHS: list = [1.0]
for _ in range(12):
    LAUGHS = [LAUGHS] * 10


@pytest.mark.parametrize(
    ("props", "words"),
    [
        ({}, None),
        ({"nxyz": [[[8, 0, 0, 0], [1, 0, 0, 1.0]]]}, None),
        ({"nxyz": [torch.tensor([[1.5, 0, 0, 0], [1, 0, 0, 1.0]])]}, r"got 1\.5, expected whole"),
        ({"nxyz": [torch.tensor([[8, 0, 0, 0], [1, 0, 0, 1j]])]}, "type complex64"),
        ({"nxyz": [LAUGHS]}, "nxyz holds a list"),
        ({"energy": [LAUGHS]}, "energy holds a list"),
        ({"energy": [torch.tensor(1j)]}, "type complex64"),
        ({"energy": [torch.tensor([1.0, 2.0])]}, "reshape"),
        ({"energy": ["low"]}, "energy holds a str"),
        ({"energy_grad": [LAUGHS]}, "energy_grad holds a list"),
    ],
)
def test_nff_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, props: dict, words: str | None) -> None:
    path = nff_file(tmp_path / "a.pth.tar", monkeypatch, **props)
    if words is None:
        assert nff.read(path)[0].get_chemical_formula() == "HO"
    else:
        taking(lambda: nff.read(path), rf"a\.pth\.tar: .*{words}")


def test_an_nff_archive_that_explodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = nff_file(tmp_path / "a.pth.tar", monkeypatch)
    packed = tmp_path / "b.pth.tar"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            content = old.read(entry) + (bytes(500_000) if entry.filename.endswith("/data/0") else b"")
            new.writestr(entry.filename, content)
    taking(lambda: nff.read(packed), r"b\.pth\.tar: .*says that its parts have")


@pytest.mark.parametrize("content", [{"a": 1}, {"1": {"numbers": [1]}, "ids": [1], "nextid": 2}, [], None])
def test_json_that_is_no_database(tmp_path: Path, content: object) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"a\.json: not an ASE database, or cut short"):
        datasets.read(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("end", "words"),
    [("-3.", "has fewer digits"), ("-3", "has fewer digits"), ("-3.78", "has fewer digits"), ("-3.789", None)],
)
def test_a_last_number_that_was_cut(tmp_path: Path, end: str, words: str | None) -> None:
    text = "2\nProperties=species:S:1:pos:R:3:forces:R:3 energy=1.0\nO 0 0 0 0.1 0.123 0.5\nH 0 0 1 0.1 0.2 -3.789"
    text = text.replace("0.5\n", "-3.125\n").removesuffix("-3.789") + end
    (tmp_path / "a.xyz").write_text(text)
    if words:
        with pytest.raises(ValueError, match=words):
            datasets.read(tmp_path / "a.xyz")
    else:
        with pytest.warns(UserWarning, match="does not end with the end of a line"):
            datasets.read(tmp_path / "a.xyz")
