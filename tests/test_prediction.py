"""`evaluate`, where forces are made, against autograd through everything; and what a `Prediction` demands."""

from __future__ import annotations

from typing import Any

import ase
import pytest
import samples
import torch
from samples import batch_of, crystal, rattled

from uqlib.methods.shared.committee import Committee
from uqlib.networks.evaluation import Evaluation, evaluate
from uqlib.networks.memory import bytes_per_pair
from uqlib.prediction import Method, Prediction, Predictor, placed, predict
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset
from uqlib.study.costs import peak_memory

STRUCTURES = [rattled("NH3", 0), crystal(), ase.Atoms("O"), crystal(cubic=False), rattled("H2O", 1)]


def tape(batch: Batch) -> Batch:
    return batch.at(batch.positions.clone().requires_grad_(), update_pairs=False)


@pytest.mark.parametrize("train", [False, True])
def test_the_closed_chain_rule_equals_autograd(train: bool) -> None:
    model, batch = samples.small_network(), tape(batch_of(*STRUCTURES))
    on_tape = evaluate(model, batch)
    (gradient,) = torch.autograd.grad(on_tape.energy.sum(), batch.positions, retain_graph=True)
    found = evaluate(model, batch_of(*STRUCTURES), train=train)
    torch.testing.assert_close(found.forces, -gradient, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(on_tape.forces, -gradient, rtol=1e-10, atol=1e-10)


def test_forces_against_finite_differences() -> None:
    model = samples.small_network()
    for structure in (STRUCTURES[0], STRUCTURES[1]):
        batch = batch_of(structure)
        slope = samples.slopes(lambda b: evaluate(model, b).energy, batch)
        torch.testing.assert_close(evaluate(model, batch).forces, -slope, rtol=1e-6, atol=1e-7)


def test_forces_add_up_to_zero() -> None:
    result = evaluate(samples.small_network(), batch_of(*STRUCTURES))
    total = torch.zeros(5, 3, dtype=torch.float64).index_add(0, batch_of(*STRUCTURES).structure_of_atom, result.forces)
    assert total.abs().max() < 1e-12


def test_gradients_of_the_weights_are_those_of_plain_autograd() -> None:
    """A loss on energies and forces, backwards through the hand-written chain rule and through everything."""
    batch, found = batch_of(*STRUCTURES), []
    for through_everything in (False, True):
        model = samples.small_network(seed=4).requires_grad_(True)
        result = evaluate(model, tape(batch) if through_everything else batch, train=True)
        loss = result.energy.square().mean() * 1e-6 + result.forces.square().mean()
        found.append(torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_what_is_on_the_tape() -> None:
    model, batch = samples.small_network().requires_grad_(True), batch_of(*STRUCTURES[:2])
    plain, trained, moved = evaluate(model, batch), evaluate(model, batch, train=True), evaluate(model, tape(batch))
    for field in ("energy", "forces", "stress", "features"):
        assert not getattr(plain, field).requires_grad, field
        assert getattr(trained, field).requires_grad, field
        assert getattr(moved, field).requires_grad, field


def test_stress_only_where_there_is_a_volume() -> None:
    slab = crystal(1)
    slab.pbc = [True, True, False]
    stress = evaluate(samples.small_network(), batch_of(crystal(), slab, rattled("NH3", 0))).stress
    assert torch.isfinite(stress[0]).all()
    assert torch.isnan(stress[1:]).all()


def test_no_nan_in_gradients_through_the_stress() -> None:
    batch = tape(batch_of(crystal(), rattled("NH3", 0)))
    result = evaluate(samples.small_network(), batch)
    (gradient,) = torch.autograd.grad(result.stress[0].sum() + result.energy.sum(), batch.positions)
    assert torch.isfinite(gradient).all()


def test_a_stack_of_evaluations() -> None:
    batch = batch_of(rattled("NH3", 0))
    parts = [evaluate(samples.small_network(seed=s, heads=True), batch) for s in (0, 1)]
    both = Evaluation.stack(parts)
    assert both.energy.shape == (2, 1)
    assert both.forces[1].equal(parts[1].forces)
    assert both.heads["spread"][0].equal(parts[0].heads["spread"])


GOOD: dict[str, Any] = {"energy": torch.zeros(2), "forces": torch.zeros(5, 3), "force_uncertainty": torch.zeros(5)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"energy": torch.zeros(2, 1)}, r"energy, forces: got \(2, 1\), \(5, 3\), expected \(S,\) and \(N, 3\)"),
        ({"forces": torch.zeros(5)}, r"energy, forces: got \(2,\), \(5,\)"),
        ({"forces": torch.zeros(5, 2)}, r"expected \(S,\) and \(N, 3\)"),
        ({"force_uncertainty": torch.zeros(5, 1)}, r"force_uncertainty: got \(5, 1\), expected \(5,\), one an atom"),
        ({"force_uncertainty": torch.zeros(2)}, r"force_uncertainty: got \(2,\), expected \(5,\)"),
        ({"energy_uncertainty": torch.zeros(5)}, r"energy_uncertainty: got \(5,\), expected \(2,\)"),
        ({"unit": "eV"}, "unit: got 'eV', expected 'eV/Å' or 'nats'"),
    ],
)
def test_predictions_of_wrong_shape(change: dict[str, Any], words: str) -> None:
    assert Prediction(**GOOD).unit == "eV/Å"
    with pytest.raises(ValueError, match=words):
        Prediction(**{**GOOD, **change})


