"""Recalibration against scikit-learn and scipy, by simulation where there is a guarantee, and as a predictor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import samples
import torch
from samples import batch_of, rattled
from scipy import optimize, stats
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from uqlib import calibration, methods, metrics
from uqlib.calibration import KINDS, Affine, Calibrated, Calibrator, Conformal, Isotonic, LogAffine, Scalar, calibrate
from uqlib.methods.shared.committee import Committee
from uqlib.metrics import UndefinedMetric
from uqlib.prediction import Prediction, Predictor, predict
from uqlib.structures.datasets import Dataset


def sample(n: int = 2000, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Errors of widths sigma, and uncertainties u with sigma² = 4 u² + 0.01."""
    generator = torch.Generator().manual_seed(seed)
    u = 0.02 + 0.3 * torch.rand(n, generator=generator, dtype=torch.float64) ** 2
    return (4 * u**2 + 0.01).sqrt() * torch.randn(n, generator=generator, dtype=torch.float64), u


# ---- the maps


def test_scalar_is_the_maximum_of_the_likelihood() -> None:
    error, u = sample()
    found = Scalar.fit(error, u)
    best = optimize.minimize_scalar(lambda a: float(metrics.nll(error, a * u)), bounds=(0.1, 20), method="bounded")
    assert found.factor == pytest.approx(best.x, rel=1e-4)
    assert float((error / found(u)).square().mean()) == pytest.approx(1.0)


def test_affine_finds_the_truth_and_the_maximum_of_the_likelihood() -> None:
    error, u = sample(100_000)
    found = Affine.fit(error, u)
    assert found.slope == pytest.approx(4.0, rel=0.05)
    assert found.offset == pytest.approx(0.01, rel=0.05)
    error, u = sample(300)
    found = Affine.fit(error, u)

    def loss(p: np.ndarray) -> float:
        return float(metrics.nll(error, (p[0] ** 2 * u**2 + p[1] ** 2).sqrt()))

    other = optimize.minimize(loss, [1.0, 0.3], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12})
    assert float(metrics.nll(error, found(u))) <= other.fun + 1e-8
    assert (found.slope, found.offset) == pytest.approx(tuple(other.x**2), rel=1e-3)


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e4])
def test_affine_does_not_depend_on_the_unit(scale: float) -> None:
    error, u = sample(300)
    one, other = Affine.fit(error, u), Affine.fit(scale * error, scale * u)
    assert other.slope == pytest.approx(one.slope, rel=1e-4)
    assert other.offset == pytest.approx(scale**2 * one.offset, rel=1e-4)


def test_log_affine_finds_the_truth_from_scores_of_any_sign() -> None:
    generator = torch.Generator().manual_seed(0)
    score = 30.0 * torch.randn(50_000, generator=generator, dtype=torch.float64) - 20.0
    error = (0.05 * score - 2.0).exp() * torch.randn(50_000, generator=generator, dtype=torch.float64)
    found = LogAffine.fit(error, score)
    assert found.slope == pytest.approx(0.05, rel=0.01)
    assert found.offset == pytest.approx(-2.0, abs=0.02)
    best = optimize.minimize(lambda p: float(metrics.nll(error, (p[0] * score + p[1]).exp())), [0.04, -1.8])
    assert float(metrics.nll(error, found(score))) <= best.fun + 1e-8
    assert torch.isfinite(found(torch.tensor([1e9]))).all()


def test_isotonic_agrees_with_scikit_learn() -> None:
    error, u = sample(500)
    found = Isotonic.fit(error, u, proportional=False, floor=1e-9)
    other = IsotonicRegression(out_of_bounds="clip").fit(u.numpy(), error.numpy() ** 2)
    at = torch.linspace(-0.1, 0.5, 1001, dtype=torch.float64)  # beyond both ends
    np.testing.assert_allclose(found(at).square(), np.maximum(other.predict(at.numpy()), 0.0), atol=1e-12)


def test_isotonic_beyond_its_data_and_at_its_floor() -> None:
    error, u = sample(500)
    found = Isotonic.fit(error, u, proportional=True)
    last = u.max().reshape(1)
    assert float(found(2 * last)) == pytest.approx(2 * float(found(last)))
    score = Isotonic.fit(error, u.log(), proportional=False)
    assert float(score(last.log() + 5)) == pytest.approx(float(score(last.log())))
    none = torch.where(u < 0.05, 0.0, error)  # no error at all where the uncertainty is small
    assert float(Isotonic.fit(none, u, proportional=True)(u).min()) >= 0.0299 * float(none.square().mean().sqrt())


