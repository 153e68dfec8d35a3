"""Members' results against closed forms: springs, oscillators, a crystal of springs."""

from __future__ import annotations

from typing import Any

import ase
import ase.units
import numpy as np
import pytest
import samples
import torch
from analytic import Several, Springs
from ase.build import bulk, molecule

from uqlib import propagation
from uqlib.calibration import Calibrated, calibrate
from uqlib.dynamics import Langevin, Trajectories, VelocityVerlet, simulate, thermal
from uqlib.methods.llpr import LastLayer
from uqlib.methods.mve import MeanVariance
from uqlib.methods.shared.committee import Committee
from uqlib.prediction import predict
from uqlib.propagation import Member, Spread

STIFFNESS, LENGTHS, LEVELS = (20.0, 26.0, 23.0), (1.10, 1.14, 1.15), (0.0, 0.3, -0.2)
REDUCED = 14.007 / 2


def dimer(distance: float = 1.13) -> ase.Atoms:
    return ase.Atoms("N2", positions=[[0, 0, 0], [0.6 * distance, 0, 0.8 * distance]])


def springs() -> Several:
    return Several([Springs(k, r, level=e) for k, r, e in zip(STIFFNESS, LENGTHS, LEVELS, strict=True)])


def mean_spring() -> tuple[float, float]:
    """Stiffness and length of the mean of the springs."""
    stiffness = np.mean(STIFFNESS)
    return float(stiffness), float(np.mean(np.multiply(STIFFNESS, LENGTHS)) / stiffness)


def committee() -> Committee:
    return Committee([samples.small_network(seed=seed) for seed in range(3)])


def test_the_spread_of_a_difference_is_member_by_member() -> None:
    one = Spread(value=np.array(1.0), members=np.array([0.0, 1.0, 2.0]))
    other = Spread(value=np.array(0.5), members=np.array([-0.5, 0.5, 1.5]))
    assert (one - other).sigma == 0
    assert one.sigma == 1
    assert str(one) == "1 ± 1"
    assert one.map(lambda v: v**2).members.tolist() == [0, 1, 4]
    with pytest.raises(ValueError, match=r"other: got 2 members, expected 3, of the same predictor"):
        _ = one - Spread(value=np.array(0.0), members=np.zeros(2))