class Counting:
    """The smallest predictor: atoms have index numbers for everything, and no energy uncertainty."""

    cutoff, dtype, device = 3.0, torch.float64, torch.device("cpu")

    def __init__(self) -> None:
        self.seen: list[Batch] = []

    def predict(self, batch: Batch) -> Prediction:
        assert batch.cutoff == self.cutoff
        self.seen.append(batch)
        index = torch.arange(batch.n_atoms, dtype=batch.positions.dtype)
        return Prediction(
            energy=batch.atoms_per_structure.double(),
            forces=batch.positions,
            force_uncertainty=index,
            unit="nats",
        )


def test_a_whole_data_set() -> None:
    data, predictor = samples.dataset(), Counting()
    assert isinstance(predictor, Predictor)
    assert not isinstance(predictor, Method)
    p = predict(predictor, data, batch_size=3)
    assert p.energy.tolist() == [len(atoms) for atoms in data.atoms]
    assert p.forces.shape == data.forces.shape
    assert p.forces.dtype == torch.float64
    assert p.energy_uncertainty is None
    assert p.stress is None
    assert p.unit == "nats"


def test_batches_are_as_large_as_memory_allows() -> None:
    """Counted in pairs, whatever their number of structures; the results do not depend on it."""
    data = samples.dataset({"train": 40})
    model = samples.small_network()
    network = Committee([model, samples.small_network(seed=1)])
    whole = predict(network, data)
    counting = Counting()
    predict(counting, data, max_pairs=60)
    assert max(batch.n_pairs for batch in counting.seen) <= 60
    assert sum(batch.n_structures for batch in counting.seen) == 40
    assert len(counting.seen) > 5
    for limit in ({"max_pairs": 60}, {"memory": 60 * bytes_per_pair(model) / 1e9}, {"batch_size": 7}):
        found = predict(network, data, **limit)  # pyright: ignore[reportArgumentType]
        torch.testing.assert_close(found.forces, whole.forces, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(found.energy, whole.energy, rtol=1e-12, atol=1e-9)
    with pytest.raises(ValueError, match=r"max_pairs, memory: got 60 and 0\.1, expected one of the two"):
        predict(network, data, max_pairs=60, memory=0.1)
    with pytest.raises(ValueError, match="memory: got -1, expected GB above 0"):
        predict(network, data, memory=-1)


def test_the_peak_of_large_cells_is_bounded() -> None:
    """Ten times the structures, the same memory, counted from the operations."""
    network = Committee([samples.small_network(seed=seed) for seed in range(2)])
    few, many = (samples.dataset({"train": number}) for number in (12, 120))

    def peak(data: Dataset) -> int:
        data.batch(cutoff=network.cutoff, dtype=network.dtype)  # its pairs are no part of the question
        return peak_memory(lambda: predict(network, data, max_pairs=150))

    assert peak(many) < 1.5 * peak(few)


def test_who_cannot_be_moved_says_so() -> None:
    data, counting = samples.dataset(), Counting()
    assert placed(counting) is counting
    assert placed(counting, dtype="float64", device="cpu") is counting
    with pytest.raises(TypeError, match=r"a Counting in torch\.float64 on cpu cannot be brought to torch.float32"):
        predict(counting, data, dtype="float32")
    with pytest.raises(TypeError, match=r"predictor: got a PaiNN, expected what `Method\.fit` returns"):
        predict(samples.small_network(), data)  # pyright: ignore[reportArgumentType]
