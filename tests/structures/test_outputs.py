"""Outputs of other programs, written here line for line as those programs write them: labels, units, signs, groups."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, GPa, Hartree

from uqlib.structures import datasets
from uqlib.structures.notices import DataWarning


def labelled(atoms: ase.Atoms, seed: int, *, stress: bool) -> ase.Atoms:
    random = np.random.default_rng(seed)
    atoms.rattle(0.1, seed=seed)
    results = {"energy": float(random.normal(-9.0)), "forces": random.normal(size=(len(atoms), 3))}
    atoms.calc = SinglePointCalculator(atoms, **results, **({"stress": 0.1 * random.normal(size=6)} if stress else {}))
    return atoms


def crystal(seed: int) -> ase.Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.6 + 0.1 * seed)
    atoms.set_cell(np.asarray(atoms.cell) + 0.2 * np.random.default_rng(seed).normal(size=(3, 3)), scale_atoms=True)
    return labelled(atoms, seed, stress=True)


def rows(values: np.ndarray) -> str:
    return "\n".join(" ".join(f"{x:16.9f}" for x in row) for row in np.atleast_2d(values))


def outcar(frames: list[ase.Atoms], *, smeared: float = 0.0) -> str:
    """VASP's; `smeared`: by how much the free energy lies below the energy, eV."""
    text = " POTCAR:    PAW_PBE Na 08Apr2002\n POTCAR:    PAW_PBE Cl 06Sep2000\n" * 2
    text += "   ISPIN  =      1    spin polarized calculation?\n   ions per type =               1   1\n"
    for frame in frames:
        assert frame.calc is not None
        kilobar = -frame.calc.results["stress"][[0, 1, 2, 5, 3, 4]] / (0.1 * GPa)  # VASP's order and sign
        energy, both = frame.get_potential_energy(), np.hstack([frame.positions, frame.get_forces()])
        lattice = np.hstack([np.asarray(frame.cell), frame.cell.reciprocal()])
        text += f"""
--------------------------------------- Iteration      1(   1)  ---------------------------------------
  in kB   {rows(kilobar)}
      direct lattice vectors                 reciprocal lattice vectors
{rows(lattice)}

 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
{rows(both)}
 -----------------------------------------------------------------------------------
  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  = {energy - smeared:18.8f} eV

  energy  without entropy= {energy:18.8f}  energy(sigma->0) = {energy:18.8f}
"""
    return f"{text}\n General timing and accounting informations for this job:\n"


def vasprun(frames: list[ase.Atoms], *, smeared: float = 0.0) -> str:
    """VASP's other one."""

    def vectors(name: str, values: np.ndarray) -> str:
        lines = rows(values).splitlines()
        return f'<varray name="{name}">' + "".join(f"<v>{line}</v>" for line in lines) + "</varray>"

    def structure(frame: ase.Atoms, name: str = "") -> str:
        basis, places = vectors("basis", np.asarray(frame.cell)), vectors("positions", frame.get_scaled_positions())
        return f"<structure{name}><crystal>{basis}</crystal>{places}</structure>"

    atoms = "".join(f"<rc><c>{symbol}</c><c>1</c></rc>" for symbol in frames[0].get_chemical_symbols())
    points = '<varray name="kpointlist"><v>0 0 0</v></varray><varray name="weights"><v>1</v></varray>'
    text = f'<modeling><kpoints>{points}</kpoints><atominfo><array name="atoms"><set>{atoms}</set></array></atominfo>'
    text += structure(frames[0], ' name="initialpos"')
    for frame in frames:
        energy = frame.get_potential_energy()
        energies = (
            f'<energy><i name="e_fr_energy">{energy - smeared:.9f}</i><i name="e_0_energy">{energy:.9f}</i></energy>'
        )
        kilobar = -frame.get_stress(voigt=False) / (0.1 * GPa)
        text += f"<calculation><scstep>{energies}</scstep>{structure(frame)}{vectors('forces', frame.get_forces())}"
        text += f"{vectors('stress', kilobar)}{energies}</calculation>"
    return text + "</modeling>"


