"""i-PI runs an exported file over a local socket, and moves atoms as our own dynamics do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import ase.io
import engines
import numpy as np
import pytest
import torch
from ase.units import Hartree

from uqlib.dynamics import Trajectories, VelocityVerlet, simulate, thermal
from uqlib.methods.ensemble import Ensemble
from uqlib.methods.shared.committee import Committee
from uqlib.networks.painn import PaiNN
from uqlib.networks.training import Settings
from uqlib.structures import datasets
from uqlib.structures.batch import Batch

pytestmark = engines.needs_ipi
STEPS, TIMESTEP, TEMPERATURE = 200, 0.5, 300.0
KT = 8.617333262e-5 * TEMPERATURE / Hartree


class Both(NamedTuple):
    """The same dynamics, twice."""

    predictor: Any
    ours: Trajectories
    folder: Path
    table: np.ndarray  # (STEPS + 1, 4) step, fs, conserved eV, potential eV
    frames: list[ase.Atoms]
    members: np.ndarray  # (STEPS + 1, M) hartree


def ammonia() -> Committee:
    data = datasets.load("ammonia")
    recipe = Ensemble(members=2, network={"features": 8, "interactions": 2}, settings=Settings(epochs=5, batch_size=5))
    return recipe.fit(data["train"].take(range(40)), data["valid"], seed=0, progress=False)


def silica() -> Committee:
    """Untrained: what silica wants is of no matter here, what the engine makes of the network is."""
    models = []
    for seed in range(3):
        model = PaiNN(elements=[8, 14], features=8, interactions=2, radial=8, cutoff=4.0, seed=seed)
        model.atom_energies.copy_(torch.tensor([-430.0, -105.0]))
        model.scale.fill_(0.3)
        models.append(model)
    return Committee(models)


@pytest.fixture(scope="module", params=["ammonia", "silica"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    predictor = {"ammonia": ammonia, "silica": silica}[request.param]().to(torch.float64)
    atoms = datasets.load(request.param)["train"].atoms[0].copy()
    start = thermal(atoms, temperature=TEMPERATURE, replicas=1, seed=1)[0]
    options: Any = {"integrator": VelocityVerlet(), "steps": STEPS, "timestep": TIMESTEP, "every": 1, "seed": 0}
    ours = simulate(predictor, [start], dtype=torch.float64, progress=False, **options)
    if not start.pbc.any():
        start.set_cell([25.0, 25.0, 25.0])  # i-PI has no molecules alone in space, only distant ones
    folder = tmp_path_factory.mktemp(request.param)
    predictor.export(folder / "mine.pt")
    engines.run_ipi(folder, start, folder / "mine.pt", steps=STEPS, timestep=TIMESTEP)
    frames = ase.io.read(folder / "run.positions_0.xyz", ":", format="xyz")
    assert isinstance(frames, list)
    members = np.loadtxt(folder / "run.committee_0")
    return Both(predictor, ours, folder, np.loadtxt(folder / "run.out"), frames, members)


def test_it_goes_where_our_own_dynamics_go(both: Both) -> None:
    found = np.array([frame.positions for frame in both.frames])
    assert found.shape == both.ours.positions.shape
    assert np.abs(found[-1] - found[0]).max() > 0.05  # it moved
    digits = 2e-5 + 1e-5 * np.abs(found).max()  # it prints six
    assert np.abs(found - both.ours.positions).max() < digits


def test_energies_and_the_conserved_quantity_agree(both: Both) -> None:
    """i-PI prints nine digits; the energy that it conserves has no zero of its own."""
    potential, conserved = both.table[:, 3], both.table[:, 2]
    digits = np.abs(potential).max() * 1e-8
    assert np.abs(potential - both.ours.potential_energy[:, 0]).max() < 10 * digits
    assert np.abs(conserved - both.ours.conserved[:, 0]).max() < 10 * digits
    drift = np.abs(conserved - conserved[0]).max()
    assert drift < 0.1 * np.ptp(potential)


def test_committee_energies_are_our_members(both: Both) -> None:
    starts = [both.ours.starts[0].copy() for _ in range(0, STEPS + 1, 50)]
    for frame, positions in zip(starts, both.ours.positions[::50], strict=True):
        frame.positions = positions
    batch = Batch.from_atoms(starts, cutoff=both.predictor.cutoff, dtype=torch.float64)
    members = both.predictor.members(batch).energy.numpy()
    digits = np.abs(members).max() * 1e-8
    assert np.abs(both.members[::50].T * Hartree - members).max() < 10 * digits


@pytest.mark.parametrize("options", [[], ["--direct"]])
def test_its_reweighting_is_the_plain_formula(both: Both, options: list[str]) -> None:
    """Imbalzano et al., J. Chem. Phys. 154, 074102 (2021), eqs. 10 (direct) and 13 (first cumulant)."""
    distance = np.array([np.linalg.norm(f.positions[1] - f.positions[0]) for f in both.frames])
    np.savetxt(both.folder / "distance", distance)
    program = Path(sys.executable).parent / "i-pi-committee-reweight"
    command = [sys.executable, program, "run.committee_0", "distance", "--kt", repr(KT), *options]
    done = subprocess.run([str(part) for part in command], cwd=both.folder, capture_output=True, text=True, check=True)
    said = [float(word) for word in done.stdout.splitlines()[1].split()]
    expected = []
    for member in both.members.T:
        work = (member - both.members.mean(1)) / KT
        if options:
            weight = np.exp(-(work - work.min()))
            expected.append((weight * distance).sum() / weight.sum())
        else:
            expected.append(distance.mean() - ((distance * work).mean() - distance.mean() * work.mean()))
    np.testing.assert_allclose(said[2:], expected, rtol=1e-7)
    np.testing.assert_allclose(said[:2], [np.mean(expected), np.std(expected)], rtol=1e-6)
