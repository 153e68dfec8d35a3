"""Oracles: forces are the derivative of the energy, failures name their geometry, no label is lost or made twice."""

import hashlib
import importlib.util
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from scripts.data import campaign, relabel
from scripts.data.cards import CardText
from uqlib.oracles import CP2KOracle, OracleError, PySCFOracle, label_many, labelled_copy
from uqlib.oracles.cp2k import parse_output

needs_pyscf = pytest.mark.skipif(importlib.util.find_spec("pyscf") is None, reason="PySCF is not installed")
RECORDED = Path(__file__).parent / "recorded"
H2 = Atoms("H2", positions=[(0.0, 0.0, 0.0), (0.1, 0.2, 0.8)])
NO_TEXT = CardText(
    title="", level="", settings={}, packages=(), sampling={}, info_keys={}, limits=(), references=(), command=""
)
H2_CELL = Atoms("H2", positions=[(0.0, 0.0, 0.0), (0.8, 0.1, 0.0)], cell=[4.0, 4.5, 4.2], pbc=True)


@dataclass(frozen=True)
class Spring:
    """A stand-in oracle: every atom on a spring to the origin; it cannot do helium."""

    stiffness: float = 2.0

    def label(self, atoms: Atoms) -> Atoms:
        if 2 in atoms.numbers:
            raise OracleError("no helium", atoms)
        energy = self.stiffness * float((atoms.positions**2).sum()) / 2
        return labelled_copy(atoms, energy=energy, forces=-self.stiffness * atoms.positions)


def atoms_at(*distances: float, symbol: str = "H") -> list[Atoms]:
    return [Atoms(symbol, positions=[(0.0, 0.0, d)]) for d in distances]


def numerical_force(oracle, atoms: Atoms, atom: int, axis: int, step: float) -> float:
    """Minus the central difference of the energy, in eV/Å."""
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[atom, axis] += sign * step
        energies.append(oracle.label(moved).get_potential_energy())
    return -(energies[0] - energies[1]) / (2 * step)


@needs_pyscf
@pytest.mark.parametrize("level", ["bp86-d3/def2-svp", "pbe/def2-svp"])
def test_pyscf_forces_are_the_derivative_of_the_energy(level):
    oracle = PySCFOracle(level=level)
    forces = oracle.label(H2).get_forces()
    assert numerical_force(oracle, H2, 1, 2, 0.002) == pytest.approx(forces[1, 2], abs=5e-4)
    assert np.abs(forces.sum(0)).max() < 1e-6
    assert abs(forces[1, 2]) > 0.5


@needs_pyscf
def test_a_broken_bond_is_labelled_on_the_lowest_curve():
    """The second-order solver alone lands 6 eV above it at 3.0 Å and 16 eV at 3.5 Å, on another curve."""
    oracle = PySCFOracle(level="pbe/def2-svp")
    near, far = (oracle.label(Atoms("FH", positions=[(0, 0, 0), (0, 0, length)])) for length in (3.0, 3.5))
    work = -0.5 * (near.get_forces()[1, 2] + far.get_forces()[1, 2]) / 2
    assert far.get_potential_energy() - near.get_potential_energy() == pytest.approx(work, rel=0.1)


@needs_pyscf
def test_pyscf_levels_differ():
    bp86, pbe = (PySCFOracle(level=level).label(H2) for level in ("bp86-d3/def2-svp", "pbe/def2-svp"))
    assert abs(bp86.get_potential_energy() - pbe.get_potential_energy()) > 0.01


@needs_pyscf
def test_scf_that_does_not_converge_names_the_geometry():
    with pytest.raises(OracleError, match=r"did not converge in 1 cycles[\s\S]*geometry HF[\s\S]*3\.000000"):
        PySCFOracle(level="pbe/def2-svp", max_cycles=1).label(Atoms("FH", positions=[(0, 0, 0), (0, 0, 3.0)]))


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (Atoms(), "no atoms"),
        (Atoms("H2", positions=[(0, 0, 0), (0, 0, np.nan)]), "NaN"),
        (Atoms("H2", positions=[(0, 0, 0), (0, 0, 0.1)]), "0.100 Å apart"),
        (Atoms("H2", positions=[(0, 0, 0), (0, 0, 0.8)], cell=[5, 5, 5], pbc=True), "use CP2KOracle"),
        (Atoms("H3", positions=[(0, 0, 0), (0, 0, 1), (0, 1, 0)]), "odd number of electrons"),
    ],
)
def test_pyscf_refuses_geometries_that_make_no_sense(atoms, reason):
    with pytest.raises(OracleError, match=reason):
        PySCFOracle(level="pbe/def2-svp").label(atoms)