def test_isotonic_with_a_single_knot_and_with_knots_that_coincide_in_float32() -> None:
    one = Isotonic(knots=(0.1,), variances=(0.04,), proportional=False)
    assert one(torch.tensor([0.0, 0.1, 7.0])).tolist() == pytest.approx([0.2, 0.2, 0.2])
    close = Isotonic(knots=(0.1, 0.1 + 1e-12, 0.2), variances=(0.01, 0.04, 0.09), proportional=True)
    at = torch.tensor([0.05, 0.1, 0.15, 0.2], requires_grad=True)
    sigma = close(at)
    assert sigma.dtype == torch.float32
    (gradient,) = torch.autograd.grad(sigma.sum(), at)
    assert torch.isfinite(sigma).all()
    assert torch.isfinite(gradient).all()


FITS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "scalar": Scalar.fit,
    "affine": Affine.fit,
    "log-affine": LogAffine.fit,
    "isotonic": lambda e, u: Isotonic.fit(e, u, proportional=True),
    "conformal": lambda e, u: Conformal.fit(e, u, torch.arange(len(u)), level=0.9),
}


@pytest.mark.parametrize("name", FITS)
def test_order_is_kept(name: str) -> None:
    """Strictly, but for the isotonic map, which may make ties and nothing worse; Spearman does not notice."""
    found = FITS[name](*sample(300))
    error, u = sample(300, seed=1)
    sigma = found(u)[u.argsort()]
    assert (sigma > 0).all()
    if name == "isotonic":
        assert (sigma.diff() >= -1e-12).all()
        shuffled = stats.spearmanr(u.numpy(), found(u).numpy())[0]
        assert shuffled > 0.9
    else:
        assert (sigma.diff() > 0).all()
        assert float(metrics.spearman(error, found(u))) == pytest.approx(float(metrics.spearman(error, u)), abs=1e-12)


@pytest.mark.parametrize("name", FITS)
def test_every_map_improves_what_it_is_for(name: str) -> None:
    found = FITS[name](*sample())
    error, u = sample(seed=1)
    before, after = (float(metrics.miscalibration_area(error, s)) for s in (u, found(u)))
    assert before > 0.2
    assert after < 0.06
    assert float(metrics.nll(error, found(u))) < float(metrics.nll(error, u)) - 1


