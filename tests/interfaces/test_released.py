"""Released potentials: ours say what their own packages say, and the methods for any network take them."""

from __future__ import annotations

import copy
import functools
import importlib.util
import subprocess
import sys
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from uqlib.calibration import Calibrated, calibrate
from uqlib.interfaces import ForeignModel, released
from uqlib.methods.gmm import GaussianMixture
from uqlib.methods.llpr import LastLayer
from uqlib.methods.neighbours import NearestNeighbours
from uqlib.networks.memory import pieces_of
from uqlib.prediction import predict
from uqlib.structures import datasets
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset

PACKAGES = {"chgnet": "chgnet", "sevennet": "sevenn"}
there = {name: importlib.util.find_spec(package) is not None for name, package in PACKAGES.items()}
each = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(not there[name], reason='pip install "uqlib[released]"'))
        for name in PACKAGES
    ],
)
pytestmark = pytest.mark.filterwarnings("default")  # their packages' own words


@functools.cache
def model(name: str) -> ForeignModel:
    return getattr(released, name)()


@functools.cache
def calculator(name: str) -> Any:
    if name == "chgnet":
        from chgnet.model.dynamics import CHGNetCalculator  # pyright: ignore[reportMissingImports]

        return CHGNetCalculator(use_device="cpu")
    from sevenn.calculator import SevenNetCalculator  # pyright: ignore[reportMissingImports]

    return SevenNetCalculator("7net-0", device="cpu")


def frames() -> list[ase.Atoms]:
    """A small skewed crystal, rattled, and a glass."""
    rng = np.random.default_rng(0)
    small = ase.Atoms("Si2O4", cell=[[4.2, 0, 0], [0.9, 4.3, 0], [-0.5, 0.6, 4.6]], pbc=True)
    small.set_scaled_positions(
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.3, 0.3, 0], [0.7, 0.7, 0], [0.2, 0.8, 0.5], [0.8, 0.2, 0.5]]
    )
    small.positions += rng.normal(scale=0.05, size=small.positions.shape)
    return [small, datasets.load("silica")["train"].atoms[0]]


def batch(name: str, *atoms: ase.Atoms) -> Batch:
    return Batch.from_atoms(list(atoms), cutoff=model(name).cutoff, dtype=torch.float32, labels=False)