def test_unknown_level_says_what_there_is():
    with pytest.raises(ValueError, match=r"level='b3lyp' is unknown.*pbe/def2-svp"):
        PySCFOracle(level="b3lyp")  # pyright: ignore[reportArgumentType]


def test_oracles_and_their_errors_can_be_pickled():
    for oracle in (PySCFOracle(level="pbe/def2-svp"), CP2KOracle(ranks=2)):
        assert pickle.loads(pickle.dumps(oracle)) == oracle
    error = pickle.loads(pickle.dumps(OracleError("why", H2)))
    assert "why" in str(error)
    assert (error.atoms.positions == H2.positions).all()


def executors():
    return {
        "none": lambda: None,
        "threads": lambda: ThreadPoolExecutor(2),
        "processes": lambda: ProcessPoolExecutor(1, mp_context=get_context("spawn")),
    }


@pytest.mark.parametrize("kind", ["none", "threads", "processes"])
def test_label_many_keeps_the_order_and_returns_failures(kind):
    frames = [*atoms_at(1.0), *atoms_at(0.0, symbol="He"), *atoms_at(3.0)]
    seen = []
    executor = executors()[kind]()
    try:
        results = label_many(Spring(), frames, executor=executor, on_result=seen.append, progress=False)
    finally:
        if executor is not None:
            executor.shutdown()
    assert [r.index for r in results] == [0, 1, 2]
    assert [r.atoms.get_potential_energy() for r in results if r.atoms] == [1.0, 9.0]
    assert "no helium" in str(results[1].error)
    assert "He" in str(results[1].error)
    assert sorted(r.index for r in seen) == [0, 1, 2]


def test_label_many_does_not_hide_a_mistake_in_the_oracle():
    class Broken:
        def label(self, atoms: Atoms) -> Atoms:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        label_many(Broken(), atoms_at(1.0), progress=False)


def test_log_drops_a_frame_that_a_kill_cut_short(tmp_path):
    path = tmp_path / "log.xyz"
    labelled = [Spring().label(atoms) for atoms in atoms_at(1.0, 2.0)]
    whole = "".join(campaign.frame_text(atoms) for atoms in labelled)
    first = len(campaign.frame_text(labelled[0]))
    for end in range(len(whole)):
        path.write_text(whole[:end])
        assert len(campaign.read_frames(path)) == (end >= first)
    log = campaign.LabelLog(path)
    log.append(labelled[1])
    log.close()
    assert path.read_text() == whole
    restored = campaign.read_frames(path)[1]
    assert restored.get_potential_energy() == labelled[1].get_potential_energy()
    assert (restored.get_forces() == labelled[1].get_forces()).all()


def test_log_has_one_writer(tmp_path):
    log = campaign.LabelLog(tmp_path / "log.xyz")
    with pytest.raises(RuntimeError, match="another run"):
        campaign.LabelLog(tmp_path / "log.xyz")
    log.close()


def test_campaign_resumes_and_labels_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "SCRIPTS", tmp_path)
    monkeypatch.setattr(campaign, "DATA", tmp_path / "data")
    frames = [campaign.tag(a, split="train", source="s", group=str(k)) for k, a in enumerate(atoms_at(1.0, 2.0, 3.0))]
    made = campaign.Campaign(
        name="toy", oracle=Spring(), seed=0, plan=lambda _: frames, text=NO_TEXT, checks=lambda _: {}
    )
    planned = made.planned()
    log = campaign.LabelLog(made.log_file)
    log.append(Spring().label(planned[1]))
    log.close()
    with made.log_file.open("a") as file:  # the kill came while the next was written
        file.write("1\nProperties=spec")
    made.label(planned, workers=1)
    stored = campaign.read_frames(made.log_file)
    assert [a.get_potential_energy() for a in stored] == [4.0, 1.0, 9.0]
    made.label(planned, workers=1)
    assert len(campaign.read_frames(made.log_file)) == 3


def test_interleave_is_even():
    frames = {letter: [Atoms(info={"k": f"{letter}{k}"}) for k in range(n)] for letter, n in (("a", 6), ("b", 3))}
    names = [atoms.info["k"] for atoms in campaign.interleave(frames["a"], frames["b"])]
    assert names == ["a0", "b0", "a1", "a2", "b1", "a3", "a4", "b2", "a5"]


def test_a_stored_silica_frame_can_be_labelled_again(cp2k, capsys):
    """The smallest cell that is labelled: a crystal of 36 atoms takes a minute or so."""
    folder = campaign.DATA / "silica"
    stored = [
        (len(atoms), path.stem, k)
        for path in folder.glob("*.xyz")
        for k, atoms in enumerate(campaign.read_frames(path))
    ]
    _, split, index = min(stored)
    assert relabel.main(["silica", split, str(index)]) == 0
    assert "agrees" in capsys.readouterr().out


