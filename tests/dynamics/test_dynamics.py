"""Dynamics against theory, against ASE and against themselves."""

from __future__ import annotations

import copy
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import samples
import torch
from ase import units as ase_units
from ase.build import bulk, molecule
from ase.md.verlet import VelocityVerlet as AseVerlet
from samples import CUTOFF
from scipy import stats

from uqlib.dynamics import (
    BondLengths,
    ClosestContact,
    Coordination,
    Integrator,
    Langevin,
    NoseHoover,
    PotentialEnergy,
    ShortestDistance,
    Temperature,
    Trajectories,
    VelocityVerlet,
    bond_angles,
    competing_risks,
    distances,
    rdf,
    simulate,
    survival,
    survival_over_seeds,
    thermal,
)
from uqlib.dynamics.pairs import SkinPairs
from uqlib.interfaces.ase import UncertaintyCalculator
from uqlib.methods.shared.committee import Committee
from uqlib.prediction import Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.units import ANGSTROM_FS2_PER_EV_ANGSTROM_AMU, KB

NETWORKS = Committee([copy.deepcopy(samples.small_network(seed=seed)) for seed in range(2)])


class Pairwise:
    """E = Σ k/2 (d - length)² within the cutoff of bonded pairs; uncertainty is the distance from the origin."""

    cutoff, dtype, device = CUTOFF, torch.float64, torch.device("cpu")

    def __init__(self, *, length: float = 1.2, stiffness: float = 20.0) -> None:
        self.length, self.stiffness = length, stiffness
        self.spoil_above = math.inf  # Å from the origin, where energies become nan

    def predict(self, batch: Batch) -> Prediction:
        i, j = batch.pairs
        offset = (batch.shifts[:, None] @ batch.cell[batch.structure_of_atom[i]])[:, 0]
        vector = batch.positions[j] - batch.positions[i] + offset
        distance = vector.norm(dim=1, keepdim=True)
        pull = self.stiffness * (distance - self.length) * vector / distance
        of_pair = 0.25 * self.stiffness * (distance[:, 0] - self.length).square()
        energy = batch.positions.new_zeros(batch.n_structures).index_add(0, batch.structure_of_atom[i], of_pair)
        far = batch.positions.norm(dim=1)
        lost = torch.bincount(batch.structure_of_atom[far > self.spoil_above], minlength=batch.n_structures) > 0
        return Prediction(
            energy=energy.double().masked_fill(lost, math.nan),
            forces=torch.zeros_like(batch.positions).index_add(0, i, pull),
            force_uncertainty=far,
        )


class Soft(Pairwise):
    """A liquid that repels itself: E = Σ k/2 (d - cutoff)² over all pairs."""

    def __init__(self) -> None:
        super().__init__(length=CUTOFF, stiffness=0.1)


def run(
    starts: list[ase.Atoms], integrator: Integrator | None = None, *, steps: int = 100, seed: int = 0, **options
) -> Trajectories:
    """`simulate` in float64, quietly, with velocity Verlet where nothing else is asked for."""
    options = {"predictor": NETWORKS, "dtype": torch.float64, "progress": False} | options
    return simulate(
        starts=starts, integrator=integrator or VelocityVerlet(), steps=steps, seed=seed, **options
    )  # fmt: skip


def ammonia(replicas: int = 1, temperature: float = 100.0) -> list[ase.Atoms]:
    return thermal(molecule("NH3"), temperature=temperature, replicas=replicas, seed=0)


def liquid(replicas: int, temperature: float) -> list[ase.Atoms]:
    return thermal(
        bulk("N", "fcc", a=5.2, cubic=True).repeat((2, 2, 1)), temperature=temperature, replicas=replicas, seed=0
    )


# Integrators
def test_energy_error_falls_with_the_square_of_the_time_step() -> None:
    errors = {}
    for timestep in (0.5, 0.25, 0.125):
        found = run(ammonia(2), steps=int(20 / timestep), timestep=timestep, every=1)
        errors[timestep] = np.abs(found.conserved - found.conserved[0]).max()
    assert errors[0.5] / errors[0.25] == pytest.approx(4, rel=0.15)
    assert errors[0.25] / errors[0.125] == pytest.approx(4, rel=0.15)


