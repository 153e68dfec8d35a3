"""Metrics against closed forms, against scipy, scikit-learn and uncertainty-toolbox, and against bad input."""

import math
import warnings
from typing import Literal

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch import Tensor

from uqlib import metrics
from uqlib.metrics import Estimate, UndefinedMetric, bootstrap

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # uncertainty-toolbox and what it imports, not ours to mend
    import uncertainty_toolbox as toolbox

PAIRED = (
    metrics.spearman,
    metrics.calibration_curve,
    metrics.miscalibration_area,
    metrics.coverage,
    metrics.nll,
    metrics.crps,
    metrics.interval_score,
    metrics.ence,
    metrics.sparsification_curve,
    metrics.ause,
    metrics.roc_auc_sweep,
)
GAUSSIAN = PAIRED[1:8]


def gaussian_sample(n: int, *, seed: int = 0, inflate: float = 1.0) -> tuple[Tensor, Tensor]:
    """Errors drawn from Gaussians, and their widths times `inflate` (1: perfectly calibrated)."""
    generator = torch.Generator().manual_seed(seed)
    std = torch.rand(n, generator=generator, dtype=torch.float64) + 0.05
    return std * torch.randn(n, generator=generator, dtype=torch.float64), inflate * std


# ---- accuracy


def test_mae_and_rmse_closed_form():
    prediction, reference = torch.tensor([1.0, 2.0, -1.0, 0.0]), torch.tensor([1.0, 0.0, 1.0, 1.0])
    assert float(metrics.mae(prediction, reference)) == pytest.approx(5 / 4)
    assert float(metrics.rmse(prediction, reference)) == pytest.approx(3 / 2)
    assert metrics.mae(prediction, reference).dtype == torch.float64


def test_atom_force_error_is_rms_over_components_and_independent_of_axes():
    prediction, reference = torch.tensor([[3.0, 0.0, 4.0], [1.0, 1.0, 1.0]]), torch.zeros(2, 3)
    error = metrics.atom_force_error(prediction, reference)
    assert error.tolist() == pytest.approx([math.sqrt(25 / 3), 1.0])
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0]
    assert torch.allclose(metrics.atom_force_error(prediction @ rotation, reference), error, atol=1e-6)