@needs_pyscf
@pytest.mark.parametrize(("name", "split"), [("ethanol", "hot"), ("malonaldehyde", "proton_transfer")])
def test_a_stored_frame_of_the_larger_molecules_can_be_labelled_again(name, split, capsys):
    assert relabel.main([name, split, "0"]) == 0
    assert "agrees" in capsys.readouterr().out


@needs_pyscf
def test_a_stored_ammonia_frame_is_labelled_again_and_a_wrong_one_is_found(monkeypatch, capsys):
    assert relabel.main(["ammonia", "train", "0"]) == 0
    assert "agrees" in capsys.readouterr().out
    stored = campaign.read_frames(campaign.DATA / "ammonia" / "train.xyz")[0]
    wrong = labelled_copy(stored, energy=stored.get_potential_energy() + 0.001, forces=stored.get_forces())
    monkeypatch.setattr(relabel, "read_frames", lambda _: [wrong])
    assert relabel.main(["ammonia", "train", "0"]) == 1
    assert "DOES NOT AGREE" in capsys.readouterr().out


def test_cp2k_that_is_not_installed_says_how_to_get_it():
    with pytest.raises(FileNotFoundError, match=r"no-such-cp2k.*apt install cp2k"):
        CP2KOracle(program="no-such-cp2k").label(H2_CELL)


def test_cp2k_refuses_what_it_cannot_label():
    with pytest.raises(OracleError, match="fully periodic"):
        CP2KOracle().label(H2)
    gold = Atoms("Au2", positions=[(0, 0, 0), (0, 0, 2.5)], cell=[9, 9, 9], pbc=True)
    with pytest.raises(OracleError, match=r"no pseudopotential is listed for \['Au'\]"):
        CP2KOracle().label(gold)


def test_cp2k_output_without_forces_is_refused():
    with pytest.raises(OracleError, match="holds 1 energies, 0 forces, 0 rows"):
        parse_output(" ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:    -1.0\n", H2_CELL)


def test_cp2k_forces_and_stress_are_derivatives_of_the_energy(cp2k):
    oracle = CP2KOracle(cutoff=250.0, relative_cutoff=40.0, scf_threshold=1e-7)
    labelled = oracle.label(H2_CELL)
    assert numerical_force(oracle, H2_CELL, 1, 0, 0.005) == pytest.approx(labelled.get_forces()[1, 0], abs=0.01)
    energies = []
    for strain in (0.002, -0.002):
        strained = H2_CELL.copy()
        strained.set_cell(H2_CELL.cell.array * np.array([[1 + strain], [1.0], [1.0]]), scale_atoms=True)
        energies.append(oracle.label(strained).get_potential_energy())
    numerical = (energies[0] - energies[1]) / 0.004 / H2_CELL.get_volume()
    assert numerical == pytest.approx(labelled.get_stress()[0], abs=1e-3)
    assert abs(numerical) > 0.01


def test_cp2k_scf_that_does_not_converge_names_the_geometry(cp2k):
    with pytest.raises(OracleError, match=r"did not converge in 1 cycles[\s\S]*geometry H2"):
        CP2KOracle(cutoff=100.0, max_cycles=1).label(H2_CELL)


def test_recorded_outputs_belong_to_their_inputs():
    inputs = sorted(RECORDED.glob("*.inp"))
    assert len(inputs) >= 6
    for path in inputs:
        assert hashlib.sha256(path.read_bytes()).hexdigest()[:12] == path.stem
        assert "ENERGY| Total FORCE_EVAL" in path.with_suffix(".out").read_text(encoding="utf-8")


@pytest.mark.parametrize("lost", ["ENERGY| Total", "      2      1      H ", " STRESS|      y  "])
def test_a_recorded_output_that_lost_a_line_is_refused(lost):
    whole = next(t for path in sorted(RECORDED.glob("*.out")) if lost in (t := path.read_text(encoding="utf-8")))
    assert parse_output(whole, H2_CELL).get_forces().shape == (2, 3)
    lines = whole.splitlines(keepends=True)
    first = next(k for k, line in enumerate(lines) if lost in line)
    with pytest.raises(OracleError, match="CP2K's output holds"):
        parse_output("".join(lines[:first] + lines[first + 1 :]).partition("STRESS| Eigenvectors")[0], H2_CELL)


def test_methane_is_not_silently_shortened():
    """A frame keeps all its atoms on its way through the file format."""
    labelled = Spring().label(molecule("CH4"))
    text = campaign.frame_text(labelled)
    assert campaign.complete_length(text) == len(text)