def test_the_chain_conserves_what_it_should() -> None:
    errors = {}
    for timestep in (2.0, 1.0, 0.5):
        options = {"predictor": Soft(), "timestep": timestep, "every": 1}
        found = run(liquid(1, 200), NoseHoover(temperature=400, time=40), steps=int(100 / timestep), **options)
        errors[timestep] = np.abs(found.conserved - found.conserved[0]).max()
        exchanged = np.ptp(found.potential_energy) + np.ptp(found.temperature) * KB
        assert errors[timestep] < 0.05 * exchanged
    assert errors[2.0] / errors[1.0] == pytest.approx(4, rel=0.3)
    assert errors[1.0] / errors[0.5] == pytest.approx(4, rel=0.3)


def test_step_for_step_as_ase() -> None:
    # ASE's constants are those of 2014: the same number of its time units makes the two the same to round-off.
    timestep = ase_units.fs / math.sqrt(ANGSTROM_FS2_PER_EV_ANGSTROM_AMU) * 0.4
    (start,) = ammonia()
    ours = run([start], steps=60, timestep=timestep, every=1)
    atoms = start.copy()
    atoms.set_velocities(start.get_velocities() * ase_units.fs * timestep / (0.4 * ase_units.fs))
    atoms.calc = UncertaintyCalculator(NETWORKS, dtype=torch.float64)
    positions, energies = [], []
    theirs = AseVerlet(atoms, timestep=0.4 * ase_units.fs)
    theirs.attach(lambda: positions.append(atoms.get_positions()))
    theirs.attach(lambda: energies.append(atoms.get_potential_energy()))
    theirs.run(60)
    np.testing.assert_allclose(ours.potential_energy[:, 0], energies, atol=1e-9)
    np.testing.assert_allclose(ours.positions, positions, atol=1e-9)
    assert np.abs(ours.positions[-1] - ours.positions[0]).max() > 0.05


@pytest.mark.parametrize("integrator", [Langevin(temperature=300, friction=0.05), NoseHoover(temperature=300, time=80)])
def test_temperature_and_velocities_are_those_of_maxwell_and_boltzmann(integrator: Integrator) -> None:
    found = simulate(
        Soft(), liquid(8, 300), integrator=integrator, steps=500, timestep=4.0, every=10, seed=1, dtype=torch.float64,
        progress=False,
    )  # fmt: skip
    late = found.temperature[15:]
    assert late.mean() == pytest.approx(300, rel=0.03)
    freedoms = 3 * 16 - (0 if isinstance(integrator, Langevin) else 3)
    assert late.std() / late.mean() == pytest.approx(math.sqrt(2 / freedoms), rel=0.15)
    velocities = np.concatenate([ending.atoms.get_velocities() for ending in found.endings]).ravel() * ase_units.fs
    width = math.sqrt(KB * 300 * ANGSTROM_FS2_PER_EV_ANGSTROM_AMU / 14.007)
    assert stats.kstest(velocities / width, "norm").pvalue > 0.01
    assert stats.kstest(velocities / (1.35 * width), "norm").pvalue < 0.01, "the test would notice 550 K"


def test_langevin_samples_the_right_positions_of_a_spring() -> None:
    pair = thermal(ase.Atoms("N2", [[0, 0, 0], [1.2, 0, 0]]), temperature=300, replicas=200, seed=0)
    stiff = Pairwise(stiffness=100.0)
    found = run(pair, Langevin(temperature=300, friction=0.05), predictor=stiff, steps=800, timestep=1.0, every=20)
    length = np.linalg.norm(found.positions[10:, 1::2] - found.positions[10:, ::2], axis=-1)
    # Weight r² exp(-k (r - 1.2)²/2kT): to first order a variance of kT/k.
    r = np.linspace(0.9, 1.5, 2001)
    weight = r**2 * np.exp(-50.0 * (r - 1.2) ** 2 / (KB * 300))
    mean = np.average(r, weights=weight)
    assert length.mean() == pytest.approx(mean, abs=5e-4)
    assert length.var() == pytest.approx(np.average((r - mean) ** 2, weights=weight), rel=0.05)


