"""Pairs against brute force, selections against fresh batches, and everything that must be refused."""

from __future__ import annotations

import dataclasses

import ase
import numpy as np
import pytest
import samples
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import voigt_6_to_full_3x3_stress
from samples import batch_of, crystal, rattled
from torch import Tensor

from uqlib.structures.batch import Batch


def vectors(batch: Batch) -> Tensor:
    """(E, 3) as the class documents them."""
    i, j = batch.pairs
    cell = batch.cell[batch.structure_of_atom[i]]
    return batch.positions[j] + (batch.shifts.unsqueeze(1) @ cell)[:, 0] - batch.positions[i]


def brute_force(atoms: ase.Atoms, cutoff: float) -> list[tuple[int, int, float]]:
    """All (i, j, distance) within the cutoff, images up to four cells away included."""
    reach = [range(-4, 5) if periodic else range(1) for periodic in atoms.pbc]
    found = []
    for shift in np.stack(np.meshgrid(*reach, indexing="ij"), axis=-1).reshape(-1, 3):
        moved = atoms.positions + shift @ np.asarray(atoms.cell)
        distance = np.linalg.norm(moved[None] - atoms.positions[:, None], axis=-1)
        for i, j in zip(*np.nonzero((distance < cutoff) & (distance > 1e-9)), strict=True):
            found.append((int(i), int(j), round(float(distance[i, j]), 8)))
    return sorted(found)


def slab() -> ase.Atoms:
    atoms = crystal(1)
    atoms.pbc = [True, True, False]
    return atoms


