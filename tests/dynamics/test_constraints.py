"""Atoms that are held: they stay, take no heat, and are still held in what comes back."""

from __future__ import annotations

import copy
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import samples
import torch
from ase import units as ase_units
from ase.constraints import FixAtoms, FixBondLengths, FixCartesian, FixedPlane, Hookean
from ase.md.verlet import VelocityVerlet as AseVerlet

from uqlib.dynamics import Integrator, Langevin, NoseHoover, Trajectories, VelocityVerlet, simulate, thermal
from uqlib.interfaces import UncertaintyCalculator
from uqlib.methods.shared.committee import Committee
from uqlib.prediction import Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.units import KB

NETWORKS = Committee([copy.deepcopy(samples.small_network(seed=seed)) for seed in range(2)])
INTEGRATORS = [VelocityVerlet(), Langevin(temperature=300, friction=0.1), NoseHoover(temperature=300, time=10)]


class Wells:
    """Each atom in the harmonic well of the nearest point of a grid of 3 Å: 2 eV/Å² along each axis."""

    cutoff, dtype, device = 1.0, torch.float64, torch.device("cpu")

    def predict(self, batch: Batch) -> Prediction:
        away = batch.positions - 3 * (batch.positions / 3).round()
        energy = torch.zeros(batch.n_structures, dtype=torch.float64)
        energy = energy.index_add(0, batch.structure_of_atom, away.square().sum(1).double())
        return Prediction(energy=energy, forces=-2 * away, force_uncertainty=away.norm(dim=1))


