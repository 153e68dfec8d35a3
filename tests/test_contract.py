"""What every method of uncertainty quantification must keep, whatever it does inside.

A new method is one line in `RECIPES`.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import samples
import torch
from samples import batch_of, crystal, rattled
from torch import Tensor

from uqlib import methods, metrics
from uqlib.methods import Ensemble
from uqlib.methods.dropout import Dropout
from uqlib.methods.evidential import Evidential
from uqlib.methods.gmm import GaussianMixture
from uqlib.methods.llpr import LastLayer
from uqlib.methods.mve import MeanVariance
from uqlib.methods.neighbours import NearestNeighbours
from uqlib.methods.pops import PointwiseOptimal
from uqlib.methods.quantile import Quantile
from uqlib.methods.shallow import Shallow
from uqlib.methods.snapshot import Snapshot
from uqlib.prediction import Method, Prediction, Predictor, predict
from uqlib.structures import datasets
from uqlib.structures.batch import Batch

COMMON: Any = {"network": samples.NETWORK, "settings": samples.BRIEF}
RECIPES = {
    "ensemble": Ensemble(members=3, **COMMON),
    "bootstrap": Ensemble(members=3, bootstrap=True, **COMMON),
    "mve": MeanVariance(warm_up=0.5, **COMMON),
    "evidential": Evidential(**COMMON),
    "llpr": LastLayer(**COMMON),
    "shallow": Shallow(members=3, likelihood_settings=samples.BRIEF, **COMMON),
    "dropout": Dropout(rate=0.3, draws=3, **COMMON),
    "snapshot": Snapshot(cycles=2, **COMMON),
    "gmm": GaussianMixture(**COMMON),
    "mahalanobis": GaussianMixture(components=1, **COMMON),
    "neighbours": NearestNeighbours(**COMMON),
    "crps": Shallow(score="crps", members=3, likelihood_settings=samples.BRIEF, **COMMON),
    "quantile": Quantile(steps=40, **COMMON),
    "pops": PointwiseOptimal(**COMMON),
}

Fitted = Any  # a Predictor with `to`, `save` and `load`


def fit(name: str, *, seed: int = 0) -> Fitted:
    data = samples.dataset()
    return RECIPES[name].fit(data["train"], data["valid"], seed=seed, progress=False)


@pytest.fixture(scope="module", params=methods.EVERY)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def fitted(method: str) -> Fitted:
    """Trained in float32."""
    return fit(method)


@pytest.fixture(scope="module")
def exact(fitted: Fitted) -> Fitted:
    """The same in float64, for tests against exact laws."""
    return fitted.to(torch.float64)


def close(a: Tensor | None, b: Tensor | None, *, tolerance: float = 1e-9) -> None:
    assert a is not None
    assert b is not None
    torch.testing.assert_close(a, b, rtol=1e-7, atol=tolerance)


def same(a: Prediction, b: Prediction) -> bool:
    """Bit for bit, nan included."""
    names = [field.name for field in fields(Prediction) if isinstance(getattr(a, field.name), Tensor)]
    for name in names:
        x, y = getattr(a, name), getattr(b, name)
        if (x is None) != (y is None) or (x is not None and not x.nan_to_num(7.0).equal(y.nan_to_num(7.0))):
            return False
    return True


def by_structure(prediction: Prediction, batch: Batch) -> Tensor:
    """(S,) mean uncertainty of the atoms, for comparisons."""
    total = torch.zeros(batch.n_structures, dtype=prediction.force_uncertainty.dtype)
    return total.index_add(0, batch.structure_of_atom, prediction.force_uncertainty) / batch.atoms_per_structure


def test_every_method_has_a_recipe_here() -> None:
    assert set(RECIPES) == set(methods.EVERY)


def test_protocols(method: str, fitted: Fitted) -> None:
    assert isinstance(RECIPES[method], Method)
    assert type(RECIPES[method]) is type(methods.EVERY[method])
    assert isinstance(fitted, Predictor)
    assert fitted.cutoff == samples.CUTOFF


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_types(fitted: Fitted, exact: Fitted, dtype: torch.dtype) -> None:
    predictor = fitted if dtype == torch.float32 else exact
    batch = batch_of(rattled("NH3", 0), rattled("H2O", 1), crystal(), dtype=dtype)
    p = predictor.predict(batch)
    assert (p.energy.shape, p.forces.shape, p.force_uncertainty.shape) == ((3,), (11, 3), (11,))
    assert p.energy.dtype == torch.float64
    assert p.forces.dtype == p.force_uncertainty.dtype == dtype
    assert p.energy_uncertainty is None or p.energy_uncertainty.shape == (3,)
    for values in (p.energy, p.forces, p.force_uncertainty, p.energy_uncertainty):
        assert values is None or torch.isfinite(values).all()
    if p.unit == "eV/Å":
        assert (p.force_uncertainty >= 0).all()
    if p.stress is not None:
        assert p.stress.shape == (3, 3, 3)
        assert torch.isnan(p.stress[:2]).all()
        assert torch.isfinite(p.stress[2]).all()
    if p.atom_energy_uncertainty is not None:
        assert p.atom_energy_uncertainty.shape == (11,)
        assert (p.atom_energy_uncertainty >= 0).all()


def test_the_uncertainty_says_something(exact: Fitted) -> None:
    """It is not the same number for all atoms, nor for all structures."""
    batch = batch_of(*(rattled("NH3", seed, size=0.05 * (1 + seed)) for seed in range(4)))
    p = exact.predict(batch)
    assert p.force_uncertainty.std() > 1e-3 * p.force_uncertainty.abs().mean()
    assert by_structure(p, batch).std() > 0


def test_defaults_on_ammonia(method: str) -> None:
    """A few epochs of small networks on real data: all is a number far from the training set, and forces are learnt."""
    data, recipe = datasets.load("ammonia"), methods.EVERY[method]
    brief: Any = {"network": {"features": 16, "interactions": 2}, "settings": replace(recipe.settings, epochs=6)}  # pyright: ignore
    fitted = replace(recipe, **brief).fit(data["train"], data["valid"], seed=0, progress=False)  # pyright: ignore
    far, near = predict(fitted, data["hot"]), predict(fitted, data["test"])
    for values in (far.energy, far.forces, far.force_uncertainty, far.energy_uncertainty):
        assert values is None or torch.isfinite(values).all()
    reference = torch.as_tensor(data["test"].forces)
    assert metrics.mae(near.forces, reference) < 0.8 * reference.abs().mean()
    assert far.force_uncertainty.median() > near.force_uncertainty.median()


def test_seeds(method: str, fitted: Fitted) -> None:
    batch = batch_of(rattled("NH3", 0), rattled("H2O", 1), dtype=torch.float32)
    torch.manual_seed(12345)  # must not matter
    assert same(fit(method, seed=0).predict(batch), fitted.predict(batch))
    assert not same(fit(method, seed=1).predict(batch), fitted.predict(batch))


def test_a_batch_equals_its_structures(exact: Fitted) -> None:
    structures = [rattled("NH3", 0), crystal(), rattled("O2", 1), ase.Atoms("N"), rattled("H2O", 2)]
    together = exact.predict(batch_of(*structures))
    singles = [exact.predict(batch_of(s)) for s in structures]
    close(together.energy, torch.cat([p.energy for p in singles]))
    close(together.forces, torch.cat([p.forces for p in singles]))
    close(together.force_uncertainty, torch.cat([p.force_uncertainty for p in singles]))
    if together.energy_uncertainty is not None:
        close(together.energy_uncertainty, torch.cat([p.energy_uncertainty for p in singles]))
    if together.stress is not None:
        close(together.stress[1], singles[1].stress[0])


def test_prediction_in_parts_equals_prediction_at_once(fitted: Fitted) -> None:
    data = samples.dataset()
    whole, parts = predict(fitted, data, batch_size=100), predict(fitted, data, batch_size=3)
    close(parts.energy, whole.energy, tolerance=1e-4)
    close(parts.forces, whole.forces, tolerance=1e-4)
    close(parts.force_uncertainty, whole.force_uncertainty, tolerance=1e-4)
    assert parts.unit == whole.unit
    assert not parts.forces.requires_grad


@pytest.mark.parametrize("structure", [rattled("NH3", 0), crystal(), crystal(cubic=False)], ids=["NH3", "4", "1"])
def test_moved_turned_mirrored(exact: Fitted, structure: ase.Atoms) -> None:
    p = exact.predict(batch_of(structure))
    moved = structure.copy()
    moved.positions += [3.1, -12.0, 0.7]
    rotation, mirror = samples.random_rotation(), np.diag([1.0, 1.0, -1.0]) @ samples.random_rotation(1)
    for other, matrix in ((moved, np.eye(3)), (samples.turned(structure, rotation), rotation),
                          (samples.turned(structure, mirror), mirror)):  # fmt: skip
        q = exact.predict(batch_of(other))
        matrix = torch.as_tensor(matrix)
        close(q.energy, p.energy)
        close(q.forces, p.forces @ matrix)
        close(q.force_uncertainty, p.force_uncertainty, tolerance=1e-7)
        if p.energy_uncertainty is not None:
            close(q.energy_uncertainty, p.energy_uncertainty, tolerance=1e-7)
        if p.stress is not None and structure.pbc.all():
            close(q.stress, matrix.T @ p.stress @ matrix)


@pytest.mark.parametrize("structure", [rattled("NH3", 0), crystal()], ids=["molecule", "crystal"])
def test_order_of_atoms(exact: Fitted, structure: ase.Atoms) -> None:
    order = [2, 0, 3, 1]
    p, q = exact.predict(batch_of(structure)), exact.predict(batch_of(structure[order]))
    close(q.energy, p.energy)
    close(q.forces, p.forces[order])
    close(q.force_uncertainty, p.force_uncertainty[order])
    if p.energy_uncertainty is not None:
        close(q.energy_uncertainty, p.energy_uncertainty)


def test_periodic_images(exact: Fitted) -> None:
    """It does not matter which image of an atom the file names."""
    structure = crystal()
    other = structure.copy()
    other.positions += np.array([[1, 0, 0], [0, -2, 0], [0, 0, 0], [3, 1, -1]]) @ np.asarray(structure.cell)
    p, q = exact.predict(batch_of(structure)), exact.predict(batch_of(other))
    close(q.energy, p.energy)
    close(q.forces, p.forces)
    close(q.force_uncertainty, p.force_uncertainty)


@pytest.mark.parametrize("cubic", [True, False])
def test_a_supercell_is_so_many_cells(exact: Fitted, cubic: bool) -> None:
    structure = crystal(cubic=cubic)
    p, q = exact.predict(batch_of(structure)), exact.predict(batch_of(structure.repeat((2, 1, 1))))
    close(q.energy, 2 * p.energy)
    close(q.forces, p.forces.repeat(2, 1))
    close(q.force_uncertainty, p.force_uncertainty.repeat(2), tolerance=1e-7)
    if p.stress is not None:
        close(q.stress, p.stress)


def test_far_molecules_add_up(exact: Fitted) -> None:
    one, two = rattled("NH3", 0), rattled("H2O", 1)
    both = one.copy()
    both.extend(two)
    both.positions[len(one) :] += [60.0, 0.0, 0.0]
    p, q, r = (exact.predict(batch_of(s)) for s in (one, two, both))
    close(r.energy, p.energy + q.energy)
    close(r.forces, torch.cat([p.forces, q.forces]))
    close(r.force_uncertainty, torch.cat([p.force_uncertainty, q.force_uncertainty]))


def per_structure(exact: Fitted, quantity: str):
    """Batch -> (S,): what is predicted, atoms summed with weights that tell them apart."""

    def value(batch: Batch) -> Tensor:
        found = getattr(exact.predict(batch), quantity)
        if len(found) == batch.n_structures:
            return found
        return (found.view(batch.n_structures, -1) * torch.linspace(1.0, 2.0, 4, dtype=found.dtype)).sum(1)

    return value


@pytest.mark.parametrize("structure", [rattled("NH3", 0), crystal()], ids=["molecule", "crystal"])
def test_forces_are_the_slope_of_the_energy(exact: Fitted, structure: ase.Atoms) -> None:
    batch = batch_of(structure)
    expected = -samples.slopes(per_structure(exact, "energy"), batch)
    close(exact.predict(batch).forces, expected, tolerance=1e-6)


@pytest.mark.parametrize("quantity", ["force_uncertainty", "energy_uncertainty", "energy"])
@pytest.mark.parametrize("structure", [rattled("NH3", 0), crystal()], ids=["molecule", "crystal"])
def test_gradients_with_respect_to_positions(exact: Fitted, structure: ase.Atoms, quantity: str) -> None:
    batch = batch_of(structure)
    if getattr(exact.predict(batch), quantity) is None:
        pytest.skip(f"this method gives no {quantity}")
    value = per_structure(exact, quantity)
    moving = batch.at(batch.positions.clone().requires_grad_(), update_pairs=False)
    (gradient,) = torch.autograd.grad(value(moving).sum(), moving.positions)
    expected = samples.slopes(value, batch)
    close(gradient, expected, tolerance=1e-6 * max(1.0, float(expected.abs().max())))
    assert gradient.abs().max() > 1e-4


def test_with_and_without_a_tape_the_same(exact: Fitted) -> None:
    """Differentiable exactly when the positions are; the numbers do not depend on it."""
    batch = batch_of(rattled("NH3", 0), crystal())
    plain = exact.predict(batch)
    on_tape = exact.predict(batch.at(batch.positions.clone().requires_grad_(), update_pairs=False))
    for name in ("energy", "forces", "force_uncertainty", "energy_uncertainty"):
        without, with_tape = getattr(plain, name), getattr(on_tape, name)
        if without is not None:
            assert not without.requires_grad
            assert with_tape.requires_grad
            close(with_tape.detach(), without)


@pytest.mark.parametrize(
    "structure",
    [ase.Atoms("N"), ase.Atoms("NHO", positions=[[0, 0, 0], [90, 0, 0], [0, 90, 0]])],
    ids=["one atom", "isolated atoms"],
)
@pytest.mark.parametrize("company", [[], [rattled("NH3", 0)]], ids=["alone", "in company"])
def test_atoms_without_neighbours(exact: Fitted, structure: ase.Atoms, company: list[ase.Atoms]) -> None:
    """No pair of atoms at all: results and their gradients are numbers, of the right shape, and no force acts."""
    batch = batch_of(structure, *company)
    moving = batch.at(batch.positions.clone().requires_grad_())
    p = exact.predict(moving)
    alone = len(structure)
    assert p.forces.shape == (batch.n_atoms, 3)
    assert (p.forces[:alone] == 0).all()
    total = p.energy.sum() + p.force_uncertainty.sum() + p.forces.square().sum()
    if p.energy_uncertainty is not None:
        total = total + p.energy_uncertainty.sum()
    (gradient,) = torch.autograd.grad(total, moving.positions, materialize_grads=True)
    assert torch.isfinite(total)
    assert torch.isfinite(gradient).all()
    assert gradient[:alone].abs().max() < 1e-9


@pytest.mark.parametrize("cubic", [True, False])
def test_stress_is_the_slope_of_the_energy_with_strain(exact: Fitted, cubic: bool) -> None:
    batch = batch_of(crystal(cubic=cubic))
    stress = exact.predict(batch).stress
    if stress is None:
        pytest.skip("this method gives no stress")
    step = 1e-5
    volume = torch.linalg.det(batch.cell[0]).abs()
    for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0)):
        strain = torch.zeros(3, 3, dtype=torch.float64)
        strain[a, b] += step / 2
        strain[b, a] += step / 2
        up, down = (exact.predict(samples.strained(batch, sign * strain)).energy[0] for sign in (1, -1))
        close(stress[0, a, b], (up - down) / (2 * step * volume), tolerance=1e-7)
    close(stress[0], stress[0].T)


def test_saved_and_loaded(fitted: Fitted, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model.uq")
    batch = batch_of(rattled("NH3", 0), crystal(), dtype=torch.float32)
    for again in (methods.load(tmp_path / "model.uq"), type(fitted).load(tmp_path / "model.uq")):
        assert type(again) is type(fitted)
        assert same(again.predict(batch), fitted.predict(batch))
        assert again.cutoff == fitted.cutoff


def test_saved_in_float64(exact: Fitted, tmp_path: Path) -> None:
    exact.save(tmp_path / "model.uq")
    batch = batch_of(rattled("NH3", 0))
    assert same(methods.load(tmp_path / "model.uq").predict(batch), exact.predict(batch))


def test_predicting_changes_nothing(fitted: Fitted) -> None:
    batch = samples.dataset()["test"].batch(cutoff=fitted.cutoff)
    before = {name: value.clone() for name, value in vars(batch).items() if isinstance(value, Tensor)}
    random = torch.get_rng_state()
    first, second = fitted.predict(batch), fitted.predict(batch)
    assert same(first, second)
    assert torch.get_rng_state().equal(random)
    assert not batch.positions.requires_grad
    assert all(getattr(batch, name).equal(value) for name, value in before.items())


def test_labels_are_not_looked_at(fitted: Fitted) -> None:
    batch = samples.dataset()["test"].batch(cutoff=fitted.cutoff)
    assert same(fitted.predict(batch), fitted.predict(batch.at(batch.positions)))


@pytest.mark.parametrize("grad", [False, True])
def test_a_context_without_gradients_is_respected(exact: Fitted, grad: bool) -> None:
    batch = batch_of(rattled("NH3", 0))
    with torch.set_grad_enabled(grad):
        close(exact.predict(batch).forces, exact.predict(batch_of(rattled("NH3", 0))).forces)


def test_what_it_cannot_know_is_refused(fitted: Fitted, exact: Fitted) -> None:
    with pytest.raises(ValueError, match=r"atomic_numbers: got \[6\], this network knows \[1, 7, 8\]"):
        fitted.predict(batch_of(rattled("CH4", 0), dtype=torch.float32))
    with pytest.raises(ValueError, match=r"pairs reach to 5\.0 Å, this network needs 4\.0 Å"):
        fitted.predict(Batch.from_atoms(rattled("NH3", 0), cutoff=5.0))
    with pytest.raises(ValueError, match=r"torch\.float32, this network in torch\.float64"):
        exact.predict(batch_of(rattled("NH3", 0), dtype=torch.float32))
