"""Reweighting where the answer is known: two states, Gaussians, and i-PI's own program on the same files."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import ase.units
import engines
import numpy as np
import pytest
import samples

from uqlib import propagation
from uqlib.methods.shared.committee import Committee
from uqlib.structures import descriptors

TEMPERATURE = 400.0
KT = ase.units.kB * TEMPERATURE


def gaussian(rng: np.random.Generator, frames: int = 400_000) -> tuple[np.ndarray, np.ndarray]:
    """An observable (T,), of variance 0.04, and energies (3, T) that are linear in it: -h = ∓0.5, 0 times kT."""
    values = 1.5 + 0.2 * rng.normal(size=frames)
    return values, np.stack([slope * KT * values for slope in (-0.5, 0.0, 0.5)])


@pytest.mark.parametrize("method", ["cumulant", "direct"])
def test_a_gaussian_is_shifted_by_its_variance(method: str, rng: np.random.Generator) -> None:
    """Weights exp(-c a) move the mean of a Gaussian by -c σ²: the first cumulant is all there is."""
    values, energies = gaussian(rng)
    found = propagation.reweight(values, energies, temperature=TEMPERATURE, method=method)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(found.members, [1.5 + 0.02, 1.5, 1.5 - 0.02], atol=2e-3)
    assert found.value == pytest.approx(values.mean())
    np.testing.assert_allclose(found.width, [0.1, 0, 0.1], atol=1e-3)
    np.testing.assert_allclose(found.effective / len(values), [np.exp(-0.01), 1, np.exp(-0.01)], rtol=1e-3)


def test_two_states_are_weighed_as_boltzmann_does() -> None:
    """Half of the frames in each state; members put it lower or higher by Δ: occupation 1 / (1 + exp(Δ/kT))."""
    state = np.tile([0.0, 1.0], 500)
    gaps = np.array([-0.4, 0.1, 1.2]) * KT
    energies = gaps[:, None] * state + np.array([[3.0], [-1.0], [0.2]])
    found = propagation.reweight(state, energies, temperature=TEMPERATURE, driven_by=np.zeros(1000), method="direct")
    np.testing.assert_allclose(found.members, 1 / (1 + np.exp(gaps / KT)), rtol=1e-12)
    with pytest.warns(UserWarning, match=r"first order in them is not enough"):
        first = propagation.reweight(state, 4 * energies, temperature=TEMPERATURE, driven_by=np.zeros(1000))
    np.testing.assert_allclose(first.members, 0.5 - 4 * gaps / KT / 4, rtol=1e-12)
    weight = np.exp(-gaps / KT)
    np.testing.assert_allclose(found.effective, 500 * (1 + weight) ** 2 / (1 + weight**2), rtol=1e-12)


def test_the_mean_of_the_members_drives_where_nothing_is_said(rng: np.random.Generator) -> None:
    values, energies = rng.normal(size=(200, 5)), 0.1 * KT * rng.normal(size=(3, 200))
    found = propagation.reweight(values, energies, temperature=TEMPERATURE)
    said = propagation.reweight(values, energies, temperature=TEMPERATURE, driven_by=energies.mean(0) + 7)
    np.testing.assert_allclose(found.members, said.members)
    assert found.members.shape == (3, 5)
    np.testing.assert_allclose(found.members.mean(0), found.value)  # to first order


def test_too_few_frames_that_count_are_refused(rng: np.random.Generator) -> None:
    values, energies = rng.normal(size=300), 8 * KT * rng.normal(size=(2, 300))
    with pytest.raises(ValueError, match=r"energies: of 300 frames only .* count for member \d, expected at least 20"):
        propagation.reweight(values, energies, temperature=TEMPERATURE, method="direct")
    propagation.reweight(values, energies, temperature=TEMPERATURE, method="direct", fewest=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        propagation.reweight(values, energies / 16, temperature=TEMPERATURE)


@pytest.mark.parametrize(
    ("values", "energies", "options", "words"),
    [
        (np.zeros(3), np.zeros((2, 4)), {}, r"got shapes \(3,\) and \(2, 4\)"),
        (np.zeros(4), np.zeros(4), {}, r"at least two members"),
        (np.zeros(4), np.zeros((1, 4)), {}, r"at least two members"),
        (np.full(4, np.nan), np.zeros((2, 4)), {}, r"not finite"),
        (np.zeros(4), np.zeros((2, 4)), {"temperature": 0}, r"temperature: got 0"),
        (np.zeros(4), np.zeros((2, 4)), {"driven_by": np.zeros(3)}, r"driven_by: got shape \(3,\), expected \(4,\)"),
        (np.zeros(4), np.zeros((2, 4)), {"method": "third"}, r"method: got 'third'"),
    ],
)
def test_what_does_not_fit_is_refused(
    values: np.ndarray, energies: np.ndarray, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        propagation.reweight(values, energies, **{"temperature": 300.0, **options})


def test_a_radial_distribution_has_a_band() -> None:
    predictor = Committee([samples.small_network(seed=seed) for seed in range(3)])
    frames = [samples.crystal(seed) for seed in range(6)]
    temperature = 3000.0
    r, found = propagation.radial_distribution(predictor, frames, "N", "H", temperature=temperature, points=30)
    g = descriptors.radial_distribution(frames, "N", "H", points=30)[1]
    np.testing.assert_allclose(found.value, g.mean(0))
    assert found.members.shape == (3, *r.shape)
    work = propagation.along(predictor, frames).energy.numpy()
    work = (work - work.mean(0)) / (ase.units.kB * temperature)
    expected = g.mean(0) - ((g * work[1][:, None]).mean(0) - g.mean(0) * work[1].mean())
    np.testing.assert_allclose(found.members[1], expected, atol=1e-10)
    assert found.sigma.max() > 0


@engines.needs_ipi
@pytest.mark.parametrize("method", ["cumulant", "direct"])
def test_ipi_says_the_same(method: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """`i-pi-committee-reweight` on the same files: rows of members in hartree, rows of observables."""
    values = rng.normal(size=(500, 2))
    energies = KT * (values @ rng.normal(size=(2, 4)) * 0.2 + 0.1 * rng.normal(size=(500, 4))) - 1500.0
    np.savetxt(tmp_path / "members", energies / ase.units.Hartree, fmt="%.17g")
    np.savetxt(tmp_path / "observables", values, fmt="%.17g")
    found = propagation.reweight(values, energies.T, temperature=TEMPERATURE, method=method)  # pyright: ignore[reportArgumentType]
    program = Path(sys.executable).parent / "i-pi-committee-reweight"
    command = [sys.executable, program, "members", "observables", "--kt", repr(KT / ase.units.Hartree)]
    command += ["--direct"] if method == "direct" else []
    done = subprocess.run([str(part) for part in command], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = np.array([[float(word) for word in line.split()] for line in done.stdout.splitlines()[1:]])
    np.testing.assert_allclose(said[:, 2:], found.members.T, rtol=1e-6)
    np.testing.assert_allclose(said[:, 1], found.members.std(0), rtol=1e-5)