def test_force_components_repeat_the_deviation_of_each_atom():
    prediction = torch.arange(6.0).reshape(2, 3)
    error, std = metrics.force_components(prediction, torch.ones(2, 3), torch.tensor([0.1, 0.2]))
    assert error.tolist() == [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    assert std.tolist() == pytest.approx([0.1] * 3 + [0.2] * 3)


# ---- ranking


@pytest.mark.parametrize("rounding", [1, 10])  # to one digit: many ties
def test_spearman_agrees_with_scipy(rounding: int):
    error, uncertainty = gaussian_sample(500)
    error, uncertainty = error.round(decimals=rounding), uncertainty.round(decimals=rounding)
    expected = stats.spearmanr(error.abs().numpy(), uncertainty.numpy())[0]
    assert float(metrics.spearman(error, uncertainty)) == pytest.approx(expected, abs=1e-12)


def test_spearman_of_perfect_and_reversed_order():
    error = torch.tensor([-4.0, 1.0, 2.0, -3.0])
    assert float(metrics.spearman(error, error.abs().exp())) == pytest.approx(1.0)
    assert float(metrics.spearman(error, -error.abs())) == pytest.approx(-1.0)


def test_ideal_spearman_is_what_a_calibrated_model_reaches():
    error, std = gaussian_sample(20_000)
    ideal = metrics.ideal_spearman(std[:1000], draws=300)
    assert 0.3 < ideal.value < 0.7
    assert float(metrics.spearman(error, std)) == pytest.approx(ideal.value, abs=3 * ideal.standard_error)
    shuffled = metrics.spearman(error[:1000], std[:1000].flip(0))
    assert float(shuffled) < ideal.low


def test_ideal_spearman_is_higher_for_three_components_and_for_wider_ranges():
    _, std = gaussian_sample(500)
    one = metrics.ideal_spearman(std, draws=100)
    assert metrics.ideal_spearman(std, components=3, draws=100).value > one.high
    assert metrics.ideal_spearman(std**3, draws=100).value > one.high


@pytest.mark.parametrize("components", [1, 3])
def test_the_interval_of_ideal_spearman_holds_a_perfect_model_whose_errors_go_together(components: Literal[1, 3]):
    """Forty structures of eight atoms; errors are correlated inside a structure, how much is not told."""
    random = torch.Generator().manual_seed(0)
    group = torch.arange(40).repeat_interleave(8)
    std = (0.3 * torch.randn(40, generator=random)[group] + 0.3 * torch.randn(320, generator=random)).exp().double()
    ideal = metrics.ideal_spearman(std, components=components, groups=group, draws=400)
    naive = metrics.ideal_spearman(std, components=components, draws=400)
    assert ideal.value == naive.value
    assert ideal.low <= naive.low < naive.high <= ideal.high
    held = {}
    for correlation in (0.0, 0.5, 0.9):
        found = []
        for _ in range(200):
            own, common = (torch.randn(components, n, generator=random).double() for n in (320, 40))
            noise = (1 - correlation) ** 0.5 * own + correlation**0.5 * common[:, group]
            found.append(float(metrics.spearman(std * noise.square().mean(dim=0).sqrt(), std)))
        held[correlation] = np.mean([ideal.low <= value <= ideal.high for value in found])
        held["naive"] = np.mean([naive.low <= value <= naive.high for value in found])
    assert min(held[correlation] for correlation in (0.0, 0.5, 0.9)) >= 0.93
    assert held["naive"] < 0.8  # at 0.9


def test_ideal_spearman_of_groups_of_one_is_that_of_independent_errors():
    _, std = gaussian_sample(50)
    assert metrics.ideal_spearman(std, groups=torch.arange(50)) == metrics.ideal_spearman(std)
    with pytest.raises(ValueError, match=r"groups has shape \(3,\)"):
        metrics.ideal_spearman(std, groups=torch.arange(3))


@pytest.mark.parametrize("rounding", [1, 10])
@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_roc_auc_agrees_with_scikit_learn(rounding: int, threshold: float):
    error, uncertainty = gaussian_sample(500)
    uncertainty = uncertainty.round(decimals=rounding)
    expected = roc_auc_score((error.abs() > threshold).numpy(), uncertainty.numpy())
    assert float(metrics.roc_auc(error, uncertainty, threshold)) == pytest.approx(expected, abs=1e-12)


def test_roc_auc_sweep_is_roc_auc_at_the_quantiles_of_the_error():
    error, uncertainty = gaussian_sample(400)
    thresholds, areas = metrics.roc_auc_sweep(error, uncertainty, quantiles=(0.5, 0.9))
    assert float(thresholds[1]) == pytest.approx(np.quantile(error.abs().numpy(), 0.9))
    assert float(areas[1]) == float(metrics.roc_auc(error, uncertainty, float(thresholds[1])))


def test_ranking_accepts_scores_of_any_sign_and_unit():
    error, std = gaussian_sample(300)
    nats = std.log() - 5.0
    assert float(metrics.spearman(error, nats)) == pytest.approx(float(metrics.spearman(error, std)))
    assert float(metrics.ause(error, nats)) == pytest.approx(float(metrics.ause(error, std)))


def test_ause_closed_form():
    error = torch.tensor([1.0, 2.0, 3.0])
    assert float(metrics.ause(error, error)) == pytest.approx(0.0)
    # Worst order: what is left has mean 2, 2.5, 3 instead of 2, 1.5, 1, over a full mean of 2.
    assert float(metrics.ause(error, -error)) == pytest.approx((0 + 1.0 + 2.0) / 3 / 2)
    # All tied: the remaining error stays 2 whatever is thrown away, independent of the order of the input.
    tied = torch.ones(3)
    assert float(metrics.ause(error, tied)) == pytest.approx((0 + 0.5 + 1.0) / 3 / 2)
    assert float(metrics.ause(error.flip(0), tied)) == pytest.approx((0 + 0.5 + 1.0) / 3 / 2)


def test_the_sign_of_an_error_does_not_matter_to_a_ranking():
    error, uncertainty = gaussian_sample(300)
    assert bool((error < 0).any())
    for metric in (metrics.spearman, metrics.ause, lambda e, u: metrics.roc_auc(e, u, 0.2)):
        assert float(metric(error, uncertainty)) == float(metric(error.abs(), uncertainty))
        assert float(metric(-error, uncertainty)) == float(metric(error, uncertainty))
    _, remaining, oracle = metrics.sparsification_curve(error, uncertainty)
    assert (float(remaining[0]), float(oracle[0])) == pytest.approx((1.0, 1.0))
    assert bool((oracle.diff() < 1e-12).all())


# ---- Gaussian metrics


def test_nll_goes_below_zero_and_lower_is_better():
    """Sharp forecasts have densities above one. Nothing may turn that sign round."""
    error, std = gaussian_sample(2000)
    sharp = metrics.nll(1e-3 * error, 1e-3 * std)
    expected = -stats.norm.logpdf(1e-3 * error.numpy(), scale=1e-3 * std.numpy()).mean()
    assert float(sharp) == pytest.approx(expected)
    assert float(sharp) < 0
    for factor in (0.5, 2.0):
        assert float(metrics.nll(1e-3 * error, factor * 1e-3 * std)) > float(sharp)
    assert float(metrics.calibrated_nll(1e-3 * error, 2e-3 * std, 1e-3 * error, 2e-3 * std)) < 0


@pytest.mark.parametrize("inflate", [0.3, 1.0, 2.5])
def test_agreement_with_uncertainty_toolbox(inflate: float):
    error, std = gaussian_sample(700, inflate=inflate)
    arguments = (error.numpy(), std.numpy(), np.zeros(700))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        area = toolbox.metrics_calibration.miscalibration_area(*arguments)
        nll = toolbox.metrics_scoring_rule.nll_gaussian(*arguments)
        crps = toolbox.metrics_scoring_rule.crps_gaussian(*arguments)
        sharpness = toolbox.metrics_calibration.sharpness(std.numpy())
        interval = toolbox.metrics_scoring_rule.interval_score(*arguments)  # averaged over 99 levels
    assert float(metrics.miscalibration_area(error, std)) == pytest.approx(area, abs=1e-10)
    assert float(metrics.nll(error, std)) == pytest.approx(nll)
    assert float(metrics.crps(error, std)) == pytest.approx(crps)
    assert float(metrics.sharpness(std)) == pytest.approx(sharpness)
    levels = np.linspace(0.01, 0.99, 99)
    averaged = np.mean([float(metrics.interval_score(error, std, float(level))) for level in levels])
    assert averaged == pytest.approx(interval)


def test_calibrated_sample_lies_on_the_diagonal():
    error, std = gaussian_sample(20_000)
    expected, observed = metrics.calibration_curve(error, std)
    assert float((expected - observed).abs().max()) < 0.02
    assert float(metrics.miscalibration_area(error, std)) < 0.01
    assert float(metrics.coverage(error, std, 0.9)) == pytest.approx(0.9, abs=0.01)
    assert float(metrics.ence(error, std)) < 0.05


def test_worst_calibration_is_one_half():
    error = torch.ones(10)
    assert float(metrics.miscalibration_area(error, torch.full((10,), 1e-6))) == pytest.approx(0.5, abs=0.01)
    assert float(metrics.miscalibration_area(error, torch.full((10,), 1e6))) == pytest.approx(0.5, abs=0.01)


def test_overconfidence_lies_below_the_diagonal():
    error, std = gaussian_sample(2000, inflate=0.5)
    expected, observed = metrics.calibration_curve(error, std)
    assert bool((observed <= expected).all())
    assert float(metrics.coverage(error, std, 0.95)) < 0.8


def test_miscalibration_area_of_a_crossing_curve():
    # Half the errors are exactly zero, half lie ten deviations out: the observed share is 1/2 for every p < 1, so the
    # area is that of two triangles, 1/8 + 1/8.
    error = torch.tensor([0.0, 10.0] * 50)
    assert float(metrics.miscalibration_area(error, torch.ones(100), points=1001)) == pytest.approx(0.25, abs=1e-3)


def test_exact_zero_deviation_is_allowed_where_it_has_a_meaning():
    error, std = torch.tensor([0.0, 1.0]), torch.zeros(2)
    assert float(metrics.coverage(error, std)) == 0.5
    _, observed = metrics.calibration_curve(error, std, points=3)
    assert observed.tolist() == [0.5, 0.5, 1.0]


def test_calibrated_nll_is_blind_to_a_common_factor_and_no_worse():
    error, std = gaussian_sample(2000)
    held_out, held_out_std = gaussian_sample(2000, seed=1)
    calibrated = metrics.calibrated_nll(error, std, held_out, held_out_std)
    tenfold = metrics.calibrated_nll(error, 10 * std, held_out, 10 * held_out_std)
    assert float(tenfold) == pytest.approx(float(calibrated))
    assert float(tenfold) < float(metrics.nll(error, 10 * std))
    assert float(calibrated) == pytest.approx(float(metrics.nll(error, std)), abs=0.01)


def test_crps_tends_to_the_absolute_error_when_the_deviation_vanishes():
    error = torch.tensor([0.5, -1.5])
    assert float(metrics.crps(error, torch.full((2,), 1e-9))) == pytest.approx(1.0)


def test_ence_closed_form():
    # Two bins: deviation 1 with errors of 2 (off by 1), deviation 2 with errors of 2 (exact).
    error, std = torch.tensor([2.0, -2.0, 2.0, -2.0]), torch.tensor([1.0, 1.0, 2.0, 2.0])
    assert float(metrics.ence(error, std, bins=2)) == pytest.approx(0.5)
    predicted, found = metrics.error_based_calibration(error, std, bins=2)
    assert predicted.tolist() == [1.0, 2.0]
    assert found.tolist() == [2.0, 2.0]


# ---- bootstrap


def test_bootstrap_of_a_mean_gives_its_standard_error():
    values = torch.randn(400, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    estimate = bootstrap(torch.mean, values, resamples=2000)
    assert estimate.value == float(values.mean())
    assert estimate.standard_error == pytest.approx(float(values.std()) / 20, rel=0.06)
    assert estimate.low < estimate.value < estimate.high
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * estimate.standard_error, rel=0.08)


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says():
    truth = float(metrics.spearman(*gaussian_sample(200_000)))
    hits = 0
    for seed in range(60):
        estimate = bootstrap(metrics.spearman, *gaussian_sample(100, seed=seed + 1), resamples=60, level=0.8)
        hits += estimate.low <= truth <= estimate.high
    assert 38 <= hits <= 58  # 48 expected, three standard deviations of a binomial are 9


def test_error_bars_shrink_as_one_over_root_n():
    small = bootstrap(metrics.nll, *gaussian_sample(200), resamples=500)
    large = bootstrap(metrics.nll, *gaussian_sample(3200), resamples=500)
    assert small.standard_error / large.standard_error == pytest.approx(4.0, rel=0.3)


def test_groups_widen_the_error_bar_of_copied_data():
    error, std = gaussian_sample(100)
    copies = (error.repeat_interleave(9), std.repeat_interleave(9))
    groups = torch.arange(100).repeat_interleave(9)
    honest = bootstrap(metrics.spearman, error, std, resamples=400)
    naive = bootstrap(metrics.spearman, *copies, resamples=400)
    grouped = bootstrap(metrics.spearman, *copies, groups=groups, resamples=400)
    assert naive.standard_error == pytest.approx(honest.standard_error / 3, rel=0.2)
    assert grouped.standard_error == pytest.approx(honest.standard_error, rel=0.2)


def test_groups_of_unequal_size_are_drawn_whole():
    groups = torch.tensor([7, 2, 7, 7, 2, 5])  # unsorted labels, sizes 3, 2 and 1
    values = torch.tensor([1.0, 10.0, 1.0, 1.0, 10.0, 100.0])

    def whole_groups(drawn: Tensor) -> Tensor:
        assert int((drawn == 1.0).sum()) % 3 == 0
        assert int((drawn == 10.0).sum()) % 2 == 0
        return drawn.mean()

    assert bootstrap(whole_groups, values, groups=groups, resamples=50).resamples == 50


def test_bootstrap_is_repeatable_and_seeded():
    data = gaussian_sample(50)
    first = bootstrap(metrics.spearman, *data, resamples=50, seed=4)
    assert first == bootstrap(metrics.spearman, *data, resamples=50, seed=4)
    assert first != bootstrap(metrics.spearman, *data, resamples=50, seed=5)


def test_bootstrap_takes_force_arrays():
    forces = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    estimate = bootstrap(metrics.mae, forces, torch.zeros(30, 3), resamples=50)
    assert estimate.value == pytest.approx(float(forces.abs().mean()))


def test_bootstrap_leaves_out_resamples_without_a_value_and_says_how_many():
    error = torch.cat((torch.zeros(40), torch.ones(4)))
    uncertainty = torch.linspace(0, 1, 44)
    estimate = bootstrap(lambda e, u: metrics.roc_auc(e, u, 0.5), error, uncertainty, resamples=500)
    assert 450 <= estimate.resamples < 500  # without any of the four in about e^-4 of the draws
    with pytest.raises(UndefinedMetric, match="less extreme threshold"):
        bootstrap(lambda e, u: metrics.roc_auc(e, u, 0.5), error[:41], uncertainty[:41], resamples=200)


@pytest.mark.parametrize(
    ("value", "standard_error", "text"),
    [
        (0.8812, 0.0231, "0.88 ± 0.02"),
        (0.8812, 0.0142, "0.881 ± 0.014"),
        (-12.34, 3.0, "-12 ± 3"),
        (1234.0, 120.0, "1230 ± 120"),
        (3.21e-7, 2.6e-8, "(3.2 ± 0.3)e-07"),
        (0.5, 0.0, "0.5 ± 0"),
        (0.123456789, 3.3e-16, "0.1235 ± 0"),
        (-7.25e3, 2e-12, "-7250 ± 0"),
        (0.0, 0.0, "0 ± 0"),
    ],
)
def test_estimate_prints_as_many_digits_as_it_knows(value: float, standard_error: float, text: str):
    estimate = Estimate(value=value, low=0.0, high=1.0, standard_error=standard_error, level=0.95, resamples=10)
    assert str(estimate) == f"{estimate}" == text
    assert repr(estimate).startswith(f"Estimate({text}; 95 % interval 0 to 1")
    assert f"{estimate:.3f}" == f"{value:.3f} ± {standard_error:.3f}"


# ---- bad input: the error names the argument, what arrived and the remedy


@pytest.mark.parametrize("metric", PAIRED)
@pytest.mark.parametrize(
    ("error", "score", "message"),
    [
        (torch.ones(3), torch.ones(4), "lengths differ: error has 3"),
        (torch.ones(3), torch.ones(3, 1), r"shape \(3, 1\), expected \(n,\)"),
        (torch.ones(3, 3), torch.ones(3), "use atom_force_error"),
        (torch.tensor([1.0, math.nan, 2.0]), torch.ones(3), "error holds 1 NaN or infinite values out of 3"),
        (torch.ones(2), torch.tensor([1.0, math.inf]), "holds 1 NaN or infinite"),
        (torch.ones(0), torch.ones(0), "error is empty"),
    ],
)
def test_bad_pairs_are_refused(metric, error: Tensor, score: Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        metric(error, score)


@pytest.mark.parametrize("metric", GAUSSIAN)
def test_scores_that_only_rank_are_refused_as_deviations(metric):
    with pytest.raises(ValueError, match=r"std has a negative value \(-2\).*must be calibrated"):
        metric(torch.ones(2), torch.tensor([1.0, -2.0]))


@pytest.mark.parametrize("metric", [metrics.nll, metrics.crps, metrics.ence])
def test_zero_deviation_is_refused_by_densities(metric):
    with pytest.raises(ValueError, match="std is zero for 1 of 2 predictions"):
        metric(torch.ones(2), torch.tensor([1.0, 0.0]))


def test_other_bad_arguments():
    error, std = gaussian_sample(20)
    with pytest.raises(TypeError, match=r"error is a list, expected a torch\.Tensor"):
        metrics.spearman([1.0, 2.0], torch.ones(2))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="expected the same"):
        metrics.mae(torch.ones(3), torch.ones(3, 1))
    with pytest.raises(ValueError, match=r"expected \(N, 3\)"):
        metrics.atom_force_error(torch.ones(3), torch.ones(3))
    with pytest.raises(ValueError, match="std has 2 values for 4 atoms"):
        metrics.force_components(torch.ones(4, 3), torch.zeros(4, 3), torch.ones(2))
    with pytest.raises(ValueError, match=r"write 95 % as 0\.95"):
        metrics.coverage(error, std, 95)
    with pytest.raises(ValueError, match="bins is 21 for 20 predictions"):
        metrics.ence(error, std, bins=21)
    with pytest.raises(ValueError, match="points is 1, expected at least 2"):
        metrics.calibration_curve(error, std, points=1)
    with pytest.raises(ValueError, match="was the split trained on"):
        metrics.calibrated_nll(error, std, torch.zeros(5), torch.ones(5))
    with pytest.raises(ValueError, match="components is 2"):
        metrics.ideal_spearman(std, components=2)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="uncertainty has a negative value"):
        metrics.ideal_spearman(-std)


