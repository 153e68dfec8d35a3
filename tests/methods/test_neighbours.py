"""What is particular to the nearest neighbours; `test_features.py` has what they share with other distances."""

from __future__ import annotations

import numpy as np
import pytest
import samples
import torch
from sklearn import neighbors
from torch import Tensor

from uqlib.methods import neighbours
from uqlib.methods.neighbours import FittedNeighbours, NearestAtoms, NearestNeighbours
from uqlib.methods.shared.distances import ALL
from uqlib.networks.evaluation import evaluate

DATA = samples.dataset({"train": 60, "valid": 4})


def fit(*, k: int = 5, per_element: bool = True) -> dict[int, NearestAtoms]:
    recipe = NearestNeighbours(neighbours=k, per_element=per_element)
    fitted: FittedNeighbours = recipe.fit_to(samples.small_network(), DATA["train"], DATA["valid"], seed=0)
    assert all(isinstance(score, NearestAtoms) for score in fitted.scores.values())
    return fitted.scores  # pyright: ignore[reportReturnType]


def features_of(split: str, number: int) -> Tensor:
    batch = DATA[split].batch(cutoff=samples.CUTOFF, dtype=torch.float64)
    features = evaluate(samples.small_network(), batch).features
    return features if number == ALL else features[batch.atomic_numbers == number]


@pytest.mark.parametrize("per_element", [True, False])
@pytest.mark.parametrize("k", [1, 5])
def test_distances_are_those_of_scikit_learn(k: int, per_element: bool) -> None:
    for number, ours in fit(k=k, per_element=per_element).items():
        train, new = (ours.whitening(features_of(split, number)).numpy() for split in ("train", "valid"))
        theirs = neighbors.NearestNeighbors(n_neighbors=k).fit(train)
        expected = theirs.kneighbors(new)[0].mean(1)
        np.testing.assert_allclose(ours.distance(torch.as_tensor(new)).numpy(), expected, rtol=1e-9)
        among = theirs.kneighbors()[0].mean()  # among the points; some are twins, at no distance
        assert float(ours.typical) == pytest.approx(np.log(among), abs=1e-5)
        score = ours(features_of("valid", number))
        np.testing.assert_allclose(score.numpy(), np.log(expected / among), atol=1e-5)


def test_piece_by_piece_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, x = fit()[1], features_of("valid", 1)
    whole = ours(x)
    monkeypatch.setattr(neighbours, "LARGEST_TABLE", 2 * len(ours.points))
    assert ours(x).equal(whole)


def test_on_a_training_atom_there_is_a_slope() -> None:
    """The distance to a training atom has a kink there; its logarithm must not be infinite, nor its gradient."""
    ours = fit(k=1)[7]
    x = features_of("train", 7)[:3].requires_grad_()
    score = ours(x)
    (gradient,) = torch.autograd.grad(score.sum(), x)
    assert torch.isfinite(score).all()
    assert torch.isfinite(gradient).all()
    assert (score < -5).all()


def test_gradient_against_finite_differences() -> None:
    ours, x = fit()[1], features_of("valid", 1)[:4].requires_grad_()
    assert torch.autograd.gradcheck(ours, (x,), eps=1e-7, atol=1e-5)


def test_an_element_with_few_atoms_has_few_neighbours() -> None:
    data = samples.dataset()
    fitted = NearestNeighbours(neighbours=10).fit_to(samples.small_network(), data["train"], data["valid"], seed=0)
    counts = {z: score.neighbours for z, score in fitted.scores.items() if isinstance(score, NearestAtoms)}
    assert counts == {1: 10, 7: 3, 8: 10}


def test_no_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="neighbours: got 0, expected at least 1"):
        NearestNeighbours(neighbours=0)