def grid(number: int = 27) -> ase.Atoms:
    points = 3.0 * np.stack(np.meshgrid(*[range(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return ase.Atoms(f"N{number}", points[:number])


def run(starts: list[ase.Atoms], integrator: Integrator, *, steps: int = 100, **options) -> Trajectories:
    options = {"dtype": torch.float64, "seed": 3, "timestep": 1.0, "progress": False, **options}
    predictor = options.pop("predictor", NETWORKS)
    return simulate(predictor, starts, integrator=integrator, steps=steps, **options)


@pytest.mark.parametrize("integrator", INTEGRATORS, ids=lambda found: type(found).__name__)
def test_what_is_held_stays_and_the_rest_moves(integrator: Integrator, tmp_path: Path) -> None:
    """By index, by a negative index, by a mask; one coordinate or all; with a velocity that nobody can have."""
    atoms = samples.rattled("NH3", 0)
    atoms.set_constraint([FixAtoms([0, -1]), FixCartesian(1, mask=(False, True, False))])
    masked = samples.crystal()
    masked.set_constraint(FixAtoms(mask=[True, False, False, False]))
    free = samples.rattled("H2O", 2)
    starts = [thermal(start, temperature=200, replicas=1, seed=4)[0] for start in (atoms, masked, free)]
    starts[0].arrays["momenta"][0] = 1.0
    found = run(starts, integrator, steps=30, stream=tmp_path / "streamed")
    held = np.zeros((4, 3), dtype=bool)
    held[[0, 3]] = held[1, 1] = True
    for replica, fixed in ((0, held), (1, np.arange(12).reshape(4, 3) < 3)):
        streamed = ase.io.read(tmp_path / "streamed" / f"replica-00{replica}.xyz", ":")
        frames = found.frames(replica)
        ends = [found.endings[replica].atoms, frames[-1]]
        for end in ends:
            np.testing.assert_array_equal(end.positions[fixed], starts[replica].positions[fixed])
            assert (end.positions[~fixed] != starts[replica].positions[~fixed]).all()
            assert [c.todict() for c in end.constraints] == [c.todict() for c in starts[replica].constraints]
        assert len(streamed[-1].constraints) > 0  # pyright: ignore[reportAttributeAccessIssue]
        assert (ends[0].get_velocities()[fixed] == 0).all()
    # One without constraints does not feel that others have some.
    alone = run([starts[2]], VelocityVerlet(), steps=10, every=1)
    beside = run(starts, VelocityVerlet(), steps=10, every=1)
    steps = min(len(alone.times), len(beside.times))
    assert steps > 3
    np.testing.assert_allclose(beside.positions[:steps, 8:], alone.positions[:steps], atol=1e-9)
    np.testing.assert_allclose(beside.temperature[:steps, 2], alone.temperature[:steps, 0], rtol=1e-9)


def test_step_for_step_as_ase() -> None:
    start = thermal(samples.rattled("NH3", 1), temperature=300, replicas=1, seed=0)[0]
    start.set_constraint(FixAtoms([2]))
    start.set_velocities(start.get_velocities())  # without those of the atom that is held
    found = run([start], VelocityVerlet(), steps=50, timestep=0.5, every=50)
    atoms = start.copy()
    atoms.calc = UncertaintyCalculator(NETWORKS, dtype=torch.float64)
    AseVerlet(atoms, timestep=0.5 * ase_units.fs).run(50)
    np.testing.assert_allclose(found.positions[-1], atoms.positions, atol=1e-6)
    assert found.conserved[-1, 0] == pytest.approx(found.conserved[0, 0], abs=1e-3)


@pytest.mark.parametrize(
    "constraint", [FixAtoms(range(20)), FixCartesian(range(27), mask=(False, False, True))], ids=["atoms", "axis"]
)
def test_only_what_moves_is_warm(constraint: FixAtoms | FixCartesian) -> None:
    start = grid()
    start.set_constraint(constraint)
    starts = thermal(start, temperature=300, replicas=40, seed=5)
    thermostat = Langevin(temperature=300, friction=0.1)
    found = run(starts, thermostat, steps=400, predictor=Wells(), timestep=2.0, every=5)
    assert found.temperature[10:].mean() == pytest.approx(300, rel=0.03)
    axes = found.positions[10:] - found.positions[0]
    free = np.abs(axes).max(axis=0) > 0
    displacement = (axes**2).mean(axis=0)[free]
    assert displacement.mean() == pytest.approx(KB * 300 / 2, rel=0.06), "equipartition in wells of 2 eV/Å²"


@pytest.mark.parametrize("integrator", INTEGRATORS, ids=lambda found: type(found).__name__)
@pytest.mark.parametrize(("constraints", "conserved"), [
    ([FixAtoms([0, 1]), FixCartesian([2, 3], mask=(True, False, False))], 0),
    ([FixCartesian(range(8), mask=(True, False, False))], 2),
    ([FixCartesian([5], mask=(True, True, False))], 1),
])  # fmt: skip
def test_degrees_of_freedom(integrator: Integrator, constraints: list, conserved: int) -> None:
    """As ASE counts them, less those of a total momentum that the integrator conserves."""
    start = grid(8)
    start.set_constraint(constraints)
    starts = thermal(start, temperature=300, replicas=2, seed=5)
    found = run(starts, integrator, steps=1, predictor=Wells())
    count = start.get_number_of_degrees_of_freedom()
    left = count if isinstance(integrator, Langevin) else count - conserved
    expected = np.array([float(atoms.get_temperature()) for atoms in starts]) * count / left
    np.testing.assert_allclose(found.temperature[0], expected, rtol=1e-5)


@pytest.mark.parametrize(("constraint", "freedoms", "drifts"), [
    (FixAtoms([0]), 21, (True, True, True)),
    (FixCartesian(range(8), mask=(True, False, False)), 14, (False, False, False)),
    (FixCartesian([0], mask=(False, True, False)), 21, (False, True, False)),
])  # fmt: skip
def test_drawn_velocities(constraint: FixAtoms | FixCartesian, freedoms: int, drifts: tuple[bool, ...]) -> None:
    """Total momentum is conserved, and taken out, along those axes alone along which nothing is held."""
    start = grid(8)
    start.set_constraint(constraint)
    many = thermal(start, temperature=500, replicas=2000, seed=3)
    kinetic = np.array([atoms.get_kinetic_energy() for atoms in many])
    assert kinetic.mean() == pytest.approx(freedoms / 2 * KB * 500, rel=0.02)
    momentum = np.abs([atoms.get_momenta().sum(axis=0) for atoms in many]).max(axis=0)
    assert tuple(momentum > 1e-10) == drifts


@pytest.mark.parametrize(
    "constraint", [FixBondLengths([[0, 1]]), Hookean(0, 1, rt=1.0, k=5.0), FixedPlane([0], (0, 0, 1))]
)
def test_other_constraints_are_refused_by_name(constraint) -> None:
    start = samples.rattled("NH3", 0)
    start.set_constraint([FixAtoms([2]), constraint])
    words = rf"structure 1 has a {type(constraint).__name__}, expected FixAtoms.*set_constraint\(\).*UncertaintyCalcul"
    with pytest.raises(ValueError, match=f"starts: {words}"):
        run([samples.rattled("H2O", 0), start], VelocityVerlet())
    with pytest.raises(ValueError, match="atoms: structure 0 has a"):
        thermal(start, temperature=300, replicas=1, seed=0)


def test_somebody_has_to_move() -> None:
    held = samples.rattled("NH3", 0)
    held.set_constraint(FixAtoms(range(4)))
    with pytest.raises(ValueError, match="constraints hold every atom of structure 1"):
        run([samples.rattled("H2O", 0), held], NoseHoover(temperature=300))
