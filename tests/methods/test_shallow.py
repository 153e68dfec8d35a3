"""Shallow ensembles against networks of their own, one for each member."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import samples
import torch
from samples import batch_of, crystal, rattled
from scipy import stats
from torch import nn

from uqlib.methods.shallow import (
    HEAD,
    SPREAD,
    Shallow,
    ShallowLoss,
    deviations_of,
    refer_to,
    with_heads,
    with_members,
)
from uqlib.methods.shared.last_layer import UncertainLastLayer
from uqlib.networks.evaluation import evaluate
from uqlib.networks.losses import gaussian_crps
from uqlib.networks.painn import Message, PaiNN
from uqlib.structures.batch import Batch

DATA = samples.dataset()
RECIPE = Shallow(members=3, network=samples.NETWORK, settings=samples.BRIEF, likelihood_settings=samples.BRIEF)


@pytest.fixture(scope="module")
def grown() -> PaiNN:
    return with_heads(samples.small_network(), 5, seed=1)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return batch_of(rattled("NH3", 0), crystal(), rattled("H2O", 1))


def head_of(model: PaiNN) -> Any:
    return model.heads[HEAD]


def member_networks(model: PaiNN) -> list[PaiNN]:
    """Each member as a plain network: the trunk, and the mean's last layer plus the member's deviation.

    The mean and the members stand on two sets of hidden units, so the plain network's readout has both.
    """
    networks, head, last = [], head_of(model), model.readout.outer
    for m in range(head.outer.weight.shape[1]):
        plain = copy.deepcopy(model)
        readout: Any = plain.readout
        weight = head.outer.weight[:, m] - head.outer.weight.mean(1)
        bias = (head.outer.bias[:, m] - head.outer.bias.mean(1))[:, None]
        readout.inner.weight = nn.Parameter(torch.cat([readout.inner.weight, head.inner.weight], dim=1))
        readout.inner.bias = nn.Parameter(torch.cat([readout.inner.bias, head.inner.bias], dim=1))
        readout.outer.weight = nn.Parameter(torch.cat([last.weight, weight[:, None]]))
        readout.outer.bias = nn.Parameter(last.bias + bias)
        networks.append(plain)
    return networks


def test_mean_and_spread_are_those_of_the_members(grown: PaiNN, batch: Batch) -> None:
    p = UncertainLastLayer(copy.deepcopy(grown), deviations_of(grown).detach(), head=HEAD).predict(batch)
    each = [evaluate(network, batch) for network in member_networks(grown)]
    energies, forces = torch.stack([e.energy for e in each]), torch.stack([e.forces for e in each])
    torch.testing.assert_close(energies.mean(0), p.energy, rtol=0, atol=1e-9)
    torch.testing.assert_close(forces.mean(0), p.forces, rtol=0, atol=1e-9)
    torch.testing.assert_close(energies.std(0), p.energy_uncertainty)
    torch.testing.assert_close(forces.var(0).mean(-1).sqrt(), p.force_uncertainty)


def test_what_the_loss_sees(grown: PaiNN, batch: Batch) -> None:
    spread = with_members(grown, batch).heads[SPREAD]
    energy, forces = UncertainLastLayer(copy.deepcopy(grown), deviations_of(grown).detach(), head=HEAD).deviations(
        batch
    )
    start = torch.zeros(batch.n_structures, 5, dtype=torch.float64)
    torch.testing.assert_close(start.index_add(0, batch.structure_of_atom, spread[:, 0]), energy.mT)
    torch.testing.assert_close(spread[:, 1:].permute(2, 0, 1), forces)


def test_loss_in_closed_form(grown: PaiNN, batch: Batch) -> None:
    """A Gaussian's negative log likelihood, with torch's own."""
    torch.manual_seed(0)
    labelled = dataclasses.replace(
        batch,
        energy=evaluate(grown, batch).energy + torch.randn(3, dtype=torch.float64),
        forces=torch.randn(batch.n_atoms, 3, dtype=torch.float64),
    )
    loss = ShallowLoss(energy_floor=0.02, force_floor=0.3, energy_weight=0.7, force_weight=0.4)
    each = [evaluate(network, batch) for network in member_networks(grown)]
    result = evaluate(grown, batch)
    energy = torch.stack([e.energy for e in each]).var(0) + (0.02 * batch.atoms_per_structure) ** 2
    force = (torch.stack([e.forces for e in each]).var(0).mean(1, keepdim=True) + 0.3**2).expand(-1, 3)
    nll = torch.nn.functional.gaussian_nll_loss
    assert labelled.energy is not None
    assert labelled.forces is not None
    expected = 0.7 * nll(result.energy, labelled.energy, energy) + 0.4 * nll(result.forces, labelled.forces, force)
    torch.testing.assert_close(loss(with_members(grown, batch), labelled), expected)
    with pytest.raises(ValueError, match="this one has no labels"):
        loss(with_members(grown, batch), batch)


def test_the_likelihood_reaches_all_weights(grown: PaiNN, batch: Batch) -> None:
    """Those of the trunk through the spread, too."""
    model = copy.deepcopy(grown).requires_grad_(True)
    with_members(model, batch, train=True).heads[SPREAD][:, 1:].square().sum().backward()
    head, first = head_of(model), model.messages[0]
    assert isinstance(first, Message)
    for weight in (head.outer.weight, head.inner.weight, first.filter.weight, model.embedding):
        assert weight.grad is not None
        assert weight.grad.abs().max() > 0


def test_members_start_on_the_readout_and_leave_the_mean(grown: PaiNN, batch: Batch) -> None:
    model = samples.small_network()
    assert evaluate(grown, batch).forces.equal(evaluate(model, batch).forces)
    assert head_of(grown).inner.weight.equal(model.readout.inner.weight)
    assert not model.heads


def test_references_of_the_members() -> None:
    """After it no common shift of a member's energies per atom would bring it nearer to the mean."""
    model = with_heads(samples.small_network(), 4, seed=0)
    forces = with_members(model, DATA["train"].batch(cutoff=model.cutoff, dtype=torch.float64)).heads[SPREAD][:, 1:]
    refer_to(model, DATA["train"])
    batch = DATA["train"].batch(cutoff=model.cutoff, dtype=torch.float64)
    spread = with_members(model, batch).heads[SPREAD]
    total = torch.zeros(batch.n_structures, 4, dtype=torch.float64)
    total = total.index_add(0, batch.structure_of_atom, spread[:, 0])
    assert (batch.atoms_per_structure.double() @ total).abs().max() < 1e-9
    assert total.abs().max() > 1e-6
    assert spread[:, 1:].equal(forces)


