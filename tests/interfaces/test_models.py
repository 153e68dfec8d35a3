"""Networks and calculators from elsewhere: the contract of all methods, kept around a network that is not ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import samples
import test_contract
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.morse import MorsePotential
from samples import batch_of, crystal, rattled
from torch import Tensor, nn

from uqlib import calibration, methods
from uqlib.calibration import Calibrated, calibrate
from uqlib.interfaces import CalculatorCommittee, ForeignModel
from uqlib.interfaces.ase import UncertaintyCalculator
from uqlib.methods import Ensemble
from uqlib.methods.gmm import GaussianMixture
from uqlib.methods.llpr import LastLayer, rows
from uqlib.methods.neighbours import NearestNeighbours
from uqlib.methods.shared.hidden_units import last_layer
from uqlib.methods.shared.last_layer import UncertainLastLayer
from uqlib.networks.evaluation import evaluate
from uqlib.prediction import predict
from uqlib.structures.batch import Batch

ELEMENTS = (1, 7, 8)
RECIPES: dict[str, Any] = {"gmm": GaussianMixture(), "neighbours": NearestNeighbours(), "llpr": LastLayer()}
NEED_FIT = ("test_every_method", "test_protocols", "test_defaults", "test_seeds", "test_saved", "parametrize")

for _name, _test in vars(test_contract).items():
    if _name.startswith("test_") and not _name.startswith(NEED_FIT):
        globals()[_name] = _test  # collected here again, with the fixtures below


class Symmetry(nn.Module):
    """Sums over neighbours of damped Gaussians, mixed by the element, then a layer: no relation of PaiNN's."""

    def __init__(self, *, seed: int = 0, features: int = 6, cutoff: float = samples.CUTOFF) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.cutoff = cutoff
        self.kind = nn.Parameter(torch.randn(119, 5, generator=random))
        self.mix = nn.Parameter(torch.randn(5, features, generator=random))
        self.own = nn.Parameter(torch.randn(119, features, generator=random))
        self.last = nn.Parameter(torch.randn(features, generator=random))
        self.zero = nn.Parameter(torch.randn(119, generator=random))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        i, j = batch.pairs
        length = batch.vectors().square().sum(-1, keepdim=True).sqrt()
        centres = torch.linspace(0.8, 3.2, 5).to(length)
        seen = (-4 * (length - centres).square()).exp() * (1 + (torch.pi * length / self.cutoff).cos()) / 2
        seen = seen * self.kind[batch.atomic_numbers[j]]
        around = seen.new_zeros(batch.n_atoms, 5).index_add(0, i, seen)
        features = torch.tanh(around @ self.mix + self.own[batch.atomic_numbers])
        of_atom = features @ self.last + self.zero[batch.atomic_numbers]
        return of_atom.new_zeros(batch.n_structures).index_add(0, batch.structure_of_atom, of_atom), features


def foreign(dtype: torch.dtype = torch.float32, *, seed: int = 0) -> ForeignModel:
    return ForeignModel(Symmetry(seed=seed).to(dtype), elements=ELEMENTS, cutoff=samples.CUTOFF)


@pytest.fixture(scope="module", params=RECIPES)
def method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def fitted(method: str) -> Any:
    data = samples.dataset({"train": 40, "valid": 8})
    return RECIPES[method].fit_to(foreign(), data["train"], data["valid"], seed=0)


@pytest.fixture(scope="module")
def exact(fitted: Any) -> Any:
    return fitted.to(torch.float64)


def test_the_contract_is_kept_here() -> None:
    kept = [name for name in globals() if name in vars(test_contract) and name.startswith("test_")]
    assert len(kept) >= 15
    assert "test_forces_are_the_slope_of_the_energy" in kept
    assert "test_gradients_with_respect_to_positions" in kept


