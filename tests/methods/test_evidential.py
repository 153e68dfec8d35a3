"""What is particular to evidential regression; `test_contract.py` has what all methods share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import ase
import numpy as np
import pytest
import samples
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from samples import batch_of, crystal, rattled
from scipy import integrate, stats
from torch import Tensor

from uqlib.methods import evidential
from uqlib.methods.evidential import (
    SMALLEST_ALPHA,
    Evidence,
    Evidential,
    EvidentialLoss,
    FittedEvidential,
    evidence,
    misplaced_evidence,
    of_structures,
    student_nll,
)
from uqlib.methods.shared.likelihoods import SMALLEST, Form
from uqlib.networks.evaluation import Evaluation, evaluate
from uqlib.networks.painn import PaiNN
from uqlib.networks.training import Settings
from uqlib.prediction import predict
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset

RECIPE = Evidential(network=samples.NETWORK, settings=samples.BRIEF)
SCALE = 0.7


def network(seed: int = 0) -> PaiNN:
    """Untrained, in float64, with a head whose numbers differ between atoms."""
    model = PaiNN(elements=[1, 7, 8], seed=seed, heads={"evidence": 6}, **samples.NETWORK).double()  # pyright: ignore[reportArgumentType]
    model.scale.fill_(SCALE)
    return model


def some(n: int, *, seed: int = 0) -> Evidence:
    random = torch.Generator().manual_seed(seed)
    nu, alpha, beta = (0.1 + 2 * torch.rand(3, n, generator=random, dtype=torch.float64)).unbind()
    return Evidence(nu, SMALLEST_ALPHA + alpha, beta)


def draws(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def case() -> tuple[Evaluation, Batch]:
    batch = batch_of(rattled("NH3", 0), rattled("H2O", 1), crystal())
    batch = replace(batch, energy=draws(3), forces=draws(batch.n_atoms, 3))
    return evaluate(network(), batch), batch


def t_of_scipy(error: float, nu: float, alpha: float, beta: float) -> float:
    return float(-stats.t.logpdf(error, df=2 * alpha, scale=math.sqrt(beta * (1 + nu) / (nu * alpha))))


def test_one_dimension_is_a_student_t_of_scipy() -> None:
    known, error = some(6), draws(6)
    expected = [t_of_scipy(e, *values) for e, *values in zip(error.tolist(), *(k.tolist() for k in known), strict=True)]
    np.testing.assert_allclose(student_nll(error.square(), known), expected, rtol=1e-12)


def test_three_dimensions_are_a_student_t_of_scipy() -> None:
    known, error = some(6), draws(6, 3)
    found = student_nll(error.square().sum(1), known, dimensions=3)
    for e, nll, nu, alpha, beta in zip(error, found, *(k.tolist() for k in known), strict=True):
        shape = np.eye(3) * beta * (1 + nu) / (nu * alpha)
        expected = -stats.multivariate_t.logpdf(e.numpy(), shape=shape, df=2 * alpha)
        assert float(nll) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("dimensions", [1, 3])
def test_it_is_what_is_left_after_integrating_over_mean_and_variance(dimensions: int) -> None:
    """∫ dσ² InverseGamma(σ²) N(error; 0, σ²(1 + 1/ν)), the mean already integrated out; by quadrature."""
    nu, alpha, beta, error = 0.7, 2.3, 0.4, draws(dimensions).numpy()

    def integrand(variance: float) -> float:
        gaussian = stats.norm.pdf(error, scale=math.sqrt(variance * (1 + 1 / nu))).prod()
        return float(gaussian * stats.invgamma.pdf(variance, alpha, scale=beta))

    expected = -math.log(integrate.quad(integrand, 0, np.inf, epsabs=1e-12)[0])
    known = Evidence(*(torch.tensor([x], dtype=torch.float64) for x in (nu, alpha, beta)))
    squared = torch.tensor([float((error**2).sum())], dtype=torch.float64)
    assert float(student_nll(squared, known, dimensions=dimensions)) == pytest.approx(expected, rel=1e-7)


def test_parts_are_moments_of_the_distribution() -> None:
    nu, alpha, beta = 0.7, 4.0, 0.4
    rng = np.random.default_rng(0)
    variance = stats.invgamma.rvs(alpha, scale=beta, size=400_000, random_state=rng)
    mean = rng.normal(scale=np.sqrt(variance / nu))
    known = Evidence(*(torch.tensor(x, dtype=torch.float64) for x in (nu, alpha, beta)))
    assert float(known.aleatoric) == pytest.approx(variance.mean(), rel=0.02)
    assert float(known.epistemic) == pytest.approx(mean.var(), rel=0.02)


def test_the_likelihood_cannot_tell_the_parts_apart() -> None:
    """Only β(1 + 1/ν) and α enter it (Meinert, Gawlikowski, Lavin 2023): the chapter shows what follows."""
    known, squared = some(6), draws(6).square()
    nu = 10 * known.nu
    same = Evidence(nu, known.alpha, known.beta * (1 + 1 / known.nu) / (1 + 1 / nu))
    torch.testing.assert_close(student_nll(squared, same), student_nll(squared, known))
    assert (same.epistemic < 0.5 * known.epistemic).all()


def test_the_regulariser_does_not_ask_for_the_sign() -> None:
    known, error = some(6), draws(6)
    expected = [abs(e) * (2 * nu + alpha) for e, nu, alpha in zip(error, known.nu, known.alpha, strict=True)]
    torch.testing.assert_close(misplaced_evidence(error, known), torch.stack(expected))
    torch.testing.assert_close(misplaced_evidence(-error, known), misplaced_evidence(error, known))
    assert (misplaced_evidence(error, known) >= 0).all()


def test_structures_add_up_their_atoms(case: tuple[Evaluation, Batch]) -> None:
    evaluation, batch = case
    atoms = evidence(evaluation.heads["evidence"][:, 3:], SCALE)
    whole = of_structures(atoms, batch)
    for s in range(batch.n_structures):
        mine = batch.structure_of_atom == s
        torch.testing.assert_close(whole.aleatoric[s], atoms.aleatoric[mine].sum())
        torch.testing.assert_close(whole.epistemic[s], atoms.epistemic[mine].sum())
        assert atoms.alpha[mine].min() <= whole.alpha[s] <= atoms.alpha[mine].max()


def test_one_atom_keeps_its_evidence() -> None:
    batch = batch_of(ase.Atoms("N"), ase.Atoms("O"))
    atoms = some(2)
    for found, expected in zip(of_structures(atoms, batch), atoms, strict=True):
        torch.testing.assert_close(found, expected)


def test_evidence_stays_in_its_bounds() -> None:
    """However extreme the head: variances exist, and gradients are numbers."""
    head = torch.tensor([[-200.0] * 3, [200.0] * 3, [0.0] * 3], dtype=torch.float64, requires_grad=True)
    known = evidence(head, SCALE)
    assert (known.nu >= SMALLEST).all()
    assert (known.alpha >= 1.5).all()
    assert (known.beta > 0).all()
    assert bool(torch.isfinite(known.aleatoric).all() and torch.isfinite(known.epistemic).all())
    (slope,) = torch.autograd.grad(student_nll(torch.ones(3), known).sum(), head)
    assert torch.isfinite(slope).all()


def written_again(evaluation: Evaluation, batch: Batch, *, norm: bool, regulariser: float) -> tuple[float, float]:
    """Force part and energy part of the loss, atom by atom with scipy."""
    assert batch.forces is not None
    assert batch.energy is not None
    head = evaluation.heads["evidence"].detach().numpy()
    raw = np.log1p(np.exp(head)) + SMALLEST
    owner = batch.structure_of_atom.numpy()
    errors = (evaluation.forces - batch.forces).detach().numpy()
    force = []
    for (nu, over, width), error in zip(raw[:, :3], errors, strict=True):
        alpha, beta = SMALLEST_ALPHA + over, (SCALE * width) ** 2
        length = float(np.linalg.norm(error))
        if norm:
            nll, size = t_of_scipy(length, nu, alpha, beta), length
        else:
            shape = np.eye(3) * beta * (1 + nu) / (nu * alpha)
            nll, size = -stats.multivariate_t.logpdf(error, shape=shape, df=2 * alpha) / 3, length / math.sqrt(3)
        force.append(nll + regulariser * size / SCALE * (2 * nu + alpha))
    energy = []
    for s, error in enumerate((evaluation.energy - batch.energy).tolist()):
        nu, alpha = raw[owner == s, 3], SMALLEST_ALPHA + raw[owner == s, 4]
        noise = (SCALE * raw[owner == s, 5]) ** 2 / (alpha - 1)
        ignorance, total = noise / nu, noise * (1 + 1 / nu)
        n, a = noise.sum() / ignorance.sum(), (alpha * total).sum() / total.sum()
        size = abs(error) / (owner == s).sum() / SCALE
        energy.append(t_of_scipy(error, n, a, noise.sum() * (a - 1)) + regulariser * size * (2 * n + a))
    return float(np.mean(force)), float(np.mean(energy))


@pytest.mark.parametrize("likelihood", ["components", "norm"])
@pytest.mark.parametrize("regulariser", [0.0, 0.3])
def test_the_loss_as_a_whole(case: tuple[Evaluation, Batch], likelihood: Form, regulariser: float) -> None:
    loss = EvidentialLoss(
        scale=SCALE, likelihood=likelihood, regulariser=regulariser, force_weight=2.0, energy_weight=0.3
    )
    force, energy = written_again(*case, norm=likelihood == "norm", regulariser=regulariser)
    assert float(loss(*case)) == pytest.approx(2.0 * force + 0.3 * energy, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("misplaced_evidence", lambda error, known: error * (2 * known.nu + known.alpha)),
        ("misplaced_evidence", lambda error, known: error.square() * (2 * known.nu + known.alpha)),
        ("SMALLEST_ALPHA", 1.0),
        ("student_nll", lambda squared, known, dimensions=1: student_nll(squared.sqrt(), known, dimensions=dimensions)),
    ],
    ids=["signed error", "squared error", "alpha near 1", "norm for its square"],
)
def test_planted_mistakes_are_seen(
    case: tuple[Evaluation, Batch], monkeypatch: pytest.MonkeyPatch, name: str, wrong: object
) -> None:
    monkeypatch.setattr(evidential, name, wrong)
    force, energy = written_again(*case, norm=False, regulariser=0.3)
    found = float(EvidentialLoss(scale=SCALE, regulariser=0.3)(*case))
    assert found != pytest.approx(force + 0.1 * energy, rel=1e-6)


@pytest.mark.parametrize("likelihood", ["components", "norm"])
def test_gradients_of_the_loss(case: tuple[Evaluation, Batch], likelihood: Form) -> None:
    evaluation, batch = case

    def loss(forces: Tensor, energy: Tensor, head: Tensor) -> Tensor:
        changed = replace(evaluation, forces=forces, energy=energy, heads={"evidence": head})
        return EvidentialLoss(scale=SCALE, likelihood=likelihood)(changed, batch)

    inputs = (evaluation.forces, evaluation.energy, evaluation.heads["evidence"])
    assert torch.autograd.gradcheck(loss, [x.detach().clone().requires_grad_() for x in inputs])


def test_forces_without_error_have_a_gradient() -> None:
    batch = batch_of(rattled("NH3", 0))
    evaluation = evaluate(network(), batch)
    forces = evaluation.forces.detach().clone().requires_grad_()
    labelled = replace(batch, energy=evaluation.energy.detach(), forces=evaluation.forces.detach())
    loss = EvidentialLoss(scale=SCALE)(replace(evaluation, forces=forces), labelled)
    assert torch.isfinite(torch.autograd.grad(loss, forces)[0]).all()


def test_the_loss_does_not_depend_on_how_the_molecule_is_turned(case: tuple[Evaluation, Batch]) -> None:
    evaluation, batch = case
    assert batch.forces is not None
    turn = torch.as_tensor(samples.random_rotation())
    turned = replace(evaluation, forces=evaluation.forces @ turn), replace(batch, forces=batch.forces @ turn)
    loss = EvidentialLoss(scale=SCALE)
    torch.testing.assert_close(loss(*turned), loss(*case))


@pytest.mark.parametrize("likelihood", ["components", "norm"])
def test_the_uncertainty_is_that_of_one_component(likelihood: Form) -> None:
    batch = batch_of(rattled("NH3", 0), crystal())
    fitted = FittedEvidential(network(), likelihood=likelihood)
    p = fitted.predict(batch)
    force, energy = fitted.evidence(evaluate(fitted.model, batch), batch)
    share = 1 if likelihood == "components" else 3
    torch.testing.assert_close(p.force_uncertainty.square(), (force.aleatoric + force.epistemic) / share)
    assert p.energy_uncertainty is not None
    torch.testing.assert_close(p.energy_uncertainty.square(), energy.aleatoric + energy.epistemic)
    for parts, whole in ((p.force_parts, p.force_uncertainty), (p.energy_parts, p.energy_uncertainty)):
        assert parts is not None
        torch.testing.assert_close(parts.aleatoric.square() + parts.epistemic.square(), whole.square())
    assert p.force_parts is not None
    torch.testing.assert_close((p.force_parts.aleatoric / p.force_parts.epistemic).square(), force.nu)


def test_rescaled_parts_are_those_of_the_whole() -> None:
    data = samples.dataset()["valid"]
    raw = FittedEvidential(network().float())
    p, q = predict(raw, data), predict(raw.rescaled(data), data)
    error = (p.forces - torch.as_tensor(data.forces)) / q.force_uncertainty[:, None]
    assert float(error.square().mean()) == pytest.approx(1.0, rel=1e-5)
    assert p.force_parts is not None
    assert q.force_parts is not None
    ratio = q.force_parts.aleatoric / p.force_parts.aleatoric
    torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio[0])))
    torch.testing.assert_close(q.force_parts.epistemic / p.force_parts.epistemic, ratio)


def test_variances_of_far_molecules_add_up() -> None:
    one, other = rattled("NH3", 0), rattled("H2O", 1)
    other.positions += [50.0, 0.0, 0.0]
    fitted = FittedEvidential(network())
    parts = [fitted.predict(batch_of(s)).energy_parts for s in (one, other)]
    both = fitted.predict(batch_of(one + other)).energy_parts
    assert both is not None
    for name in ("aleatoric", "epistemic"):
        torch.testing.assert_close(getattr(both, name).square(), sum(getattr(p, name).square() for p in parts))


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


def learnt(**changes: float) -> FittedEvidential:
    recipe = Evidential(
        network={**samples.NETWORK, "interactions": 1},
        settings=Settings(epochs=20, batch_size=15, learning_rate=1e-2, schedule="cosine"),
        warm_up=0.2,
        **changes,  # pyright: ignore[reportArgumentType]
    )
    return recipe.fit(noisy(120, seed=1), noisy(40, seed=2), seed=0, progress=False)


def test_the_size_of_the_noise_is_found() -> None:
    p = predict(learnt(regulariser=0.0), noisy(50, seed=3))
    assert p.energy_uncertainty is not None
    sigma = p.force_uncertainty.reshape(-1, 4)
    assert float(sigma[:, 0].mean()) == pytest.approx(1.0, rel=0.2)
    assert float(sigma[:, 1:].mean()) == pytest.approx(0.1, rel=0.3)
    assert float(p.energy_uncertainty.mean()) == pytest.approx(0.4, rel=0.25)


def test_the_weight_of_the_regulariser_is_used() -> None:
    """More of it: less evidence."""
    batch = noisy(20, seed=3).batch(cutoff=samples.CUTOFF)
    fits = [learnt(regulariser=weight) for weight in (0.0, 1.0)]
    without, much = (fitted.evidence(evaluate(fitted.model, batch), batch)[0] for fitted in fits)
    total: Callable[[Evidence], Tensor] = lambda known: 2 * known.nu + known.alpha  # noqa: E731
    assert total(much).mean() < 0.8 * total(without).mean()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"regulariser": -0.1}, r"regulariser: got -0\.1"),
        ({"regulariser": math.nan}, "regulariser: got nan"),
        ({"warm_up": -0.5}, r"warm_up: got -0\.5"),
        ({"likelihood": "three"}, "likelihood: got 'three', expected 'components' or 'norm'"),
    ],
)
def test_bad_settings(change: dict[str, float | str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(RECIPE, **change)  # pyright: ignore[reportArgumentType]
