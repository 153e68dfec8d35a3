"""Pointwise optimal parameter sets against what they are said to do: repair one point, at the least cost for all."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import samples
import torch

from uqlib.methods.llpr import LastLayer, curvature
from uqlib.methods.pops import PointwiseOptimal, box, corrections
from uqlib.networks.evaluation import evaluate
from uqlib.networks.losses import EnergyForceLoss
from uqlib.networks.painn import PaiNN
from uqlib.prediction import predict
from uqlib.structures.datasets import Dataset

DATA = samples.dataset()
LOSS = EnergyForceLoss()
RECIPE = PointwiseOptimal(network=samples.NETWORK, settings=samples.BRIEF)


def moved(model: PaiNN, change: torch.Tensor) -> PaiNN:
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.readout.outer.weight.add_(change[:-1].reshape(other.readout.outer.weight.shape))
        assert other.readout.outer.bias is not None
        other.readout.outer.bias.add_(change[-1])
    return other


def test_each_change_repairs_its_point() -> None:
    """An energy, and all three components of an atom's force, become those of the label."""
    model = samples.small_network()
    train = DATA["train"].take(range(6))
    hessian = curvature(model, train, LOSS)
    inverse = torch.linalg.inv(hessian + 1e-9 * hessian.diagonal().mean() * torch.eye(len(hessian)))
    changes, leverage = corrections(model, train, LOSS, inverse)
    batch = train.batch(cutoff=model.cutoff, dtype=torch.float64)
    assert batch.energy is not None
    assert batch.forces is not None
    assert changes.shape == (batch.n_structures + batch.n_atoms, len(hessian))
    assert (leverage > 0).all()
    for structure in (0, 4):
        after = evaluate(moved(model, changes[structure]), batch)
        assert float(after.energy[structure]) == pytest.approx(float(batch.energy[structure]), abs=1e-8)
    for atom in (0, 7):
        found = evaluate(moved(model, changes[batch.n_structures + atom]), batch).forces[atom]
        np.testing.assert_allclose(found, batch.forces[atom], atol=1e-6)


def test_the_axes_of_the_training_set_do_not_matter() -> None:
    rotation = samples.random_rotation(4)
    frames = []
    for frame in DATA["train"].atoms:
        turned = samples.turned(frame, rotation)
        frames.append(samples.label(turned))
    other = Dataset(name="turned", atoms=tuple(frames))
    model = samples.small_network()
    one, two = (predict(RECIPE.fit_to(model, train, DATA["valid"], seed=0), DATA["test"])
                for train in (DATA["train"], other))  # fmt: skip
    torch.testing.assert_close(two.force_uncertainty, one.force_uncertainty, rtol=1e-4, atol=1e-8)


def test_box_holds_its_points_and_has_its_moments() -> None:
    """Drawn evenly from a box, points have the second moment that is said."""
    rng = np.random.default_rng(3)
    axes = np.linalg.qr(rng.normal(size=(4, 4)))[0][:, :2]
    corners = np.array([(x, y) for x in (-1.0, 3.0) for y in (-0.5, 0.4)])
    points = np.concatenate([corners, rng.uniform((-1, -0.5), (3, 0.4), size=(4000, 2))]) @ axes.T
    root = box(torch.as_tensor(points))
    assert root.shape == (4, 2), "no width where no change points"
    np.testing.assert_allclose(root @ root.mT, points.T @ points / len(points), atol=0.1)


def test_more_of_the_same_data_does_not_help() -> None:
    """What LLPR calls certain after ten copies of the training set, misspecification leaves as it was."""
    model = samples.small_network()
    train = DATA["train"]
    copies = Dataset(name="copies", atoms=train.atoms * 10)
    options: Any = {"valid": DATA["valid"], "seed": 0}
    few, many = (predict(RECIPE.fit_to(model, t, **options), DATA["test"]) for t in (train, copies))
    torch.testing.assert_close(many.force_uncertainty, few.force_uncertainty, rtol=1e-5, atol=1e-9)
    bayes = LastLayer(ridge=1e-6)
    found = [bayes.fit_to(model, t, **options) for t in (train, copies)]
    for each in found:
        each.force_factor = 1.0
    shrunk = predict(found[1], DATA["test"]).force_uncertainty / predict(found[0], DATA["test"]).force_uncertainty
    assert float(shrunk.median()) == pytest.approx(10**-0.5, rel=1e-3)


@pytest.mark.parametrize(("options", "words"), [
    ({"ridge": 0.0}, "ridge: got 0.0, expected a positive number"),
    ({"share": 1.5}, "share: got 1.5, expected a share of the points"),
    ({"loss": lambda evaluation, batch: evaluation.energy.sum()}, "expected an EnergyForceLoss"),
])  # fmt: skip
def test_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PointwiseOptimal(**options)
