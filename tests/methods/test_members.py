"""Members: potentials of their own, whose mean and spread are what the predictor says; or a refusal with a reason."""

from __future__ import annotations

from typing import Any

import engines
import pytest
import samples
import torch
from ase.calculators.lj import LennardJones
from ase.calculators.morse import MorsePotential
from samples import batch_of, crystal, rattled, slopes
from test_contract import RECIPES, fit

from uqlib import methods
from uqlib.calibration import Calibrated, calibrate
from uqlib.interfaces import CalculatorCommittee
from uqlib.methods.shared.exporting import gaussian_samples
from uqlib.prediction import WithMembers, predict

MOLECULES = (rattled("NH3", 5), rattled("H2O", 6), crystal(7))


def close(a: torch.Tensor, b: torch.Tensor, *, atol: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=atol)


WITHOUT = {"mve", "evidential", "gmm", "mahalanobis", "neighbours", "quantile"}


@pytest.mark.parametrize("name", methods.EVERY)
def test_every_method_has_members_or_says_why_not(name: str) -> None:
    predictor: Any = fit(name).to(torch.float64)
    batch = batch_of(*MOLECULES)
    if name in WITHOUT:
        with pytest.raises(ValueError, match=f"'{predictor.kind}' has no members: .* stands behind that; take an"):
            predictor.members(batch)
        return
    assert isinstance(predictor, WithMembers)
    found = predictor.members(batch)
    count = len(found.energy)
    assert count >= 2
    assert found.energy.shape == (count, batch.n_structures)
    assert found.forces.shape == (count, batch.n_atoms, 3)
    assert found.energy.dtype == torch.float64


def test_the_kinds_that_refuse_are_the_ones_with_a_recipe() -> None:
    assert set(RECIPES) > WITHOUT


@pytest.mark.parametrize("name", engines.WITH_MEMBERS)
def test_forces_of_a_member_are_the_slope_of_its_energy(name: str) -> None:
    predictor, batch = engines.fitted(name), batch_of(rattled("NH3", 8))
    found = predictor.members(batch)
    for member in (0, len(found.energy) - 1):
        expected = -slopes(lambda b, m=member: predictor.members(b).energy[m], batch)
        torch.testing.assert_close(found.forces[member], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", engines.WITH_MEMBERS)
def test_the_mean_of_the_members_is_the_prediction(name: str) -> None:
    predictor, batch = engines.fitted(name), batch_of(*MOLECULES)
    said, found = predictor.predict(batch), predictor.members(batch)
    close(found.energy.mean(0), said.energy, atol=1e-5)  # last layers were trained in float32, and so was their mean
    close(found.forces.mean(0), said.forces, atol=1e-5)


@pytest.mark.parametrize("name", ["ensemble", "dropout", "shallow"])
def test_their_spread_is_the_uncertainty(name: str) -> None:
    predictor, batch = engines.fitted(name), batch_of(*MOLECULES)
    said, found = predictor.predict(batch), predictor.members(batch)
    close(found.energy.std(0), said.energy_uncertainty, atol=1e-7)
    size = predictor.force_factor / predictor.energy_factor if name == "shallow" else 1.0
    close(size * found.forces.var(0).mean(-1).sqrt(), said.force_uncertainty, atol=1e-7)


def test_samples_of_a_posterior_have_its_spread() -> None:
    """The sample variance over many members: its relative deviation is about sqrt(2 / count)."""
    predictor, batch, count = engines.fitted("llpr"), batch_of(*MOLECULES), 4000
    said, found = predictor.predict(batch), predictor.members(batch, count=count, seed=3)
    assert said.energy_uncertainty is not None
    ratio = found.energy.var(0) / said.energy_uncertainty.square()
    assert (ratio - 1).abs().max() < 5 * (2 / count) ** 0.5


def test_few_samples_have_the_right_variance_on_average() -> None:
    """Without a bias that the mean taken off would make: dimensions are independent draws."""
    drawn = gaussian_samples(20_000, 3, seed=1)
    assert drawn.mean(1).abs().max() < 1e-12
    assert abs(float(drawn.var(1).mean()) - 1) < 0.03


def test_samples_are_the_seeds() -> None:
    predictor, batch = engines.fitted("llpr"), batch_of(*MOLECULES)
    one, same, other = (predictor.members(batch, count=4, seed=seed).energy for seed in (1, 1, 2))
    assert one.equal(same)
    assert not one.allclose(other)


@pytest.mark.parametrize("name", engines.WITH_MEMBERS)
def test_a_member_is_the_same_potential_in_every_batch(name: str) -> None:
    predictor = engines.fitted(name)
    together = predictor.members(batch_of(*MOLECULES)).energy
    alone = torch.cat([predictor.members(batch_of(atoms)).energy for atoms in MOLECULES], dim=1)
    close(together, alone, atol=1e-7)


@pytest.mark.parametrize(("name", "count"), [("llpr", 1), ("llpr", 0), ("shallow", 7)])
def test_impossible_counts_are_refused(name: str, count: int) -> None:
    with pytest.raises(ValueError, match=f"count: got {count}"):
        engines.fitted(name).members(batch_of(*MOLECULES), count=count)


def test_a_map_has_no_members() -> None:
    predictor, data = engines.fitted("ensemble", torch.float32), samples.dataset()["train"]
    mapped: Any = Calibrated(predictor, calibrate("scalar", predict(predictor, data), data))
    with pytest.raises(ValueError, match=r"ask what was calibrated: `\.predictor\.members"):
        mapped.members(batch_of(*MOLECULES))


def test_calculators_are_members() -> None:
    pair = [MorsePotential(r0=1.2, epsilon=2.0), LennardJones(sigma=0.9, rc=4.0, smooth=True)]
    committee, batch = CalculatorCommittee(pair), batch_of(rattled("NH3", 9))
    found = committee.members(batch)
    for member, calculator in enumerate(pair):
        atoms = rattled("NH3", 9)
        atoms.calc = calculator
        assert float(found.energy[member, 0]) == pytest.approx(atoms.get_potential_energy())
        close(found.forces[member], torch.as_tensor(atoms.get_forces()))
