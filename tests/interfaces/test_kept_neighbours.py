"""Neighbours that are kept from call to call: the same numbers, far fewer searches."""

from __future__ import annotations

from dataclasses import fields

import ase
import numpy as np
import pytest
import samples
import torch
from ase import units
from ase.build import bulk, graphene, molecule
from ase.md.verlet import VelocityVerlet
from torch import Tensor

from uqlib.dynamics import thermal
from uqlib.interfaces import UncertaintyCalculator
from uqlib.interfaces.neighbours import KeptNeighbours
from uqlib.methods.shared.committee import Committee
from uqlib.structures.batch import Batch

PREDICTOR = Committee([samples.small_network(seed=seed) for seed in range(2)])
CUTOFF = samples.CUTOFF
DRIFT = np.array([0.3, 0.0, 0.1])  # Å a step


def large_crystal() -> ase.Atoms:
    """Of N and H, 64 atoms; no atom sees another twice."""
    atoms = bulk("N", "fcc", a=3.4, cubic=True) * (4, 4, 1)
    atoms *= (1, 1, 4)
    atoms.numbers[1::2] = 1
    return atoms


def sheet() -> ase.Atoms:
    atoms = graphene("CC", a=2.46, size=(4, 4, 1), vacuum=None)
    atoms.pbc = (True, True, False)
    atoms.numbers[:] = 7
    return atoms


STRUCTURES = {"molecule": molecule("C6H6"), "crystal": large_crystal(), "sheet": sheet()}
STRUCTURES["molecule"].numbers[STRUCTURES["molecule"].numbers == 6] = 7


def same(a: Batch, b: Batch) -> bool:
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)]
    return all(x.equal(y) if isinstance(x, Tensor) else x == y for x, y in pairs)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_kept_is_what_a_search_would_find(name: str, dtype: torch.dtype) -> None:
    """Bit for bit, over a walk at random that crosses the cutoff often."""
    atoms, random = STRUCTURES[name].copy(), np.random.default_rng(0)
    kept, met = KeptNeighbours(CUTOFF, skin=1.0), set()
    for _ in range(60):
        batch = kept.batch(atoms, dtype=dtype)
        assert same(batch, Batch.from_atoms(atoms, cutoff=CUTOFF, dtype=dtype))
        met.add(batch.n_pairs)
        atoms.positions += random.normal(scale=0.02, size=atoms.positions.shape) + np.array(
            [0.3, 0.0, 0.1]
        )  # and a drift
    assert len(met) > 2
    assert kept.searches < 15


@pytest.mark.parametrize("name", ["crystal", "sheet"])
def test_cells_that_breathe_and_shear(name: str) -> None:
    """The cell of each step is another; what is kept is still exact, and a squeezed cell is searched again."""
    atoms, random = STRUCTURES[name].copy(), np.random.default_rng(1)
    kept, first = KeptNeighbours(CUTOFF, skin=1.0), atoms.cell.copy()
    for step in range(50):
        strain = 0.04 * np.sin(step / 5) * np.array([[1.0, 0.3, 0.0], [0.0, -0.5, 0.0], [0.0, 0.0, 0.0]])
        atoms.set_cell(first @ (np.eye(3) + strain), scale_atoms=True)
        atoms.positions += random.normal(scale=0.01, size=atoms.positions.shape)
        assert same(kept.batch(atoms, dtype=torch.float64), Batch.from_atoms(atoms, cutoff=CUTOFF, dtype=torch.float64))
    assert kept.searches < 15
    before = kept.searches
    atoms.set_cell(0.75 * first, scale_atoms=True)
    assert same(kept.batch(atoms, dtype=torch.float64), Batch.from_atoms(atoms, cutoff=CUTOFF, dtype=torch.float64))
    assert kept.searches == before + 1


def test_a_cell_smaller_than_the_cutoff() -> None:
    """Atoms that see several images of one another: the same pairs, and forces that agree to the last digits."""
    atoms = samples.crystal()
    calculator = UncertaintyCalculator(PREDICTOR)
    atoms.calc = calculator
    for step in range(8):
        atoms.rattle(0.01, seed=step)
        fresh = PREDICTOR.predict(samples.batch_of(atoms.copy()))
        np.testing.assert_allclose(atoms.get_forces(), fresh.forces, rtol=1e-10, atol=1e-10)
    assert calculator.neighbours.searches == 1


def test_dynamics_searches_seldom() -> None:
    """200 steps at room temperature: the same trajectory as with a search at each step, and far fewer searches."""

    def flown(skin: float) -> tuple[np.ndarray, int]:
        (atoms,) = thermal(molecule("NH3"), temperature=300.0, replicas=1, seed=0)
        calculator = UncertaintyCalculator(PREDICTOR, skin=skin)
        atoms.calc = calculator
        VelocityVerlet(atoms, 0.2 * units.fs).run(200)
        return atoms.positions, calculator.neighbours.searches

    kept, searches = flown(1.0)
    fresh, every = flown(0.0)
    np.testing.assert_array_equal(kept, fresh)
    assert every == 201
    assert searches <= 10


@pytest.mark.parametrize("change", ["element", "periodicity", "number", "swap"])
def test_another_structure_is_searched(change: str) -> None:
    atoms, kept = samples.crystal(), KeptNeighbours(CUTOFF, skin=1.0)
    kept.batch(atoms, dtype=torch.float64)
    if change == "element":
        atoms.numbers[0] = 8
    elif change == "periodicity":
        atoms.pbc[0] = False
    elif change == "number":
        atoms = atoms[:3]
    else:
        atoms.positions[[0, 1]] = atoms.positions[[1, 0]]
    batch = kept.batch(atoms, dtype=torch.float64)
    assert same(batch, Batch.from_atoms(atoms, cutoff=CUTOFF, dtype=torch.float64))
    assert kept.searches == 2


def test_what_is_refused_is_refused_again() -> None:
    """Also where the pairs are kept: atoms that meet, positions that are no numbers; then all is well again."""
    atoms, kept = ase.Atoms("N3", [[0, 0, 0], [0.4, 0, 0], [3, 0, 0]]), KeptNeighbours(CUTOFF, skin=2.0)
    good = kept.batch(atoms, dtype=torch.float64)
    atoms.positions[1, 0] = 0.05
    with pytest.raises(ValueError, match=r"atoms 0 and 1 are 0\.05 Å apart"):
        kept.batch(atoms, dtype=torch.float64)
    atoms.positions[1, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        kept.batch(atoms, dtype=torch.float64)
    atoms.positions[1, 0] = 0.4
    assert same(kept.batch(atoms, dtype=torch.float64), good)
    with pytest.raises(ValueError, match=r"skin: got -0\.1, expected a distance"):
        UncertaintyCalculator(PREDICTOR, skin=-0.1)


def test_the_type_is_the_predictors_unless_another_is_asked_for() -> None:
    atoms = samples.rattled("NH3", 0)
    found = {}
    for dtype in (None, "float32", torch.float64, "float64"):
        atoms.calc = calculator = UncertaintyCalculator(PREDICTOR, dtype=dtype)
        found[dtype] = atoms.get_potential_energy(), calculator.predictor.dtype
    assert found[None] == found["float64"] == found[torch.float64]
    assert found["float32"][1] == torch.float32
    assert found["float32"][0] == pytest.approx(found[None][0], abs=1e-3)
    assert calculator.predictor is PREDICTOR
    with pytest.raises(ValueError, match=r"dtype: got 'single', expected torch\.float32 or torch\.float64"):
        UncertaintyCalculator(PREDICTOR, dtype="single")
