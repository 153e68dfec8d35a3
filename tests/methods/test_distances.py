"""Whitening, and what the distances in feature space share. `test_contract.py` has what all methods share."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import samples
import torch
from samples import batch_of, crystal, rattled
from sklearn.decomposition import PCA
from torch import Tensor

from uqlib import methods
from uqlib.methods.gmm import GaussianMixture
from uqlib.methods.neighbours import NearestNeighbours
from uqlib.methods.shared.distances import ALL, FeatureDistance, FeaturePredictor, Whitening
from uqlib.methods.shared.recipes import SingleNetwork
from uqlib.networks.evaluation import evaluate
from uqlib.networks.painn import PaiNN
from uqlib.networks.training import Settings
from uqlib.prediction import predict
from uqlib.structures import datasets

RECIPES: list[FeatureDistance] = [GaussianMixture(), GaussianMixture(components=1), NearestNeighbours()]
NAMES = ["gmm", "mahalanobis", "neighbours"]
each_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=NAMES)


def fit(recipe: FeatureDistance, model: PaiNN | None = None) -> Any:
    data = samples.dataset()
    return recipe.fit_to(model or samples.small_network(), data["train"], data["valid"], seed=0)


def cloud(n: int = 200, width: int = 6) -> Tensor:
    """Correlated points of very different spread along different axes."""
    random = torch.Generator().manual_seed(3)
    mix = torch.randn(width, width, generator=random, dtype=torch.float64)
    spread = torch.tensor([3.0, 1.0, 0.3, 0.1, 1e-3, 1e-5], dtype=torch.float64)
    return torch.randn(n, width, generator=random, dtype=torch.float64) * spread @ torch.linalg.qr(mix).Q + 5.0


def test_whitening_is_that_of_scikit_learn() -> None:
    x, new = cloud(), cloud(7) + 1.0
    whitening = Whitening.fit(x, variance=0.9999, max_dimension=32)
    reference = PCA(n_components=0.9999, whiten=True).fit(x.numpy())
    ours, theirs = whitening(new), torch.as_tensor(reference.transform(new.numpy())) * (200 / 199) ** 0.5
    assert ours.shape == theirs.shape == (7, 4)
    torch.testing.assert_close(ours.abs(), theirs.abs(), rtol=1e-8, atol=1e-8)  # signs of axes are arbitrary


def test_whitened_points_have_unit_covariance() -> None:
    x = cloud()
    y = Whitening.fit(x, variance=0.999, max_dimension=32)(x)
    torch.testing.assert_close(y.T @ y / len(y), torch.eye(y.shape[1], dtype=torch.float64))
    assert y.mean(0).abs().max() < 1e-10


@pytest.mark.parametrize(
    ("n", "variance", "most", "expected"),
    [(200, 0.9, 32, 2), (200, 0.9999, 32, 4), (200, 1.0, 32, 6), (200, 1.0, 3, 3), (13, 1.0, 32, 4), (2, 1.0, 32, 1)],
)
def test_how_many_dimensions(n: int, variance: float, most: int, expected: int) -> None:
    assert Whitening.fit(cloud(n), variance=variance, max_dimension=most).axes.shape == (6, expected)


@pytest.mark.parametrize("features", [torch.ones(5, 3).double(), cloud(1), torch.zeros(4, 3).double()])
def test_features_without_variety_are_refused(features: Tensor) -> None:
    with pytest.raises(ValueError, match=rf"features: got {len(features)} that do not differ.*per_element=False"):
        Whitening.fit(features, variance=0.99, max_dimension=4)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"variance": 0.0}, "variance: got 0.0"), ({"variance": 1.1}, "variance: got 1.1"),
     ({"max_dimension": 0}, "max_dimension: got 0")],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(change: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NearestNeighbours(**change)  # pyright: ignore[reportArgumentType]


@each_recipe
def test_one_network_serves_several_and_is_left_alone(recipe: FeatureDistance) -> None:
    model = samples.small_network()
    before = copy.deepcopy(model.state_dict())
    fitted, batch = fit(recipe, model), batch_of(rattled("NH3", 0), crystal())
    found, p = evaluate(model, batch), fitted.predict(batch)
    assert fitted.model is model
    assert all(model.state_dict()[name].equal(value) for name, value in before.items())
    assert p.energy.equal(found.energy)
    assert p.forces.equal(found.forces)
    assert p.unit == "nats"


@each_recipe
@pytest.mark.parametrize("per_element", [True, False])
def test_each_atom_is_scored_by_its_element(recipe: FeatureDistance, per_element: bool) -> None:
    fitted = fit(dataclasses.replace(recipe, per_element=per_element))
    assert set(fitted.scores) == ({1, 7, 8} if per_element else {ALL})
    batch = batch_of(rattled("NH3", 0), rattled("H2O", 1), rattled("O2", 2))
    features, score = evaluate(fitted.model, batch).features, fitted.predict(batch).force_uncertainty
    for atom, number in enumerate(batch.atomic_numbers.tolist()):
        alone = fitted.scores[number if per_element else ALL](features[atom : atom + 1])
        torch.testing.assert_close(score[atom], alone[0])


@each_recipe
def test_scores_stay_with_their_atoms(recipe: FeatureDistance) -> None:
    """Not every atom's score times every structure's weight: a structure's score is the mean over its own atoms."""
    batch = batch_of(rattled("NH3", 0), rattled("O2", 1, 0.3), crystal())
    moving = batch.at(batch.positions.clone().requires_grad_(), update_pairs=False)
    p = fit(recipe).predict(moving)
    assert p.force_uncertainty.shape == (10,)
    assert p.energy_uncertainty is not None
    expected = torch.stack([part.mean() for part in p.force_uncertainty.split([4, 2, 4])])
    torch.testing.assert_close(p.energy_uncertainty, expected)
    (gradient,) = torch.autograd.grad(p.energy_uncertainty[1], moving.positions)
    own = batch.structure_of_atom == 1
    assert gradient[own].abs().max() > 0
    assert gradient[~own].abs().max() == 0