def test_drawn_velocities() -> None:
    many = thermal(molecule("NH3"), temperature=500, replicas=2000, seed=3)
    kinetic = np.array([atoms.get_kinetic_energy() for atoms in many])
    assert kinetic.mean() == pytest.approx(4.5 * KB * 500, rel=0.03), "3N - 3 degrees of freedom"
    assert max(np.abs(atoms.get_momenta().sum(axis=0)).max() for atoms in many) < 1e-12
    few = thermal(molecule("NH3"), temperature=500, replicas=2, seed=3)
    np.testing.assert_array_equal(few[1].get_velocities(), many[1].get_velocities())
    assert not np.allclose(few[0].get_velocities(), few[1].get_velocities())


# Pairs
@pytest.mark.parametrize("bulk_system", [False, True])
def test_a_skin_changes_nothing_but_the_number_of_searches(bulk_system: bool) -> None:
    starts = thermal(samples.crystal(), temperature=3000, replicas=2, seed=0) if bulk_system else ammonia(3, 1500)
    options = {"steps": 60, "every": 1, "integrator": Langevin(temperature=1500)}
    fresh, skin = run(starts, skin=0.0, **options), run(starts, skin=0.6, **options)
    np.testing.assert_allclose(skin.positions, fresh.positions, atol=1e-10, rtol=0)
    np.testing.assert_allclose(skin.potential_energy, fresh.potential_energy, atol=1e-9)
    assert fresh.searches >= 60 * len(starts)
    assert len(starts) < skin.searches < fresh.searches / 3


def test_pairs_beyond_the_cutoff_are_taken_out() -> None:
    frames = [samples.crystal(seed) for seed in range(3)] + [samples.rattled("NH3", 0)]
    wide = Batch.from_atoms(frames, cutoff=CUTOFF + 0.5, dtype=torch.float64)
    pairs, generator = SkinPairs(wide, cutoff=CUTOFF), torch.Generator().manual_seed(0)
    positions = wide.positions
    for _ in range(8):
        positions = positions + 0.06 * torch.randn(positions.shape, generator=generator, dtype=torch.float64)
        seen, fresh = pairs.at(positions), replace(wide, cutoff=CUTOFF).at(positions)
        assert seen.n_pairs == fresh.n_pairs < pairs.wide.n_pairs
        assert torch.equal(seen.pairs, fresh.pairs)
        assert torch.equal(seen.pairs[:, seen.reverse], seen.pairs.flip(0))
        assert torch.equal(seen.shifts[seen.reverse], -seen.shifts)
        expected = NETWORKS.predict(fresh)
        torch.testing.assert_close(NETWORKS.predict(seen).forces, expected.forces, atol=1e-12, rtol=0)
    assert 4 < pairs.searches < 8 * 4


# Replicas
def test_repeatable_by_seed_and_only_by_seed() -> None:
    same = [run(ammonia(2), Langevin(temperature=100), steps=20, seed=5).positions for _ in range(2)]
    np.testing.assert_array_equal(same[0], same[1])
    torch.manual_seed(1)
    torch.randn(3)
    np.testing.assert_array_equal(run(ammonia(2), Langevin(temperature=100), steps=20, seed=5).positions, same[0])
    other = run(ammonia(2), Langevin(temperature=100), steps=20, seed=6).positions
    assert np.abs(other - same[0]).max() > 1e-3


