"""Four error bars on the double well: the closed form against numpy, and what sets each apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uqlib.chapters.toy import DoubleWell
from uqlib.chapters.toy_posterior import Band, ToyNetwork, dropout, rigidity, shallow, snapshots, train_toy

X, Y = DoubleWell().sample(40, seed=1)
AT = torch.linspace(-0.8, 0.8, 33, dtype=torch.float64)
STEPS = 150


@pytest.fixture(scope="module")
def network() -> ToyNetwork:
    return train_toy(ToyNetwork(X, Y, seed=0), X, Y, steps=STEPS)


def test_training_learns(network: ToyNetwork) -> None:
    with torch.no_grad():
        before = (ToyNetwork(X, Y, seed=0)(X)[:, 0] - Y).square().mean()
        assert (network(X)[:, 0] - Y).square().mean() < 0.1 * before


def test_rigidity_is_bayesian_linear_regression(network: ToyNetwork) -> None:
    band = rigidity(network, X, Y, AT, ridge=1e-3)
    with torch.no_grad():
        seen, new = network.hidden(X).numpy(), network.hidden(AT).numpy()
        noise = float((network(X)[:, 0] - Y).square().mean().sqrt())
    precision = seen.T @ seen
    posterior = np.linalg.inv(precision + 1e-3 * np.trace(precision) / len(precision) * np.eye(len(precision)))
    expected = noise * np.sqrt(np.einsum("ni,ij,nj->n", new, posterior, new))
    np.testing.assert_allclose(band.std.numpy(), expected, rtol=1e-8)
    assert band.mean.equal(network(AT)[:, 0].detach())
    many = rigidity(network, X, Y, AT, ridge=1e-3, draws=4000).members
    np.testing.assert_allclose(many.std(0).numpy(), expected, rtol=0.05)


@pytest.mark.parametrize("method", [shallow, dropout, snapshots])
def test_bands(method) -> None:
    band, again = (method(X, Y, AT, seed=3, steps=STEPS) for _ in range(2))
    assert isinstance(band, Band)
    assert band.std.equal(again.std)
    assert not band.std.equal(method(X, Y, AT, seed=4, steps=STEPS).std)
    torch.testing.assert_close(band.mean, band.members.mean(0))
    torch.testing.assert_close(band.std, band.members.std(0))
    assert band.members.shape[1] == len(AT)
    assert (band.std > 0).all()


def test_snapshots_follow_one_another() -> None:
    assert len(snapshots(X, Y, AT, cycles=3, seed=0, steps=9).members) == 3


def test_refused(network: ToyNetwork) -> None:
    with pytest.raises(ValueError, match="steps: got 0"):
        train_toy(network, X, Y, steps=0)