def test_energies_and_features_are_the_modules_own() -> None:
    batch = batch_of(rattled("NH3", 0), crystal(), dtype=torch.float32)
    module = Symmetry()
    energy, features = module(batch)
    found = evaluate(ForeignModel(module, elements=ELEMENTS, cutoff=samples.CUTOFF), batch)
    torch.testing.assert_close(found.energy, energy.detach().double())
    torch.testing.assert_close(found.features, features.detach())
    assert module.mix.requires_grad  # the module itself is left as it was


def test_training_keeps_the_tape() -> None:
    module = foreign()
    module.module.requires_grad_(True)
    batch = batch_of(rattled("NH3", 0), dtype=torch.float32)
    evaluate(module, batch, train=True).forces.square().sum().backward()
    assert module.module.get_parameter("mix").grad is not None
    assert not evaluate(module, batch).forces.requires_grad


@pytest.mark.parametrize("structure", [rattled("NH3", 0), crystal()], ids=["NH3", "crystal"])
def test_slopes_of_features(structure: ase.Atoms) -> None:
    """Of each column against finite differences, and of mixtures of columns against columns mixed."""
    model, batch = foreign(torch.float64), batch_of(structure)
    found = last_layer(model, batch)
    assert (found.hidden.shape, found.slopes.shape) == ((1, 6), (6, 4, 3))
    for column in (0, 3):
        expected = samples.slopes(lambda b, k=column: last_layer(model, b).hidden[:, k], batch)
        torch.testing.assert_close(found.slopes[column], expected, rtol=1e-6, atol=1e-7)
    mix = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mixed = last_layer(model, batch, mix=mix)
    torch.testing.assert_close(mixed.hidden, found.hidden @ mix)
    torch.testing.assert_close(mixed.slopes, torch.einsum("hnc,hk->knc", found.slopes, mix))


def test_last_layer_rows_give_the_forces_back() -> None:
    """The energy is linear in these features: their slopes times the last layer's weights are the forces."""
    model, batch = foreign(torch.float64), batch_of(rattled("NH3", 0), rattled("H2O", 1))
    energy, force = rows(model, batch)
    assert energy.shape == (2, 7)
    weights = model.module.get_parameter("last")
    torch.testing.assert_close((force[:, :-1] @ weights).reshape(-1, 3), evaluate(model, batch).forces)


def test_fitted_around_the_right_network() -> None:
    """Another network has other features and other uncertainties; energies and forces are the network's own."""
    data = samples.dataset({"train": 40, "valid": 8})
    batch = batch_of(rattled("NH3", 0, size=0.2), dtype=torch.float32)
    for recipe in RECIPES.values():
        first, second = (recipe.fit_to(foreign(seed=s), data["train"], data["valid"], seed=0) for s in (0, 1))
        assert not first.predict(batch).force_uncertainty.equal(second.predict(batch).force_uncertainty)
        torch.testing.assert_close(first.predict(batch).forces, evaluate(foreign(), batch).forces)


def test_saved_without_its_code(fitted: Any, tmp_path: Path) -> None:
    batch = batch_of(rattled("NH3", 0), crystal(), dtype=torch.float32)
    fitted.save(tmp_path / "mine.uq")
    again = methods.load(tmp_path / "mine.uq", model=foreign(seed=5))  # the weights come from the file
    assert type(again) is type(fitted)
    assert test_contract.same(again.predict(batch), fitted.predict(batch))
    assert again.cutoff == fitted.cutoff
    with pytest.raises(ValueError, match=r"model: this file holds .* give one like it: load\(path, model="):
        methods.load(tmp_path / "mine.uq")
    other = ForeignModel(Symmetry(features=4), elements=ELEMENTS, cutoff=samples.CUTOFF)
    with pytest.raises(ValueError, match="model: its weights are not those of the file"):
        methods.load(tmp_path / "mine.uq", model=other)


def test_saved_in_float64_without_its_code(exact: Any, tmp_path: Path) -> None:
    exact.save(tmp_path / "mine.uq")
    again = methods.load(tmp_path / "mine.uq", model=foreign())
    batch = batch_of(rattled("NH3", 0))
    assert test_contract.same(again.predict(batch), exact.predict(batch))