def test_likelihood_is_learnt() -> None:
    """Members draw together where the data are: the loss falls, and their forces differ less than at first."""
    longer = dataclasses.replace(
        RECIPE, sized=False, likelihood_settings=dataclasses.replace(samples.BRIEF, epochs=30, learning_rate=5e-3)
    )
    model = samples.small_network(torch.float32)
    fitted = longer.continue_from(model, DATA["train"], DATA["valid"], seed=0, progress=False)
    losses = [row["valid_loss"] for row in fitted.history]
    assert min(losses) < losses[0] - 0.1
    assert fitted.energy_factor == fitted.force_factor == 1.0
    root = fitted.root
    assert root.shape == (samples.NETWORK["features"] // 2 + 1, 3)
    torch.testing.assert_close(root.sum(1), torch.zeros(len(root), dtype=torch.float64), rtol=0, atol=1e-6)


def test_refused() -> None:
    with pytest.raises(ValueError, match="members: got 1, expected at least 2"):
        Shallow(members=1)


# --- another score, fewer labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "sigma"), [(0.0, 0.3), (0.7, 0.3), (-2.5, 1.4), (4.0, 0.05)])
def test_crps_is_the_integral_that_defines_it(error: float, sigma: float) -> None:
    """∫ (F(x) - 1[x >= label])² dx, with F the distribution around the prediction."""
    grid = np.linspace(-30, 30, 2_000_001)
    square = (stats.norm.cdf(grid, scale=sigma) - (grid >= error)) ** 2
    found = gaussian_crps(torch.tensor([error**2]).double(), torch.tensor([sigma**2]).double())
    assert float(found) == pytest.approx(np.trapezoid(square, grid), abs=5e-5)


def test_crps_has_slopes_where_nothing_is_wrong() -> None:
    squared = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    variance = torch.tensor([0.1, 2.0], dtype=torch.float64, requires_grad=True)
    slopes = torch.autograd.grad(gaussian_crps(squared, variance).sum(), (squared, variance))
    assert all(torch.isfinite(slope).all() for slope in slopes)
    assert (slopes[1] > 0).all(), "less spread is better there"


@pytest.mark.parametrize("score", ["nll", "crps"])
@pytest.mark.parametrize("hidden", ["energy", "forces"])
def test_a_hidden_label_teaches_the_mean_and_not_the_spread(score: Any, hidden: str) -> None:
    model = with_heads(samples.small_network(), 4, seed=0)
    batch = DATA["train"].batch(cutoff=model.cutoff, dtype=torch.float64)
    alone = replace(batch, energy=None) if hidden == "forces" else replace(batch, forces=None)
    seen: Any = "energy" if hidden == "forces" else "forces"
    loss = ShallowLoss(energy_floor=0.01, force_floor=0.1, score=score, score_of=seen)
    value = loss(with_members(model, alone, train=True), alone)
    weights = dict(model.named_parameters())
    slopes = dict(zip(weights, torch.autograd.grad(value, list(weights.values()), allow_unused=True), strict=True))
    of_members = [s for name, s in slopes.items() if name.startswith("heads")]
    assert all(s is None or not s.any() for s in of_members)
    readout = slopes["readout.outer.weight"]
    assert readout is not None
    assert bool(readout.any())


def test_without_labels_nothing_is_lost_but_the_label() -> None:
    """Half of the energies unknown: the loss is that of the known half, for either score."""
    model = with_heads(samples.small_network(), 3, seed=1)
    batch = DATA["train"].take(range(6)).batch(cutoff=model.cutoff, dtype=torch.float64)
    assert batch.energy is not None
    energy = batch.energy.clone()
    energy[::2] = torch.nan
    some, known = replace(batch, energy=energy, forces=None), batch.select([1, 3, 5])
    loss = ShallowLoss(energy_floor=0.02, force_floor=0.1, score="crps")
    found, expected = (float(loss(with_members(model, b), b)) for b in (some, replace(known, forces=None)))
    assert found == pytest.approx(expected)


def test_the_usual_recipe_shows_itself_as_before() -> None:
    """Checkpoints and stored cells know a recipe by its words."""
    for made in (Shallow(), ShallowLoss(energy_floor=0.1, force_floor=0.2)):
        assert "score" not in repr(made)
    assert "score='crps'" in repr(Shallow(score="crps"))
    assert "score_of='energy'" in repr(Shallow(score_of="energy"))


def test_unknown_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="score: got 'mse', expected 'nll'"):
        Shallow(score="mse")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="score_of: got 'stress', expected 'both'"):
        Shallow(score_of="stress")  # pyright: ignore[reportArgumentType]