@pytest.mark.parametrize("name", FITS)
def test_gradients_of_the_maps(name: str) -> None:
    found = FITS[name](*sample(200))
    u = torch.tensor([0.013, 0.1234, 0.31, 0.55], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(found, u, eps=1e-7, atol=1e-5)


# ---- conformal intervals


@pytest.mark.parametrize(("n", "level"), [(9, 0.9), (10, 0.9), (19, 0.95), (57, 0.5), (100, 0.683)])
def test_conformal_takes_the_right_order_statistic(n: int, level: float) -> None:
    error = torch.randn(n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    found = Conformal.fit(error, torch.ones(n), torch.arange(n), level=level)
    rank = math.ceil(round((n + 1) * level, 9))
    assert found.quantile == float(error.abs().sort().values[rank - 1])
    assert found.half_width(torch.tensor([2.0])).tolist() == pytest.approx([2 * found.quantile])
    assert float(metrics.coverage(error, found(torch.ones(n, dtype=torch.float64)), level)) == rank / n


def test_conformal_says_how_many_are_needed() -> None:
    error = torch.ones(18)
    with pytest.raises(ValueError, match=r"got 18 independent groups.*level of 0\.95 needs at least 19"):
        Conformal.fit(error, error, torch.arange(18), level=0.95)
    Conformal.fit(torch.ones(19), torch.ones(19), torch.arange(19), level=0.95)
    with pytest.raises(ValueError, match="got 2 independent groups"):  # not 18 data
        Conformal.fit(error, error, torch.arange(18) % 2, level=0.8)


def heavy_tailed(rng: np.random.Generator, groups: int, members: int) -> Tensor:
    """(groups, members) errors with a scale of their own in each group, far from Gaussian."""
    scale = np.exp(rng.normal(size=(groups, 1)))
    return torch.as_tensor(scale * rng.standard_t(2.5, size=(groups, members)))


@pytest.mark.parametrize("members", [1, 5])
def test_conformal_covers_what_it_promises(members: int) -> None:
    """Over many calibration sets, for errors of any distribution that come in groups."""
    rng, level, groups, rounds = np.random.default_rng(0), 0.8, 9, 2000
    label = torch.arange(groups).repeat_interleave(members)
    hits = torch.zeros(rounds, dtype=torch.float64)
    for k in range(rounds):
        error = heavy_tailed(rng, groups + 1, members)
        u = torch.as_tensor(rng.uniform(0.5, 2.0, size=error.shape))
        held = Conformal.fit(error[:-1].reshape(-1), u[:-1].reshape(-1), label, level=level)
        hits[k] = (error[-1].abs() <= held.half_width(u[-1])).double().mean()
    tolerance = 3 * float(hits.std()) / math.sqrt(rounds)
    assert float(hits.mean()) > level - tolerance
    if members == 1:  # and no more than (n + 1) level rounded up: here exactly 8 of 10
        assert float(hits.mean()) < level + tolerance


def test_forgetting_the_groups_breaks_the_promise() -> None:
    """The test above can fail: take five correlated errors for independent ones, and few groups."""
    rng, level, rounds = np.random.default_rng(0), 0.9, 600
    naive = torch.zeros(rounds, dtype=torch.float64)
    for k in range(rounds):
        error = heavy_tailed(rng, 4, 20)
        pooled = Conformal.fit(error[:-1].reshape(-1), torch.ones(60), torch.arange(60), level=level)
        naive[k] = (error[-1].abs() <= pooled.quantile).double().mean()
    assert float(naive.mean()) < level - 4 * float(naive.std()) / math.sqrt(rounds)


# ---- fitted to predictions


def frames(n: int, *, seed: int = 0, groups: int | None = None) -> tuple[Dataset, Prediction]:
    """Labelled molecules, and a prediction whose forces are off by 3 u + noise of the wrong size, u known."""
    generator = torch.Generator().manual_seed(seed)
    atoms = []
    for k in range(n):
        atom = samples.label(rattled(("H2O", "NH3")[k % 2], 100 * seed + k))
        atom.info["group"] = f"run {k if groups is None else k % groups}"
        atoms.append(atom)
    data = Dataset(name="molecules/valid", atoms=tuple(atoms))
    numbers = torch.as_tensor(np.concatenate([a.numbers for a in atoms]))
    total, structures = len(numbers), n
    u = 0.05 + torch.rand(total, generator=generator, dtype=torch.float64)
    size = torch.where(numbers == 1, 1.0, 5.0) * u
    per_atom = torch.tensor([1 / len(a) for a in atoms], dtype=torch.float64)
    spread = 0.01 + 0.1 * torch.rand(structures, generator=generator, dtype=torch.float64)
    prediction = Prediction(
        energy=torch.as_tensor(data.energies)
        + 2 * spread * torch.randn(structures, generator=generator, dtype=torch.float64) / per_atom,
        forces=torch.as_tensor(data.forces)
        + size[:, None] * torch.randn(total, 3, generator=generator, dtype=torch.float64),
        force_uncertainty=u,
        energy_uncertainty=spread / per_atom,
    )
    return data, prediction


def as_scores(prediction: Prediction) -> Prediction:
    energy = prediction.energy_uncertainty
    assert energy is not None
    return replace(
        prediction,
        force_uncertainty=prediction.force_uncertainty.log() * 10 - 5,
        energy_uncertainty=energy,
        unit="nats",
    )


def test_calibrate_mends_forces_and_energies() -> None:
    data, said = frames(200)
    test, again = frames(200, seed=1)
    for kind in KINDS:
        found = calibrate(kind, said, data)
        better = found(again, test.batch())
        error, sigma = metrics.force_components(again.forces, torch.as_tensor(test.forces), better.force_uncertainty)
        assert float((error / sigma).square().mean()) == pytest.approx(1.0, abs=0.35), kind
        assert better.energy_uncertainty is not None
        ratio = (again.energy - torch.as_tensor(test.energies)) / better.energy_uncertainty
        assert float(ratio.square().mean()) == pytest.approx(1.0, abs=0.35), kind
        assert better.energy.equal(again.energy)
        assert better.forces.equal(again.forces)


class OneStructure:
    """So many hydrogen atoms, as far as a calibrator looks."""

    def __init__(self, atoms: int) -> None:
        self.atomic_numbers = torch.ones(atoms, dtype=torch.long)
        self.structure_of_atom = torch.zeros(atoms, dtype=torch.long)


def said_of(atoms: int, spread: float) -> Prediction:
    return Prediction(
        energy=torch.zeros(1, dtype=torch.float64),
        forces=torch.zeros(atoms, 3),
        force_uncertainty=torch.ones(atoms),
        energy_uncertainty=torch.tensor([spread], dtype=torch.float64),
    )


def test_energies_are_calibrated_per_atom() -> None:
    """Eight cells with eight times the uncertainty of one keep that proportion."""
    data, said = frames(60)
    found = calibrate("affine", said, data)
    one, eight = (found(said_of(4 * n, 0.1 * n), OneStructure(4 * n)).energy_uncertainty for n in (1, 8))
    assert one is not None
    assert eight is not None
    assert float(eight) == pytest.approx(8 * float(one))


def test_per_element() -> None:
    data, said = frames(200)
    found = calibrate("scalar", said, data, per_element=True)
    factors = {number: found.forces[number] for number in (1, 7, 8)}
    assert all(isinstance(value, Scalar) for value in factors.values())
    assert [value.factor for value in factors.values()] == pytest.approx([1.0, 5.0, 5.0], rel=0.15)  # pyright: ignore[reportAttributeAccessIssue]
    batch = data.batch()
    better = found(said, batch)
    ratio = better.force_uncertainty / said.force_uncertainty
    assert ratio[batch.atomic_numbers == 7].tolist() == pytest.approx([factors[7].factor] * 100)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match=r"atomic_numbers: got \[6\], this calibrator has maps for \[1, 7, 8\]"):
        found(said_of(5, 0.1), batch_of(rattled("CH4", 0)))


def test_conformal_counts_groups_and_says_its_level() -> None:
    data, said = frames(60, groups=12)
    found = calibrate("conformal", said, data)
    assert (found.level, found.groups) == (0.9, 12)
    assert "holds 90 %" in str(found)
    with pytest.raises(ValueError, match=r"got 12 independent groups.*needs at least 19"):
        calibrate("conformal", said, data, level=0.95)


@pytest.mark.parametrize("kind", ["scalar", "conformal"])
def test_a_ranking_is_refused_where_a_size_is_needed(kind: Any) -> None:
    data, said = frames(40)
    with pytest.raises(ValueError, match=r"in nats, which has no size.*use 'affine' or 'isotonic'"):
        calibrate(kind, as_scores(said), data)


@pytest.mark.parametrize("kind", ["affine", "isotonic"])
def test_a_ranking_becomes_a_deviation_and_can_then_be_conformal(kind: Any) -> None:
    data, said = frames(300)
    found = calibrate(kind, as_scores(said), data)
    assert isinstance(found.forces[0], LogAffine if kind == "affine" else Isotonic)
    test, again = frames(100, seed=1)
    better = found(as_scores(again), test.batch())
    assert better.unit == "eV/Å"
    error, sigma = metrics.force_components(again.forces, torch.as_tensor(test.forces), better.force_uncertainty)
    assert float((error / sigma).square().mean()) == pytest.approx(1.0, abs=0.3)
    metrics.report(better, test.batch(), resamples=5)
    with pytest.raises(ValueError, match="calibrator was fitted to 'nats'"):
        found(again, test.batch())
    top = calibrate("conformal", better, test)
    assert isinstance(top.forces[0], Conformal)


def test_bad_input_is_refused() -> None:
    data, said = frames(40)
    with pytest.raises(ValueError, match=r"kind: got 'linear', expected one of \('scalar'"):
        calibrate("linear", said, data)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"level: got 0\.9 with kind 'affine'"):
        calibrate("affine", said, data, level=0.9)
    with pytest.raises(ValueError, match=r"write 95 % as 0\.95"):
        calibrate("conformal", said, data, level=95)
    with pytest.raises(ValueError, match="predict the same data set"):
        calibrate("scalar", said, data.take(range(10)))
    with pytest.raises(ValueError, match=r"every error is zero.*trained on them"):
        calibrate("scalar", replace(said, forces=torch.as_tensor(data.forces)), data)
    with pytest.raises(ValueError, match="force_uncertainty has a negative value"):
        calibrate("affine", replace(said, force_uncertainty=-said.force_uncertainty), data)
    with pytest.raises(UndefinedMetric, match="force_uncertainty is zero for"):
        calibrate("scalar", replace(said, force_uncertainty=said.force_uncertainty.clamp_min(0.5) - 0.5), data)
    with pytest.raises(UndefinedMetric, match="force_uncertainty is 1 everywhere"):
        calibrate("isotonic", replace(said, force_uncertainty=torch.ones_like(said.force_uncertainty)), data)
    with pytest.raises(TypeError, match="predictor: got a int"):
        Calibrated(3, calibrate("scalar", said, data))  # pyright: ignore[reportArgumentType]


