"""A biased energy, its forces and its stress belong together, and the true prediction stays what it was."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import ase
import numpy as np
import pytest
import samples
import torch

from uqlib import UncertaintyCalculator
from uqlib.dynamics import Biased, VelocityVerlet, simulate, structure_uncertainty
from uqlib.methods import Ensemble, LastLayer
from uqlib.methods.gmm import GaussianMixture
from uqlib.networks.training import Settings
from uqlib.prediction import Prediction, Predictor
from uqlib.structures.batch import Batch

BRIEF: dict[str, Any] = {"network": samples.NETWORK, "settings": Settings(epochs=3, batch_size=4)}


@pytest.fixture(scope="module", params=["ensemble", "llpr"])
def predictor(request: pytest.FixtureRequest) -> Predictor:
    data = samples.dataset()
    method = Ensemble(members=3, **BRIEF) if request.param == "ensemble" else LastLayer(**BRIEF)
    return method.fit(data["train"], data["valid"], seed=0).to(torch.float64)


def both_of(biased: Biased, frames: list[ase.Atoms]) -> tuple[Prediction, Prediction, Batch]:
    batch = Batch.from_atoms(frames, cutoff=biased.cutoff, dtype=torch.float64)
    return *biased.both(batch), batch


def energy_of(biased: Biased, atoms: ase.Atoms) -> float:
    return float(both_of(biased, [atoms])[1].energy)


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("of", ["energy", "forces"])
def test_forces_and_stress_are_slopes_of_the_biased_energy(predictor: Predictor, of: Any, limited: bool) -> None:
    """By differences of the energy alone, for a molecule and for a skewed cell in one batch."""
    frames = [samples.rattled("NH3", 5), samples.skewed(4)]
    true, bare, batch = both_of(Biased(predictor, strength=1.0, of=of), frames)
    limit = float((true.energy - bare.energy).max()) if limited else None  # so that it matters, and ends no push
    biased = Biased(predictor, strength=3.0, of=of, limit=limit)
    found = biased.predict(batch)
    step = 1e-5
    for k, atoms in enumerate(frames):
        own = batch.structure_of_atom == k
        for atom, axis in ((0, 0), (1, 2), (3, 1)):
            ends = []
            for sign in (1, -1):
                moved = atoms.copy()
                moved.positions[atom, axis] += sign * step
                ends.append(energy_of(biased, moved))
            slope = (ends[0] - ends[1]) / (2 * step)
            assert found.forces[own][atom, axis].item() == pytest.approx(-slope, rel=1e-6, abs=5e-6)
    assert found.stress is not None
    assert true.stress is not None
    for row, column in ((0, 0), (0, 1), (2, 1)):
        ends = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[row, column] += sign * step / 2
            strain[column, row] += sign * step / 2
            moved = frames[1].copy()
            moved.set_cell(np.asarray(moved.cell) @ (np.eye(3) + strain), scale_atoms=True)
            ends.append(energy_of(biased, moved))
        slope = (ends[0] - ends[1]) / (2 * step) / frames[1].get_volume()
        assert found.stress[1, row, column].item() == pytest.approx(slope, rel=1e-6, abs=5e-7)
    assert (found.forces - true.forces).abs().max() > 1e-4, "it pushes"
    assert (found.stress - true.stress)[1].abs().max() > 1e-7
    assert found.stress[0].isnan().all(), "a molecule has none"


def test_the_true_prediction_and_the_uncertainties_stay(predictor: Predictor) -> None:
    biased = Biased(predictor, strength=1.5)
    true, found, batch = both_of(biased, [samples.rattled("H2O", 1), samples.rattled("NH3", 2)])
    alone = predictor.predict(batch)
    assert torch.allclose(true.forces, alone.forces, atol=1e-10)
    assert torch.equal(found.force_uncertainty, true.force_uncertainty)
    assert true.energy_uncertainty is not None
    assert torch.allclose(found.energy, true.energy - 1.5 * true.energy_uncertainty)
    assert not found.forces.requires_grad
    away = Biased(predictor, strength=-1.5).predict(batch)
    assert torch.allclose(away.forces - true.forces, true.forces - found.forces)


def test_the_push_stops_above_the_limit(predictor: Predictor) -> None:
    """The bias of Kulichenko et al. never exceeds strength times limit, and far above it moves nothing."""
    batch = Batch.from_atoms(samples.rattled("NH3", 3), cutoff=predictor.cutoff, dtype=torch.float64)
    true = predictor.predict(batch)
    size = float(structure_uncertainty(true, batch))
    tight, wide = (Biased(predictor, strength=2.0, of="forces", limit=x * size) for x in (0.2, 5.0))
    depth = float(true.energy - tight.predict(batch).energy)
    assert depth == pytest.approx(2.0 * 0.2 * size)
    assert torch.allclose(tight.predict(batch).forces, true.forces, atol=1e-6)
    assert float(true.energy - wide.predict(batch).energy) == pytest.approx(
        2.0 * 5 * size * (1 - np.exp(-1 / 25)), rel=1e-6
    )
    assert (wide.predict(batch).forces - true.forces).abs().max() > 1e-4


@dataclass(frozen=True)
class Spring:
    """Each atom on a spring of 2 eV/Å² to the origin, with an error bar of the energy that is the first atom's x."""

    cutoff: float = 3.0
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def predict(self, batch: Batch) -> Prediction:
        first = batch.atoms_per_structure.cumsum(0) - batch.atoms_per_structure
        energy = batch.positions.new_zeros(batch.n_structures)
        return Prediction(
            energy=energy.index_add(0, batch.structure_of_atom, batch.positions.square().sum(1)),
            forces=-2 * batch.positions,
            force_uncertainty=torch.ones_like(batch.positions[:, 0]),
            energy_uncertainty=0.5 * batch.positions[first, 0],
        )


