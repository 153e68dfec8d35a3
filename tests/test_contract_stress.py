"""What every method must keep of stress, whether it learnt it or not; `test_contract.py` has the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples
import torch
from samples import batch_of, rattled
from test_contract import RECIPES, close, same
from torch import Tensor

from uqlib import methods
from uqlib.metrics import voigt
from uqlib.prediction import Prediction, predict

SCORES = {"gmm", "mahalanobis", "neighbours"}  # nats
LEARN_IT_OR_NOT = {"mve", "evidential", "quantile"}  # their uncertainty is what labels have taught them

Fitted = Any


@pytest.fixture(scope="module", params=methods.EVERY)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def fitted(method: str) -> Fitted:
    """Trained in float32 on molecules without a stress and skewed cells with one."""
    data = samples.with_cells()
    return methods.with_stress(RECIPES[method]).fit(data["train"], data["valid"], seed=0, progress=False)


@pytest.fixture(scope="module")
def exact(fitted: Fitted) -> Fitted:
    return fitted.to(torch.float64)


def known(prediction: Prediction) -> Tensor:
    assert prediction.stress_uncertainty is not None
    return prediction.stress_uncertainty


def test_who_has_one(method: str, fitted: Fitted) -> None:
    data = samples.with_cells()
    p = predict(fitted, data["test"])
    if method in SCORES:
        assert p.stress_uncertainty is None
        assert p.atom_energy_uncertainty is None
        return
    assert p.atom_energy_uncertainty is not None
    assert known(p).shape == (len(data["test"]), 3, 3)
    close(known(p)[1::2], known(p)[1::2].mT)
    assert torch.isnan(known(p)[0::2]).all()  # molecules
    assert (known(p)[1::2] > 0).all()
    assert known(p)[1::2].mean((1, 2)).std() > 0


def test_without_labels_of_stress(method: str) -> None:
    """What is made of members is there all the same; what labels have to teach is not."""
    data = samples.dataset()
    fitted = RECIPES[method].fit(data["train"], data["valid"], seed=0, progress=False)
    p = fitted.predict(batch_of(samples.skewed(3), dtype=torch.float32))
    assert (p.stress_uncertainty is None) == (method in SCORES | LEARN_IT_OR_NOT)


def test_a_batch_equals_its_structures(method: str, exact: Fitted) -> None:
    if method in SCORES:
        pytest.skip("a score in nats")
    frames = [rattled("NH3", 0), samples.skewed(1), rattled("O2", 1), samples.skewed(2)]
    together = exact.predict(batch_of(*frames))
    singles = [exact.predict(batch_of(frame)) for frame in frames]
    torch.testing.assert_close(
        known(together), torch.cat([known(p) for p in singles]), equal_nan=True, rtol=1e-7, atol=1e-10
    )
    close(together.atom_energy_uncertainty, torch.cat([p.atom_energy_uncertainty for p in singles]))


def test_turned_mirrored_and_moved(method: str, exact: Fitted) -> None:
    """Components depend on the axes; the sum of all nine variances does not."""
    if method in SCORES:
        pytest.skip("a score in nats")
    frame = samples.skewed(4)
    p = exact.predict(batch_of(frame))
    moved = frame.copy()
    moved.positions += [0.3, -11.0, 5.0]
    close(known(exact.predict(batch_of(moved))), known(p))
    for matrix in (samples.random_rotation(2), np.diag([1.0, -1.0, 1.0]) @ samples.random_rotation(3)):
        q = exact.predict(batch_of(samples.turned(frame, matrix)))
        close(known(q).square().sum(), known(p).square().sum())
        close(q.atom_energy_uncertainty, p.atom_energy_uncertainty, tolerance=1e-7)


def test_of_a_supercell(method: str, exact: Fitted) -> None:
    """Errors that copies share stay what they are; of independent ones four cells know half as much as one."""
    if method in SCORES:
        pytest.skip("a score in nats")
    frame = samples.skewed(5)
    one, four = exact.predict(batch_of(frame)), exact.predict(batch_of(frame.repeat((2, 1, 2))))
    close(known(four), known(one) / (2 if method in LEARN_IT_OR_NOT else 1), tolerance=1e-8)
    close(four.atom_energy_uncertainty, one.atom_energy_uncertainty.repeat(4), tolerance=1e-7)


@pytest.mark.parametrize("quantity", ["stress_uncertainty", "atom_energy_uncertainty"])
def test_gradients_with_respect_to_positions(method: str, exact: Fitted, quantity: str) -> None:
    if method in SCORES:
        pytest.skip("a score in nats")
    batch = batch_of(samples.skewed(6))

    def value(of: Any) -> Tensor:
        found = getattr(exact.predict(of), quantity)
        rows = voigt(found) if quantity == "stress_uncertainty" else found.view(of.n_structures, -1)
        return (rows * torch.linspace(1.0, 2.0, rows.shape[1], dtype=rows.dtype)).sum(1)

    moving = batch.at(batch.positions.clone().requires_grad_(), update_pairs=False)
    (gradient,) = torch.autograd.grad(value(moving).sum(), moving.positions)
    expected = samples.slopes(value, batch)
    close(gradient, expected, tolerance=1e-6 * max(1.0, float(expected.abs().max())))
    assert gradient.abs().max() > 1e-6


def test_saved_and_loaded(fitted: Fitted, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model.uq")
    batch = batch_of(rattled("NH3", 0), samples.skewed(7), dtype=torch.float32)
    assert same(methods.load(tmp_path / "model.uq").predict(batch), fitted.predict(batch))


def test_members_have_the_spread(method: str, exact: Fitted) -> None:
    """The standard deviation over members is what was said of the stress, as far as one factor sizes both."""
    batch = batch_of(samples.skewed(8))
    if method in SCORES | LEARN_IT_OR_NOT:
        with pytest.raises(ValueError, match="has no members"):
            exact.members(batch)
        return
    members = exact.members(batch)
    assert members.stress is not None
    spread = members.stress.std(0)
    sampled = method in ("llpr", "pops")  # of a posterior
    if sampled:
        spread = exact.members(batch, count=20_000).stress.std(0)
    factor = exact.energy_factor / exact.factor_of_stress if sampled or method in ("shallow", "crps") else 1.0
    close(spread, factor * known(exact.predict(batch)), tolerance=2e-2 * float(spread.max()) if sampled else 1e-7)


def test_a_member_is_a_potential(method: str, exact: Fitted) -> None:
    """Its stress is the slope of its own energy with strain."""
    if method in SCORES | LEARN_IT_OR_NOT:
        pytest.skip("no members")
    batch, step = batch_of(samples.skewed(9)), 1e-5
    members = exact.members(batch)
    strain = torch.tensor([[1.0, 0.3, 0.0], [0.3, -0.5, 0.2], [0.0, 0.2, 0.4]], dtype=torch.float64)
    up, down = (exact.members(samples.strained(batch, sign * step * strain)).energy[:, 0] for sign in (1, -1))
    volume = torch.linalg.det(batch.cell[0]).abs()
    close((members.stress[:, 0] * strain).sum((1, 2)), (up - down) / (2 * step * volume), tolerance=1e-7)


def test_with_stress_and_without_again(method: str) -> None:
    recipe = methods.EVERY[method]
    stressed = methods.with_stress(recipe, 2.0)
    assert "stress_weight" not in repr(recipe)
    assert repr(stressed).count("stress_weight") == 1 + (method in {"mve", "evidential", "shallow", "crps"})
    assert methods.with_stress(stressed, 0.0) == recipe
    with pytest.raises(ValueError, match=r"times: got -1\.0, expected a finite number"):
        methods.with_stress(recipe, -1.0)
    if method not in ("llpr", "pops"):
        odd: Any = replace(recipe, loss=lambda evaluation, batch: evaluation.energy.sum())  # pyright: ignore
        with pytest.raises(ValueError, match="has no stress_weight, expected an EnergyForceLoss"):
            methods.with_stress(odd)
