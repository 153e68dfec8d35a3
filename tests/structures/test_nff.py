"""The study's own file format: its units and signs, by physics, and that reading it runs nothing."""

from __future__ import annotations

import os
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.calculators.calculator import PropertyNotImplementedError

from uqlib.structures import datasets, nff
from uqlib.structures.units import EV_PER_KCAL_MOL

PUBLISHED = Path(os.environ.get("UQLIB_DATA_DIR", "")) / "ammonia.pth.tar"
Write = Callable[..., Path]


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def props(n: int = 3) -> dict[str, list]:
    """Two kinds of molecules, in kcal/mol, Å and gradients."""
    rng = np.random.default_rng(0)
    sizes = [2 + i % 2 for i in range(n)]
    return {
        "nxyz": [torch.tensor(np.c_[[8] + [1] * (s - 1), rng.normal(size=(s, 3)) * 2]) for s in sizes],
        "energy": [torch.tensor(-100.0 - i) for i in range(n)],
        "energy_grad": [torch.tensor(rng.normal(size=(s, 3))) for s in sizes],
        "geom_id": [torch.tensor(10 + i) for i in range(n)],
    }


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes what `nff` would: its class is there only while the file is written."""

    def write(contents: dict, units: object = "kcal/mol", *, zipped: bool = True) -> Path:
        with monkeypatch.context() as patch:
            module = types.ModuleType("nff.data.dataset")
            fake = type("Dataset", (), {"__module__": "nff.data.dataset"})
            module.Dataset = fake  # pyright: ignore[reportAttributeAccessIssue]
            for name in ("nff", "nff.data"):
                patch.setitem(sys.modules, name, types.ModuleType(name))
            patch.setitem(sys.modules, "nff.data.dataset", module)
            archive = fake()
            vars(archive).update(props=contents, units=units)
            path = tmp_path / "archive.pth.tar"
            torch.save(archive, path, _use_new_zipfile_serialization=zipped)
        return path

    return write


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_units_and_signs(write: Write, zipped: bool) -> None:
    contents = props()
    frames = nff.read(write(contents, zipped=zipped))
    assert [frame.get_chemical_formula() for frame in frames] == ["HO", "H2O", "HO"]
    for index, frame in enumerate(frames):
        np.testing.assert_allclose(frame.positions, contents["nxyz"][index][:, 1:])
        assert frame.get_potential_energy() == pytest.approx(contents["energy"][index].item() * EV_PER_KCAL_MOL)
        np.testing.assert_allclose(frame.get_forces(), -contents["energy_grad"][index] * EV_PER_KCAL_MOL)
        assert frame.info["group"] == str(10 + index)


def test_electronvolts_are_left_alone(write: Write) -> None:
    assert nff.read(write(props(), units="eV"))[1].get_potential_energy() == -101.0


def test_other_units_are_refused(write: Write) -> None:
    with pytest.raises(ValueError, match=r"got units 'atomic', expected one of \['eV', 'kcal/mol'\]"):
        nff.read(write(props(), units="atomic"))
    with pytest.raises(ValueError, match="got units"):
        nff.read(write(props(), units=["kcal/mol"]))


def test_without_gradients_there_are_no_forces(write: Write) -> None:
    contents = props()
    del contents["energy_grad"]
    (frame, *_) = nff.read(write(contents))
    with pytest.raises(PropertyNotImplementedError):
        frame.get_forces()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_does_not_run(write: Write, tmp_path: Path, zipped: bool) -> None:
    mark, control = tmp_path / "exploded", tmp_path / "control"
    pickle.loads(pickle.dumps(Bomb(control)))
    assert control.exists(), "the bomb is a real one"
    path = write(props() | {"bomb": Bomb(mark)}, zipped=zipped)
    for read in (nff.read, datasets.read):
        with pytest.raises(ValueError, match="refused, it holds more than tensors and plain containers"):
            read(path)
    assert not mark.exists()


def test_code_in_a_plain_pickle_does_not_run(tmp_path: Path) -> None:
    mark, path = tmp_path / "exploded", tmp_path / "data.pth.tar"
    path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ValueError, match=r"data\.pth\.tar"):
        datasets.read(path)
    assert not mark.exists()


def test_no_class_of_the_reader_is_admitted_elsewhere(write: Write) -> None:
    """Reading an archive must not leave torch's unpickler more trusting than it was."""
    path = write(props())
    nff.read(path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.95])
def test_cut_short(write: Write, zipped: bool, share: float) -> None:
    path = write(props(), zipped=zipped)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"archive\.pth\.tar"):
        nff.read(path)


def test_another_object_in_the_archive(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="not an NFF archive"):
        nff.read(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: p.pop("nxyz"),
        lambda p: p.pop("energy"),
        lambda p: p["energy"].pop(),
        lambda p: p["energy_grad"].pop(),
        lambda p: p["energy"].append(torch.tensor(-3.0)),
        lambda p: p["geom_id"].pop(),
        lambda p: p.update(nxyz=[torch.zeros(2, 3)] * 3),
        lambda p: p.update(energy_grad=[torch.zeros(2, 2)] * 3),
        lambda p: p.update(nxyz=[torch.zeros(4)] * 3),
        lambda p: p.update(energy=[torch.zeros(2)] * 3),
        lambda p: p.update(nxyz=3),
    ],
)
def test_broken_contents(write: Write, spoil: Callable[[dict], object]) -> None:
    contents = props()
    spoil(contents)
    with pytest.raises(ValueError, match=r"archive\.pth\.tar"):
        nff.read(write(contents))


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="UQLIB_DATA_DIR does not hold the published ammonia.pth.tar")
def test_the_published_ammonia_by_physics() -> None:
    data = datasets.read(PUBLISHED)
    assert len(data) == 138
    assert {frame.get_chemical_formula() for frame in data.atoms} == {"H3N"}
    forces = data.forces.reshape(138, 4, 3)
    assert np.abs(forces.sum(1)).max() < 0.05, "nothing pulls at a molecule from outside, eV/Å"
    # BP86 puts ammonia at about -56.5 hartree; the file may count from isolated atoms, or from its mean.
    energies = data.energies
    assert 0.1 < np.ptp(energies) < 60.0, "eV"
    # Energies against forces: along the line from one geometry to a near one, dE = -F dx to second order.
    positions = np.array([frame.positions for frame in data.atoms])
    moved = np.linalg.norm((positions[:, None] - positions[None]).reshape(138, 138, -1), axis=-1)
    np.fill_diagonal(moved, np.inf)
    i, j = np.nonzero(moved < np.quantile(moved[np.isfinite(moved)], 0.01))
    work = -0.5 * np.einsum("pax,pax->p", forces[i] + forces[j], positions[j] - positions[i])
    difference = energies[j] - energies[i]
    slope = (work @ difference) / (work @ work)
    assert slope == pytest.approx(1.0, abs=0.05), "one unit for energies and forces, and forces are not gradients"