STRUCTURES = {
    "molecule": rattled("NH3", 0),
    "crystal": crystal(),
    "one atom in a skewed cell": crystal(cubic=False),
    "slab": slab(),
    "one atom": ase.Atoms("O"),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_pairs_against_brute_force(name: str) -> None:
    atoms = STRUCTURES[name]
    batch = batch_of(atoms)
    distances = vectors(batch).norm(dim=1).numpy().round(8)
    found = sorted(zip(batch.pairs[0].tolist(), batch.pairs[1].tolist(), distances.tolist(), strict=True))
    expected = brute_force(atoms, samples.CUTOFF)
    assert [f[:2] for f in found] == [e[:2] for e in expected]
    np.testing.assert_allclose([f[2] for f in found], [e[2] for e in expected], atol=2e-8)


def test_layout() -> None:
    batch = batch_of(*STRUCTURES.values())
    sizes = [len(atoms) for atoms in STRUCTURES.values()]
    assert (batch.n_structures, batch.n_atoms) == (len(sizes), sum(sizes))
    assert batch.atoms_per_structure.tolist() == sizes
    assert batch.structure_of_atom.tolist() == [s for s, size in enumerate(sizes) for _ in range(size)]
    assert batch.n_pairs == batch.pairs_per_structure.sum() == sum(batch_of(a).n_pairs for a in STRUCTURES.values())
    assert (batch.pairs[0].diff() >= 0).all(), "sorted by i"
    assert (batch.structure_of_atom[batch.pairs[0]] == batch.structure_of_atom[batch.pairs[1]]).all()
    assert batch.cell[0].abs().sum() == 0
    assert batch.cell[3, 2].abs().sum() == 0, "the direction without periodicity has no lattice vector"
    for name in ("atomic_numbers", "structure_of_atom", "pairs", "reverse"):
        assert getattr(batch, name).dtype == torch.int64


def test_reverse_is_the_same_pair_seen_from_the_other_side() -> None:
    batch = batch_of(*STRUCTURES.values())
    assert batch.pairs[:, batch.reverse].equal(batch.pairs.flip(0))
    torch.testing.assert_close(vectors(batch)[batch.reverse], -vectors(batch))
    assert batch.reverse[batch.reverse].equal(torch.arange(batch.n_pairs))
    assert (batch.reverse != torch.arange(batch.n_pairs)).all()


def equal(a: Batch, b: Batch) -> None:
    for field in dataclasses.fields(Batch):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert (x is None) == (y is None), field.name
        assert x is None or (x.equal(y) if isinstance(x, Tensor) else x == y), field.name


@pytest.mark.parametrize("chosen", [[2], [4, 0], [1, 1, 3], [0, 1, 2, 3, 4], torch.tensor([3, 4, 0])])
def test_selected_structures_equal_a_fresh_batch(chosen: list[int]) -> None:
    labelled = [with_labels(atoms) for atoms in STRUCTURES.values()]
    fresh = batch_of(*(labelled[int(i)] for i in chosen))
    equal(batch_of(*labelled).select(chosen), fresh)


def with_labels(atoms: ase.Atoms, **other: object) -> ase.Atoms:
    atoms = atoms.copy()
    rng = np.random.default_rng(len(atoms))
    known = {"energy": -1536.123456789, "forces": rng.normal(size=(len(atoms), 3)), "stress": rng.normal(size=6)}
    atoms.calc = SinglePointCalculator(atoms, **{**known, **other})
    return atoms


def test_labels() -> None:
    structures = [with_labels(rattled("NH3", 0)), with_labels(crystal(), energy=-3.0)]
    batch = Batch.from_atoms(structures)
    assert batch.energy is not None
    assert batch.forces is not None
    assert batch.stress is not None
    assert batch.energy.tolist() == [-1536.123456789, -3.0], "float64, whatever the type of the positions"
    assert batch.positions.dtype == batch.forces.dtype == torch.float32
    np.testing.assert_allclose(batch.forces, np.concatenate([a.get_forces() for a in structures]), rtol=1e-6)
    expected = [voigt_6_to_full_3x3_stress(a.get_stress()) for a in structures]
    np.testing.assert_allclose(batch.stress, expected, rtol=1e-6)


def test_moved_atoms_find_new_pairs_and_lose_labels() -> None:
    structures = [with_labels(rattled("NH3", 0)), with_labels(crystal())]
    batch = batch_of(*structures)
    positions = batch.positions + torch.randn(batch.positions.shape, dtype=torch.float64) * 0.3
    moved = batch.at(positions)
    for atoms, part in zip(structures, positions.split([4, 4]), strict=True):
        atoms.positions = part.numpy()
        atoms.calc = None
    equal(moved, batch_of(*structures))
    kept = batch.at(positions, update_pairs=False)
    assert kept.pairs is batch.pairs
    assert kept.energy is None
    assert kept.forces is None
    assert kept.stress is None
    assert batch.energy is not None, "the batch itself is as it was"


def test_moved_atoms_keep_the_tape() -> None:
    batch = batch_of(rattled("NH3", 0))
    assert batch.at(batch.positions.clone().requires_grad_()).positions.requires_grad


def test_other_types() -> None:
    batch = batch_of(with_labels(crystal())).to(torch.float32)
    assert {batch.positions.dtype, batch.cell.dtype, batch.shifts.dtype, batch.forces.dtype} == {torch.float32}  # pyright: ignore[reportOptionalMemberAccess]
    assert batch.energy is not None
    assert batch.energy.dtype == torch.float64
    assert batch.pairs.dtype == torch.int64
    assert batch.to("cpu").positions.equal(batch.positions)


def test_building_computes_nothing_and_changes_nothing() -> None:
    atoms = with_labels(crystal())
    before = atoms.copy()
    Batch.from_atoms(atoms)
    assert atoms == before
    assert Batch.from_atoms(before).energy is None


def changed(atoms: ase.Atoms, **arrays: object) -> ase.Atoms:
    atoms = atoms.copy()
    for name, value in arrays.items():
        setattr(atoms, name, value)
    return atoms


NH3 = rattled("NH3", 0)
FLAT = [[3.0, 0, 0], [0, 3.0, 0], [3.0, 3.0, 0]]


@pytest.mark.parametrize(
    ("structures", "words"),
    [
        ([], "got no structures"),
        ([ase.Atoms()], "structure 0 has no atoms"),
        ([NH3, changed(NH3, positions=np.full((4, 3), np.nan))], "positions of structure 1: .*not finite"),
        ([changed(NH3, positions=np.diag([np.inf, 1, 1, 1])[:, :3])], "not finite"),
        ([changed(NH3, positions=np.zeros((4, 3)))], r"atoms 0 and . are 0 Å apart, expected at least 0\.1 Å"),
        ([changed(NH3, numbers=[0, 1, 1, 1])], r"atomic numbers \[.*0.*\], expected 1 to 118"),
        ([changed(NH3, numbers=[119, 1, 1, 1])], "expected 1 to 118"),
        ([changed(NH3, pbc=True)], "periodic along .* but its cell is"),
        ([changed(NH3, cell=FLAT, pbc=True)], "flat cell"),
        ([changed(NH3, cell=np.diag([9.0, 9.0, np.nan]), pbc=True)], "cell"),
        ([changed(NH3, cell=np.diag([9.0, 9.0, 0.001]), pbc=True)], "flat cell"),
        ([changed(crystal(), cell=np.diag([3.4, 3.4, 1e-3]), pbc=[True, True, False])], None),  # not periodic there
        ([NH3, with_labels(NH3, energy=np.nan)], "energy: structure 1 has a label that is not finite"),
        ([with_labels(NH3, forces=np.full((4, 3), np.inf))], "forces: structure 0 has a label that is not finite"),
        ([with_labels(NH3, forces=np.zeros((3, 3)))], r"forces: structure 0 .* shape \(3, 3\), expected \(4, 3\)"),
        ([with_labels(NH3, forces=np.zeros((4, 1)))], r"forces: structure 0 .* shape \(4, 1\), expected \(4, 3\)"),
        ([with_labels(NH3, energy=np.zeros(4))], r"energy: structure 0 .* shape \(4,\), expected \(\)"),
        ([with_labels(NH3, stress=np.zeros(5))], r"stress: structure 0 .* shape \(5,\), expected \(6,\)"),
    ],
)
def test_bad_structures(structures: list[ase.Atoms], words: str | None) -> None:
    if words is None:
        assert Batch.from_atoms(structures).n_structures == 1
        return
    with pytest.raises(ValueError, match=words):
        Batch.from_atoms(structures)


def test_labels_of_some_structures() -> None:
    batch = batch_of(with_labels(NH3, forces=None), crystal(), with_labels(crystal()))
    whole = batch_of(with_labels(NH3), with_labels(crystal()))
    assert batch.energy is not None
    assert batch.forces is not None
    assert batch.energy.isnan().tolist() == [False, True, False]
    assert batch.forces.isnan().all(1).tolist() == 8 * [True] + 4 * [False]
    assert whole.energy is not None
    torch.testing.assert_close(batch.energy[[0, 2]], whole.energy)
    assert batch.select([1]).energy is not None
    broken = Batch.from_atoms(with_labels(NH3, energy=np.nan), labels=False)
    assert broken.energy is None, "who does not look for labels is not stopped by them"


def test_atoms_on_top_of_each_other_through_the_cell() -> None:
    atoms = ase.Atoms("NH", positions=[[0, 0, 0.02], [0, 0, 4.98]], cell=[5, 5, 5], pbc=True)
    with pytest.raises(ValueError, match=r"atoms 0 and 1 are 0\.04 Å apart.*or cell"):
        Batch.from_atoms(atoms)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan")])
def test_bad_cutoff(cutoff: float) -> None:
    with pytest.raises(ValueError, match=r"cutoff: got .*, expected a positive distance"):
        Batch.from_atoms(NH3, cutoff=cutoff)


def test_bad_selections_and_positions() -> None:
    batch = batch_of(NH3, crystal())
    for chosen in ([2], [-1], [], [[0]]):
        with pytest.raises(ValueError, match="structures: got"):
            batch.select(chosen)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"positions: got shape \(7, 3\), expected \(8, 3\)"):
        batch.at(batch.positions[:7])
    with pytest.raises(ValueError, match=r"positions of structure 1: .*not finite"):
        batch.at(batch.positions.index_fill(0, torch.tensor([5]), torch.nan))


def test_nothing_can_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch_of(NH3).cutoff = 3.0  # pyright: ignore[reportAttributeAccessIssue]


def test_vectors_to_neighbours() -> None:
    batch = batch_of(crystal(), rattled("NH3", 0))
    found = batch.vectors()
    torch.testing.assert_close(found, vectors(batch))
    torch.testing.assert_close(found[batch.reverse], -found)
    cell = batch.cell.clone().requires_grad_()
    dataclasses.replace(batch, cell=cell).vectors().square().sum().backward()
    assert cell.grad is not None
    assert cell.grad[0].abs().max() > 0
