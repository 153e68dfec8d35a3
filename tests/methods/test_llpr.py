"""Last-layer prediction rigidity against Bayesian linear regression written out in numpy."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import samples
import torch
from samples import batch_of, crystal, rattled

from uqlib.methods.llpr import LastLayer, curvature
from uqlib.methods.shared.hidden_units import last_layer
from uqlib.methods.shared.last_layer import UncertainLastLayer, size
from uqlib.networks.evaluation import evaluate
from uqlib.networks.losses import EnergyForceLoss
from uqlib.networks.painn import PaiNN

DATA = samples.dataset()
RECIPE = LastLayer(network=samples.NETWORK, settings=samples.BRIEF)


@pytest.fixture(scope="module")
def fitted() -> UncertainLastLayer:
    return RECIPE.fit_to(copy.deepcopy(samples.small_network()), DATA["train"], DATA["valid"], seed=0)


def design(model, batch):
    """Derivatives of energies and force components by the last layer's weights and bias, by autograd alone."""
    model = copy.deepcopy(model).requires_grad_(True)
    result = evaluate(model, batch, train=True)
    layer = model.readout.outer
    gradients = []
    for value in (*result.energy, *result.forces.flatten()):
        weight, bias = torch.autograd.grad(value, (layer.weight, layer.bias), retain_graph=True, materialize_grads=True)
        gradients.append(torch.cat([weight.flatten(), bias.flatten()]).numpy())
    return np.split(np.array(gradients), [batch.n_structures])


def test_bayesian_linear_regression(fitted: UncertainLastLayer) -> None:
    """The posterior of a linear model: noise of 1 eV/Å on forces, of sqrt(S n² w_F / (3N w_E)) on energies."""
    ridge = 1e-3
    fitted = dataclasses.replace(RECIPE, ridge=ridge).fit_to(fitted.model, DATA["train"], DATA["valid"], seed=0)
    train = DATA["train"].batch(cutoff=fitted.cutoff, dtype=torch.float64)
    energy, force = design(fitted.model, train)
    n = train.atoms_per_structure.numpy()
    loss = EnergyForceLoss()
    noise = np.sqrt(len(n) * n**2 * loss.force_weight / (3 * n.sum() * loss.energy_weight))
    rows = np.concatenate([energy / noise[:, None], force])
    precision = rows.T @ rows
    posterior = np.linalg.inv(precision + ridge * np.trace(precision) / len(precision) * np.eye(len(precision)))
    batch = batch_of(rattled("NH3", 5), crystal(), rattled("H2O", 6))
    new_energy, new_force = design(fitted.model, batch)
    std_energy = np.sqrt(np.einsum("si,ij,sj->s", new_energy, posterior, new_energy))
    force_variance = np.einsum("fi,ij,fj->f", new_force, posterior, new_force)
    p = fitted.predict(batch)
    assert p.energy_uncertainty is not None
    np.testing.assert_allclose(p.energy_uncertainty.numpy(), fitted.energy_factor * std_energy, rtol=1e-6)
    expected = fitted.force_factor * np.sqrt(force_variance.reshape(-1, 3).mean(1))
    np.testing.assert_allclose(p.force_uncertainty, expected, rtol=1e-6)


def test_curvature_is_that_of_the_loss(fitted: UncertainLastLayer) -> None:
    """Half its second derivative by one weight, by finite differences; the loss is quadratic, so any step will do."""
    train = DATA["train"].batch(cutoff=fitted.cutoff, dtype=torch.float64)
    loss = EnergyForceLoss(energy_weight=3.0, force_weight=0.5)
    found = curvature(fitted.model, DATA["train"], loss)
    values = []
    for step in (-1.0, 0.0, 1.0):
        model = copy.deepcopy(fitted.model)
        assert isinstance(model, PaiNN)
        model.readout.outer.weight[1, 0] += step
        values.append(float(loss(evaluate(model, train), train)))
    second = values[0] - 2 * values[1] + values[2]
    assert float(found[1, 1]) == pytest.approx(second / 2 * 3 * train.n_atoms / 0.5, rel=1e-6)


def test_sized_on_the_validation_set(fitted: UncertainLastLayer) -> None:
    """Errors there have, in the mean, the squares that were predicted."""
    batch = DATA["valid"].batch(cutoff=fitted.cutoff, dtype=torch.float64)
    p = fitted.predict(batch)
    assert batch.energy is not None
    assert batch.forces is not None
    assert p.energy_uncertainty is not None
    assert float(((p.energy - batch.energy) / p.energy_uncertainty).square().mean()) == pytest.approx(1.0, rel=1e-6)
    _, forces = fitted.deviations(batch)
    variance = forces.square().sum(0)
    known = variance > 1e-12 * variance.max()
    error = (p.forces - batch.forces).square()
    assert float((error[known] / variance[known]).mean()) == pytest.approx(1.0, rel=1e-6)


