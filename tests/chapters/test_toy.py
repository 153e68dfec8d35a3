"""The double well: its shape, its noise, and an ensemble that knows where it has seen data."""

import math

import pytest
import torch

from uqlib.chapters.toy import WELLS_SEEN, DoubleWell, ToyPrediction, fit_ensemble, fit_evidential

WELL = DoubleWell()


def at(*x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


@pytest.fixture(scope="module")
def fitted():
    x, y = WELL.sample(80, seed=0)
    return fit_ensemble(x, y, members=4, seed=0, steps=700)


def test_well_has_two_minima_and_the_barrier():
    assert WELL.energy(at(-0.4, 0.0, 0.4)).tolist() == pytest.approx([0.0, 0.25, 0.0], abs=1e-15)


def test_sample_stays_in_the_domain_and_repeats_by_seed():
    x, y = WELL.sample(500, seed=1)
    (a, b), (c, d) = WELLS_SEEN
    assert bool((((x >= a) & (x <= b)) | ((x >= c) & (x <= d))).all())
    assert bool((x.diff() >= 0).all())
    again = WELL.sample(500, seed=1)
    assert torch.equal(x, again[0])
    assert torch.equal(y, again[1])
    assert not torch.equal(x, WELL.sample(500, seed=2)[0])


def test_noise_has_the_stated_width_and_can_be_switched_off():
    x, y = WELL.sample(20_000, seed=3, domain=((0.25, 0.45),))
    assert float((y - WELL.energy(x)).std()) == pytest.approx(float(WELL.noise(x).square().mean().sqrt()), rel=0.03)
    exact_x, exact_y = WELL.sample(50, seed=3, noisy=False)
    assert torch.equal(exact_y, WELL.energy(exact_x))


def test_spread_grows_where_there_are_no_data(fitted):
    inside = fitted.predict(torch.linspace(-0.55, -0.25, 20, dtype=torch.float64)).epistemic.median()
    gap, outside, far = fitted.predict(at(0.0, 0.6, 0.75)).epistemic
    assert float(gap) > 5 * float(inside)
    assert float(outside) > 5 * float(inside)
    assert float(far) > float(outside)


def test_aleatoric_part_is_near_the_true_noise(fitted):
    x = at(-0.5, -0.4, -0.3, 0.3, 0.4)
    ratio = fitted.predict(x).aleatoric / WELL.noise(x)
    assert bool(((ratio > 0.6) & (ratio < 1.6)).all())


def test_mean_is_right_where_there_are_data(fitted):
    x = at(-0.5, -0.4, -0.3, 0.3, 0.4)
    assert float((fitted.predict(x).mean - WELL.energy(x)).abs().max()) < 0.015


def test_seeds_reproduce_and_smaller_ensembles_are_the_beginning_of_larger_ones():
    x, y = WELL.sample(30, seed=0)
    three = fit_ensemble(x, y, members=3, seed=5, steps=60).predict(x).members
    assert torch.equal(three, fit_ensemble(x, y, members=3, seed=5, steps=60).predict(x).members)
    two = fit_ensemble(x, y, members=2, seed=5, steps=60).predict(x).members
    assert torch.allclose(two, three[:2], atol=1e-9)
    assert not torch.allclose(two, fit_ensemble(x, y, members=2, seed=6, steps=60).predict(x).members, atol=1e-3)


def test_evidential_fit_finds_the_noise_where_the_data_are():
    x, y = WELL.sample(200, seed=0)
    mean, known = fit_evidential(x, y, seed=0, regulariser=0.0, members=2, steps=500).predict(x)
    assert mean.shape == known.nu.shape == (2, len(x))
    assert (mean - WELL.energy(x)).abs().mean() < 0.01
    sigma = (known.aleatoric + known.epistemic).sqrt()
    left, right = sigma[:, x < 0].median(), sigma[:, x > 0].median()
    assert 0.5 < left / WELL.noise_left < 2
    assert 0.5 < right / WELL.noise_right < 2


def test_the_weight_of_misplaced_evidence_is_used():
    x, y = WELL.sample(80, seed=0)
    nu = [fit_evidential(x, y, seed=0, regulariser=r, steps=300).predict(x)[1].nu.mean() for r in (0.0, 1.0)]
    assert nu[1] < 0.5 * nu[0]


def test_variances_add():
    prediction = ToyPrediction(members=at(1.0, 3.0).reshape(2, 1), noise=at(1.0, 2.0).reshape(2, 1))
    assert prediction.mean.tolist() == [2.0]
    assert prediction.epistemic.tolist() == pytest.approx([math.sqrt(2)])
    assert prediction.aleatoric.tolist() == pytest.approx([math.sqrt(2.5)])
    assert prediction.total.tolist() == pytest.approx([math.sqrt(4.5)])


def test_one_network_has_no_spread():
    x, y = WELL.sample(10, seed=0)
    assert fit_ensemble(x, y, members=1, seed=0, steps=2).predict(x).epistemic.tolist() == [0.0] * 10


def test_bad_input_is_refused():
    x, y = WELL.sample(10, seed=0)
    with pytest.raises(ValueError, match=r"x has shape \(10,\) and y \(9,\)"):
        fit_ensemble(x, y[:9], seed=0)
    with pytest.raises(ValueError, match="without NaN"):
        fit_ensemble(x, y * math.nan, seed=0)
    with pytest.raises(ValueError, match="members is 0"):
        fit_ensemble(x, y, members=0, seed=0)
    with pytest.raises(ValueError, match="steps 0"):
        fit_evidential(x, y, seed=0, steps=0)
    with pytest.raises(ValueError, match="n is 1"):
        WELL.sample(1, seed=0)
    with pytest.raises(ValueError, match="expected at least 2 points and intervals"):
        WELL.sample(5, seed=0, domain=((0.2, 0.1),))