def test_dynamics_turn_about_the_minimum_of_the_biased_energy() -> None:
    """x² - 3 · x/2 has its minimum at 0.75 Å: from rest at the origin, atoms swing to 1.5 Å and lose no energy."""
    start = ase.Atoms("He2", positions=[[0.0, 0, 0], [0, 2.0, 0]])
    biased = Biased(Spring(), strength=3.0)
    options: dict[str, Any] = {"integrator": VelocityVerlet(), "seed": 0, "timestep": 0.2, "every": 1}
    found = simulate(biased, [start, start], steps=500, progress=False, **options)
    x = found.positions[:, 0, 0]
    assert x.max() == pytest.approx(1.5, abs=1e-3)
    assert x.min() == pytest.approx(0.0, abs=1e-3)
    assert np.abs(found.conserved - found.conserved[0]).max() < 1e-3
    atoms = start.copy()
    atoms.positions[0, 0] = 0.2
    atoms.calc = UncertaintyCalculator(biased)
    assert atoms.get_potential_energy() == pytest.approx(0.04 + 4.0 - 3.0 * 0.1)
    assert atoms.get_forces()[0, 0] == pytest.approx(-0.4 + 1.5)


def test_gradients_go_through(predictor: Predictor) -> None:
    batch = Batch.from_atoms(samples.rattled("NH3", 3), cutoff=predictor.cutoff, dtype=torch.float64)
    moving = replace(batch, positions=batch.positions.clone().requires_grad_())
    found = Biased(predictor, strength=1.0).predict(moving)
    (slope,) = torch.autograd.grad(found.energy.sum(), moving.positions, retain_graph=True)
    assert torch.allclose(slope, -found.forces, atol=1e-9)
    assert found.forces.requires_grad
    assert Biased(predictor, strength=1.0).to(torch.float32).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strength": 0.0}, "strength: got 0.0, expected a finite number other than 0"),
        ({"strength": float("nan")}, "strength: got nan"),
        ({"strength": 1.0, "of": "stress"}, "of: got 'stress', expected 'energy' or 'forces'"),
        ({"strength": 1.0, "limit": -1.0}, r"limit: got -1.0, expected eV above 0"),
    ],
)
def test_what_is_refused(predictor: Predictor, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Biased(predictor, **options)


def test_no_bias_by_what_is_no_energy(predictor: Predictor) -> None:
    class Altered:
        """Gives the predictor's predictions, changed."""

        cutoff, dtype, device = predictor.cutoff, predictor.dtype, predictor.device

        def __init__(self, change: Any) -> None:
            self.change = change

        def predict(self, batch: Batch) -> Prediction:
            return self.change(predictor.predict(batch))

    data = samples.dataset()
    mixture = GaussianMixture(**BRIEF).fit(data["train"], data["valid"], seed=0)
    single = Batch.from_atoms(samples.rattled("NH3", 0), cutoff=mixture.cutoff)
    with pytest.raises(ValueError, match=r"uncertainties in nats, expected eV and eV/Å.*calibrate it first"):
        Biased(mixture, strength=1.0).predict(single)
    batch = single.to(torch.float64)
    with pytest.raises(ValueError, match=r'has no uncertainty of the energy.*take of="forces"'):
        Biased(Altered(lambda p: replace(p, energy_uncertainty=None)), strength=1.0).predict(batch)
    with pytest.raises(ValueError, match="uncertainties without gradients"):
        Biased(
            Altered(lambda p: replace(p, force_uncertainty=p.force_uncertainty.detach())), strength=1.0, of="forces"
        ).predict(batch)
    with pytest.raises(TypeError, match="expected a fitted predictor"):
        Biased(GaussianMixture(), strength=1.0)  # pyright: ignore[reportArgumentType]
