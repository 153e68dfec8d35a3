"""The hidden units of the last layer and their slopes: against the network itself, autograd and finite differences."""

from __future__ import annotations

import copy
from functools import partial

import ase
import pytest
import samples
import torch
import torch.nn.functional as F
from samples import batch_of, crystal, rattled

from uqlib.methods.shared import hidden_units as module
from uqlib.methods.shared.committee import stack
from uqlib.methods.shared.hidden_units import last_layer
from uqlib.networks.evaluation import evaluate
from uqlib.networks.painn import Message, PaiNN, Perceptron
from uqlib.structures.batch import Batch


@pytest.fixture(scope="module")
def batch():
    return batch_of(rattled("NH3", 0), crystal(), ase.Atoms("N"), crystal(cubic=False), rattled("H2O", 1))


def test_energies_and_forces_come_back(batch) -> None:
    """E = s (w·φ + b n) + references and F = -s w·J: with the network's own weights these are its predictions."""
    model = samples.small_network()
    found, expected = last_layer(model, batch), evaluate(model, batch)
    weight, bias = model.readout.outer.weight[:, 0], model.readout.outer.bias
    assert bias is not None
    references = torch.zeros(batch.n_structures, dtype=torch.float64).index_add(
        0, batch.structure_of_atom, model.atom_energies[model.species(batch.atomic_numbers)]
    )
    energy = model.scale * (found.hidden @ weight + bias[0, 0] * batch.atoms_per_structure) + references
    torch.testing.assert_close(energy, expected.energy, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        -model.scale * torch.einsum("hnc,h->nc", found.slopes, weight), expected.forces, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("head", [None, "spread"])
@pytest.mark.parametrize("structure", [rattled("NH3", 0), crystal(), crystal(cubic=False)], ids=["NH3", "4", "1"])
def test_slopes_against_finite_differences(structure: ase.Atoms, head: str | None) -> None:
    model = samples.small_network(heads=True)
    one = batch_of(structure)
    found = last_layer(model, one, head=head).slopes

    def value(of: Batch, unit: int) -> torch.Tensor:
        return last_layer(model, of, head=head).hidden[:, unit]

    for unit in range(len(found)):
        expected = samples.slopes(partial(value, unit=unit), one)
        torch.testing.assert_close(found[unit], expected, rtol=1e-6, atol=1e-8)


def test_hidden_units_of_a_head(batch) -> None:
    model = samples.small_network(heads=True)
    head = model.heads["spread"]
    assert isinstance(head, Perceptron)
    atoms = F.silu(head.inner(evaluate(model, batch).features))
    expected = torch.zeros(batch.n_structures, atoms.shape[1], dtype=torch.float64)
    torch.testing.assert_close(
        last_layer(model, batch, head="spread").hidden, expected.index_add(0, batch.structure_of_atom, atoms)
    )


def test_in_pieces_the_same(batch, monkeypatch: pytest.MonkeyPatch) -> None:
    model = samples.small_network()
    whole = last_layer(model, batch)
    monkeypatch.setattr(module, "LARGEST_PIECE", 1)
    torch.testing.assert_close(last_layer(model, batch).slopes, whole.slopes, rtol=1e-12, atol=1e-13)


def test_differentiable_where_asked(batch) -> None:
    model = copy.deepcopy(samples.small_network()).requires_grad_(True)
    plain = last_layer(model, batch)
    assert not plain.hidden.requires_grad
    assert not plain.slopes.requires_grad
    last_layer(model, batch, train=True).slopes.square().sum().backward()
    first = model.messages[0]
    assert isinstance(first, Message)
    weight = first.filter.weight
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0
    moving = batch.at(batch.positions.clone().requires_grad_(), update_pairs=False)
    found = last_layer(samples.small_network(), moving)
    torch.testing.assert_close(found.slopes.detach(), plain.slopes)
    (gradient,) = torch.autograd.grad(found.hidden[:, 2].sum(), moving.positions)
    torch.testing.assert_close(gradient, plain.slopes[2], rtol=1e-9, atol=1e-12)


def test_gradient_of_the_slopes() -> None:
    """Second derivatives of the hidden units, which gradients of a force uncertainty need."""
    model, one = samples.small_network(), batch_of(rattled("NH3", 0))

    def value(b):
        found = last_layer(model, b).slopes
        return found.square().sum((0, 2)).view(b.n_structures, -1).sum(1)

    moving = one.at(one.positions.clone().requires_grad_(), update_pairs=False)
    (gradient,) = torch.autograd.grad(value(moving).sum(), moving.positions)
    torch.testing.assert_close(gradient, samples.slopes(value, one), rtol=1e-6, atol=1e-7)


def test_refused() -> None:
    model, one = samples.small_network(), batch_of(rattled("NH3", 0))
    with pytest.raises(ValueError, match=r"head: got 'nonsense', this network has \[\]"):
        last_layer(model, one, head="nonsense")
    with pytest.raises(ValueError, match="carries 2 networks"):
        last_layer(stack([model, model]), one)
    with pytest.raises(ValueError, match=r"torch\.float32, this network in torch\.float64"):
        last_layer(model, batch_of(rattled("NH3", 0), dtype=torch.float32))

    class Other(PaiNN):
        pass

    with pytest.raises(ValueError, match="got a Other, expected PaiNN itself"):
        last_layer(Other(elements=[1], **samples.NETWORK), one)  # pyright: ignore[reportArgumentType]


def test_linear_combinations_before_the_way_down(batch) -> None:
    model = samples.small_network(heads=True)
    mix = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for head in (None, "spread"):
        each, mixed = last_layer(model, batch, head=head), last_layer(model, batch, head=head, mix=mix)
        torch.testing.assert_close(mixed.hidden, each.hidden @ mix)
        torch.testing.assert_close(mixed.slopes, torch.einsum("hnc,hk->knc", each.slopes, mix))
