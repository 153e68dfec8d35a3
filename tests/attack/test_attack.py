"""Attacks go where they should, each for itself; screening names what it drops; the baselines are repeatable."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import ase
import numpy as np
import pytest
import samples
import torch
from ase.build import bulk
from samples import CUTOFF, batch_of, crystal, label, rattled
from test_contract import RECIPES
from torch import Tensor

from uqlib.attack import (
    Objective,
    aligned_rmsd,
    attack,
    closest_contact,
    from_dynamics,
    random_displacement,
    screen,
    structure_uncertainty,
)
from uqlib.methods import EVERY
from uqlib.prediction import Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset
from uqlib.structures.units import KB

EXACT: Any = {"dtype": torch.float64}


def sums(values: Tensor, batch: Batch, of: Tensor) -> Tensor:
    return values.new_zeros(batch.n_structures).index_add(0, batch.structure_of_atom[of], values)


@dataclass(frozen=True, kw_only=True)
class Springs:
    """Every pair within 2 Å is a spring of length 1 Å, and the uncertainty of an atom grows as its bonds do.

    `nan_beyond`: where a bond is longer, the uncertainty is not a number. `nats`: a score that is always negative.
    """

    cutoff: float = 2.0
    stiffness: float = 5.0
    nan_beyond: float = math.inf
    unit: Literal["eV/Å", "nats"] = "eV/Å"
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def predict(self, batch: Batch) -> Prediction:
        i, j = batch.pairs
        cell = batch.cell[batch.structure_of_atom[i]]
        vector = batch.positions[j] + torch.einsum("ea,eab->eb", batch.shifts, cell) - batch.positions[i]
        length = vector.norm(dim=1)
        energy = sums(0.25 * self.stiffness * (length - 1).square(), batch, i)
        length = torch.where(length > self.nan_beyond, torch.nan, length)
        grown = batch.positions.new_zeros(batch.n_atoms).index_add(0, i, (2 * (length - 1)).exp())
        uncertainty = 0.01 * grown + 1e-3 if self.unit == "eV/Å" else (0.01 * grown + 1e-3).log()
        forces = torch.zeros_like(batch.positions)
        return Prediction(energy=energy.double(), forces=forces, force_uncertainty=uncertainty, unit=self.unit)


def chain(*gaps: float) -> ase.Atoms:
    """Hydrogen atoms on a line, gaps in Å."""
    points = np.zeros((len(gaps) + 1, 3))
    points[1:, 0] = np.cumsum(gaps)
    return ase.Atoms(f"H{len(points)}", positions=points)


def labelled(*atoms: ase.Atoms) -> Dataset:
    """With the energy of the springs."""
    frames = []
    for frame in atoms:
        known = label(frame)
        assert known.calc is not None
        batch = Batch.from_atoms(frame, cutoff=2.0, dtype=torch.float64)
        known.calc.results["energy"] = float(Springs().predict(batch).energy[0])
        frames.append(known)
    return Dataset(name="springs", atoms=tuple(frames))


def dimers() -> Dataset:
    return labelled(*(chain(gap) for gap in (0.94, 0.98, 1.0, 1.02, 1.06)))


def gap(atoms: ase.Atoms) -> float:
    return float(atoms.get_distance(0, 1))


# --- the objective ----------------------------------------------------------------------------------------------


def test_the_objective_is_what_its_formula_says() -> None:
    train = dimers()
    objective = Objective.of(train, temperature=800.0)
    batch = Batch.from_atoms([chain(1.2), chain(0.9)], cutoff=2.0, dtype=torch.float64)
    p = Springs().predict(batch)
    terms = objective(p, batch)
    kt = KB * 800.0
    per_atom = train.energies / 2
    partition = np.exp(-(per_atom - per_atom.mean()) / kt).sum()
    energy = p.energy.numpy() / 2 - per_atom.mean()
    uncertainty = p.force_uncertainty.reshape(2, 2).square().mean(1).sqrt().numpy()
    np.testing.assert_allclose(terms.energy, energy)
    np.testing.assert_allclose(terms.uncertainty, uncertainty)
    np.testing.assert_allclose(terms.log_weight.exp(), np.exp(-energy / kt) / partition)
    np.testing.assert_allclose(terms.value.exp(), uncertainty * np.exp(-energy / kt) / partition)


def test_energies_are_counted_per_atom_and_from_references() -> None:
    """A supercell weighs what its cell weighs; molecules of different elements can be compared."""
    data = samples.dataset()
    objective = Objective.of(data, temperature=500.0)
    model = RECIPES["mve"].fit(data["train"], data["valid"], seed=0, progress=False).to(torch.float64)
    for structures in ([crystal(), crystal().repeat((2, 1, 1))],):
        batch = batch_of(*structures)
        terms = objective(model.predict(batch), batch)
        assert float(terms.value[0]) == pytest.approx(float(terms.value[1]), rel=1e-9)
    assert abs(objective.log_partition) < 50  # not the thousands of eV of whole atoms over kT
    assert objective.references[8] == pytest.approx(samples.ATOM_ENERGIES[8], abs=5)


@pytest.mark.parametrize("pairs", [1, 4])
def test_an_attack_may_spend_kt_for_each_atom_however_many_there_are(pairs: int) -> None:
    """N kT in total for a factor of e, which grows with N as thermal energy does: the temperature need not."""
    temperature, stretch = 1000.0, 0.15
    still, moved = (chain(*[length, 5.0] * (pairs - 1), length) for length in (1.0, 1.0 + stretch))
    batch = Batch.from_atoms([still, moved], cutoff=2.0, dtype=torch.float64)
    p = Springs().predict(batch)
    terms = Objective.of(dimers(), temperature=temperature)(p, batch)
    spent = float(p.energy[1] - p.energy[0])
    assert spent == pytest.approx(pairs * 0.5 * 5.0 * stretch**2)
    paid = float(terms.log_weight[0] - terms.log_weight[1])
    assert paid == pytest.approx(spent / (2 * pairs * KB * temperature))
    assert paid == pytest.approx(0.5 * 5.0 * stretch**2 / (2 * KB * temperature)), "the same for one pair and for four"


def test_far_from_anything_the_logarithms_are_still_numbers() -> None:
    objective = Objective.of(dimers(), temperature=1.0)
    batch = Batch.from_atoms(chain(1.9), cutoff=2.0, dtype=torch.float64)
    terms = objective(Springs(stiffness=500.0).predict(batch), batch)
    assert terms.log_weight < -1e5
    assert torch.isfinite(terms.value).all()


@pytest.mark.parametrize("method", ["ensemble", "mve", "gmm", "neighbours"])
def test_the_slope_of_the_objective(method: str) -> None:
    data = samples.dataset()
    model = RECIPES[method].fit(data["train"], data["valid"], seed=0, progress=False).to(torch.float64)
    objective = Objective.of(data["train"], temperature=3000.0)
    for structure in (rattled("NH3", 0), crystal()):
        batch = batch_of(structure)
        moving = batch.at(batch.positions.clone().requires_grad_(), update_pairs=False)
        (slope,) = torch.autograd.grad(objective(model.predict(moving), moving).value.sum(), moving.positions)
        expected = samples.slopes(lambda b: objective(model.predict(b), b).value.detach(), batch)
        torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-6 * max(1.0, float(expected.abs().max())))
        assert slope.abs().max() > 1e-3


def test_nats_do_not_flip_the_objective() -> None:
    """A score that is the logarithm of a standard deviation leads where the standard deviation leads.

    It is negative throughout: times the weight it would be largest where the weight is least.
    """
    batch = Batch.from_atoms([chain(1.0)], cutoff=2.0, dtype=torch.float64)
    score = Springs(unit="nats")
    assert structure_uncertainty(score.predict(batch), batch) < 0
    data = dimers()
    ends = [
        attack(p, data, data, temperature=2000.0, seed=0, steps=40, **EXACT) for p in (Springs(), score)
    ]  # fmt: skip
    for plain, nats in zip(*(found.structures for found in ends), strict=True):
        np.testing.assert_allclose(plain.positions, nats.positions, atol=1e-6)
        assert gap(nats) > 1.05
    assert (ends[1].unit, ends[0].unit) == ("nats", "eV/Å")


# --- the walk ---------------------------------------------------------------------------------------------------


def test_temperature_decides_how_far() -> None:
    data = dimers()
    lengths = {}
    for temperature in (1.0, 300.0, 3000.0, math.inf):
        found = attack(Springs(), data.take([2]), data, temperature=temperature, steps=80, seed=0, **EXACT)
        lengths[temperature] = gap(found.structures[0])
    assert abs(lengths[1.0] - 1.0) < 0.01  # the weight is all
    assert lengths[1.0] < lengths[300.0] < lengths[3000.0] < lengths[math.inf]
    assert lengths[math.inf] > 1.8  # nothing but uncertainty


def test_the_summit_is_where_theory_has_it() -> None:
    """d/dr [log U - E/2kT] = 0 for two atoms on a spring."""
    data = dimers()
    found = attack(Springs(), data.take([0]), data, temperature=1000.0, steps=400, learning_rate=0.005, seed=1, **EXACT)
    r, kt = np.linspace(0.9, 1.9, 20001), KB * 1000.0
    value = np.log(0.01 * np.exp(2 * (r - 1)) + 1e-3) - 0.5 * 2.5 * (r - 1) ** 2 / kt
    assert gap(found.structures[0]) == pytest.approx(r[value.argmax()], abs=2e-3)


def test_the_displacement_is_that_of_the_seed() -> None:
    """With slopes that keep their sign Adam moves each coordinate by one learning rate a step, no more and no less.

    Adding the whole displacement to what has been displaced already would go as the square of the number of steps.
    """
    data = dimers()
    found = attack(Springs(), data.take([2]), data, temperature=math.inf, steps=10, learning_rate=0.01,
                   displacement=0.0, seed=0, **EXACT)  # fmt: skip
    lengths = [gap(frame) for frame in found.paths[0]]
    assert lengths[0] == 1.0
    np.testing.assert_allclose(np.diff(lengths), 0.02, rtol=0.02)


def test_a_batch_goes_where_each_goes_alone() -> None:
    data = samples.dataset()
    model = RECIPES["ensemble"].fit(data["train"], data["valid"], seed=0, progress=False).to(torch.float64)
    seeds = Dataset(name="seeds", atoms=(rattled("NH3", 0), crystal(), rattled("H2O", 1), rattled("NH3", 2)))
    options: Any = {"temperature": 2000.0, "steps": 8, "displacement": 0.0, "seed": 0, **EXACT}
    together = attack(model, seeds, data, **options)
    for k in range(len(seeds)):
        alone = attack(model, seeds.take([k]), data, **options)
        np.testing.assert_allclose(together.structures[k].positions, alone.structures[0].positions, atol=1e-7)
        torch.testing.assert_close(together.uncertainty[k], alone.uncertainty[0], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(together.log_weight[k], alone.log_weight[0], rtol=1e-6, atol=1e-6)


def test_what_is_returned_belongs_together() -> None:
    data = dimers()
    found = attack(Springs(), data, data, temperature=1000.0, steps=5, seed=0, **EXACT)
    assert found.uncertainty.shape == found.energy.shape == found.log_weight.shape == (5, 6)
    assert found.stopped == [""] * 5
    for k, path in enumerate(found.paths):
        assert len(path) == len(found.atom_uncertainty[k]) == 6
        np.testing.assert_array_equal(path[-1].positions, found.structures[k].positions)
        batch = Batch.from_atoms(path, cutoff=2.0, dtype=torch.float64)
        p = Springs().predict(batch)
        torch.testing.assert_close(found.uncertainty[k], structure_uncertainty(p, batch))
        torch.testing.assert_close(found.atom_uncertainty[k].flatten(), p.force_uncertainty)
        assert all(frame.calc is None for frame in path)


def test_the_same_seed_gives_the_same_path_and_another_another() -> None:
    data = dimers()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    a, b, c = (attack(Springs(), data, data, temperature=1000.0, steps=4, seed=s, **EXACT) for s in (0, 0, 1))
    assert torch.get_rng_state().equal(state)
    np.testing.assert_array_equal(a.structures[3].positions, b.structures[3].positions)
    assert np.abs(a.structures[3].positions - c.structures[3].positions).max() > 1e-3


def test_pairs_follow_the_atoms() -> None:
    """The third atom is out of reach at first. It is felt once the growing bond has brought it within the cutoff."""
    seeds = labelled(chain(1.0, 2.15))
    found = attack(Springs(), seeds, seeds, temperature=math.inf, steps=40, learning_rate=0.01, displacement=0.0,
                   seed=0, **EXACT)  # fmt: skip
    third = found.atom_uncertainty[0][:, 2]
    apart = np.array([frame.get_distance(1, 2) for frame in found.paths[0]])
    assert third[0] == pytest.approx(1e-3)
    near = torch.as_tensor(apart < 2.0)
    assert near.any()
    assert third[near].min() > 0.05
    assert third[~near].max() < 2e-3


def test_the_cell_is_strained_only_if_asked() -> None:
    still = bulk("H", "sc", a=1.0).repeat((2, 2, 2))
    data = labelled(still, chain(1.0))  # a molecule in the same batch has no cell to strain
    ends = {}
    for strain in (False, True):
        ends[strain] = attack(Springs(cutoff=1.3), data, data, temperature=1e4, steps=15, displacement=0.0, seed=0,
                              strain=strain, **EXACT)  # fmt: skip
    fixed, free = ends[False].structures[0], ends[True].structures[0]
    np.testing.assert_array_equal(np.asarray(fixed.cell), np.asarray(still.cell))
    assert free.get_volume() > 1.1 * still.get_volume()
    np.testing.assert_allclose(np.asarray(free.cell), np.asarray(free.cell).T, atol=1e-9)  # no rotation
    assert ends[True].uncertainty[0, -1] > 1.1 * ends[False].uncertainty[0, -1]
    assert not np.asarray(ends[True].structures[1].cell).any()


def test_a_strained_cell_is_not_turned() -> None:
    """A skewed cell with nothing symmetric about it: what takes its old edges to the new ones is a symmetric matrix."""
    skewed = bulk("H", "sc", a=1.0).repeat((2, 2, 2))
    skewed.set_cell(skewed.cell.array @ (np.eye(3) + 0.08 * np.random.default_rng(2).normal(size=(3, 3))), True)
    skewed.rattle(0.05, seed=3)
    end = attack(Springs(cutoff=1.3), labelled(skewed), labelled(skewed), temperature=1e4, steps=8, displacement=0.0,
                 seed=0, strain=True, learning_rate=0.03, **EXACT).structures[0]  # fmt: skip
    deform = np.linalg.solve(skewed.cell.array, end.cell.array)
    assert np.abs(deform - np.eye(3)).max() > 0.02
    np.testing.assert_allclose(deform, deform.T, atol=1e-9)


def test_the_slope_with_strain() -> None:
    """The first step of Adam has the sign of the slope and the length of the learning rate, here along an edge."""
    cell = bulk("H", "sc", a=1.0).repeat((2, 2, 2))
    data = labelled(cell)
    grown = {}
    for scale in (0.999, 1.001):
        frame = cell.copy()
        frame.set_cell(frame.cell * scale, scale_atoms=True)
        batch = Batch.from_atoms(frame, cutoff=1.3, dtype=torch.float64)
        grown[scale] = float(Objective.of(data, temperature=1e4)(Springs().predict(batch), batch).value[0])
    first = attack(Springs(cutoff=1.3), data, data, temperature=1e4, steps=1, displacement=0.0, seed=0, strain=True,
                   learning_rate=0.01, **EXACT).structures[0]  # fmt: skip
    assert np.sign(first.get_volume() - cell.get_volume()) == np.sign(grown[1.001] - grown[0.999])
    assert first.cell.lengths() == pytest.approx(cell.cell.lengths() + 0.01, abs=1e-6)


def test_one_that_is_not_a_number_stops_and_the_others_go_on() -> None:
    data = labelled(chain(1.0), chain(1.3), chain(1.1))
    model = Springs(nan_beyond=1.35)
    found = attack(
        model, data, data, temperature=math.inf, steps=6, learning_rate=0.01, displacement=0.0, seed=0, **EXACT
    )
    assert [bool(why) for why in found.stopped] == [False, True, False]
    assert found.stopped[1] == "uncertainty or energy not finite at step 3"
    assert len(found.paths[1]) == 3
    assert torch.isnan(found.uncertainty[1, 3:]).all()
    assert torch.isfinite(found.uncertainty[[0, 2]]).all()
    assert np.isfinite(found.structures[1].positions).all()
    alone = attack(model, data.take([2]), data, temperature=math.inf, steps=6, learning_rate=0.01, displacement=0.0,
                   seed=0, **EXACT)  # fmt: skip
    np.testing.assert_allclose(found.structures[2].positions, alone.structures[0].positions, atol=1e-12)
    screened = screen(model, found.structures, data, percentile=0.0, rmsd=0.0, **EXACT)
    assert screened.reasons == ["kept", "not finite", "kept"]


def test_one_that_never_was_a_number() -> None:
    data = labelled(chain(1.5), chain(1.0))
    found = attack(Springs(nan_beyond=1.35), data, data, temperature=1000.0, steps=2, seed=0, **EXACT)
    assert found.stopped == ["uncertainty or energy not finite at step 0", ""]
    assert (len(found.paths[0]), len(found.paths[1])) == (1, 3)


def test_atoms_that_meet_stop_their_own_attack_only() -> None:
    """Springs that want to be short, and uncertainty that grows as they are."""

    class Magnet(Springs):
        def predict(self, batch: Batch) -> Prediction:
            p = super().predict(batch)
            return replace(p, force_uncertainty=1 / p.force_uncertainty)

    data = labelled(chain(0.15), chain(1.0))
    found = attack(Magnet(), data, data, temperature=math.inf, steps=5, displacement=0.0, seed=0, **EXACT)
    assert found.stopped == ["one atom on top of another at step 2", ""]
    assert closest_contact(found.structures[0]) > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": 0.0}, r"temperature: got 0\.0, expected K above 0"),
        ({"steps": -1}, "steps: got -1, expected 0 or more"),
        ({"learning_rate": 0.0}, r"learning_rate: got 0\.0, expected more than 0"),
        ({"displacement": -0.1}, r"displacement: got -0\.1, expected 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        attack(Springs(), dimers(), dimers(), **{"temperature": 300.0, "seed": 0, **EXACT, **change})


def test_a_predictor_without_gradients_is_refused() -> None:
    class Detached(Springs):
        def predict(self, batch: Batch) -> Prediction:
            p = super().predict(batch)
            return replace(p, energy=p.energy.detach(), force_uncertainty=p.force_uncertainty.detach())

    with pytest.raises(ValueError, match="predictor: Detached gives results without gradients"):
        attack(Detached(), dimers(), dimers(), temperature=300.0, seed=0, **EXACT)


@pytest.mark.parametrize("method", EVERY)
def test_every_method_can_be_attacked_and_screened(method: str) -> None:
    data = samples.dataset()
    model = RECIPES[method].fit(data["train"], data["valid"], seed=0, progress=False)
    seeds = Dataset(name="seeds", atoms=(*data["test"].atoms, crystal()))
    before = [frame.positions.copy() for frame in seeds.atoms]
    found = attack(model, seeds, data["train"], temperature=3000.0, steps=4, seed=0)
    assert found.stopped == [""] * len(seeds)
    assert torch.isfinite(found.uncertainty).all()
    assert all(np.array_equal(a.positions, b) for a, b in zip(seeds.atoms, before, strict=True))
    moved = [np.abs(a.positions - b).max() for a, b in zip(found.structures, before, strict=True)]
    assert min(moved) > 0.02
    value = found.log_weight + (found.uncertainty if found.unit == "nats" else found.uncertainty.log())
    assert (value[:, -1] > value[:, 0]).double().mean() > 0.7
    result = screen(model, found.structures, data["train"], percentile=50.0)
    assert sum(result.counts.values()) == len(seeds)


# --- a target -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0.02, 0.05])
def test_with_a_target_the_walk_stops_there(target: float) -> None:
    """Where energy has no say it ends at the target, from below and from above; without a target it goes further."""
    data, options = dimers(), {"temperature": math.inf, "seed": 0, "steps": 300, **EXACT}
    seeds = labelled(chain(1.0), chain(1.85))
    found = attack(Springs(), seeds, data, target=target, **options)
    np.testing.assert_allclose(found.uncertainty[:, -1], target, rtol=0.01)
    assert float(attack(Springs(), seeds, data, **options).uncertainty[0].nan_to_num().max()) > 1.1 * target


def test_the_energy_holds_back_from_the_target() -> None:
    data, ends = dimers(), []
    for temperature in (300.0, 2000.0, math.inf):
        found = attack(
            Springs(), data.take([2]), data, target=0.03, temperature=temperature, seed=0, steps=300, **EXACT
        )
        ends.append(float(found.uncertainty[0, -1]))
    assert ends == sorted(ends)
    assert 0.5 * 0.03 < ends[0] < 0.99 * ends[2]


def test_targets_that_mean_nothing_are_refused() -> None:
    data = dimers()
    for target in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"target: got .* expected a finite number of eV/Å above 0"):
            attack(Springs(), data, data, temperature=300.0, target=target, seed=0, **EXACT)
    with pytest.raises(ValueError, match=r"target: got 0\.1 eV/Å, but the predictor's uncertainty is a score in nats"):
        attack(Springs(unit="nats"), data, data, temperature=300.0, target=0.1, seed=0, **EXACT)


# --- screening --------------------------------------------------------------------------------------------------


def test_each_reason_is_named() -> None:
    known = [chain(gap) for gap in (0.9, 1.0, 1.1, 1.6)]
    broken = chain(1.3)
    broken.positions[0, 0] = np.nan
    twin = chain(1.5)
    twin.rotate(40, "z")
    candidates = [chain(1.4), chain(0.3), chain(1.05), broken, twin, chain(1.501), chain(1.6), chain(1.3)]
    result = screen(Springs(), candidates, known, percentile=60.0, closest=0.7, rmsd=0.01, limit=2, **EXACT)
    assert result.reasons == [
        "kept", "too close", "too certain", "not finite", "duplicate", "kept", "duplicate", "over the limit"
    ]  # fmt: skip
    assert result.counts == {
        "kept": 2, "not finite": 1, "too close": 1, "too certain": 1, "duplicate": 2, "over the limit": 1
    }  # fmt: skip
    assert result.order == [5, 0]
    assert [gap(a) for a in result.kept] == pytest.approx([1.501, 1.4])
    assert "2 kept" in str(result)
    assert 0.01 * math.exp(0.2) < result.threshold < 0.01 * math.exp(1.2) + 1e-3


def test_the_percentile_is_that_of_what_is_known() -> None:
    known = [chain(gap) for gap in (0.9, 1.0, 1.1, 1.2, 1.3)]
    candidates = [chain(1.15), chain(1.25)]
    reasons = [screen(Springs(), candidates, known, percentile=p, rmsd=0.0, **EXACT).reasons for p in (50, 75, 100)]
    assert reasons == [["kept", "kept"], ["too certain", "kept"], ["too certain", "too certain"]]


def test_nothing_left_to_screen() -> None:
    result = screen(Springs(), [chain(0.2)], [chain(1.0)], **EXACT)
    assert (result.kept, result.reasons) == ([], ["too close"])
    assert screen(Springs(), [], [chain(1.0)], **EXACT).counts["kept"] == 0


def test_screening_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="known: got no structures"):
        screen(Springs(), [chain(1.0)], [])
    with pytest.raises(ValueError, match="percentile: got 101"):
        screen(Springs(), [chain(1.0)], [chain(1.0)], percentile=101, **EXACT)
    with pytest.raises(ValueError, match="limit: got -1"):
        screen(Springs(), [chain(1.0)], [chain(1.0)], limit=-1, **EXACT)


def test_contacts_count_images() -> None:
    assert closest_contact(chain(0.62)) == pytest.approx(1.0)
    assert closest_contact(chain(5.0)) == math.inf
    alone = ase.Atoms("H", cell=[0.31, 5, 5], pbc=True)
    assert closest_contact(alone) == pytest.approx(0.5)


@pytest.mark.parametrize(("places", "closest"), [((0.0, 0.62, 1.4), 0.62), ((0.0, 0.85, 1.55), 0.7), ((0.0, 0.9), 0.9)])
def test_the_closest_of_several_contacts_counts(places: tuple[float, ...], closest: float) -> None:
    atoms = ase.Atoms(f"H{len(places)}", positions=[(x, 0.0, 0.0) for x in places])
    assert closest_contact(atoms) == pytest.approx(closest / 0.62)


def test_rmsd_of_molecules() -> None:
    one = rattled("NH3", 0)
    same = samples.turned(one, samples.random_rotation())
    same.positions += [1.0, 2.0, 3.0]
    mirrored = samples.turned(one, np.diag([1.0, 1.0, -1.0]))
    other = rattled("NH3", 1)
    found = aligned_rmsd(one, [same, mirrored, other, rattled("H2O", 0), one[[1, 0, 2, 3]]])
    assert found[:2] == pytest.approx([0, 0], abs=1e-6)
    assert 0.02 < found[2] < 0.3
    assert np.isinf(found[3:]).all()
    from ase.build import minimize_rotation_and_translation

    moved = other.copy()
    minimize_rotation_and_translation(one, moved)
    expected = np.sqrt(((moved.positions - one.positions) ** 2).sum(1).mean())
    assert found[2] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cubic", [True, False])
def test_rmsd_of_cells(cubic: bool) -> None:
    one = crystal(cubic=cubic).repeat((2, 1, 1))
    elsewhere = one.copy()
    elsewhere.positions += [0.7, -0.2, 9.0]
    elsewhere.wrap()
    apart = one.copy()
    apart.positions[0, 0] += 0.3
    wide = one.copy()
    wide.set_cell(one.cell * 1.05, scale_atoms=True)
    found = aligned_rmsd(one, [one, elsewhere, apart, wide, rattled("NH3", 0)])
    n = len(one)
    assert found[:2] == pytest.approx([0, 0], abs=1e-9)
    assert found[2] == pytest.approx(0.3 * math.sqrt((n - 1) / n**2), rel=1e-6)
    assert found[3] == pytest.approx(0.05 * one.cell.lengths().max())
    assert np.isinf(found[4])


# --- baselines --------------------------------------------------------------------------------------------------


def test_random_displacement() -> None:
    seeds = dimers()
    a, b, c = (random_displacement(seeds, scale=0.05, number=400, seed=s) for s in (0, 0, 1))
    moves = np.stack([x.positions - seeds.atoms[k % 5].positions for k, x in enumerate(a)])
    assert moves.std() == pytest.approx(0.05, rel=0.05)
    np.testing.assert_array_equal(a[7].positions, b[7].positions)
    assert np.abs(a[7].positions - c[7].positions).max() > 1e-3
    with pytest.raises(ValueError, match="number: got 0"):
        random_displacement(seeds, scale=0.05, number=0, seed=0)
    with pytest.raises(ValueError, match=r"scale: got -1\.0"):
        random_displacement(seeds, scale=-1.0, number=1, seed=0)


def test_frames_from_dynamics() -> None:
    data = samples.dataset()
    model = RECIPES["ensemble"].fit(data["train"], data["valid"], seed=0, progress=False)
    seeds = data["test"].take([0, 1])
    options: Any = {"temperature": 300.0, "steps": 20, "every": 5, "seed": 0}
    everything = from_dynamics(model, seeds, pick="random", number=100, **options)
    assert 4 <= len(everything) <= 8  # a replica that the rough potential throws ends early
    picked = from_dynamics(model, seeds, pick="uncertain", number=3, **options)
    batches = [Batch.from_atoms(f, cutoff=CUTOFF) for f in (everything, picked)]
    found, best = (structure_uncertainty(model.predict(b), b) for b in batches)
    torch.testing.assert_close(best, found.sort(descending=True).values[:3], rtol=1e-5, atol=1e-9)
    again = from_dynamics(model, seeds, pick="random", number=100, **options)
    np.testing.assert_array_equal(again[0].positions, everything[0].positions)
    one, other = (
        from_dynamics(model, seeds.take([0]), pick="random", number=2, **{**options, "seed": k}) for k in (0, 1)
    )
    assert np.abs(one[0].positions - other[0].positions).max() > 1e-3
    with pytest.raises(ValueError, match="steps: got 0"):
        from_dynamics(model, seeds, pick="random", number=1, **{**options, "steps": 0})
    with pytest.raises(ValueError, match="temperature: got -5"):
        from_dynamics(model, seeds, pick="random", number=1, **{**options, "temperature": -5})
    with pytest.raises(ValueError, match="pick: got 'best', expected 'uncertain' or 'random'"):
        from_dynamics(model, seeds, number=1, **{**options, "pick": "best"})