@each
def test_loading_it_warns_of_nothing_and_leaves_the_readers_warnings_alone(name: str) -> None:
    code = (
        "import warnings\n"
        "from uqlib.interfaces import released\n"
        "with warnings.catch_warnings(record=True) as heard:\n"
        "    warnings.simplefilter('always')\n"
        f"    released.{name}()\n"
        "    warnings.warn('mine')\n"
        "print([str(each.message) for each in heard])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "['mine']"


@each
def test_it_says_what_its_package_says(name: str) -> None:
    found = model(name).evaluate(batch(name, *frames()))
    start = 0
    for number, atoms in enumerate(frames()):
        plain = ase.Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
        plain.calc = calculator(name)
        assert float(found.energy[number]) == pytest.approx(plain.get_potential_energy(), abs=2e-4 * len(atoms))
        own = found.forces[start : start + len(atoms)].numpy()
        np.testing.assert_allclose(own, plain.get_forces(), atol=2e-3)
        ours = full_3x3_to_voigt_6_stress(found.stress[number].numpy())
        np.testing.assert_allclose(ours, plain.get_stress(), atol=2e-4)
        start += len(atoms)
    assert found.features.shape == (start, 64)


@each
def test_a_batch_is_its_structures(name: str) -> None:
    both = model(name).evaluate(batch(name, *frames()))
    single = [model(name).evaluate(batch(name, atoms)) for atoms in frames()]
    torch.testing.assert_close(both.energy, torch.cat([one.energy for one in single]), rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(both.forces, torch.cat([one.forces for one in single]), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(both.features, torch.cat([one.features for one in single]), rtol=1e-3, atol=1e-3)


@each
def test_a_molecule_needs_no_cell(name: str) -> None:
    water = molecule("H2O")
    boxed = water.copy()
    boxed.set_cell([20.0, 20, 20])
    boxed.pbc = True
    alone, within = (model(name).evaluate(batch(name, atoms)) for atoms in (water, boxed))
    torch.testing.assert_close(alone.energy, within.energy, rtol=0, atol=1e-3)
    torch.testing.assert_close(alone.forces, within.forces, rtol=0, atol=2e-3)
    assert alone.stress.isnan().all()


@each
def test_energies_are_linear_in_the_features(name: str) -> None:
    """What LLPR rests on: among structures of one composition, a fit of the energy to summed features is exact."""
    rng = np.random.default_rng(1)
    base = frames()[0]
    moved = []
    for _ in range(80):
        atoms = base.copy()
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        moved.append(atoms)
    found = model(name).evaluate(batch(name, *moved))
    summed = found.features.double().reshape(80, len(base), -1).sum(1)
    rows = torch.cat([summed, torch.ones(80, 1, dtype=torch.float64)], dim=1)
    left = found.energy - rows @ torch.linalg.lstsq(rows, found.energy[:, None], driver="gelsd").solution[:, 0]
    assert float(left.std() / found.energy.std()) < 1e-3


@each
def test_methods_for_any_network_take_it(name: str) -> None:
    silica = datasets.load("silica")
    own = silica["train"].take(range(3))
    referred = released.referred_to(model(name), own)
    mixture = predict(GaussianMixture().fit_to(referred, own, own, seed=0), own)
    assert abs(np.mean(mixture.energy.numpy() - own.energies)) < 0.05 * 72
    raw = model(name).evaluate(batch(name, own.atoms[0]))
    assert abs(float(raw.energy[0]) - own.energies[0]) > 1000
    torch.testing.assert_close(mixture.forces[:72], raw.forces)
    held_out = silica["test"].take(range(3))
    fitted = NearestNeighbours().fit_to(referred, own, own, seed=0)
    whole = predict(fitted, held_out)
    calibrated = Calibrated(fitted, calibrate("isotonic", whole, held_out))
    assert predict(calibrated, held_out).unit == "eV/Å"


@pytest.mark.skipif(not there["sevennet"], reason='pip install "uqlib[released]"')
def test_a_last_layer_goes_around_sevennet() -> None:
    """Which it asks in double precision: the same numbers as in single. CHGNet refuses, see below."""
    few = []
    for seed in range(3):
        atoms = ase.Atoms("SiO2", positions=[[0, 0, 0], [1.6, 0, 0], [-0.5, 1.5, 0]], cell=[6, 6, 6], pbc=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0 - seed, forces=np.zeros((3, 3)))
        few.append(atoms)
    own = Dataset(name="few", atoms=tuple(few))
    referred = released.referred_to(model("sevennet"), own)
    single = referred.evaluate(own.batch(cutoff=referred.cutoff, labels=False))
    in_double = Batch.from_atoms(own.atoms, cutoff=referred.cutoff, dtype=torch.float64)
    double = copy.deepcopy(referred).to(torch.float64).evaluate(in_double)
    torch.testing.assert_close(double.forces, single.forces.double(), rtol=0, atol=1e-4)
    said = predict(LastLayer().fit_to(referred, own, own, seed=0), own)
    assert said.energy_uncertainty is not None
    assert bool((said.energy_uncertainty > 0).all())
    assert bool((said.force_uncertainty > 0).all())
    torch.testing.assert_close(said.forces, single.forces, rtol=0, atol=1e-5)


@each
def test_what_it_does_not_know_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"weights: got 'latest', expected one of"):
        getattr(released, name)("latest")
    with pytest.raises(ValueError, match=r"atomic_numbers: got \[118\]"):
        model(name).evaluate(batch(name, ase.Atoms([118, 8], positions=[[0, 0, 0], [1.8, 0, 0]])))
    silica = datasets.load("silica")["train"].take(range(2))
    bare = Dataset(name="bare", atoms=tuple(a.copy() for a in silica.atoms))
    with pytest.raises(ValueError, match=r"energy: 2 of 2 structures of 'bare' have none"):
        released.referred_to(model(name), bare)


@pytest.mark.skipif(not there["chgnet"], reason='pip install "uqlib[released]"')
def test_chgnet_refuses_slabs_and_double_precision() -> None:
    slab = frames()[0]
    slab.pbc = [True, True, False]
    slab.set_cell(np.asarray(slab.cell) * [[1.0], [1.0], [0.0]])
    with pytest.raises(ValueError, match=r"periodic along \[True, True, False\], and CHGNet knows crystals alone"):
        model("chgnet").evaluate(batch("chgnet", slab))
    double = Batch.from_atoms(frames()[0], cutoff=6.0, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"CHGNet computes in torch.float32 alone"):
        ForeignModel(model("chgnet").module, elements=[8, 14], cutoff=6.0).to(torch.float64).evaluate(double)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = [name for name in sys.modules if name.split(".")[0] in ("chgnet", "sevenn")]  # by other tests
    for module in ("chgnet", "sevenn", *loaded):
        monkeypatch.setitem(sys.modules, module, None)
    for door, package in ((released.chgnet, "chgnet"), (released.sevennet, "sevenn")):
        with pytest.raises(
            ImportError, match=rf'{package}: the package is not installed; pip install "uqlib\[released\]"'
        ):
            door()


@pytest.mark.skipif(not there["sevennet"], reason='pip install "uqlib[released]"')
def test_batches_of_sevennet_are_sized_by_what_it_takes() -> None:
    own = datasets.load("silica")["train"].take(range(4))
    referred = released.referred_to(model("sevennet"), own)
    assert referred.bytes_per_pair == model("sevennet").bytes_per_pair
    for part in pieces_of(referred, own, largest=600_000_000):
        assert part.n_structures == 1