@pytest.mark.parametrize("integrator", [VelocityVerlet(), Langevin(temperature=100), NoseHoover(temperature=100)])
def test_a_replica_does_not_feel_the_others(integrator: Integrator) -> None:
    """Neither their number nor their size, nor that one of them is taken out on the way."""
    corners = [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    tetrahedron = ase.Atoms("N4", np.array(corners) * 1.2 / math.sqrt(8))
    starts = thermal(tetrahedron, temperature=100, replicas=3, seed=0)
    wound = starts[1].copy()
    wound.positions *= 0.6  # whatever the integrator, its bonds will be far longer than at the start
    options = {"rules": [BondLengths()], "predictor": Pairwise(), "steps": 70}
    together = run([starts[0], wound, starts[2]], integrator, **options)
    alone = run([starts[0]], integrator, **options)
    assert [ending.reason for ending in together.endings] == ["completed", "broken", "completed"]
    np.testing.assert_allclose(together.positions[:, :4], alone.positions, atol=1e-9)
    np.testing.assert_allclose(together.temperature[:, 0], alone.temperature[:, 0], rtol=1e-6)
    assert np.isnan(together.positions[-1, 4:8]).all()
    assert len(together.frames(1)) < len(together.frames(0)) == len(together.times)


def test_different_systems_in_one_batch() -> None:
    starts = [*ammonia(), *thermal(molecule("H2O"), temperature=100, replicas=1, seed=0)]
    found = run(starts, predictor=Pairwise())
    assert [len(frames) for frames in (found.frames(0)[0], found.frames(1)[0])] == [4, 3]
    np.testing.assert_allclose(found.positions[:, 4:], run(starts[1:], predictor=Pairwise()).positions, atol=1e-9)


# Endings
def test_uncertainty_flags_and_stops() -> None:
    atoms = ase.Atoms("N2", [[0, 0, 0], [1.2, 0, 0]])
    fast, slow = atoms.copy(), atoms.copy()
    fast.set_velocities(np.tile([0.01 / ase_units.fs, 0, 0], (2, 1)))  # 0.01 Å/fs: uncertainty is 1.2 + 0.01 t
    slow.set_velocities(np.tile([0.001 / ase_units.fs, 0, 0], (2, 1)))
    found = run([fast, slow], predictor=Pairwise(), timestep=1.0, flag_above=1.295, stop_above=1.495, steps=120)
    stopped, ran = found.endings
    assert (stopped.reason, stopped.time, stopped.flagged) == ("uncertain", 30.0, 10.0)
    assert stopped.detail == "an uncertainty above 1.495 eV/Å"
    assert stopped.atoms.positions[1, 0] == pytest.approx(1.5)
    assert (ran.reason, ran.time, ran.flagged) == ("completed", 120.0, 96.0)
    assert found.uncertainty[3, 0] == pytest.approx(1.5)
    assert np.isnan(found.uncertainty[4:, 0]).all()
    assert list(found.ended("uncertain")) == [True, False]
    with pytest.raises(ValueError, match=r"1 of 2 replicas were stopped by their uncertainty.*`competing_risks`"):
        _ = found.broken
    assert str(found) == "2 replicas, 120 fs: 1 completed, 1 uncertain"


def test_numbers_that_are_not_finite_end_a_replica_and_nothing_else() -> None:
    potential, starts = Pairwise(), ammonia(2, 500)
    starts[1].set_velocities(starts[1].get_velocities() + np.array([0.01 / ase_units.fs, 0, 0]))
    potential.spoil_above = 1.6
    found = run(starts, predictor=potential, steps=200, every=1)
    assert [ending.reason for ending in found.endings] == ["completed", "not finite"]
    assert list(found.broken) == [False, True]
    frames = found.frames(1)
    assert 5 < len(frames) < 200
    assert all(np.isfinite(frame.positions).all() for frame in [*frames, found.endings[1].atoms])
    assert np.isfinite(found.positions[:, :4]).all()


def test_thrown_and_collided_atoms_end_a_replica() -> None:
    calm, wild, fused = (ase.Atoms("N2", [[0, 0, 0], [1.2, 0, 0]]) for _ in range(3))
    wild.set_velocities([[3 / ase_units.fs, 0, 0], [0, 0, 0]])
    fused.set_velocities([[0.29 / ase_units.fs, 0, 0], [-0.29 / ase_units.fs, 0, 0]])
    found = run([calm, wild, fused], predictor=Pairwise(stiffness=0.1), timestep=2.0, steps=5, every=1)
    assert [ending.reason for ending in found.endings] == ["completed", "broken", "broken"]
    assert "moved by more than 1 Å" in found.endings[1].detail
    assert "on top of each other" in found.endings[2].detail


def test_a_run_whose_last_replicas_are_thrown_in_one_step_ends_there() -> None:
    wild = ase.Atoms("N2", [[0, 0, 0], [1.2, 0, 0]])
    wild.set_velocities([[3 / ase_units.fs, 0, 0], [0, 0, 0]])
    found = run([wild, wild], predictor=Pairwise(stiffness=0.1), timestep=2.0, steps=5, every=1)
    assert [ending.reason for ending in found.endings] == ["broken", "broken"]
    assert [ending.time for ending in found.endings] == [2.0, 2.0]
    assert len(found.frames(0)) == 1, "the start is all that there is"


# Rules
def moved(atoms: ase.Atoms, atom: int, by: list[float]) -> ase.Atoms:
    """A copy that flies: within a femtosecond, one of its atoms is elsewhere."""
    copy = atoms.copy()
    velocities = np.zeros((len(copy), 3))
    velocities[atom] = np.array(by) / ase_units.fs
    copy.set_velocities(velocities)
    return copy


QUARTZ = ase.Atoms(
    "SiO4", [[0, 0, 0], [0.93, 0.93, 0.93], [-0.93, -0.93, 0.93], [-0.93, 0.93, -0.93], [0.93, -0.93, -0.93]]
)


@pytest.mark.parametrize(
    ("rule", "start", "atom", "by", "words"),
    [
        (BondLengths(), molecule("NH3"), 1, [0.0, 0.9, 0.0], "a bond left 0.6 to 1.5 times"),
        (BondLengths(), molecule("NH3"), 1, [0.0, -0.5, 0.2], "a bond left 0.6 to 1.5 times"),
        (ClosestContact(), molecule("NH3"), 1, [0.0, -0.6, 0.2], "two atoms closer than 0.5"),
        (
            Coordination(centre="Si", neighbour="O", within=2.3, allowed=(4, 5)),
            QUARTZ, 1, [0.55, 0.55, 0.55], "more than 5 % of Si without 4 to 5 O within 2.3 Å",
        ),
        (
            ShortestDistance(first="H", second="H", distance=1.1),
            molecule("NH3"), 2, [-0.7, 0.0, 0.0], "H and H closer than 1.1 Å",
        ),
        (PotentialEnergy(change=0.5), molecule("NH3"), 1, [0.0, 0.9, 0.0], "changed by more than 0.5 eV an atom"),
    ],
)  # fmt: skip
def test_each_rule_catches_its_own(rule, start: ase.Atoms, atom: int, by: list[float], words: str) -> None:
    calm = moved(start, atom, [0, 0, 0.001])
    weak = Pairwise(stiffness=2.0) if isinstance(rule, PotentialEnergy) else Pairwise(stiffness=1e-3)
    options = {"predictor": weak, "rules": [rule], "timestep": 0.99, "every": 1, "steps": 2}
    found = run([calm, moved(start, atom, by)], **options)
    assert [ending.reason for ending in found.endings] == ["completed", "broken"]
    assert words in found.endings[1].detail


def test_the_temperature_rule_catches_what_heats_itself() -> None:
    calm, wound = (ase.Atoms("N2", [[0, 0, 0], [length, 0, 0]]) for length in (1.2, 1.5))
    options = {"predictor": Pairwise(), "rules": [Temperature(highest=400)], "timestep": 1.0, "every": 1}
    assert [ending.detail for ending in run([calm, wound], **options).endings] == [
        "ran to the end",
        "hotter than 400 K",
    ]


def test_bonds_across_the_border_of_a_cell() -> None:
    chain = ase.Atoms("NN", [[0.1, 2, 2], [4.9, 2, 2]], cell=[6, 5, 5], pbc=True)
    found = run([chain], predictor=Pairwise(stiffness=1.0), rules=[BondLengths()], timestep=1.0, steps=30)
    assert found.endings[0].reason == "completed"
    pulled = moved(chain, 0, [0.3, 0, 0])
    found = run([pulled], predictor=Pairwise(stiffness=1e-3), rules=[BondLengths()], timestep=1.0, steps=30)
    assert found.endings[0].reason == "broken"


# On disk
SCRIPT = """
import sys
sys.path[:0] = {paths!r}
import torch, test_dynamics as t
t.run(t.ammonia(3), steps=10**6, every=1, stream={folder!r})
"""


def test_a_run_that_is_killed_leaves_what_it_had(tmp_path: Path) -> None:
    folder, here = tmp_path / "stream", Path(__file__).resolve().parent
    script = SCRIPT.format(paths=[str(here), str(here.parent)], folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"OMP_NUM_THREADS": "1"})
    last = folder / "replica-002.xyz"
    deadline = time.monotonic() + 60
    while not (last.exists() and last.stat().st_size > 5000):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    expected = run(ammonia(3), steps=5, every=1)
    for replica in range(3):
        frames = list(ase.io.iread(folder / f"replica-{replica:03d}.xyz", ":"))
        assert len(frames) > 5
        assert frames[5].info["time"] == 2.5
        np.testing.assert_allclose(frames[5].positions, expected.frames(replica)[5].positions, atol=1e-7)
        uncertainty = frames[5].arrays["force_uncertainty"]
        np.testing.assert_allclose(uncertainty, expected.frames(replica)[5].arrays["force_uncertainty"], atol=1e-7)