@each_recipe
def test_zero_is_a_usual_training_atom(recipe: FeatureDistance) -> None:
    data, fitted = samples.dataset()["train"], fit(recipe)
    score = predict(fitted, data, dtype=torch.float64).force_uncertainty
    numbers = data.batch(cutoff=samples.CUTOFF).atomic_numbers
    for number in (1, 7, 8):
        mean = float(score[numbers == number].mean())
        assert abs(mean) < (1e-9 if isinstance(recipe, GaussianMixture) else 2.0)


@each_recipe
def test_statistics_stay_in_float64(recipe: FeatureDistance, tmp_path: Path) -> None:
    """Cast to float32 and back, saved and loaded: not a digit lost. In float32, log densities would lose theirs."""
    fitted: FeaturePredictor = fit(recipe)
    fitted.to(torch.float32).save(tmp_path / "small.uq")
    for other in (fitted.to(torch.float32), methods.load(tmp_path / "small.uq")):
        assert isinstance(other, FeaturePredictor)
        assert other.model.embedding.dtype == torch.float32
        for number, score in fitted.scores.items():
            before, after = dataclasses.asdict(score), dataclasses.asdict(other.scores[number])
            for name, value in {**before, **before["whitening"]}.items():
                if isinstance(value, Tensor):
                    same = {**after, **after["whitening"]}[name]
                    assert value.dtype == same.dtype == torch.float64
                    assert value.equal(same)
    features = evaluate(fitted.model, batch_of(rattled("NH3", 0))).features
    numbers = torch.tensor([7, 1, 1, 1])
    assert fitted.to(torch.float32).score_atoms(features, numbers).equal(fitted.score_atoms(features, numbers))


@each_recipe
def test_far_away_is_finite_and_has_a_slope(recipe: FeatureDistance) -> None:
    """Where a density itself would be zero in any floating-point type."""
    fitted = fit(recipe)
    model = fitted.model
    features = evaluate(model, batch_of(rattled("NH3", 0))).features
    far = (features + 1e4).requires_grad_()
    score = fitted.score_atoms(far, torch.tensor([7, 1, 1, 1]))
    (gradient,) = torch.autograd.grad(score.sum(), far)
    assert torch.isfinite(score).all()
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


@each_recipe
@pytest.mark.parametrize("per_element", [True, False])
def test_an_element_that_was_not_trained_on_is_refused(recipe: FeatureDistance, per_element: bool) -> None:
    """The network may know it, from the validation set."""
    data = samples.dataset(names=("H2O", "O2"))
    recipe = dataclasses.replace(recipe, per_element=per_element)
    fitted = recipe.fit_to(samples.small_network(), data["train"], data["valid"], seed=0)
    fitted.predict(batch_of(rattled("H2O", 1)))
    with pytest.raises(ValueError, match=r"atomic_numbers: got \[7\], the training set had \[1, 8\]"):
        fitted.predict(batch_of(rattled("NH3", 0)))


def test_a_network_of_several_members_is_refused() -> None:
    several = PaiNN(elements=[1, 7, 8], members=2, **samples.NETWORK)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="model: got a network with 2 members, expected a single one"):
        methods.FITTED["gmm"](several, {}, elements=[1])


@pytest.fixture(scope="module")
def ammonia_network() -> PaiNN:
    data = datasets.load("ammonia")
    recipe = SingleNetwork(
        network={"features": 12, "interactions": 2}, settings=Settings(epochs=5, learning_rate=1e-2, averaging=0.9)
    )
    start = recipe.untrained(data["train"], data["valid"], seed=0)
    return recipe.train_network(start, data["train"], data["valid"], seed=0, progress=False).model


@pytest.mark.parametrize("recipe", [*RECIPES, GaussianMixture(per_element=False)], ids=[*NAMES, "pooled"])
def test_unusual_geometries_score_higher(recipe: FeatureDistance, ammonia_network: PaiNN) -> None:
    """Training set, test set, trajectories at high temperature: in this order, atoms and structures alike."""
    data = datasets.load("ammonia")
    fitted = recipe.fit_to(ammonia_network, data["train"], data["valid"], seed=0)
    said = [predict(fitted, data[name]) for name in ("train", "test", "hot")]
    for scores in ([p.force_uncertainty for p in said], [p.energy_uncertainty for p in said]):
        train, test, hot = (float(s.median()) for s in scores if s is not None)
        assert train < test < hot
    size = torch.tensor([0.02, 0.1, 0.3, 0.6])
    strange = datasets.Dataset(name="strange", atoms=tuple(rattled("NH3", 7, float(s)) for s in size))
    score = predict(fitted, strange).energy_uncertainty
    assert score is not None
    assert (score.diff() > 0).all()
