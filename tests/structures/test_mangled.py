"""Files written, spoilt in the ways of everyday life, and read: never fewer frames, other numbers, or other units."""

from __future__ import annotations

import io
import tempfile
import warnings
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st

from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset
from uqlib.structures.notices import DataWarning
from uqlib.structures.units import EV_PER, force_factor

NUMBER = st.floats(-50, 50).map(lambda x: round(x, 6))


@st.composite
def frames(draw: st.DrawFn) -> list[ase.Atoms]:
    """A few labelled structures of a few atoms each, on a grid so that none are on top of each other."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        count = draw(st.integers(1, 4))
        places = np.arange(count)[:, None] * [1.7, 0.3, 0.1] + draw(st.floats(-1, 1).map(lambda x: round(x, 6)))
        atoms = ase.Atoms(draw(st.lists(st.sampled_from("HCNO"), min_size=count, max_size=count)), positions=places)
        forces = np.array(draw(st.lists(NUMBER, min_size=3 * count, max_size=3 * count))).reshape(-1, 3)
        atoms.calc = SinglePointCalculator(atoms, energy=draw(NUMBER), forces=forces)
        found.append(atoms)
    return found


def text_of(structures: list[ase.Atoms]) -> str:
    text = io.StringIO()
    ase.io.write(text, structures, format="extxyz")
    return text.getvalue()


def read(content: bytes, **options: str) -> Dataset:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        path = Path(folder) / "mangled.xyz"
        path.write_bytes(content)
        return datasets.read(path, **options)  # pyright: ignore[reportArgumentType]


def same(data: Dataset, structures: list[ase.Atoms], energy: float = 1.0, force: float = 1.0) -> None:
    assert len(data) == len(structures)
    for got, put in zip(data.atoms, structures, strict=True):
        assert got.get_chemical_symbols() == put.get_chemical_symbols()
        np.testing.assert_allclose(got.positions, put.positions, atol=1e-8)
    np.testing.assert_allclose(data.energies, [energy * s.get_potential_energy() for s in structures], rtol=1e-9)
    np.testing.assert_allclose(data.forces, force * np.concatenate([s.get_forces() for s in structures]), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(frames(), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.integers(0, 2), st.integers(0, 2))
def test_blank_lines_and_ends_of_lines(
    structures: list[ase.Atoms], end: str, marked: bool, before: int, between: int
) -> None:
    text = (between * "\n" + " \n" * bool(between)).join(text_of([s]) for s in structures) + between * "\n"
    content = (before * "\n" + text).replace("\n", end).encode("utf-8-sig" if marked else "utf-8")
    same(read(content), structures)
    same(read(content + content.removeprefix(b"\xef\xbb\xbf")), structures + structures)


@settings(max_examples=25, deadline=None)
@given(frames(), st.data())
def test_cut_anywhere(structures: list[ase.Atoms], data: st.DataObject) -> None:
    """What is left is refused, or is made of whole frames with their numbers; a cut last number is at least told."""
    text = text_of(structures)
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", DataWarning)
        path = Path(folder) / "cut.xyz"
        path.write_text(cut)
        try:
            found = datasets.read(path)
        except ValueError:
            return
    if any("its last number is wrong" in str(one.message) for one in told):
        return
    same(found, structures[: len(found)])
    assert cut.endswith("\n") or cut == text[: len(cut)].rstrip("\n")


@settings(max_examples=20, deadline=None)
@given(frames(), st.sampled_from(["eV", "kcal/mol", "hartree", "kJ/mol"]), st.sampled_from(["eV/Å", "hartree/bohr"]))
def test_units_are_converted_once(structures: list[ase.Atoms], energy: str, force: str) -> None:
    data = read(text_of(structures).encode(), energy_unit=energy, forces_unit=force)
    same(data, structures, EV_PER[energy], force_factor(force))


@settings(max_examples=20, deadline=None)
@given(frames(), st.permutations(["energy", "pbc", "note"]))
def test_keys_in_another_order_and_under_other_names(structures: list[ase.Atoms], order: list[str]) -> None:
    text = ""
    for s in structures:
        parts = {"energy": f"ccsd_energy={s.get_potential_energy()!r}", "pbc": 'pbc="F F F"', "note": 'note="a = b"'}
        rows = [
            f"{name} {' '.join(f'{x:.9f}' for x in (*f, *p))}"
            for name, p, f in zip(s.get_chemical_symbols(), s.positions, s.get_forces(), strict=True)
        ]
        header = " ".join(["Properties=species:S:1:qm_forces:R:3:pos:R:3", *(parts[key] for key in order)])
        text += "\n".join([str(len(s)), header, *rows]) + "\n"
    same(read(text.encode()), structures)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("energy=", "energy "), "bare word"),
        (lambda text: text.replace("energy=-3.5", 'energy="-3.5 1.0"'), "expected one number"),
        (lambda text: text.replace("energy=-3.5", "energy=-3.5 energy=-4.5"), "line 2: energy stands 2 times"),
        (lambda text: text.replace("\nH", "\n\nH", 1), "line 4: expected 7 columns"),
        (lambda text: text + "7\n", "line 5: the frame has 0 lines of atoms"),
        (lambda text: text + "the end\n", "line 5: expected the number of atoms"),
        (lambda text: text.rstrip("\n")[:-3], "fewer digits"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused_by_its_place(change, words: str) -> None:
    atoms = ase.Atoms("OH", positions=[[0, 0, 0], [0, 0, 1.0]])
    atoms.calc = SinglePointCalculator(atoms, energy=-3.5, forces=np.full((2, 3), 0.123456))
    with pytest.raises(ValueError, match=words):
        read(change(text_of([atoms])).encode())


def test_words_of_a_comment_are_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "plain.xyz"
    path.write_text("1\nlowest energy found\nH 0.0 0.0 0.0\n")
    with pytest.warns(DataWarning, match="line 2: energy is a word of the comment"):
        data = datasets.read(path)
    assert not data.known("energy").any()


def test_no_label_is_not_a_number() -> None:
    text = '1\nProperties=species:S:1:pos:R:3 energy={} pbc="F F F"\nHe 0.0 0.0 0.0\n'
    data = read((text.format(-1.0) + text.format("None") + text.format("nan")).encode())
    assert data.known("energy").tolist() == [True, False, True]
    with pytest.raises(ValueError, match=r"energy: structure 2 \(of 'mangled'\) has a label that is not finite"):
        data.batch()