def test_a_stream_does_not_write_over_another(tmp_path: Path) -> None:
    run(ammonia(), steps=2, stream=tmp_path)
    with pytest.raises(FileExistsError, match=r"already holds replica-000\.xyz; name an empty folder"):
        run(ammonia(), steps=2, stream=tmp_path)


# Survival
def test_kaplan_meier_by_hand() -> None:
    """Six replicas: broken at 1, 3 and 3, watched until 2, 4 and 4. 5/6 after 1; 5/6 · 2/4 after 3."""
    found = survival([1, 2, 3, 3, 4, 4], [True, False, True, True, False, False])
    np.testing.assert_allclose(found.at([0, 0.9, 1, 2.5, 3, 4, 9]), [1, 1, 5 / 6, 5 / 6, 5 / 12, 5 / 12, 5 / 12])
    # After 3: one of six broke, two of the four left, two remain. Products of beta variables, drawn here.
    random, place = np.random.default_rng(0), np.searchsorted(found.times, 3)
    shrunk = random.beta(6, 1, 10**6) * random.beta(3, 2, 10**6)
    assert found.high[place] == pytest.approx(np.quantile(shrunk, 0.975), abs=0.01)
    assert found.low[place] == pytest.approx(np.quantile(shrunk * random.beta(2, 1, 10**6), 0.025), abs=0.01)
    assert found.replicas == 6


