"""What is particular to mean-variance estimation; `test_contract.py` has what all methods share."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import ase
import numpy as np
import pytest
import samples
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from samples import batch_of, crystal, rattled
from scipy import stats
from torch import Tensor

from uqlib.methods.mve import FittedMeanVariance, GaussianLoss, MeanVariance, gaussian_nll, variances
from uqlib.methods.shared import likelihoods
from uqlib.networks.evaluation import Evaluation, evaluate
from uqlib.networks.painn import PaiNN, Perceptron
from uqlib.networks.training import Settings
from uqlib.prediction import predict
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset

RECIPE = MeanVariance(network=samples.NETWORK, settings=samples.BRIEF, warm_up=0.5)
SCALE = 0.7


def network(seed: int = 0) -> PaiNN:
    """Untrained, in float64, with a head whose numbers differ between atoms."""
    model = PaiNN(elements=[1, 7, 8], seed=seed, heads={"spread": 2}, **samples.NETWORK).double()  # pyright: ignore[reportArgumentType]
    model.scale.fill_(SCALE)
    return model


def labelled(batch: Batch, *, seed: int = 0) -> Batch:
    random = torch.Generator().manual_seed(seed)
    forces = torch.randn(batch.n_atoms, 3, generator=random, dtype=torch.float64)
    energy = torch.randn(batch.n_structures, generator=random, dtype=torch.float64)
    return replace(batch, energy=energy, forces=forces)


@pytest.fixture(scope="module")
def case() -> tuple[Evaluation, Batch]:
    batch = labelled(batch_of(rattled("NH3", 0), rattled("H2O", 1), crystal()))
    return evaluate(network(), batch), batch


def deviations(evaluation: Evaluation, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations of forces (N,) and energies (S,), written down again."""
    raw = evaluation.heads["spread"].detach().numpy()
    sigma = SCALE * (np.log1p(np.exp(raw)) + likelihoods.SMALLEST)
    owner = batch.structure_of_atom.numpy()
    energy = [math.sqrt(sum(sigma[owner == s, 1] ** 2)) for s in range(batch.n_structures)]
    return sigma[:, 0], np.array(energy)


def test_components_are_gaussians_of_scipy(case: tuple[Evaluation, Batch]) -> None:
    evaluation, batch = case
    assert batch.forces is not None
    assert batch.energy is not None
    sigma, sigma_energy = deviations(evaluation, batch)
    force = stats.norm.logpdf(evaluation.forces.detach(), batch.forces, sigma[:, None])
    energy = stats.norm.logpdf(evaluation.energy.detach(), batch.energy, sigma_energy)
    expected = -2.0 * force.mean() - 0.3 * energy.mean() - 2.3 * 0.5 * math.log(2 * math.pi)
    found = GaussianLoss(scale=SCALE, force_weight=2.0, energy_weight=0.3)(evaluation, batch)
    assert float(found) == pytest.approx(expected, rel=1e-10)


def test_the_norm_is_one_gaussian_residual(case: tuple[Evaluation, Batch]) -> None:
    evaluation, batch = case
    assert batch.forces is not None
    sigma, _ = deviations(evaluation, batch)
    norm = np.linalg.norm((evaluation.forces - batch.forces).detach().numpy(), axis=1)
    expected = -stats.norm.logpdf(norm, 0.0, sigma).mean() - 0.5 * math.log(2 * math.pi)
    found = GaussianLoss(scale=SCALE, likelihood="norm", energy_weight=0.0)(evaluation, batch)
    assert float(found) == pytest.approx(expected, rel=1e-10)


def test_both_forms_are_one_loss_for_a_gaussian() -> None:
    """The norm's variance is three times a component's; beyond that, the two differ by a constant."""
    squared = torch.tensor([0.2, 3.0, 1.1], dtype=torch.float64)
    variance = torch.tensor([0.1, 0.7, 1.9], dtype=torch.float64)
    difference = gaussian_nll(squared, 3 * variance) - gaussian_nll(squared, variance, residuals=3)
    torch.testing.assert_close(difference, torch.full_like(difference, 0.5 * math.log(3)))


