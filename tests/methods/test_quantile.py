"""A quantile head and its correction: the loss finds quantiles, the correction keeps its promise."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import samples
import torch
from scipy import stats

from uqlib.methods.quantile import Quantile, conformal, pinball
from uqlib.networks.painn import PaiNN
from uqlib.prediction import predict
from uqlib.structures.batch import Batch

DATA = samples.dataset()


def network() -> PaiNN:
    return samples.small_network()


@pytest.mark.parametrize("level", [0.1, 0.5, 0.83])
def test_the_loss_is_smallest_at_the_quantile(level: float) -> None:
    values = torch.as_tensor(np.random.default_rng(5).lognormal(size=4001))
    candidates = torch.linspace(0.01, 8.0, 3000, dtype=torch.float64)
    losses = pinball(values[None] - candidates[:, None], level).mean(1)
    assert float(candidates[losses.argmin()]) == pytest.approx(float(values.quantile(level)), abs=0.01)


def test_the_correction_keeps_its_promise() -> None:
    """On average over calibration sets, the share of new ratios below the factor is at least the level, and no more
    than 1/(n + 1) above it (Romano et al. 2019, Theorem 1)."""
    rng, level, n = np.random.default_rng(2), 0.8, 19
    shares = []
    for _ in range(4000):
        factor = conformal(torch.as_tensor(rng.gamma(0.7, size=n)), level)
        shares.append(stats.gamma(0.7).cdf(factor))
    assert level - 0.005 < np.mean(shares) < level + 1 / (n + 1) + 0.005


def test_too_few_and_none() -> None:
    assert conformal(torch.tensor([0.5, 2.0]), 0.9) == 2.0
    assert conformal(torch.zeros(0), 0.9) == 1.0


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_quantile_covers_its_share_of_the_validation_set(level: float) -> None:
    valid = DATA["valid"]
    fitted = Quantile(level=level, steps=60).fit_to(network(), DATA["train"], valid, seed=0)
    p = predict(fitted, valid)
    forces = cast("torch.Tensor", valid.batch(dtype=torch.float64).forces)
    length = (p.forces - forces).norm(dim=1)
    inside = length <= p.force_uncertainty * stats.chi.ppf(level, 3) * (1 + 1e-9)
    n = len(length)
    assert int(inside.sum()) == min(int(np.ceil((n + 1) * level)), n)


def test_the_network_is_left_alone() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fitted = Quantile(steps=5).fit_to(model, DATA["train"], DATA["valid"], seed=1)
    found = fitted.model.state_dict()
    assert all(value.equal(before[name]) and found[name].equal(value) for name, value in model.state_dict().items())


def test_it_learns_where_the_errors_are() -> None:
    """Among errors that depend on the element alone, the quantile follows the element."""
    train = DATA["train"]
    model = network()
    p = predict(Quantile(steps=400).fit_to(model, train, DATA["valid"], seed=0), train)
    batch: Batch = train.batch(dtype=torch.float64)
    length = (p.forces - cast("torch.Tensor", batch.forces)).norm(dim=1)
    hydrogen = batch.atomic_numbers == 1
    true = length[hydrogen].quantile(0.9) / length[~hydrogen].quantile(0.9)
    said = p.force_uncertainty[hydrogen].median() / p.force_uncertainty[~hydrogen].median()
    assert (true > 1) == (said > 1)
    assert float((true / said).log().abs()) < 0.7


@pytest.mark.parametrize(("options", "words"), [
    ({"level": 1.0}, "level: got 1.0, expected a share of the errors"),
    ({"steps": 0}, "steps: got 0, expected at least 1"),
])  # fmt: skip
def test_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Quantile(**options)


def test_a_network_from_elsewhere_is_refused() -> None:
    other: Any = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"model: got a Linear, expected PaiNN itself.*LastLayer"):
        Quantile().fit_to(other, DATA["train"], DATA["valid"], seed=0)