def test_calibrated_saved_and_loaded(tmp_path: Path) -> None:
    data = samples.dataset({"train": 40, "valid": 8, "test": 12})
    mixture = RECIPES["gmm"].fit_to(foreign(), data["train"], data["valid"], seed=0)
    whole = Calibrated(mixture, calibrate("affine", predict(mixture, data["valid"]), data["valid"]))
    over = Calibrated(whole, calibrate("conformal", predict(whole, data["test"]), data["test"]))
    over.save(tmp_path / "mine.uq")
    again = calibration.load(tmp_path / "mine.uq", model=foreign())
    batch = data["test"].batch(cutoff=samples.CUTOFF)
    assert test_contract.same(again.predict(batch), over.predict(batch))


def test_our_own_files_need_no_model(tmp_path: Path) -> None:
    data = samples.dataset()
    for recipe in (GaussianMixture(**test_contract.COMMON), Ensemble(members=2, **test_contract.COMMON)):
        recipe.fit(data["train"], data["valid"], seed=0, progress=False).save(tmp_path / "ours.uq")
        with pytest.raises(ValueError, match="model: got one, but this file holds all of its network"):
            methods.load(tmp_path / "ours.uq", model=foreign())


class Detached(Symmetry):
    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return super().forward(batch)


class OneNumber(Symmetry):
    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        energy, features = super().forward(batch)
        return energy.sum(), features