def test_size() -> None:
    error, variance = torch.tensor([1.0, -3.0, 0.0]), torch.tensor([1.0, 4.0, 0.0])
    assert size(error, variance) == pytest.approx(((1 + 9 / 4) / 2) ** 0.5)
    assert size(error, torch.zeros(3)) == 1.0


def test_energies_and_forces_keep_their_values(fitted: UncertainLastLayer) -> None:
    batch = batch_of(rattled("NH3", 0), crystal())
    expected, p = evaluate(samples.small_network(), batch), fitted.predict(batch)
    assert p.energy.equal(expected.energy)
    assert p.forces.equal(expected.forces)


def test_the_model_that_was_given_is_left_alone() -> None:
    model = copy.deepcopy(samples.small_network(torch.float32))
    before = copy.deepcopy(model.state_dict())
    found = RECIPE.fit_to(model, DATA["train"], DATA["valid"], seed=0)
    assert found.model is not model
    assert all(before[name].equal(value) for name, value in model.state_dict().items())
    assert found.model.embedding.dtype == torch.float32
    assert found.root.dtype == found.to(torch.float64).to(torch.float32).root.dtype == torch.float64


def test_what_the_training_set_has_seen_is_certain(fitted: UncertainLastLayer) -> None:
    """More of the same data makes the uncertainty, before it is sized, smaller; a larger ridge, too."""
    batch = batch_of(rattled("NH3", 0))

    def raw(recipe: LastLayer, times: int) -> torch.Tensor:
        train = DATA["train"].take(list(range(12)) * times, name="more")
        found = recipe.fit_to(fitted.model, train, DATA["valid"], seed=0)
        assert found.root.shape == (len(found.root), samples.NETWORK["features"] // 2 + 1)
        return (found.deviations(batch)[1] / found.force_factor).square().sum(0)

    once = raw(dataclasses.replace(RECIPE, ridge=1e-3), 1)
    torch.testing.assert_close(raw(dataclasses.replace(RECIPE, ridge=1e-3), 4), once / 4, rtol=1e-6, atol=0)
    assert (raw(dataclasses.replace(RECIPE, ridge=1e-1), 1) < once).all()


def test_the_ridge_is_chosen_by_likelihood(fitted: UncertainLastLayer) -> None:
    batch = DATA["valid"].batch(cutoff=fitted.cutoff, dtype=torch.float64)

    def nll(ridge: float | None) -> float:
        found = dataclasses.replace(RECIPE, ridge=ridge).fit_to(fitted.model, DATA["train"], DATA["valid"], seed=0)
        result, total = evaluate(found.model, batch), 0.0
        assert batch.energy is not None
        assert batch.forces is not None
        for error, parts in zip((result.energy - batch.energy, result.forces - batch.forces), found.deviations(batch),
                                strict=True):  # fmt: skip
            variance = parts.square().sum(0)
            known = variance > 1e-12 * variance.max()
            total += float((variance[known].log() + error[known].square() / variance[known]).mean())
        return total

    chosen = nll(None)
    assert all(chosen <= nll(ridge) + 1e-9 for ridge in (1e-8, 1e-5, 1e-3, 1e-1, 1.0))


def test_refused() -> None:
    with pytest.raises(ValueError, match=r"ridge: got 0\.0, expected a positive number"):
        LastLayer(ridge=0.0)
    with pytest.raises(ValueError, match="expected an EnergyForceLoss"):
        LastLayer(loss=lambda evaluation, batch: evaluation.energy.sum())
    with pytest.raises(ValueError, match=r"root: got shape \(2, 3\)"):
        UncertainLastLayer(samples.small_network(), torch.zeros(2, 3, dtype=torch.float64))


def test_hidden_units_of_the_readout(fitted: UncertainLastLayer) -> None:
    """Columns of the root act as changes of the weights do."""
    batch = batch_of(rattled("NH3", 0))
    moved = copy.deepcopy(fitted.model)
    assert isinstance(moved, PaiNN)
    moved.readout.outer.weight[:, 0] += fitted.root[:-1, 3]
    assert moved.readout.outer.bias is not None
    moved.readout.outer.bias.add_(fitted.root[-1, 3])
    energy, forces = fitted.deviations(batch)
    one, other = evaluate(moved, batch), evaluate(fitted.model, batch)
    torch.testing.assert_close(energy[3], fitted.energy_factor * (one.energy - other.energy), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(forces[3], fitted.force_factor * (one.forces - other.forces), rtol=1e-6, atol=1e-9)
    assert last_layer(fitted.model, batch).hidden.shape == (1, len(fitted.root) - 1)