def test_what_all_members_say_does_not_depend_on_batches() -> None:
    frames = [samples.rattled("NH3", 0), samples.rattled("H2O", 1), samples.crystal(2)]
    ours, predictor = propagation.along(committee(), frames, batch_size=2), committee()
    for place, frame in enumerate(frames):
        torch.testing.assert_close(ours.energy[:, [place]], predictor.members(samples.batch_of(frame)).energy)
    assert ours.forces.shape == (3, sum(map(len, frames)), 3)
    single = propagation.along(committee().to(torch.float32), frames)
    torch.testing.assert_close(single.forces, ours.forces, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("make", [committee, springs])
def test_a_member_alone_is_a_predictor(make: Any) -> None:
    predictor = make()
    atoms = samples.rattled("NH3", 0)
    batch = samples.batch_of(atoms) if make is committee else None
    expected = propagation.along(predictor, atoms)
    for index, one in enumerate(propagation.members_of(predictor, atoms)):
        found = propagation.along(one, atoms)
        torch.testing.assert_close(found.energy[0], expected.energy[index])
        torch.testing.assert_close(found.forces[0], expected.forces[index])
        if batch is not None:
            assert one.predict(batch).force_uncertainty.tolist() == [0.0] * len(atoms)
            assert one.to(torch.float32).dtype == torch.float32
            assert one.bytes_per_pair == predictor.bytes_per_pair, "its batches are no larger than its predictor's"


def test_members_of_a_last_layer_travel_too() -> None:
    """Of LLPR: samples of the posterior."""
    data = samples.dataset()
    recipe: Any = LastLayer(network=samples.NETWORK, settings=samples.BRIEF)
    fitted = recipe.fit(data["train"], data["valid"], seed=0, progress=False)
    found = propagation.along(fitted, list(data["test"].atoms))
    assert found.energy.shape == (32, 4)
    one = Member(fitted.to(torch.float64), 5)
    assert one.predict(samples.batch_of(data["test"].atoms[0])).energy.shape == (1,)
    assert propagation.hessians(fitted, data["test"].atoms[0]).members.shape == (32, 12, 12)


@pytest.mark.parametrize("door", [propagation.along, propagation.members_of])
def test_who_has_no_members_is_told(door: Any) -> None:
    atoms = samples.rattled("NH3", 0)
    network = samples.small_network()
    with pytest.raises(TypeError, match=r"predictor: a PaiNN has no members, expected an ensemble"):
        door(network, atoms)
    data = samples.dataset()
    recipe: Any = MeanVariance(warm_up=0.5, network=samples.NETWORK, settings=samples.BRIEF)
    fitted = recipe.fit(data["train"], data["valid"], seed=0, progress=False)
    with pytest.raises(ValueError, match=r"has no members: "):
        door(fitted, atoms)
    three = committee()
    with pytest.raises(ValueError, match=r"\.predictor\.members"):
        door(Calibrated(three, calibrate("scalar", predict(three, data["valid"]), data["valid"])), atoms)


def test_differences_of_energies_know_the_correlation() -> None:
    """Levels differ by much, and cancel: what is left is the springs."""
    frames = [dimer(1.1), dimer(1.3), dimer(1.1)]
    found = propagation.energy_differences(springs(), frames)
    expected = [k / 2 * ((1.3 - r) ** 2 - (1.1 - r) ** 2) for k, r in zip(STIFFNESS, LENGTHS, strict=True)]
    np.testing.assert_allclose(found.members[:, 1], expected, rtol=1e-10)
    np.testing.assert_allclose(found.sigma[1], np.std(expected, ddof=1), rtol=1e-10)
    energy = propagation.along(springs(), frames).energy.numpy()
    sizes = energy.std(0, ddof=1)
    np.testing.assert_allclose(found.in_quadrature[1], np.hypot(sizes[0], sizes[1]), rtol=1e-12)
    np.testing.assert_allclose(found.correlation, [1, np.corrcoef(energy[:, 0], energy[:, 1])[0, 1], 1], rtol=1e-9)
    assert found.in_quadrature[1] > 3 * found.sigma[1]
    assert found.sigma[2] < 1e-12
    top = propagation.barrier(found)
    np.testing.assert_allclose(top.members, expected, rtol=1e-10)
    other = propagation.energy_differences(springs(), frames, reference=1)
    np.testing.assert_allclose(other.value[0], -found.value[1], rtol=1e-10)


def test_members_come_to_rest_where_their_springs_are_at_rest() -> None:
    stiffness, length = mean_spring()
    at_rest = propagation.stationary(springs(), dimer(1.3))
    assert at_rest.get_distance(0, 1) == pytest.approx(length, abs=1e-5)
    moved = propagation.shifts(propagation.hessians(springs(), at_rest), at_rest)
    bonds = [np.linalg.norm(np.diff(at_rest.positions + m, axis=0)) for m in moved]
    linear = [length + k / stiffness * (r - length) for k, r in zip(STIFFNESS, LENGTHS, strict=True)]
    np.testing.assert_allclose(bonds, linear, atol=2e-5)
    each = propagation.relaxed_members(springs(), dimer(1.3))
    np.testing.assert_allclose(np.linalg.norm(each.members[:, 1] - each.members[:, 0], axis=1), LENGTHS, atol=1e-5)
    by_hand = propagation.each_member(
        springs(), dimer(), lambda one, atoms: propagation.stationary(one, atoms).get_distance(0, 1)
    )
    np.testing.assert_allclose(by_hand.members, LENGTHS, atol=1e-5)
    assert by_hand.value == pytest.approx(length, abs=1e-5)


def test_a_start_too_far_away_is_refused() -> None:
    with pytest.raises(ValueError, match=r"atoms: after 1 steps of Newton's method a force of .* is left"):
        propagation.stationary(springs(), dimer(1.9), steps=1)
    with pytest.raises(ValueError, match=r"step: got 0"):
        propagation.hessians(springs(), dimer(), step=0)
    with pytest.raises(ValueError, match=r"forces: got shape \(1, 7, 2, 3\), expected \(M, 6N \+ 1, N, 3\)"):
        propagation.second_derivatives(np.zeros((7, 2, 3)))


def test_frequencies_and_free_energies_are_those_of_oscillators() -> None:
    found = propagation.frequencies(springs(), dimer(1.2))
    quanta = [1e10 * ase.units._hbar * np.sqrt(k / REDUCED / ase.units._e / ase.units._amu) for k in STIFFNESS]
    np.testing.assert_allclose(found.members[:, 0] * ase.units.invcm, quanta, rtol=1e-4)
    assert found.value.shape == (1,)
    for temperature in (0.0, 300.0, 2000.0):
        thermal_energy = ase.units.kB * temperature
        free = found.map(lambda waves, t=temperature: propagation.free_energy(waves, t))
        expected = [
            q / 2 + (thermal_energy * np.log1p(-np.exp(-q / thermal_energy)) if temperature else 0) for q in quanta
        ]
        np.testing.assert_allclose(free.members, expected, rtol=1e-4)
    hot = propagation.free_energy([1000.0, 2000.0], 1e5)
    assert propagation.free_energy([1000.0, 2000.0], 1e5, classical=True) == pytest.approx(hot, rel=1e-4)
    fixed = propagation.frequencies(springs(), dimer(mean_spring()[1]), relax=False)
    np.testing.assert_allclose(fixed.value, found.value, rtol=1e-3)


def test_a_bent_molecule_has_three_vibrations_and_a_crystal_all_but_three() -> None:
    water = molecule("H2O")
    assert propagation.frequencies(springs(), water, relax=False).value.shape == (3,)
    assert propagation.frequencies(springs(), samples.crystal(1), relax=False).value.shape == (9,)
    heavy = water.copy()
    heavy.set_masses((4 * water.get_masses()).tolist())
    both = [propagation.frequencies(springs(), each, relax=False).members for each in (water, heavy)]
    np.testing.assert_allclose(both[0], 2 * both[1], rtol=1e-9)


def test_free_energies_of_the_wrong_structure_are_refused() -> None:
    saddle = [-900.0, 1500.0]
    assert propagation.free_energy(saddle, 0, imaginary=1) == pytest.approx(750 * ase.units.invcm)
    with pytest.raises(ValueError, match=r"waves: 1 of 2 are imaginary or zero, expected 0"):
        propagation.free_energy(saddle, 300)
    with pytest.raises(ValueError, match=r"temperature: got 0"):
        propagation.free_energy([100.0], 0, classical=True)


def fcc(side: float, *, stress: bool = True) -> Several:
    """Springs between nearest neighbours of fcc argon, at rest at this side of the cubic cell."""
    rest = side / np.sqrt(2)
    return Several([Springs(k, rest, within=1.2 * rest) for k in (1.0, 1.5)], stress=stress)


@pytest.mark.parametrize("stress", [True, False])
@pytest.mark.parametrize("cubic", [True, False])
def test_a_crystal_of_springs(cubic: bool, stress: bool) -> None:
    """fcc with springs k to nearest neighbours: C11 = 2k/a, C12 = C44 = k/a, B = 4k/(3a), and V = a³ at rest."""
    side = 3.6
    atoms = bulk("Ar", "fcc", a=side, cubic=cubic)
    found = propagation.elastic_constants(fcc(side, stress=stress), atoms)
    for k, constants in zip((1.0, 1.5), found.members, strict=True):
        unit = k / side
        expected = np.diag([2.0, 2, 2, 1, 1, 1]) + np.pad(np.ones((3, 3)) - np.eye(3), (0, 3))
        np.testing.assert_allclose(constants / unit, expected, atol=2e-4)
    np.testing.assert_allclose(found.value, found.members.mean(0), atol=1e-9)
    state = propagation.equation_of_state(fcc(side), bulk("Ar", "fcc", a=1.005 * side, cubic=cubic))
    np.testing.assert_allclose(state.volume.members, side**3 / (1 if cubic else 4), rtol=1e-4)
    np.testing.assert_allclose(state.bulk_modulus.members, [4 / (3 * side), 2 / side], rtol=1e-2)
    assert state.density.value == pytest.approx(39.948 * 4 * 1.66054 / side**3, rel=1e-3)


def test_atoms_give_way_inside_a_chain_of_two_springs() -> None:
    """Springs k and K in a row along x are as stiff as kK/(k + K) once the atom between them gives way."""
    atoms = ase.Atoms("Ar2", positions=[[0, 0, 0], [1.0, 0, 0]], cell=[2.5, 9, 9], pbc=True)

    class Row(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("k", torch.tensor([3.0, 1.0], dtype=torch.float64))
            self.k: torch.Tensor

        def forward(self, batch: Any) -> Any:
            along = batch.vectors()[:, 0].abs()
            short = along.detach() < 1.25
            energy = 0.25 * torch.where(short, self.k[0] * (along - 1.0) ** 2, self.k[1] * (along - 1.5) ** 2)
            energy = energy * (along.detach() < 2)
            atoms = batch.positions.new_zeros(batch.n_atoms).index_add(0, batch.pairs[0], energy)
            return atoms.new_zeros(batch.n_structures).index_add(0, batch.structure_of_atom, atoms), atoms[:, None]

    predictor = Several([Row(), Row()])
    area = 81.0
    stiff = propagation.elastic_constants(predictor, atoms, relaxed=False).value[0, 0]
    soft = propagation.elastic_constants(predictor, atoms).value[0, 0]
    assert stiff == pytest.approx((3 * 1.0**2 + 1 * 1.5**2) / (2.5 * area), rel=1e-4)
    assert soft == pytest.approx(3 / 4 * 2.5 / area, rel=1e-4)


def test_crystals_are_asked_for() -> None:
    with pytest.raises(ValueError, match=r"atoms: periodic along \[False, False, False\], expected all directions"):
        propagation.elastic_constants(springs(), dimer())
    with pytest.raises(ValueError, match=r"frames: got 7 structures, expected at least 4 volumes, periodic"):
        propagation.equation_of_state(springs(), dimer())
    with pytest.raises(ValueError, match=r"not lowest between the volumes"):
        propagation.equation_of_state(fcc(3.6), bulk("Ar", "fcc", a=4.2))


def test_a_band_finds_the_way_over() -> None:
    """A tetrahedron of springs k, r: one atom through the plane of the others, where these lie s apart and it s/√3."""
    rest, stiffness = 1.5, (4.0, 5.0)
    corners = rest / np.sqrt(3) * np.array([[np.cos(a), np.sin(a), 0] for a in 2 * np.pi / 3 * np.arange(3)])
    heights = rest * np.sqrt(2 / 3) * np.linspace(-1, 1, 7)
    frames = [ase.Atoms("NH3", positions=[[0, 0, height], *corners]) for height in heights]
    predictor = Several([Springs(k, rest) for k in stiffness])
    path = propagation.minimum_energy_path(predictor, frames, force=0.01)
    along = propagation.energy_differences(predictor, path)
    height = propagation.barrier(along)
    side = rest * (1 + 3**-0.5) / (1 + 1 / 3)
    expected = [1.5 * k * ((side - rest) ** 2 + (side / 3**0.5 - rest) ** 2) for k in stiffness]
    np.testing.assert_allclose(height.members, expected, rtol=1e-3)
    middle = path[int(along.value.argmax())]
    saddle = propagation.stationary(predictor, middle)
    assert saddle.get_distance(1, 2) == pytest.approx(side, abs=1e-4)
    assert frames[0].calc is None
    with pytest.raises(ValueError, match=r"images: got 2, expected at least 3"):
        propagation.minimum_energy_path(predictor, frames[:2])
    with pytest.raises(ValueError, match=r"images: after 1 steps forces above"):
        propagation.minimum_energy_path(predictor, frames, steps=1)


def flight() -> Trajectories:
    """Two argon atoms that fly apart at constant speed, with a third at rest far away."""
    atoms = ase.Atoms("Ar2N", positions=[[0, 0, 0], [4, 0, 0], [0, 20, 0]])
    atoms.set_velocities(np.array([[-0.01, 0, 0], [0.01, 0, 0], [0, 0, 0]]) / ase.units.fs)
    return simulate(
        springs(), [atoms], integrator=VelocityVerlet(), steps=40, timestep=1.0, every=4, seed=0, progress=False
    )


def test_free_flight_goes_with_the_square_of_time() -> None:
    found = flight()
    np.testing.assert_allclose(
        propagation.mean_square_displacement(found, "Ar"), (0.01 * found.times) ** 2, rtol=1e-6, atol=1e-12
    )
    assert propagation.mean_square_displacement(found, "N").max() < 1e-12
    with pytest.raises(ValueError, match=r"symbol: got 'O', the structure is Ar2N"):
        propagation.mean_square_displacement(found, "O")
    with pytest.raises(ValueError, match=r"begin, end: 2 records lie from 0 to 5 fs"):
        propagation.diffusion(found, "Ar", begin=0, end=5)


def test_free_atoms_diffuse_as_langevin_says() -> None:
    """D = kT / (m γ)."""
    gas = ase.Atoms("N64", positions=50.0 * np.arange(64)[:, None] * np.array([[1.0, 0, 0]]))
    friction, temperature = 0.05, 300.0

    def compute(one: Any, atoms: ase.Atoms) -> float:
        found = simulate(
            one,
            thermal(atoms, temperature=temperature, replicas=2, seed=0),
            integrator=Langevin(temperature=temperature, friction=friction),
            steps=1000,
            timestep=2.0,
            every=10,
            seed=1,
            progress=False,
        )
        return propagation.diffusion(found, "N", begin=100, end=600)

    found = propagation.each_member(springs(), gas, compute)
    speed = ase.units.kB * temperature / 14.007 * ase.units.fs**2  # kT/m, Å²/fs²
    assert found.value == pytest.approx(speed / friction, rel=0.25)
    assert found.sigma == pytest.approx(0, abs=1e-12)  # nothing binds them: the members agree