def orca(frames: list[ase.Atoms]) -> str:
    """ORCA's, for one molecule."""
    (frame,) = frames
    places = "\n".join(f"  {s} {rows(p)}" for s, p in zip(frame.symbols, frame.positions, strict=True))
    slopes = -frame.get_forces() / (Hartree / Bohr)
    gradient = "\n".join(
        f"   {k + 1}   {s}   :  {rows(g)}" for k, (s, g) in enumerate(zip(frame.symbols, slopes, strict=True))
    )
    return f"""
                                 *****************
                                 * O   R   C   A *
                                 *****************
---------------------------------
CARTESIAN COORDINATES (ANGSTROEM)
---------------------------------
{places}

Number of atoms                             ...  {len(frame)}
-------------------------   --------------------
FINAL SINGLE POINT ENERGY  {frame.get_potential_energy() / Hartree:20.12f}
-------------------------   --------------------
------------------
CARTESIAN GRADIENT
------------------

{gradient}

                             ****ORCA TERMINATED NORMALLY****
"""


WRITERS = {
    "OUTCAR": (outcar, [crystal(1), crystal(2), crystal(3)]),
    "run_OUTCAR.gz": (outcar, [crystal(4)]),
    "vasprun.xml": (vasprun, [crystal(5), crystal(6)]),
    "water.out": (orca, [labelled(molecule("H2O"), 7, stress=False)]),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_program_said_is_what_is_read(name: str, tmp_path: Path) -> None:
    write, frames = WRITERS[name]
    _put(tmp_path / name, write(frames))
    data = datasets.read(tmp_path / name)
    assert data.energies == pytest.approx([frame.get_potential_energy() for frame in frames], abs=1e-6)
    assert data.forces == pytest.approx(np.concatenate([frame.get_forces() for frame in frames]), abs=1e-6)
    for found, frame in zip(data.atoms, frames, strict=True):
        assert str(found.symbols) == str(frame.symbols)
        moved = (found.positions - frame.positions) @ np.linalg.pinv(np.asarray(frame.cell))
        assert np.allclose(moved, np.round(moved), atol=1e-6), "but for whole lattice vectors"
        if not frame.pbc.any():
            assert np.allclose(found.positions, frame.positions, atol=1e-6)
        assert found.pbc.all() == frame.pbc.all()
        if frame.pbc.all():
            assert np.allclose(found.get_stress(), frame.get_stress(), atol=1e-7)
    assert len(set(data.groups)) == 1


def test_a_calculation_is_read_once(tmp_path: Path) -> None:
    for k in range(2):
        folder = tmp_path / f"run_{k}"
        folder.mkdir()
        _put(folder / "OUTCAR", outcar([crystal(k), crystal(k + 5)]))
        _put(folder / "vasprun.xml", vasprun([crystal(k), crystal(k + 5)]))
    with pytest.warns(DataWarning, match="vasprun.xml beside it is the same calculation"):
        data = datasets.read(tmp_path)
    assert (len(data), sorted(set(data.groups))) == (4, ["run_0/vasprun", "run_1/vasprun"])


@pytest.mark.parametrize(("write", "name"), [(outcar, "OUTCAR"), (vasprun, "vasprun.xml")])
def test_smeared_electrons_have_two_energies_which_is_said(write, name: str, tmp_path: Path) -> None:
    """Forces are the slope of the free energy. What a program calls the energy is extrapolated."""
    frames = [crystal(1), crystal(2)]
    _put(tmp_path / name, write(frames, smeared=0.05))
    with pytest.warns(
        DataWarning, match=r"energy and free_energy differ by up to 25 meV/atom.*energy_key='free_energy'"
    ):
        data = datasets.read(tmp_path / name)
    free = datasets.read(tmp_path / name, energy_key="free_energy")
    assert free.energies == pytest.approx(data.energies - 0.05, abs=1e-6)
    _put(tmp_path / name, write(frames, smeared=1e-5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        datasets.read(tmp_path / name)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_breaks_off_is_named_or_ends_with_a_whole_frame(name: str, tmp_path: Path) -> None:
    write, frames = WRITERS[name]
    text = write(frames)
    for share in (0.35, 0.6, 0.85):
        _put(tmp_path / name, text[: int(share * len(text))])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            found = _read_or_complain(tmp_path / name)
        if isinstance(found, str):
            assert name in found
            continue
        if found.known("energy").any():  # else the geometry it began with
            assert len(found) < len(frames)
            assert found.energies == pytest.approx([f.get_potential_energy() for f in frames[: len(found)]], abs=1e-6)
        assert "breaks off" in str(found.report())


def _put(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def _read_or_complain(path: Path) -> datasets.Dataset | str:
    try:
        return datasets.read(path)
    except ValueError as error:
        return str(error)
