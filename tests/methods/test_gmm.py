"""What is particular to the mixtures; `test_features.py` has what they share with other distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import samples
import torch
from sklearn import mixture
from torch import Tensor

from uqlib.methods.gmm import STARTS, STEPS, FittedMixture, GaussianMixture, Mixture
from uqlib.methods.shared.distances import ALL, Whitening
from uqlib.networks.evaluation import evaluate

DATA = samples.dataset({"train": 60, "valid": 4})


def fit(**changes: float | bool | None) -> FittedMixture:
    recipe = GaussianMixture(**changes)  # pyright: ignore[reportArgumentType]
    return recipe.fit_to(samples.small_network(), DATA["train"], DATA["valid"], seed=5)


def training_features(number: int) -> Tensor:
    batch = DATA["train"].batch(cutoff=samples.CUTOFF, dtype=torch.float64)
    features = evaluate(samples.small_network(), batch).features
    return features if number == ALL else features[batch.atomic_numbers == number]


def by_scikit_learn(points: np.ndarray, components: int, regularisation: float) -> mixture.GaussianMixture:
    gaussians = mixture.GaussianMixture(
        components, reg_covar=regularisation, random_state=5, n_init=1 if components == 1 else STARTS, max_iter=STEPS
    )
    return gaussians.fit(points)


@pytest.mark.parametrize("per_element", [True, False])
@pytest.mark.parametrize("components", [1, 2, 3])
def test_likelihood_and_criterion_are_those_of_scikit_learn(components: int, per_element: bool) -> None:
    fitted = fit(components=components, per_element=per_element, max_dimension=4)
    assert set(fitted.mixtures) == ({1, 7, 8} if per_element else {ALL})
    for number, ours in fitted.mixtures.items():
        points = ours.whitening(training_features(number))
        theirs = by_scikit_learn(points.numpy(), components, 0.01)
        new = torch.cat([points, 3 * points, 1e3 * points[:3]])
        expected = torch.as_tensor(theirs.score_samples(new.numpy()))
        torch.testing.assert_close(ours.log_likelihood(new), expected, rtol=1e-10, atol=1e-8)
        assert ours.bic == {components: pytest.approx(theirs.bic(points.numpy()), rel=1e-12)}
        torch.testing.assert_close(float(ours.typical), -theirs.score(points.numpy()))


def test_a_single_gaussian_in_closed_form() -> None:
    """Half the square of the Mahalanobis distance, up to a constant."""
    fitted = fit(components=1, regularisation=1e-12)
    for number, found in fitted.mixtures.items():
        x = training_features(number)
        y = found.whitening(x)
        squared = y.square().sum(1)  # whitened by the same atoms: their covariance is the identity
        expected = 0.5 * (squared + y.shape[1] * math.log(2 * math.pi))
        torch.testing.assert_close(found.raw(x), expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found(x), 0.5 * (squared - y.shape[1]), rtol=1e-8, atol=1e-8)


def test_log_space() -> None:
    """Far from all components every density is zero in floating point, and their logarithm is still a number."""
    one = torch.eye(1, dtype=torch.float64)
    plain = Mixture(
        whitening=Whitening(mean=one[0] - 1, axes=one),
        typical=one[0, 0] - 1,
        log_weights=torch.tensor([0.25, 0.75], dtype=torch.float64).log(),
        means=torch.cat([-one, one]),
        precision_factors=torch.stack([one, 2 * one]),
        bic={2: 0.0},
    )
    x = torch.tensor([[0.0], [1e3], [-1e8]], dtype=torch.float64)
    near = 0.25 * math.exp(-0.5) + 0.75 * 2 * math.exp(-2.0)
    edge = math.log(0.25 / math.sqrt(2 * math.pi))  # the wider one alone
    expected = [math.log(near / math.sqrt(2 * math.pi)), edge - 0.5 * 1001.0**2, edge - 0.5 * (1e8 - 1) ** 2]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(plain.log_likelihood(x), expected, rtol=1e-14, atol=1e-12)
    single = torch.logsumexp(-0.5 * (x.float() - plain.means.float().T).square(), dim=1)  # the mistake
    assert (single.double() - expected).abs()[2] > 1.0


def test_the_number_of_components_has_the_lowest_criterion() -> None:
    fitted = fit(max_dimension=3)
    for number, found in fitted.mixtures.items():
        points = found.whitening(training_features(number)).numpy()
        most = min(10, len(np.unique(points, axis=0)) // 8)
        assert sorted(found.bic) == list(range(1, most + 1))
        assert found.components == min(found.bic, key=lambda k: found.bic[k])
        for k, value in found.bic.items():
            assert value == pytest.approx(by_scikit_learn(points, k, 0.01).bic(points), rel=1e-12)


def test_components_are_found_where_there_are_some() -> None:
    """Pooled, three elements are at least three clouds."""
    assert fit(per_element=False, max_dimension=4).mixtures[ALL].components >= 3


def test_few_atoms_make_one_component() -> None:
    recipe, data = GaussianMixture(), samples.dataset()
    fitted = recipe.fit_to(samples.small_network(), data["train"], data["valid"], seed=0)
    assert fitted.mixtures[7].components == 1  # four atoms of nitrogen
    assert fitted.mixtures[7].means.shape == (1, 1)


def test_the_regularisation_is_used() -> None:
    loose, tight = (fit(components=1, regularisation=r).mixtures[1] for r in (0.5, 1e-9))
    torch.testing.assert_close(loose.precision_factors[0], tight.precision_factors[0] / math.sqrt(1.5))


def test_the_seed_starts_the_maximisation() -> None:
    """And nothing else does."""
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002  must not matter
    one, other = fit(components=3), fit(components=3)
    assert all(one.mixtures[z].means.equal(other.mixtures[z].means) for z in (1, 7, 8))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"components": 0}, "components: got 0"), ({"most_components": 0}, "most_components: got 0"),
     ({"regularisation": 0.0}, "regularisation: got 0.0")],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(change: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GaussianMixture(**change)  # pyright: ignore[reportArgumentType]


def test_more_components_than_atoms_are_refused() -> None:
    with pytest.raises(ValueError, match=r"components: got 50 for 20 atoms that differ, expected fewer"):
        fit(components=50)


def test_a_maximisation_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uqlib.methods.gmm.STEPS", 2)
    with pytest.raises(ValueError, match=r"components: 3 did not settle in 2 steps; take fewer, or a larger"):
        fit(components=3)
    assert 1 in fit().mixtures[1].bic
    assert 3 not in fit().mixtures[1].bic, "those that did not settle are left out"