def test_the_band_is_the_binomial_interval_while_all_are_watched() -> None:
    found = survival([1.0, 2.0, 2.0, 5.0, *[9.0] * 16], [True] * 4 + [False] * 16)
    for moment, whole in ((0, 20), (1, 19), (2, 17), (5, 16), (9, 16)):
        exact = stats.binomtest(whole, 20).proportion_ci(0.95)
        place = np.searchsorted(found.times, moment)
        assert (found.low[place], found.high[place]) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_the_band_counts_who_is_still_watched() -> None:
    """Eighteen of twenty leave at 1: what holds until 100 is known from two, with or without a break before."""
    durations = [1.0] * 18 + [100.0] * 2
    found = survival(durations, [False] * 20)
    assert found.low[0] == pytest.approx(0.025 ** (1 / 20))
    assert found.low[1:] == pytest.approx(0.025 ** (1 / 2))
    early = survival([0.5, *durations], [True] + [False] * 20)
    assert early.fraction[-1] == pytest.approx(20 / 21)
    assert early.low[-1] == pytest.approx(0.16, abs=0.005)
    assert early.high[-1] < 1


def test_the_band_holds_the_truth_under_censoring() -> None:
    """Exponential lives, twenty replicas watched for times of their own, so that few are left at the end."""
    random = np.random.default_rng(3)
    missed = np.zeros(2)
    for _ in range(400):
        life, watch = random.exponential(1.0, 20), random.uniform(0.0, 1.5, 20)
        found = survival(np.minimum(life, watch), life <= watch)
        places = np.searchsorted(found.times, [0.3, 1.0], side="right") - 1
        truth = np.exp([-0.3, -1.0])
        missed += (found.low[places] > truth) | (found.high[places] < truth)
    assert (missed / 400 < 0.06).all()


