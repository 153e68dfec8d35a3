"""The hand-written pass gives what the readable network gives: every number and every gradient, to round-off."""

from __future__ import annotations

import ase
import pytest
import torch
import torch._dynamo.testing
from ase.build import bulk, molecule
from torch import Tensor

from uqlib.networks import fast_painn
from uqlib.networks.evaluation import Evaluation, evaluate
from uqlib.networks.painn import Geometry, PaiNN
from uqlib.networks.slots import Table
from uqlib.structures.batch import Batch
from uqlib.study.costs import peak_memory

ELEMENTS = (1, 6, 7, 8, 14)


def rattled(atoms: ase.Atoms, seed: int) -> ase.Atoms:
    atoms.rattle(0.1, seed=seed)
    return atoms


def lone_atom() -> ase.Atoms:
    return ase.Atoms("H", positions=[[0.0, 0.0, 0.0]])


CASES = {
    "molecules of different size": lambda: [rattled(molecule(name), 1) for name in ("NH3", "CH3CH2OH", "H2O")],
    "atoms without neighbours": lambda: [lone_atom(), lone_atom()],
    "one atom among molecules": lambda: [molecule("NH3"), lone_atom(), molecule("H2O")],
    "a periodic cell": lambda: [rattled(bulk("Si", cubic=True).repeat(2), 2)],
    "a cell so small that atoms see their own images": lambda: [rattled(bulk("Si"), 3)],
    "periodic and not": lambda: [rattled(bulk("Si"), 4), molecule("CH3CH2OH")],
}


def network(members: int | None = None, **changes: int) -> PaiNN:
    return PaiNN(elements=ELEMENTS, features=8, radial=6, heads={"spread": 2}, members=members, **changes).double()


def readable(batch: Batch) -> Batch:
    """The same structures with positions on the tape: `evaluate` then takes the readable network."""
    return batch.at(batch.positions.clone().requires_grad_(), update_pairs=False)


def outputs(result: Evaluation) -> dict[str, Tensor]:
    found = {"energy": result.energy, "forces": result.forces, "features": result.features, **result.heads}
    return found | {"stress": result.stress[~result.stress.isnan()]}


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("case", CASES)
def test_numbers_and_weight_gradients_are_those_of_the_readable_network(case: str, members: int | None) -> None:
    batch = Batch.from_atoms(CASES[case](), dtype=torch.float64)
    model = network(members)
    gradients = []
    results = [outputs(evaluate(model, given, train=True)) for given in (batch, readable(batch))]
    for result in results:
        generator = torch.Generator().manual_seed(0)
        weighted = [
            (value * torch.randn(value.shape, generator=generator, dtype=value.dtype)).sum()
            for value in result.values()
        ]
        model.zero_grad()
        torch.stack(weighted).sum().backward()
        gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()])
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
    for (name, _), fast, slow in zip(model.named_parameters(), *gradients, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"gradient of {n}: {m}")


@pytest.mark.parametrize("interactions", [1, 2])
def test_shallow_networks(interactions: int) -> None:
    batch = Batch.from_atoms([molecule("CH3CH2OH")], dtype=torch.float64)
    model = network(interactions=interactions)
    torch.testing.assert_close(evaluate(model, batch).forces, evaluate(model, readable(batch)).forces.detach())


def test_inference_leaves_no_tape_and_gives_the_numbers_of_training() -> None:
    batch = Batch.from_atoms(CASES["molecules of different size"](), dtype=torch.float64)
    model = network()
    plain, training = evaluate(model, batch), evaluate(model, batch, train=True)
    for name, value in outputs(plain).items():
        assert not value.requires_grad
        torch.testing.assert_close(value, outputs(training)[name].detach())
    assert training.forces.requires_grad


@pytest.mark.parametrize("atoms_at_a_time", [1, 3, 7])
@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("case", CASES)
def test_block_by_block_the_numbers_are_the_same(
    case: str, members: int | None, atoms_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch.from_atoms(CASES[case](), dtype=torch.float64)
    model = network(members)
    at_once = outputs(evaluate(model, batch))
    slots = Table.of(batch).neighbour.shape[1]
    monkeypatch.setattr(fast_painn, "BLOCK", atoms_at_a_time * slots * 8 * (members or 1))
    monkeypatch.setattr(fast_painn, "LARGE", 1)
    for name, value in outputs(evaluate(model, batch)).items():
        torch.testing.assert_close(value, at_once[name], rtol=1e-11, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")


def test_a_large_system_keeps_no_numbers_of_its_pairs_and_a_tape_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch.from_atoms([rattled(bulk("Si", cubic=True).repeat(4), 5)])
    model = PaiNN(elements=ELEMENTS, features=32)
    array = 4 * 32 * batch.n_pairs  # bytes of one number for each pair and feature
    monkeypatch.setattr(fast_painn, "BLOCK", 10**12)
    at_once = peak_memory(lambda: evaluate(model, batch))
    monkeypatch.setattr(fast_painn, "BLOCK", 20_000)
    in_blocks = peak_memory(lambda: evaluate(model, batch))
    assert at_once > 15 * array
    assert in_blocks < 9 * array  # the basis, its slope, and the slopes with it, 21 numbers a pair each
    assert peak_memory(lambda: evaluate(model, batch, train=True)) > 15 * array


def test_the_pass_works_on_the_modules_own_weights() -> None:
    batch = Batch.from_atoms([molecule("NH3")], dtype=torch.float64)
    model = network()
    before = evaluate(model, batch).forces
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    after = evaluate(model, batch).forces
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(after, evaluate(model, readable(batch)).forces.detach())


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile itself does it
@pytest.mark.parametrize("train", [False, True])
def test_one_graph_without_breaks_serves_batches_of_different_size(train: bool) -> None:
    """What `compiled` asks of torch; the "eager" backend traces all of it and writes no kernels."""
    torch._dynamo.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("eager")
    compiled = torch.compile(fast_painn.energy_and_slopes, backend=counter, dynamic=True, fullgraph=True)
    for case, model in (("molecules of different size", network()), ("a periodic cell", network(seed=1))):
        batch = Batch.from_atoms(CASES[case](), dtype=torch.float64)
        table, geometry = Table.of(batch), Geometry.of(batch, model.radial)
        given = (
            fast_painn.Weights.of(model),
            model.species(batch.atomic_numbers),
            table,
            table.fill(geometry.basis),
            table.fill(geometry.direction),
        )
        with torch.set_grad_enabled(train):
            for found, expected in zip(compiled(*given), fast_painn.energy_and_slopes(*given), strict=True):
                torch.testing.assert_close(found, expected)
    assert counter.frame_count == 1


def test_table_of_neighbours() -> None:
    batch = Batch.from_atoms(CASES["one atom among molecules"](), dtype=torch.float64)
    table = Table.of(batch)
    assert table.neighbour.shape == (8, 3)
    torch.testing.assert_close(table.neighbour.flatten()[table.slot], batch.pairs[1])
    atom = torch.arange(8)[:, None].expand(8, 3)
    torch.testing.assert_close(atom.flatten()[table.reverse.flatten()[table.slot]], batch.pairs[1])
    torch.testing.assert_close(table.reverse.flatten()[table.reverse.flatten()], torch.arange(24))
    assert table.neighbour[4].tolist() == [4, 4, 4]
    values = torch.randn(batch.n_pairs, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(table.read(table.fill(values)), values)
