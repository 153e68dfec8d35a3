"""An exported file says what the predictor says, to round-off, to whoever asks it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import ase
import engines
import numpy as np
import pytest
import samples
import torch
from samples import batch_of
from test_contract import fit

from uqlib.calibration import Calibrated, calibrate
from uqlib.interfaces import ForeignModel, UncertaintyCalculator, metatomic
from uqlib.methods.llpr import LastLayer
from uqlib.prediction import predict

pytestmark = pytest.mark.filterwarnings(engines.TORCHSCRIPT)
ROUND_OFF = {torch.float32: 3e-5, torch.float64: 1e-10}
TYPES = pytest.mark.parametrize("dtype", list(ROUND_OFF))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


def exported(folder: Path, name: str, dtype: torch.dtype) -> Path:
    """The file of a predictor, written once."""
    path = folder / f"{name}-{str(dtype)[-2:]}.pt"
    if not path.exists():
        engines.fitted(name, dtype).export(path)
    return path


def client(path: Path, **options: Any) -> Any:
    """The calculator of metatomic's own package, with all of its checks."""
    module = metatomic.needed("metatomic_ase")
    return module.MetatomicCalculator(path, check_consistency=True, **{"uncertainty_threshold": None, **options})


def asked(calculator: Any, frames: list[ase.Atoms], name: str, kind: str, **options: Any) -> torch.Tensor:
    """Values of one output."""
    output = metatomic.needed("metatomic.torch").ModelOutput(sample_kind=kind)
    return calculator.run_model(frames, {name: output}, **options)[name].block().values.detach()


def close(a: Any, b: Any, dtype: torch.dtype = torch.float64) -> None:
    tolerance = ROUND_OFF[dtype]
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)


@engines.needs_ase_client
@TYPES
@pytest.mark.parametrize("name", engines.RECIPES)
def test_ase_gets_our_energies_forces_and_stress(folder: Path, name: str, dtype: torch.dtype) -> None:
    theirs, ours = client(exported(folder, name, dtype)), engines.fitted(name, dtype)
    for atoms in engines.structures().values():
        a, b = atoms.copy(), atoms.copy()
        a.calc, b.calc = theirs, UncertaintyCalculator(ours, dtype=dtype)
        close(a.get_potential_energy(), b.get_potential_energy(), dtype)
        close(a.get_forces(), b.get_forces(), dtype)
        if atoms.pbc.all():
            close(a.get_stress(), b.get_stress(), dtype)


@engines.needs_ase_client
@TYPES
@pytest.mark.parametrize("name", engines.RECIPES)
def test_uncertainties_are_ours(folder: Path, name: str, dtype: torch.dtype) -> None:
    """Of several structures at once, periodic and not."""
    theirs, ours = client(exported(folder, name, dtype)), engines.fitted(name, dtype)
    frames = list(engines.structures().values())
    said = ours.predict(batch_of(*frames, dtype=dtype))
    close(asked(theirs, frames, "energy", "system")[:, 0], said.energy, dtype)
    close(asked(theirs, frames, "energy_uncertainty", "system")[:, 0], said.energy_uncertainty, dtype)
    assert asked(theirs, frames, "energy_uncertainty", "atom").shape == (len(said.forces), 1)
    if name in engines.WITH_MEMBERS:
        members = ours.members(batch_of(*frames, dtype=dtype)).energy
        close(asked(theirs, frames, "energy_ensemble", "system").T, members, dtype)
    else:
        close(asked(theirs, frames, metatomic.FORCE_UNCERTAINTY, "atom")[:, 0], said.force_uncertainty, dtype)
        assert "energy_ensemble" not in theirs.model().capabilities().outputs


@engines.needs_ase_client
@pytest.mark.parametrize("name", engines.RECIPES)
def test_what_is_said_of_atoms_adds_up(folder: Path, name: str) -> None:
    theirs = client(exported(folder, name, torch.float64))
    frames = list(engines.structures().values())
    structure = np.repeat(range(len(frames)), [len(atoms) for atoms in frames])
    names = ["energy", "feature", *(["energy_ensemble"] if name in engines.WITH_MEMBERS else [])]
    for output in names:
        atoms, whole = (asked(theirs, frames, output, kind) for kind in ("atom", "system"))
        close([atoms[structure == index].sum(0) for index in range(len(frames))], whole)
    sigma, total = (asked(theirs, frames, "energy_uncertainty", kind)[:, 0] for kind in ("atom", "system"))
    if name in engines.WITH_MEMBERS:  # correlated: at most the sum
        assert all(total[i] <= sigma[structure == i].sum() + 1e-9 for i in range(len(frames)))
    else:  # independent by assumption
        close([sigma[structure == i].square().sum().sqrt() for i in range(len(frames))], total)


@engines.needs_ase_client
def test_an_engine_may_ask_for_some_of_the_atoms(folder: Path) -> None:
    """As those do that share atoms among processes."""
    theirs = client(exported(folder, "ensemble", torch.float64))
    labels = metatomic.needed("metatensor.torch").Labels
    frames = list(engines.structures().values())[:3]
    some = labels(["system", "atom"], torch.tensor([[0, 2], [0, 1], [2, 3]], dtype=torch.int32))
    every = asked(theirs, frames, "energy", "atom")[:, 0]
    first = np.cumsum([0, len(frames[0]), len(frames[1])])
    parts = asked(theirs, frames, "energy", "system", selected_atoms=some)[:, 0]
    close(parts, [every[1] + every[2], 0.0, every[first[2] + 3]])
    found = asked(theirs, frames, "energy_ensemble", "atom", selected_atoms=some)
    close(found.mean(1), every[[1, 2, first[2] + 3]])