def test_alarms_leave_bounds_of_survival() -> None:
    """Lives of mean 1, watched until 1: 0.37 last. An alarm stops nine in ten of those that break, just before.

    Kaplan-Meier of broken against not broken would say 0.9.
    """
    random = np.random.default_rng(0)
    life = random.exponential(1.0, 20_000)
    breaks = life < 1.0
    alarmed = breaks & (random.random(20_000) < 0.9)
    found = competing_risks(np.minimum(life, 1.0) - 1e-6 * alarmed, breaks & ~alarmed, alarmed)
    gone = 1 - math.exp(-1)
    assert (found.broke[-1], found.alarm[-1]) == pytest.approx((0.1 * gone, 0.9 * gone), abs=0.01)
    np.testing.assert_allclose(found.worst.fraction, 1 - found.broke - found.alarm)
    np.testing.assert_allclose(found.best.at(found.times), 1 - found.broke)
    assert found.worst.low[-1] < 1 - gone < found.best.fraction[-1]
    with pytest.raises(ValueError, match="1 replicas are both"):
        competing_risks([1.0], [True], [True])


def test_a_curve_without_events_still_has_a_band() -> None:
    found = survival([10.0] * 30, [False] * 30)
    np.testing.assert_array_equal(found.fraction, 1)
    assert found.low[-1] == pytest.approx(0.025 ** (1 / 30))
    gone = survival([1.0, 2.0], [True, True])
    assert (gone.fraction[-1], gone.low[-1]) == (0, 0)
    assert 0 < gone.high[-1] < 1
    assert ((found.low <= found.fraction) & (found.fraction <= found.high)).all()


def test_bands_over_seeds_are_those_of_seeds() -> None:
    """Seeds that all survive or all break: a thousand replicas each do not make the band narrow."""
    whole, broken = ([10.0] * 1000, [False] * 1000), ([5.0] * 1000, [True] * 1000)
    for count in (0, 2, 4):
        found = survival_over_seeds([whole] * count + [broken] * (4 - count), seed=0)
        exact = stats.binomtest(count, 4).proportion_ci(0.95)
        assert found.at(5.0) == count / 4
        place = np.searchsorted(found.times, 5.0)
        assert (found.low[place], found.high[place]) == pytest.approx((exact.low, exact.high), abs=0.02)
    with pytest.raises(ValueError, match="at least two training seeds"):
        survival_over_seeds([whole], seed=0)


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.05), (4.0, 1.0), (40.0, 1.0)])
def test_bands_over_seeds_hold_the_mean_of_all_seeds(a: float, b: float) -> None:
    """Three trainings of sixteen replicas, whose chance to last differs from training to training (beta)."""
    random, held = np.random.default_rng(1), 0
    for trial in range(100):
        broken = random.random((3, 16)) > random.beta(a, b, (3, 1))
        runs = [(np.where(flags, 1.0, 2.0), flags) for flags in broken]
        found = survival_over_seeds(runs, seed=trial, resamples=1000)
        place = np.searchsorted(found.times, 1.0)
        held += bool(found.low[place] <= a / (a + b) <= found.high[place])
        assert found.low[place] <= found.fraction[place] <= found.high[place]
        assert found.low[place] < found.high[place]
    assert held >= 95


def test_the_mean_over_seeds_ends_where_one_was_no_longer_watched() -> None:
    found = survival_over_seeds([([1.0], [False]), ([5.0, 9.0], [True, False]), ([0.5], [True])], seed=0)
    np.testing.assert_allclose(found.times, [0, 0.5, 1])
    np.testing.assert_allclose(found.fraction, [1, 2 / 3, 2 / 3])