def test_undefined_metrics_say_why():
    with pytest.raises(UndefinedMetric, match=r"uncertainty is 0\.3 for all 4 predictions"):
        metrics.spearman(torch.arange(4.0), torch.full((4,), 0.3))
    with pytest.raises(UndefinedMetric, match="error is 1 for all 2 predictions"):
        metrics.spearman(torch.tensor([-1.0, 1.0]), torch.tensor([1.0, 2.0]))
    with pytest.raises(UndefinedMetric, match="nothing can be ranked"):
        metrics.ideal_spearman(torch.ones(4))
    with pytest.raises(UndefinedMetric, match=r"0 of 4 errors exceed it.*from 0 to 3"):
        metrics.roc_auc(torch.arange(4.0), torch.arange(4.0), threshold=5.0)
    with pytest.raises(UndefinedMetric, match="nothing to throw away"):
        metrics.ause(torch.zeros(4), torch.arange(4.0))


def test_bootstrap_refuses_bad_input():
    error, std = gaussian_sample(6)
    with pytest.raises(ValueError, match="tensors is empty"):
        bootstrap(metrics.spearman)
    with pytest.raises(ValueError, match="same first dimension"):
        bootstrap(metrics.spearman, error, std[:5])
    with pytest.raises(ValueError, match=r"groups has shape \(3,\).*expected \(6,\) integers"):
        bootstrap(metrics.spearman, error, std, groups=torch.arange(3))
    with pytest.raises(ValueError, match=r"torch\.float32"):
        bootstrap(metrics.spearman, error, std, groups=torch.ones(6))
    with pytest.raises(ValueError, match="1 groups arrived"):
        bootstrap(metrics.spearman, error, std, groups=torch.zeros(6, dtype=torch.int64))
    with pytest.raises(ValueError, match="resamples is 1"):
        bootstrap(metrics.spearman, error, std, resamples=1)
    with pytest.raises(ValueError, match=r"tensors\[1\] holds 1 NaN"):
        bootstrap(metrics.mae, error, torch.where(error == error[0], math.nan, error))
