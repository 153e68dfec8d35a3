"""Other people's files: their keys, formats, folders and states, and what the reader says of them."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from uqlib.structures import datasets
from uqlib.structures.keys import meaning
from uqlib.structures.notices import DataWarning
from uqlib.structures.units import ANGSTROM_PER_BOHR, EV_PER_ANGSTROM3_PER_GPA, EV_PER_HARTREE


def copper(count: int = 6) -> list[ase.Atoms]:
    """Rattled cells with all that EMT knows, as plain results."""
    found = []
    for k in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=k)
        atoms.calc = EMT()
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        found.append(atoms)
    return found


def renamed(frames: list[ase.Atoms], energy: str, forces: str, virial: str | None = None, stress: str | None = None):
    found = []
    for frame in frames:
        bare = frame.copy()
        bare.info[energy] = frame.get_potential_energy()
        bare.arrays[forces] = frame.get_forces()
        if virial:
            bare.info[virial] = -frame.get_stress(voigt=False) * frame.get_volume()
        if stress:
            bare.info[stress] = frame.get_stress(voigt=False).ravel() / EV_PER_ANGSTROM3_PER_GPA
        found.append(bare)
    return found


def equal(data: datasets.Dataset, frames: list[ase.Atoms], *, stress: bool = True) -> None:
    assert len(data) == len(frames)
    np.testing.assert_allclose(data.energies, [f.get_potential_energy() for f in frames], rtol=1e-7)
    np.testing.assert_allclose(data.forces, np.concatenate([f.get_forces() for f in frames]), atol=2e-8)
    if stress:
        found = [frame.get_stress() for frame in data.atoms]
        np.testing.assert_allclose(found, [f.get_stress() for f in frames], atol=1e-7)


@pytest.mark.parametrize(
    ("energy", "forces", "virial"),
    [
        ("dft_energy", "dft_force", "dft_virial"),
        ("QM_energy", "QM_forces", "QM_virials"),
        ("Energy", "force", "Virial"),
        ("TotEnergy", "forces_castep", "virial"),
        ("energy_r2scan", "r2scan_forces", "virials_r2scan"),
    ],
)
def test_habits_of_the_field(tmp_path: Path, energy: str, forces: str, virial: str) -> None:
    ase.io.write(tmp_path / "theirs.xyz", renamed(copper(), energy, forces, virial), format="extxyz")
    with pytest.warns(DataWarning, match=f"took energy from {energy}, forces from {forces}, virial from {virial}"):
        data = datasets.read(tmp_path / "theirs.xyz")
    equal(data, copper())
    assert energy in str(data.report())


def test_predictions_are_not_labels(tmp_path: Path) -> None:
    for name in ("MACE_energy", "nep_forces", "energy_std", "formation_energy", "energy_per_atom"):
        assert meaning(name) is None
    ase.io.write(tmp_path / "said.xyz", renamed(copper(), "MACE_energy", "MACE_forces"), format="extxyz")
    with pytest.warns(DataWarning) as told:
        data = datasets.read(tmp_path / "said.xyz")
    said = [str(one.message) for one in told]
    assert any("no energy found; it has MACE_energy: say which it is with energy_key='MACE_energy'" in s for s in said)
    assert any("no forces found; it has MACE_forces: say which it is with forces_key='MACE_forces'" in s for s in said)
    assert not data.known("energy").any()
    chosen = datasets.read(tmp_path / "said.xyz", energy_key="MACE_energy", forces_key="MACE_forces")
    equal(chosen, copper(), stress=False)


@pytest.mark.parametrize(
    ("info", "arrays", "of_energy", "of_forces"),
    [
        ({"energy_U0": -40.0, "energy_U": -39.9}, {}, ["energy_U0", "energy_U"], []),
        ({"U0_energies": -1.0}, {"minus_gradient": np.ones((4, 3))}, ["U0_energies"], ["minus_gradient"]),
        ({"free_energy": -3.0, "model_energy": -2.0}, {}, ["free_energy", "model_energy"], []),
        ({}, {"energy_gradients": np.ones((4, 3))}, [], ["energy_gradients"]),
    ],
)
def test_a_name_is_advised_for_what_it_may_be(
    info: dict, arrays: dict, of_energy: list[str], of_forces: list[str], tmp_path: Path
) -> None:
    frame = molecule("NH3")
    frame.info |= info
    for name, value in arrays.items():
        frame.set_array(name, value)
    ase.io.write(tmp_path / "f.xyz", frame, format="extxyz")
    with pytest.warns(DataWarning) as told:
        data = datasets.read(tmp_path / "f.xyz")
    said = {str(one.message) for one in told}
    expected = {("energy", *of_energy), ("forces", *of_forces)}
    for quantity, *names in expected:
        about = [s for s in said if f"no {quantity} found" in s]
        assert len(about) == bool(names)
        assert {name for s in about for name in s.partition("it has ")[2].partition(":")[0].split(", ")} == set(names)
    assert not data.known("energy").any()


def test_a_free_energy_alone_is_the_energy(tmp_path: Path) -> None:
    frame = molecule("NH3")
    frame.info["free_energy"] = -19.5
    ase.io.write(tmp_path / "f.xyz", frame, format="extxyz")
    with pytest.warns(DataWarning, match="took energy from free_energy"):
        assert datasets.read(tmp_path / "f.xyz").energies == [-19.5]


def test_two_names_are_refused_or_chosen_from(tmp_path: Path) -> None:
    frames = renamed(copper(), "pbe_energy", "pbe_forces")
    for frame in frames:
        frame.info["scan_energy"] = frame.info["pbe_energy"] - 1.0
    path = tmp_path / "two.xyz"
    ase.io.write(path, frames, format="extxyz")
    with pytest.raises(ValueError, match=r"pbe_energy and scan_energy may both be the energy.*energy_key="):
        datasets.read(path)
    with pytest.warns(DataWarning, match="took forces"):
        data = datasets.read(path, energy_key="scan_energy")
    np.testing.assert_allclose(data.energies, [f.get_potential_energy() - 1 for f in copper()], rtol=1e-6)
    with pytest.raises(ValueError, match=r"energy_key: .* has no mp2_energy; it has .*pbe_energy"):
        datasets.read(path, energy_key="mp2_energy")


def test_stress_in_gpa(tmp_path: Path) -> None:
    ase.io.write(
        tmp_path / "p.xyz", renamed(copper(), "REF_energy", "REF_forces", stress="REF_stress"), format="extxyz"
    )
    equal(datasets.read(tmp_path / "p.xyz", stress_unit="GPa"), copper())


def test_a_folder_of_everything(tmp_path: Path) -> None:
    frames = copper()
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    ase.io.write(tmp_path / "A.XYZ", frames[:1], format="extxyz")
    with gzip.open(tmp_path / "deep" / "b.xyz.gz", "wt") as file:
        ase.io.write(file, frames[1:2], format="extxyz")
    ase.io.write(tmp_path / "deep" / "c.traj", frames[2:3])
    ase.io.write(tmp_path / "deep" / "deeper" / "d.json", frames[3:4])
    with ase.db.connect(tmp_path / "e.db") as database:  # pyright: ignore[reportGeneralTypeIssues]
        bare = frames[4].copy()
        database.write(bare, data={"energy": frames[4].get_potential_energy(), "forces": frames[4].get_forces()})
    (tmp_path / "notes.txt").write_text("what I did")
    with pytest.warns(DataWarning, match=r"1 files are not read: notes\.txt \(no known format\)"):
        data = datasets.read(tmp_path)
    equal(data, [frames[0], frames[1], frames[2], frames[3], frames[4]], stress=False)
    assert list(data.groups) == ["A", "deep/b", "deep/c", "deep/deeper/d", "e"]
    assert data.report().reading.skipped == (("notes.txt", "no known format"),)


def test_a_database_that_states_its_units(tmp_path: Path) -> None:
    frames = copper(2)
    with ase.db.connect(tmp_path / "s.db") as database:  # pyright: ignore[reportGeneralTypeIssues]
        database.metadata = {
            "_property_unit_dict": {"energy": "Hartree", "forces": "Hartree/Bohr"}, "_distance_unit": "Bohr"
        }  # fmt: skip
        for frame in frames:
            small = frame.copy()
            small.set_cell(np.asarray(frame.cell) / ANGSTROM_PER_BOHR, scale_atoms=True)
            labels = {
                "energy": np.array([frame.get_potential_energy() / EV_PER_HARTREE]),
                "forces": frame.get_forces() / (EV_PER_HARTREE / ANGSTROM_PER_BOHR),
            }
            database.write(small, data=labels)
    data = datasets.read(tmp_path / "s.db")
    equal(data, frames, stress=False)
    np.testing.assert_allclose(data.atoms[1].positions, frames[1].positions, atol=1e-9)


def test_hdf5_as_spice_keeps_it(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    water = molecule("H2O")
    points = np.array([water.positions, water.positions + 0.01 * np.arange(9).reshape(3, 3)])
    with h5py.File(tmp_path / "s.hdf5", "w") as file:
        group = file.create_group("water")
        group["atomic_numbers"] = water.numbers
        for name, values, unit in (
            ("conformations", points / ANGSTROM_PER_BOHR, "bohr"),
            ("dft_total_energy", np.array([-76.0, -75.9]), "hartree"),
            ("dft_total_gradient", np.full((2, 3, 3), 0.01), "hartree/bohr"),
            ("formation_energy", np.array([-0.3, -0.2]), "hartree"),
        ):
            group[name] = values
            group[name].attrs["units"] = unit
    with pytest.warns(DataWarning, match="took energy from dft_total_energy"):
        data = datasets.read(tmp_path / "s.hdf5")
    np.testing.assert_allclose(data.energies, np.array([-76.0, -75.9]) * EV_PER_HARTREE)
    np.testing.assert_allclose(data.forces, -0.01 * EV_PER_HARTREE / ANGSTROM_PER_BOHR)
    np.testing.assert_allclose(data.atoms[1].positions, points[1])
    assert set(data.groups) == {"water"}


def test_cp2k_output(tmp_path: Path) -> None:
    (tmp_path / "run.out").write_text(
        """\
 CP2K| version string:                                          CP2K version 2023.1
 CELL| Vector a [angstrom]:       5.000     0.000     0.000   |a| =     5.000000
 CELL| Vector b [angstrom]:       0.000     5.000     0.000   |b| =     5.000000
 CELL| Vector c [angstrom]:       0.000     0.000     5.000   |c| =     5.000000

 MODULE QUICKSTEP: ATOMIC COORDINATES IN ANGSTROM

   Atom Kind Element         X             Y             Z       Z(eff)     Mass
      1    1 H     1      2.300000      2.500000      2.500000   1.0000     1.0080
      2    1 H     1      3.050000      2.500000      2.500000   1.0000     1.0080

 ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:               -1.160000000000000

 ATOMIC FORCES in [a.u.]

 # Atom   Kind   Element          X              Y              Z
      1      1      H           0.01000000     0.00000000     0.00000000
      2      1      H          -0.01000000     0.00000000     0.00000000
 SUM OF ATOMIC FORCES           0.00000000     0.00000000     0.00000000     0.00000000

 STRESS| Analytical stress tensor [GPa]
 STRESS|                        x                   y                   z
 STRESS|      x        1.00000000000       0.00000000000       0.00000000000
 STRESS|      y        0.00000000000       2.00000000000       0.00000000000
 STRESS|      z        0.00000000000       0.00000000000       3.00000000000