class OfStructures(Symmetry):
    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        energy, features = super().forward(batch)
        return energy, features.sum(0)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Detached(), "its energy does not depend on batch.positions"),
        (OneNumber(), r"got \[\(\), \(7, 6\)\] .*expected a pair: energies \(2,\) in eV and features \(7, F\)"),
        (OfStructures(), r"got \[\(2,\), \(6,\)\]"),
    ],
)
def test_modules_that_cannot_be_used_say_why(module: nn.Module, words: str) -> None:
    model = ForeignModel(module, elements=ELEMENTS, cutoff=samples.CUTOFF)
    with pytest.raises(ValueError, match=words):
        evaluate(model, batch_of(rattled("NH3", 0), rattled("H2O", 0), dtype=torch.float32))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"module": nn.SiLU()}, "SiLU without parameters and buffers"),
        ({"elements": ()}, r"elements: got \[\], expected atomic numbers"),
        ({"elements": (0, 1)}, r"elements: got \[0, 1\]"),
        ({"cutoff": -1.0}, r"cutoff: got -1\.0, expected a positive distance"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ForeignModel(**{"module": Symmetry(), "elements": ELEMENTS, "cutoff": 4.0, **arguments})


def test_a_head_is_refused() -> None:
    with pytest.raises(ValueError, match="head: got 'spread', a ForeignModel has its features alone"):
        last_layer(foreign(), batch_of(rattled("NH3", 0), dtype=torch.float32), head="spread")
    with pytest.raises(ValueError, match="root: got shape"):
        UncertainLastLayer(foreign(), torch.zeros(7))


# Calculators of ASE


def pair_potentials() -> list[Any]:
    return [LennardJones(sigma=s, epsilon=0.1, rc=4.0) for s in (0.9, 1.0, 1.15)]


def test_mean_and_spread_of_calculators() -> None:
    structures = [rattled("NH3", 0), rattled("H2O", 1), crystal()]
    found = CalculatorCommittee(pair_potentials()).predict(batch_of(*structures))
    energies, forces = [], []
    for calculator in pair_potentials():
        for frame in structures:
            frame.calc = calculator
        energies.append([frame.get_potential_energy() for frame in structures])
        forces.append(np.concatenate([frame.get_forces() for frame in structures]))
    np.testing.assert_allclose(found.energy, np.mean(energies, axis=0))
    assert found.energy_uncertainty is not None
    np.testing.assert_allclose(found.energy_uncertainty, np.std(energies, axis=0, ddof=1))
    np.testing.assert_allclose(found.forces, np.mean(forces, axis=0), atol=1e-12)
    spread = np.sqrt(np.var(forces, axis=0, ddof=1).mean(-1))
    np.testing.assert_allclose(found.force_uncertainty, spread, atol=1e-12)
    assert found.unit == "eV/Å"


def test_stress_where_it_has_a_meaning() -> None:
    structures = [rattled("NH3", 0), crystal()]
    stress = CalculatorCommittee(pair_potentials()).predict(batch_of(*structures)).stress
    assert stress is not None
    assert torch.isnan(stress[0]).all()
    frame = structures[1]
    expected = []
    for calculator in pair_potentials():
        frame.calc = calculator
        expected.append(frame.get_stress(voigt=False))
    np.testing.assert_allclose(stress[1], np.mean(expected, axis=0))
    assert CalculatorCommittee(pair_potentials()).predict(batch_of(structures[0])).stress is None


def test_references_bring_energies_together() -> None:
    """Members that differ by energies of atoms alone agree perfectly once these are taken out."""
    data = samples.dataset()
    labelled = data["train"].batch(cutoff=5.0, dtype=torch.float64)
    morse = MorsePotential(epsilon=1.0, r0=1.4, rho0=3.0, rcut1=3.0, rcut2=3.8)  # made the labels
    raw = CalculatorCommittee([morse, morse])
    assert labelled.energy is not None
    assert float((raw.predict(labelled).energy - labelled.energy).abs().min()) > 10
    referred = raw.referred_to(data["train"])
    found = referred.predict(labelled)
    torch.testing.assert_close(found.energy, labelled.energy, rtol=0, atol=1e-8)
    torch.testing.assert_close(found.forces, raw.predict(labelled).forces)
    with pytest.raises(ValueError, match=r"atomic_numbers: got \[6\], references are known for \[1, 7, 8\]"):
        referred.predict(batch_of(rattled("CH4", 0)))


def test_calibrated_and_back_in_ase() -> None:
    data = samples.dataset()
    committee = CalculatorCommittee(pair_potentials()).referred_to(data["train"])
    mended = Calibrated(committee, calibrate("affine", predict(committee, data["valid"]), data["valid"]))
    frame = rattled("NH3", 7)
    frame.calc = UncertaintyCalculator(mended, dtype=torch.float64)
    expected = mended.predict(batch_of(frame))
    np.testing.assert_allclose(frame.get_forces(), expected.forces)
    np.testing.assert_allclose(frame.calc.results["force_uncertainty"], expected.force_uncertainty)
    with pytest.raises(PropertyNotImplementedError):
        frame.calc.get_property("magmoms", frame)


def test_what_a_committee_refuses() -> None:
    with pytest.raises(ValueError, match="calculators: got 1, expected at least 2"):
        CalculatorCommittee([EMT()])
    with pytest.raises(ValueError, match="references: got 1 for 2 calculators"):
        CalculatorCommittee([EMT(), EMT()], references=[{}])
    batch = batch_of(rattled("NH3", 0))
    moving = batch.at(batch.positions.clone().requires_grad_())
    with pytest.raises(ValueError, match="its positions require a gradient"):
        CalculatorCommittee(pair_potentials()).predict(moving)
    with pytest.raises(NotImplementedError):
        CalculatorCommittee([EMT(), EMT()]).predict(batch_of(ase.Atoms("Si")))


def test_calculators_and_their_structures_are_left_alone() -> None:
    frame = rattled("NH3", 0)
    before = frame.positions.copy()
    committee = CalculatorCommittee(pair_potentials())
    batch = batch_of(frame)
    first, second = committee.predict(batch), committee.predict(batch)
    assert test_contract.same(first, second)
    assert np.array_equal(frame.positions, before)
    assert frame.calc is None