def test_the_best_variance_is_the_mean_of_the_squares() -> None:
    """Not the square of the mean, and per component: what a minimum of the loss means."""
    error = torch.randn(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    squared = error.square().sum(1)
    for residuals, truth in ((3, error.square().mean()), (1, squared.mean())):
        variance = truth.clone().requires_grad_()
        (slope,) = torch.autograd.grad(gaussian_nll(squared, variance, residuals=residuals).mean(), variance)
        assert abs(float(slope)) < 1e-12


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_beta_weights_the_gradient(beta: float) -> None:
    error = torch.tensor([0.3, -0.1, 2.0], dtype=torch.float64, requires_grad=True)
    variance = torch.tensor([0.04, 0.2, 1.5], dtype=torch.float64, requires_grad=True)
    loss = gaussian_nll(error.square(), variance, beta=beta)
    by_error, by_variance = torch.autograd.grad(loss.sum(), (error, variance))
    weight = variance.detach() ** beta
    weight = weight / weight.mean()
    torch.testing.assert_close(by_error, weight * error.detach() / variance.detach())
    expected = weight * 0.5 * (1 / variance - error.square() / variance.square()).detach()
    torch.testing.assert_close(by_variance, expected)
    torch.testing.assert_close(loss, gaussian_nll(error.square(), variance))  # the value is the likelihood's


def test_at_beta_one_the_mean_learns_from_squared_errors() -> None:
    error = torch.tensor([0.3, -0.1, 2.0], dtype=torch.float64, requires_grad=True)
    variance = torch.tensor([0.04, 0.2, 1.5], dtype=torch.float64)
    (slope,) = torch.autograd.grad(gaussian_nll(error.square(), variance, beta=1.0).sum(), error)
    torch.testing.assert_close(
        slope / error.detach(), torch.full((3,), float(1 / variance.mean()), dtype=torch.float64)
    )


def test_gradients_of_the_loss(case: tuple[Evaluation, Batch]) -> None:
    evaluation, batch = case

    def loss(forces: Tensor, energy: Tensor, head: Tensor) -> Tensor:
        changed = replace(evaluation, forces=forces, energy=energy, heads={"spread": head})
        return GaussianLoss(scale=SCALE)(changed, batch)

    inputs = (evaluation.forces, evaluation.energy, evaluation.heads["spread"])
    assert torch.autograd.gradcheck(loss, [x.detach().clone().requires_grad_() for x in inputs])


@pytest.mark.parametrize("likelihood", ["components", "norm"])
def test_the_uncertainty_is_that_of_one_component(likelihood: likelihoods.Form) -> None:
    batch = batch_of(rattled("NH3", 0), crystal())
    p = FittedMeanVariance(network(), likelihood=likelihood).predict(batch)
    sigma, energy = deviations(evaluate(network(), batch), batch)
    of_component = sigma if likelihood == "components" else sigma / math.sqrt(3)
    np.testing.assert_allclose(p.force_uncertainty, of_component, rtol=1e-12)
    assert p.energy_uncertainty is not None
    np.testing.assert_allclose(p.energy_uncertainty, energy, rtol=1e-12)


def test_all_is_aleatoric() -> None:
    p = FittedMeanVariance(network()).predict(batch_of(rattled("NH3", 0)))
    assert p.force_parts is not None
    assert p.energy_parts is not None
    assert p.force_parts.aleatoric.equal(p.force_uncertainty)
    assert p.energy_uncertainty is not None
    assert p.energy_parts.aleatoric.equal(p.energy_uncertainty)
    assert not p.force_parts.epistemic.any()
    assert not p.energy_parts.epistemic.any()


def test_variances_of_far_molecules_add_up() -> None:
    two = rattled("NH3", 0)
    other = rattled("H2O", 1)
    other.positions += [50.0, 0.0, 0.0]
    fitted = FittedMeanVariance(network())
    parts = [fitted.predict(batch_of(s)).energy_uncertainty for s in (two, other)]
    both = fitted.predict(batch_of(two + other)).energy_uncertainty
    assert both is not None
    torch.testing.assert_close(both.square(), sum(p.square() for p in parts if p is not None))


def test_the_head_starts_at_the_errors_that_are_left() -> None:
    data = samples.dataset()
    model = network().float()
    force, energy = likelihoods.typical_errors(model, data["train"])
    batch = data["train"].batch(cutoff=samples.CUTOFF)
    result = evaluate(model, batch)
    assert batch.energy is not None
    assert batch.forces is not None
    assert force == pytest.approx(float((result.forces - batch.forces).square().mean().sqrt()), rel=1e-5)
    per_root = (result.energy - batch.energy) / batch.atoms_per_structure.sqrt()
    assert energy == pytest.approx(float(per_root.square().mean().sqrt()), rel=1e-5)
    head = model.heads["spread"]
    assert isinstance(head, Perceptron)
    torch.nn.init.zeros_(head.outer.weight)
    likelihoods.start_head(model, "spread", [0.02, 3.0])
    started = variances(evaluate(model, batch).heads["spread"], batch, 0.5)
    torch.testing.assert_close(started.force.sqrt(), torch.full_like(started.force, 0.01))
    torch.testing.assert_close(started.energy.sqrt(), 1.5 * batch.atoms_per_structure.sqrt())


@pytest.mark.parametrize("likelihood", ["components", "norm"])
def test_rescaled(likelihood: likelihoods.Form) -> None:
    """On average over the set that it is rescaled with, squared errors are what the uncertainties say."""
    data = samples.dataset()["valid"]
    raw = FittedMeanVariance(network().float(), likelihood=likelihood)
    p, q = predict(raw, data), predict(raw.rescaled(data), data)
    error = (p.forces - torch.as_tensor(data.forces)) / q.force_uncertainty[:, None]
    assert float(error.square().mean()) == pytest.approx(1.0, rel=1e-5)
    assert q.energy_uncertainty is not None
    of_energy = (p.energy - torch.as_tensor(data.energies)) / q.energy_uncertainty
    assert float(of_energy.square().mean()) == pytest.approx(1.0, rel=1e-5)
    ratio = q.force_uncertainty / p.force_uncertainty  # one factor for all
    torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio[0])))
    again = raw.rescaled(data).rescaled(data)
    assert again.factors == pytest.approx(raw.rescaled(data).factors, rel=1e-5)