@pytest.mark.parametrize(
    ("durations", "broken", "words"),
    [
        ([], [], r"got shapes \(0,\)"),
        ([1.0, 2.0], [True], r"got shapes \(2,\), \(1,\)"),
        ([1.0, math.nan], [True, False], "negative values or some that are not finite"),
    ],
)
def test_survival_refuses(durations: list[float], broken: list[bool], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        survival(durations, broken)


# Structure
def test_distribution_functions_of_known_structures() -> None:
    crystal = bulk("N", "sc", a=2.0).repeat((4, 4, 4))
    r, g = rdf([crystal], "N", "N", cutoff=3.2, bins=32)
    counts = g * 4 * np.pi * r**2 * 0.1 / 8.0 * 63 / 64
    assert counts[20] == pytest.approx(6, rel=0.01)
    assert counts[28] == pytest.approx(12, rel=0.01)
    gas = ase.Atoms("N1000", np.random.default_rng(0).uniform(0, 20, (1000, 3)), cell=[20] * 3, pbc=True)
    r, g = rdf([gas], "N", "N", cutoff=8.0, bins=16)
    np.testing.assert_allclose(g[4:], 1, atol=0.05)
    with pytest.raises(ValueError, match="for molecules use inverse_distances or pair_distances"):
        rdf([molecule("NH3")], "N", "H", cutoff=3)


def test_angles_and_distances_of_molecules() -> None:
    water, ammonia = molecule("H2O"), molecule("NH3")
    np.testing.assert_allclose(bond_angles([water], "H", "O", "H", within=1.3), water.get_angle(1, 0, 2))
    assert len(bond_angles([ammonia] * 2, "H", "N", "H", within=1.3)) == 6
    np.testing.assert_allclose(distances([ammonia], "N", "H", cutoff=1.3), np.sort(ammonia.get_distances(0, [1, 2, 3])))
    assert len(distances([ammonia], "H", "H", cutoff=2.0)) == 3
    with pytest.raises(ValueError, match="got 'C', the structure is"):
        distances([ammonia], "C", "H", cutoff=2.0)


# What must be refused
def test_arguments_that_must_be_refused() -> None:
    unbound = ase.Atoms("N2", [[0, 0, 0], [3, 0, 0]])
    lost = ammonia()[0]
    lost.set_velocities(np.full((4, 3), np.nan))
    cases = [
        ([], {}, "starts: got no structures"),
        (ammonia(), {"steps": 0}, "steps: got 0, expected a positive number"),
        (ammonia(), {"timestep": -1.0}, "timestep: got -1.0"),
        (ammonia(), {"skin": -0.1}, "skin: got -0.1"),
        (ammonia(), {"stop_above": 0.0}, "stop_above: got 0.0"),
        ([lost], {}, "velocities that are not finite"),
        ([unbound], {"rules": [BondLengths()], "predictor": Pairwise()}, "replica 0 has no bonds at its start"),
        (ammonia(2, 300), {"rules": [Temperature(highest=1)]}, "replica 0 breaks a rule before it moves: hotter than"),
        (ammonia(), {"rules": [Coordination(centre="N", neighbour="H", within=9, allowed=(3, 3))]}, "reach to 4.0 Å"),
    ]
    for starts, options, words in cases:
        with pytest.raises(ValueError, match=words):
            run(starts, **options)
    spoilt = Pairwise()
    spoilt.spoil_above = 0.1
    with pytest.raises(ValueError, match="replica 0 has energy, forces or uncertainty that are not finite"):
        run(ammonia(), predictor=spoilt)
    for make in (
        lambda: Langevin(temperature=0),
        lambda: NoseHoover(temperature=300, links=0),
        lambda: thermal(molecule("NH3"), temperature=-1, replicas=1, seed=0),
        lambda: BondLengths(longest=0.9),
        lambda: ClosestContact(share=2),
        lambda: PotentialEnergy(change=0),
        lambda: Coordination(centre="Sj", neighbour="O", within=2, allowed=(1, 2)),
    ):
        with pytest.raises(ValueError, match="expected"):
            make()