@engines.needs_ase_client
def test_an_atom_alone_feels_no_force(folder: Path) -> None:
    atoms = ase.Atoms("N", calculator=client(exported(folder, "ensemble", torch.float64)))
    assert np.abs(atoms.get_forces()).max() == 0
    said = engines.fitted("ensemble").predict(batch_of(ase.Atoms("N")))
    assert atoms.get_potential_energy() == pytest.approx(float(said.energy[0]))


@engines.needs_ase_client
def test_ase_warns_of_a_doubtful_atom(folder: Path) -> None:
    atoms = engines.structures()["molecule"]
    atoms.calc = client(exported(folder, "ensemble", torch.float64), uncertainty_threshold=1e-6)
    with pytest.warns(UserWarning, match="larger than the threshold"):
        atoms.get_potential_energy()


@engines.needs_metatomic
def test_the_file_needs_nothing_of_ours(folder: Path) -> None:
    path = exported(folder, "llpr", torch.float32)
    script = f"""
import sys, warnings
sys.modules["uqlib"] = None  # importing it fails
warnings.simplefilter("ignore")
from metatomic.torch import load_atomistic_model
print(sorted(load_atomistic_model({str(path)!r}).capabilities().outputs))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "['energy', 'energy_ensemble', 'energy_uncertainty', 'feature', 'features']\n"


@engines.needs_metatomic
def test_exporting_changes_nothing(tmp_path: Path) -> None:
    predictor = engines.fitted("shallow", torch.float32)
    frames = batch_of(*engines.structures().values(), dtype=torch.float32)
    before, state = predictor.predict(frames), torch.random.get_rng_state()
    predictor.export(tmp_path / "new" / "mine.pt")
    after = predictor.predict(frames)
    assert after.energy.equal(before.energy)
    assert after.force_uncertainty.equal(before.force_uncertainty)
    assert torch.random.get_rng_state().equal(state)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine.pt"]


@engines.needs_ase_client
def test_samples_in_the_file_are_the_seeds(tmp_path: Path) -> None:
    predictor, frames = engines.fitted("llpr"), [engines.structures()["molecule"]]
    predictor.export(tmp_path / "mine.pt", count=5, seed=11)
    found = asked(client(tmp_path / "mine.pt"), frames, "energy_ensemble", "system")
    close(found.T, predictor.members(batch_of(*frames), count=5, seed=11).energy)


@engines.needs_ase_client
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", engines.RECIPES)
def test_the_same_on_cuda(folder: Path, name: str) -> None:
    path, atoms = exported(folder, name, torch.float64), engines.structures()["skewed"]
    found = []
    for device in ("cpu", "cuda"):
        calculator = client(path, device=device)
        atoms.calc = calculator
        found.append((atoms.get_forces(), asked(calculator, [atoms], "energy_uncertainty", "system").cpu()))
    close(found[0][0], found[1][0])
    close(found[0][1], found[1][1])


class Stranger(torch.nn.Module):
    """Somebody's network."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("like", torch.zeros((), dtype=torch.float64))

    def forward(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        near = torch.exp(-batch.vectors().square().sum(-1, keepdim=True))
        features = near.new_zeros(batch.n_atoms, 1).index_add(0, batch.pairs[0], near)
        return features.new_zeros(batch.n_structures).index_add(0, batch.structure_of_atom, features[:, 0]), features


@pytest.mark.parametrize("name", ["gmm", "mahalanobis", "neighbours"])
def test_a_score_in_nats_is_refused_and_no_file_is_touched(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_text("older")
    predictor = fit(name)
    with pytest.raises(ValueError, match=f"'{predictor.kind}' cannot be exported: .* in nats"):
        predictor.export(path)
    assert path.read_text() == "older"


def test_maps_and_strangers_are_refused(tmp_path: Path) -> None:
    data = samples.dataset()
    ours = engines.fitted("ensemble", torch.float32)
    mapped = Calibrated(ours, calibrate("scalar", predict(ours, data["train"]), data["train"]))
    with pytest.raises(ValueError, match=r"Calibrated cannot be exported: .* export what was calibrated"):
        mapped.export(tmp_path / "mine.pt")
    stranger = ForeignModel(Stranger(), elements=[1, 7, 8], cutoff=samples.CUTOFF)
    fitted = LastLayer().fit_to(stranger, data["train"], data["valid"], seed=0)
    with pytest.raises(ValueError, match="its network is a ForeignModel, expected PaiNN itself"):
        fitted.export(tmp_path / "mine.pt")
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "metatomic", None)
    monkeypatch.delitem(sys.modules, "metatomic.torch", raising=False)
    with pytest.raises(ValueError, match=r'metatomic is not installed .* pip install "uqlib\[engines\]"'):
        engines.fitted("ensemble").export(tmp_path / "mine.pt")
    assert list(tmp_path.iterdir()) == []
