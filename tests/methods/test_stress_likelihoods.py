"""How methods that learn their uncertainty learn that of the stress: likelihoods held against scipy."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import partial
from typing import Any

import ase
import numpy as np
import pytest
import samples
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from samples import batch_of, rattled
from scipy import stats
from torch import Tensor

from uqlib.methods import Evidential, MeanVariance, with_stress
from uqlib.methods.evidential import EvidentialLoss, FittedEvidential, evidence, of_structures
from uqlib.methods.llpr import LastLayer, curvature
from uqlib.methods.mve import FittedMeanVariance, GaussianLoss
from uqlib.methods.shallow import STRESS, ShallowLoss, with_heads, with_members
from uqlib.methods.shared import likelihoods
from uqlib.networks.evaluation import Evaluation, evaluate
from uqlib.networks.losses import EnergyForceLoss
from uqlib.networks.painn import PaiNN
from uqlib.networks.training import Settings
from uqlib.prediction import predict
from uqlib.structures.batch import Batch
from uqlib.structures.dataset import Dataset

SCALE = 0.6
ROOT = math.sqrt(2)


def network(head: str, size: int) -> PaiNN:
    model = PaiNN(elements=[1, 7, 8], seed=1, heads={head: size}, **samples.NETWORK).double()  # pyright: ignore[reportArgumentType]
    model.scale.fill_(SCALE)
    return model


def cells() -> Batch:
    """Two cells of different size with a stress, a molecule between them."""
    large = samples.skewed(1).repeat((2, 1, 1))
    large.calc = SinglePointCalculator(large, energy=-1.0, forces=np.zeros((8, 3)), stress=np.arange(6.0) / 100)
    return batch_of(samples.skewed(0), samples.label(rattled("NH3", 0)), large)


def virials(evaluation: Evaluation, batch: Batch) -> np.ndarray:
    """(2, 6) errors of the two cells, eV, in a basis in which a rotation is a rotation."""
    assert batch.stress is not None
    error = (evaluation.stress - batch.stress).detach().numpy()[[0, 2]]
    volume = np.abs(np.linalg.det(batch.cell.numpy()))[[0, 2]]
    error = error * volume[:, None, None]
    rows, columns = np.triu_indices(3)
    return error[:, rows, columns] * np.where(rows == columns, 1.0, ROOT)


def test_mean_variance_is_a_gaussian_in_six_dimensions() -> None:
    batch, model = cells(), network("spread", 3)
    evaluation = evaluate(model, batch)
    raw = evaluation.heads["spread"][:, 2].detach().numpy()
    share = SCALE * (np.log1p(np.exp(raw)) + likelihoods.SMALLEST)
    owner = batch.structure_of_atom.numpy()
    sigma = np.array([math.sqrt((share[owner == s] ** 2).sum()) for s in (0, 2)])
    logs = stats.norm.logpdf(virials(evaluation, batch), 0.0, sigma[:, None])
    found = GaussianLoss(scale=SCALE, energy_weight=0.0, force_weight=0.0, stress_weight=3.0)(evaluation, batch)
    assert float(found) == pytest.approx(-3.0 * logs.mean() - 3.0 * 0.5 * math.log(2 * math.pi), rel=1e-10)
    p = FittedMeanVariance(model, factors=(1.0, 1.0, 2.0)).predict(batch)
    volume = np.abs(np.linalg.det(batch.cell.numpy()))[[0, 2]]
    assert p.stress_uncertainty is not None
    np.testing.assert_allclose(p.stress_uncertainty[[0, 2], 1, 1], 2 * sigma / volume, rtol=1e-12)
    np.testing.assert_allclose(p.stress_uncertainty[[0, 2], 0, 2], 2 * sigma / volume / ROOT, rtol=1e-12)


def test_evidential_is_a_t_in_six_dimensions() -> None:
    batch, model = cells(), network("evidence", 9)
    evaluation = evaluate(model, batch)
    whole = of_structures(evidence(evaluation.heads["evidence"][:, 6:], SCALE), batch)
    nu, alpha, beta = (value.detach().numpy()[[0, 2]] for value in whole)
    logs = [
        stats.multivariate_t.logpdf(error, np.zeros(6), b * (1 + n) / (n * a) * np.eye(6), df=2 * a)
        for error, n, a, b in zip(virials(evaluation, batch), nu, alpha, beta, strict=True)
    ]
    options: Any = {"scale": SCALE, "energy_weight": 0.0, "force_weight": 0.0, "stress_weight": 1.0}
    found = EvidentialLoss(**options, regulariser=0.0)(evaluation, batch)
    assert float(found) == pytest.approx(-np.mean(logs) / 6, rel=1e-10)
    misplaced = np.sqrt((virials(evaluation, batch) ** 2).mean(1)) / np.array([4, 8]) / SCALE * (2 * nu + alpha)
    regular = EvidentialLoss(**options, regulariser=0.2)(evaluation, batch)
    assert float(regular) == pytest.approx(float(found) + 0.2 * misplaced.mean(), rel=1e-9)
    p = FittedEvidential(model, factors=(1.0, 1.0, 1.0)).predict(batch)
    volume = np.abs(np.linalg.det(batch.cell.numpy()))[[0, 2]]
    assert p.stress_uncertainty is not None
    expected = np.sqrt(beta / (alpha - 1) * (1 + 1 / nu)) / volume
    np.testing.assert_allclose(p.stress_uncertainty[[0, 2], 2, 2], expected, rtol=1e-10)


@pytest.mark.parametrize(("head", "size"), [("spread", 3), ("evidence", 9)])
def test_likelihoods_do_not_see_the_axes(head: str, size: int) -> None:
    model, frame = network(head, size), samples.skewed(2)
    loss = {"spread": GaussianLoss, "evidence": EvidentialLoss}[head]
    loss = loss(scale=SCALE, energy_weight=0.0, force_weight=0.0, stress_weight=1.0)
    matrix = samples.random_rotation(5)
    turned, batch = samples.turned(frame, matrix), batch_of(frame)
    assert batch.stress is not None
    turn = torch.as_tensor(matrix)
    other = replace(batch_of(turned), stress=turn.mT @ batch.stress @ turn)
    close = torch.testing.assert_close
    close(loss(evaluate(model, batch), batch), loss(evaluate(model, other), other), rtol=1e-9, atol=0)


def test_shallow_members_have_the_variance_of_their_stress() -> None:
    model = with_heads(samples.small_network(), 5, seed=0)
    batch = cells()
    evaluation = with_members(model, batch, stress=True)
    variance = evaluation.heads[STRESS][[0, 2]].square().sum(-1).mean((1, 2)).detach().numpy() + 0.01**2
    assert batch.stress is not None
    error = (evaluation.stress - batch.stress)[[0, 2]].detach().numpy().reshape(2, 9)
    logs = stats.norm.logpdf(error, 0.0, np.sqrt(variance)[:, None])
    weights: dict[str, Any] = {"energy_weight": 0.0, "force_weight": 0.0, "stress_weight": 0.5}
    loss = ShallowLoss(energy_floor=1.0, force_floor=1.0, stress_floor=0.01, **weights)
    assert float(loss(evaluation, batch)) == pytest.approx(-0.5 * logs.mean() - 0.25 * math.log(2 * math.pi), rel=1e-10)


@pytest.mark.parametrize("kind", ["mve", "evidential", "shallow"])
def test_gradients_of_weights_are_finite_differences(kind: str) -> None:
    batch = cells()
    options: dict[str, Any] = {"energy_weight": 0.3, "force_weight": 0.5, "stress_weight": 0.7}
    if kind == "shallow":
        model, loss = (
            with_heads(samples.small_network(), 4, seed=0),
            ShallowLoss(energy_floor=0.1, force_floor=0.1, stress_floor=0.01, **options),
        )
        look = partial(with_members, stress=True)
    else:
        model = network(*{"mve": ("spread", 3), "evidential": ("evidence", 9)}[kind])
        loss = {"mve": GaussianLoss, "evidential": EvidentialLoss}[kind](scale=SCALE, **options)
        look = evaluate
    model = copy.deepcopy(model).requires_grad_(True)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss(look(model, batch, train=True), batch), parameters, materialize_grads=True)
    random = torch.Generator().manual_seed(3)
    way = [torch.randn(p.shape, generator=random, dtype=p.dtype) for p in parameters]

    def value(step: float) -> float:
        moved = copy.deepcopy(model).requires_grad_(False)
        for parameter, direction in zip(moved.parameters(), way, strict=True):
            parameter.add_(step * direction)
        return float(loss(look(moved, batch), batch))

    along = sum(float((g * w).sum()) for g, w in zip(gradients, way, strict=True))
    assert (value(1e-6) - value(-1e-6)) / 2e-6 == pytest.approx(along, rel=1e-5)


def noisy(frames: int, *, seed: int) -> Dataset:
    """Cells, half of them with a stress: noise of 0.02 eV/Å³ on the diagonal and 0.02 / sqrt(2) off it."""
    random = np.random.default_rng(seed)
    made: list[ase.Atoms] = []
    for k in range(frames):
        atoms = samples.crystal(100 * seed + k)
        stress = 0.02 * random.normal(size=6) / np.array([1, 1, 1, ROOT, ROOT, ROOT])
        labels = {"energy": -1500.0 + 0.1 * random.normal(), "forces": 0.3 * random.normal(size=(4, 3))}
        atoms.calc = SinglePointCalculator(atoms, **labels, **({"stress": stress} if k % 2 else {}))
        made.append(atoms)
    return Dataset(name="noise", atoms=tuple(made))


@pytest.mark.parametrize("method", [MeanVariance, Evidential])
def test_the_size_of_the_noise_is_found(method: type) -> None:
    settings = Settings(epochs=12, batch_size=15, learning_rate=1e-2, schedule="cosine")
    recipe = method(network={**samples.NETWORK, "interactions": 1}, settings=settings)
    fitted = with_stress(recipe).fit(noisy(90, seed=1), noisy(60, seed=2), seed=0, progress=False)
    p = predict(fitted, noisy(30, seed=3))
    assert p.stress_uncertainty is not None
    total = p.stress_uncertainty.square().sum((1, 2)).mean().sqrt()  # of nine variances, the same for any axes
    assert float(total) == pytest.approx(0.02 * math.sqrt(6), rel=0.25)


def test_rescaled_to_the_stress_of_the_validation_set() -> None:
    data = samples.with_cells({"valid": 12})["valid"]
    fitted = FittedMeanVariance(network("spread", 3).float(), factors=(1.0, 1.0, 1.0)).rescaled(data)
    p = predict(fitted, data)
    batch = data.batch(cutoff=samples.CUTOFF)
    assert batch.stress is not None
    assert p.stress is not None
    assert p.stress_uncertainty is not None
    upper = torch.ones(3, 3).triu().bool()
    wrong = ((p.stress - batch.stress) / p.stress_uncertainty)[1::2][:, upper]
    assert float(wrong.square().mean()) == pytest.approx(1.0, rel=1e-4)
    without = replace(data, atoms=data.atoms[0::2])  # molecules tell nothing of it
    assert FittedMeanVariance(network("spread", 3).float(), factors=(1.0, 1.0, 3.0)).rescaled(without).factors[2] == 3.0


def test_curvature_is_that_of_the_loss() -> None:
    """Half its second derivative along a change of the last layer, on a set where labels are missing here and there."""
    frames = list(samples.with_cells({"all": 6}).atoms)
    for k, label in ((0, "forces"), (1, "energy"), (3, "stress")):
        results = {name: value for name, value in frames[k].calc.results.items() if name != label}  # pyright: ignore
        frames[k].calc = SinglePointCalculator(frames[k], **results)
    data, model = Dataset(name="holes", atoms=tuple(frames)), samples.small_network()
    batch = data.batch(cutoff=model.cutoff, dtype=torch.float64)
    loss = EnergyForceLoss(energy_weight=3.0, force_weight=0.5, stress_weight=40.0)
    found = curvature(model, data, loss)
    way = torch.linspace(-1.0, 1.0, len(found), dtype=torch.float64)

    def value(step: float) -> float:
        moved = copy.deepcopy(model).requires_grad_(False)
        moved.readout.outer.weight[:, 0] += step * way[:-1]
        assert moved.readout.outer.bias is not None
        moved.readout.outer.bias.add_(step * way[-1])
        return float(loss(evaluate(moved, batch), batch))

    second = value(1.0) - 2 * value(0.0) + value(-1.0)
    atoms = sum(len(frame) for k, frame in enumerate(frames) if k)
    assert float(way @ found @ way) == pytest.approx(second / 2 * 3 * atoms / 0.5, rel=1e-6)


def test_the_factor_of_the_stress() -> None:
    """Set where there are labels; else that of the forces stands in."""
    data, model = samples.with_cells(), samples.small_network()
    fitted = LastLayer(ridge=1e-3).fit_to(model, data["train"], data["valid"], seed=0)
    batch = data["valid"].batch(cutoff=model.cutoff, dtype=torch.float64)
    p = fitted.predict(batch)
    assert batch.stress is not None
    assert p.stress is not None
    assert p.stress_uncertainty is not None
    wrong: Tensor = ((p.stress - batch.stress) / p.stress_uncertainty)[1::2]
    assert float(wrong.square().mean()) == pytest.approx(1.0, rel=1e-5)
    molecules = samples.dataset()
    without = LastLayer(ridge=1e-3).fit_to(model, molecules["train"], molecules["valid"], seed=0)
    assert without.stress_factor is None
    assert without.factor_of_stress == without.force_factor