def test_the_recipe_rescales_unless_told_otherwise() -> None:
    data = samples.dataset()
    fits = [
        replace(RECIPE, rescale=wanted).fit(data["train"], data["valid"], seed=0, progress=False)
        for wanted in (True, False)
    ]
    assert fits[1].factors == (1.0, 1.0)
    assert fits[1].rescaled(data["valid"]).factors == fits[0].factors


@pytest.mark.parametrize("value", [1e-9, 1e-3, 0.7, 30.0])
def test_positive_and_back(value: float) -> None:
    again = float(likelihoods.positive(torch.tensor(likelihoods.raw_of(value), dtype=torch.float64)))
    assert again == pytest.approx(max(value, 2 * likelihoods.SMALLEST), rel=1e-9)


def noisy(frames: int, *, seed: int) -> Dataset:
    """Molecules without any force but noise, ten times as large on N as on H; the energies have some, too."""
    rng = np.random.default_rng(seed)
    made: list[ase.Atoms] = []
    for k in range(frames):
        atoms = rattled("NH3", 100 * seed + k, size=0.05)
        size = np.where(atoms.numbers == 7, 1.0, 0.1)
        forces = rng.normal(size=(4, 3)) * size[:, None]
        atoms.calc = SinglePointCalculator(atoms, energy=-1500.0 + 0.4 * rng.normal(), forces=forces)
        made.append(atoms)
    return Dataset(name="noise", atoms=tuple(made))


@pytest.mark.parametrize("likelihood", ["components", "norm"])
def test_the_size_of_the_noise_is_found(likelihood: likelihoods.Form) -> None:
    recipe = MeanVariance(
        network={**samples.NETWORK, "interactions": 1},
        settings=Settings(epochs=20, batch_size=15, learning_rate=1e-2, schedule="cosine"),
        likelihood=likelihood,
        warm_up=0.2,
    )
    fitted = recipe.fit(noisy(120, seed=1), noisy(40, seed=2), seed=0, progress=False)
    p = predict(fitted, noisy(50, seed=3))
    assert p.energy_uncertainty is not None
    sigma = p.force_uncertainty.reshape(-1, 4)
    assert float(sigma[:, 0].mean()) == pytest.approx(1.0, rel=0.15)
    assert float(sigma[:, 1:].mean()) == pytest.approx(0.1, rel=0.3)
    assert float(p.energy_uncertainty.mean()) == pytest.approx(0.4, rel=0.2)


def test_training_goes_through_both_stages() -> None:
    data = samples.dataset()
    settings = replace(samples.BRIEF, epochs=4)
    fitted = replace(RECIPE, settings=settings, warm_up=0.25).fit(data["train"], data["valid"], seed=0, progress=False)
    assert [epoch["epoch"] for epoch in fitted.history] == [1, 1, 2, 3]
    heads = [copy.deepcopy(fitted.model.heads)]
    again = replace(RECIPE, settings=settings, warm_up=0.0).fit(data["train"], data["valid"], seed=0, progress=False)
    assert [epoch["epoch"] for epoch in again.history] == [1, 2, 3, 4]
    heads.append(again.model.heads)
    first, second = (list(h.parameters()) for h in heads)
    assert not all(a.equal(b) for a, b in zip(first, second, strict=True))


def test_interrupted_training_goes_on(tmp_path) -> None:
    data = samples.dataset()
    recipe = replace(RECIPE, checkpoints=tmp_path)
    first = recipe.fit(data["train"], data["valid"], seed=0, progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"warm-up.ckpt", "likelihood.ckpt"}
    again = recipe.fit(data["train"], data["valid"], seed=0, progress=False)
    states = first.model.state_dict(), again.model.state_dict()
    assert all(states[0][name].equal(states[1][name]) for name in states[0])
    assert first.history == again.history


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"warm_up": 1.0}, r"warm_up: got 1\.0"),
        ({"beta": 1.5}, r"beta: got 1\.5"),
        ({"likelihood": "three"}, "likelihood: got 'three', expected 'components' or 'norm'"),
    ],
)
def test_bad_settings(change: dict[str, float | str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(RECIPE, **change)  # pyright: ignore[reportArgumentType]


def test_labels_are_needed() -> None:
    batch = batch_of(rattled("NH3", 0))
    with pytest.raises(ValueError, match="needs energies or forces"):
        GaussianLoss(scale=SCALE)(evaluate(network(), batch), batch)