"""
    )
    (frame,) = datasets.read(tmp_path / "run.out").atoms
    assert frame.get_potential_energy() == pytest.approx(-1.16 * EV_PER_HARTREE)
    assert frame.get_forces()[0, 0] == pytest.approx(0.01 * EV_PER_HARTREE / ANGSTROM_PER_BOHR)
    np.testing.assert_allclose(frame.get_stress()[:3], -EV_PER_ANGSTROM3_PER_GPA * np.array([1, 2, 3]))
    assert frame.get_distance(0, 1) == pytest.approx(0.75)


def test_units_that_give_themselves_away(tmp_path: Path) -> None:
    water, frames = molecule("H2O"), []
    for k in range(12):
        atoms = water.copy()
        move = 0.05 * np.random.default_rng(k).normal(size=(3, 3))
        atoms.positions += move
        atoms.info["REF_energy"] = -76.4 * 627.509 + 23.06 * 10 * float(np.sum(move**2))
        atoms.arrays["REF_forces"] = -20 * move  # eV/Å
        frames.append(atoms)
    ase.io.write(tmp_path / "k.xyz", frames, format="extxyz")
    with pytest.warns(DataWarning) as told:
        datasets.read(tmp_path / "k.xyz")
    said = " ".join(str(one.message) for one in told)
    assert "energies look like total energies in kcal/mol" in said
    assert "energies in kcal/mol, forces in eV/Å" in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        datasets.read(tmp_path / "k.xyz", energy_unit="kcal/mol", forces_unit="eV/Å")


def test_states_that_the_network_does_not_see(tmp_path: Path) -> None:
    frames = copper(4)
    for k, frame in enumerate(frames):
        frame.info["spin"] = 1 + 2 * (k % 2)
    ase.io.write(tmp_path / "s.xyz", frames, format="extxyz")
    with pytest.warns(DataWarning, match=r"spin differs between frames \(1, 3\), and the network does not see it"):
        data = datasets.read(tmp_path / "s.xyz")
    assert "spin differs" in repr(data)
    for frame in frames:
        frame.info["spin"] = 3
    ase.io.write(tmp_path / "s.xyz", frames, format="extxyz")
    assert "spin" in datasets.read(tmp_path / "s.xyz").report().reading.left_over


def test_duplicates_are_counted() -> None:
    frames = [*copper(3), copper(1)[0], copper(1)[0]]
    frames[-1].calc = SinglePointCalculator(frames[-1], energy=99.0)
    found = datasets.Dataset(name="twice", atoms=tuple(frames)).report()
    assert (found.duplicates, found.contradictions) == (2, 1)


def test_one_trajectory_is_one_group_however_its_path_is_typed(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "md.xyz", copper(40), format="extxyz")
    alone, among = datasets.read(tmp_path / "md.xyz"), datasets.read(tmp_path)
    assert list(alone.groups) == list(among.groups) == 40 * ["md"]
    with pytest.warns(DataWarning, match="40 frames are one group: .* 3 frames apart, 6 left out"):
        split = alone.split(seed=1, train=20, valid=6, test=8, gap=3)
    chosen = [np.array(split.splits[name]) for name in ("train", "valid", "test")]
    assert [len(c) for c in chosen] == [20, 6, 8]
    assert all((np.diff(c) == 1).all() for c in chosen)
    assert min(abs(a - b) for k, one in enumerate(chosen) for other in chosen[k + 1 :] for a in one for b in other) == 4
    loose = alone.split(seed=1, by_group=False, train=20, valid=6, test=8)
    assert (np.diff(loose.splits["train"]) > 1).any()


def test_rare_elements_go_to_train() -> None:
    frames = [*copper(19), molecule("N2")]
    data = datasets.Dataset(name="rare", atoms=tuple(frames))
    for seed in range(8):
        split = data.split(seed=seed, train=10, valid=5, test=5)
        assert 7 in split["train"].elements


@pytest.mark.parametrize("options", [{"by_group": False}, {"blocks": True}, {}])
def test_isolated_atoms_go_to_train(options: dict) -> None:
    atoms = [
        ase.Atoms("Cu"),
        ase.Atoms("H", cell=[9, 9, 9], pbc=True),
        ase.Atoms("Ag", info={"config_type": "isolated"}),
    ]
    frames = [*copper(30), *atoms, ase.Atoms("Cu", cell=[3, 3, 3], pbc=True)]
    for k, frame in enumerate(frames):
        frame.info["group"] = "one" if options.get("blocks") else str(k // 4)
    data = datasets.Dataset(name="with-atoms", atoms=tuple(frames))
    for seed in range(4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            split = data.split(seed=seed, train=18, valid=5, test=5, **options)
        assert {30, 31, 32} <= set(split.splits["train"])
        assert len(split.splits["train"]) <= 18
        chosen = [index for part in split.splits.values() for index in part]
        assert len(set(chosen)) == len(chosen)


def test_what_is_no_data_set_says_how_to_make_one() -> None:
    assert len(datasets.Dataset(name="list", atoms=copper(2))) == 2  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"atoms: got str, expected ase\.Atoms"):
        datasets.Dataset(name="words", atoms=("a", "b"))  # pyright: ignore[reportArgumentType]