def test_without_an_energy_uncertainty_there_is_none_afterwards() -> None:
    data, said = frames(40)
    silent = replace(said, energy_uncertainty=None)
    found = calibrate("affine", silent, data)
    assert found.energy is None
    assert found(silent, data.batch()).energy_uncertainty is None
    assert found(said, data.batch()).energy_uncertainty is None  # an energy nobody calibrated must not pass for one


# ---- as a predictor


@pytest.fixture(scope="module")
def committee() -> Committee:
    return Committee([samples.small_network(seed=seed) for seed in range(3)])


@pytest.fixture(scope="module", params=KINDS)
def calibrated(request: pytest.FixtureRequest, committee: Committee) -> Calibrated:
    data = samples.dataset({"valid": 24})["valid"]
    said = predict(committee, data, dtype=torch.float64)
    return Calibrated(committee, calibrate(request.param, said, data, per_element=request.param == "isotonic"))


def test_it_is_a_predictor(calibrated: Calibrated, committee: Committee) -> None:
    assert isinstance(calibrated, Predictor)
    assert calibrated.cutoff == committee.cutoff
    batch = batch_of(rattled("NH3", 0), ase.Atoms("N"), rattled("H2O", 1))
    before, after = committee.predict(batch), calibrated.predict(batch)
    assert after.unit == "eV/Å"
    assert after.forces.equal(before.forces)
    assert after.force_uncertainty.shape == (8,)
    assert not torch.allclose(after.force_uncertainty, before.force_uncertainty)
    single = calibrated.predict(batch_of(ase.Atoms("N")))  # one atom keeps its axis
    assert single.force_uncertainty.shape == (1,)
    assert single.energy_uncertainty is not None
    assert single.energy_uncertainty.shape == (1,)
    torch.testing.assert_close(single.force_uncertainty, after.force_uncertainty[4:5])


def test_gradients_in_the_positions(calibrated: Calibrated) -> None:
    batch = batch_of(rattled("NH3", 5, size=0.2))

    def total(b: Any) -> Tensor:
        p = calibrated.predict(b)
        assert p.energy_uncertainty is not None
        return p.force_uncertainty.reshape(b.n_structures, -1).sum(1) + p.energy_uncertainty

    moving = batch.at(batch.positions.clone().requires_grad_(), update_pairs=False)
    (gradient,) = torch.autograd.grad(total(moving).sum(), moving.positions)
    torch.testing.assert_close(gradient, samples.slopes(total, batch), rtol=1e-5, atol=1e-6)
    assert not calibrated.predict(batch).force_uncertainty.requires_grad


def same(a: Prediction, b: Prediction) -> bool:
    assert a.energy_uncertainty is not None
    assert b.energy_uncertainty is not None
    return a.force_uncertainty.equal(b.force_uncertainty) and a.energy_uncertainty.equal(b.energy_uncertainty)


def test_saved_and_loaded(calibrated: Calibrated, tmp_path: Path) -> None:
    calibrated.save(tmp_path / "model.uq")
    assert [p.name for p in tmp_path.iterdir()] == ["model.uq"]
    again = Calibrated.load(tmp_path / "model.uq")
    assert again.calibrator == calibrated.calibrator
    batch = batch_of(rattled("NH3", 0), rattled("H2O", 1))
    assert same(again.predict(batch), calibrated.predict(batch))
    with pytest.raises(ValueError, match="of kind 'calibrated', expected a fitted method"):
        methods.load(tmp_path / "model.uq")


def test_one_calibration_on_another_is_saved_too(calibrated: Calibrated, tmp_path: Path) -> None:
    data = samples.dataset({"valid": 24}, seed=1)["valid"]
    top = Calibrated(calibrated, calibrate("conformal", predict(calibrated, data, dtype=torch.float64), data))
    top.save(tmp_path / "two.uq")
    batch = batch_of(rattled("NH3", 0))
    assert same(Calibrated.load(tmp_path / "two.uq").predict(batch), top.predict(batch))


def test_in_another_type(calibrated: Calibrated) -> None:
    low = calibrated.to(torch.float32)
    p = low.predict(batch_of(rattled("NH3", 0), dtype=torch.float32))
    q = calibrated.predict(batch_of(rattled("NH3", 0)))
    assert p.force_uncertainty.dtype == torch.float32
    torch.testing.assert_close(p.force_uncertainty.double(), q.force_uncertainty, rtol=1e-3, atol=1e-6)


def test_it_says_what_it_was_fitted_to(calibrated: Calibrated) -> None:
    text = str(calibrated.calibrator)
    assert "molecules/valid: 24 structures in 24 groups" in text
    assert calibrated.calibrator.kind in text


def test_public_names() -> None:
    assert all(hasattr(calibration, name) for name in calibration.__all__)
    assert isinstance(Calibrator, type)
