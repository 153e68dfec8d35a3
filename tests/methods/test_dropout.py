"""What is particular to Monte Carlo dropout; `test_contract.py` has what all methods share."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples
import torch
import torch.nn.functional as F
from samples import batch_of, rattled

from uqlib.methods import dropout
from uqlib.methods.dropout import Dropout, finished, prepared, thinnings
from uqlib.methods.shared.committee import Committee
from uqlib.networks import training
from uqlib.networks.evaluation import evaluate
from uqlib.networks.painn import PaiNN

RECIPE = Dropout(rate=0.3, draws=3, network=samples.NETWORK, settings=samples.BRIEF)


def fit(recipe: Dropout = RECIPE, *, seed: int = 0) -> Committee:
    data = samples.dataset()
    return recipe.fit(data["train"], data["valid"], seed=seed, progress=False)


def draw(model: PaiNN, *seed: int, recipe: Dropout = RECIPE) -> list[torch.Tensor]:
    recipe.draw_masks(model, np.random.SeedSequence(seed))
    return [thinning.mask.clone() for thinning in thinnings(model)]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(x.equal(y) for x, y in zip(a, b, strict=True))


def test_masks_follow_from_seed_and_step() -> None:
    model = prepared(samples.small_network())
    first = draw(model, 0, 0)
    assert not same(first, draw(model, 0, 1))
    assert not same(first, draw(model, 1, 0))
    assert same(first, draw(prepared(samples.small_network(seed=7)), 0, 0))


def test_share_and_size_of_what_is_left() -> None:
    recipe = dataclasses.replace(RECIPE, rate=0.2)
    masks = torch.cat([m for step in range(200) for m in draw(prepared(samples.small_network()), step, recipe=recipe)])
    assert sorted(masks.unique().tolist()) == pytest.approx([0.0, 1 / 0.8])
    assert float((masks == 0).double().mean()) == pytest.approx(0.2, abs=0.02)
    assert float(masks.double().mean()) == pytest.approx(1.0, abs=0.02)


def test_without_a_mask_the_network_is_the_same() -> None:
    model, batch = samples.small_network(), batch_of(rattled("NH3", 0))
    ready = prepared(model)
    assert evaluate(ready, batch).energy.equal(evaluate(model, batch).energy)
    assert len(thinnings(ready)) == 2 * samples.NETWORK["interactions"] + 1
    assert not thinnings(model), "the network that was given is left alone"


def test_hidden_units_are_dropped() -> None:
    """The readout by hand: units where the mask is zero do not count, the others count more."""
    model, batch = prepared(copy.deepcopy(samples.small_network())), batch_of(rattled("NH3", 0))
    draw(model, 5)
    mask = thinnings(model)[-1].mask
    result = evaluate(model, batch)
    hidden = F.silu(model.readout.inner(result.features)) * mask.T
    outer: Any = model.readout.outer
    energy = model.scale * (hidden @ outer.parametrizations.weight.original + outer.bias).sum()
    reference = model.atom_energies[model.species(batch.atomic_numbers)].sum()
    torch.testing.assert_close(result.energy[0], energy + reference)


@pytest.mark.parametrize("train", [False, True])
def test_plain_copies_are_the_thinned_networks(train: bool) -> None:
    model, batch = prepared(copy.deepcopy(samples.small_network())), batch_of(rattled("NH3", 0), rattled("H2O", 1))
    draw(model, 3)
    plain = finished(model)
    assert type(plain) is PaiNN
    assert not thinnings(plain)
    assert set(plain.state_dict()) == set(samples.small_network().state_dict())
    one, other = evaluate(model, batch, train=train), evaluate(plain, batch, train=train)
    torch.testing.assert_close(one.energy, other.energy, rtol=0, atol=1e-12)
    torch.testing.assert_close(one.forces, other.forces, rtol=0, atol=1e-12)
    draw(model, 4)
    assert not evaluate(model, batch).forces.equal(other.forces)


def test_every_draw_has_references_of_its_own() -> None:
    """Atoms in the same proportion everywhere: what is left of the energy errors has then a mean of zero."""
    data = samples.dataset({"train": 8}, names=["NH3"])["train"]
    model = dropout.referred(copy.deepcopy(samples.small_network()), data)
    batch = data.batch(cutoff=model.cutoff, dtype=torch.float64)
    assert batch.energy is not None
    left = evaluate(model, batch).energy - batch.energy
    assert abs(float(left.mean())) < 1e-8
    assert float(left.abs().max()) > 1e-3
    fitted = fit()
    assert not fitted.models[0].atom_energies.equal(fitted.models[1].atom_energies)
    forces = [evaluate(m, batch).forces for m in (model, samples.small_network())]
    assert forces[0].equal(forces[1])


def test_a_new_mask_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, original = [], training._Run._step

    def step(self, chosen: torch.Tensor) -> float:
        loss = original(self, chosen)
        seen.append(tuple(float(v) for thinning in thinnings(self.model) for v in thinning.mask[:, 0]))
        assert all((thinning.mask == 1).all() for thinning in thinnings(self.averaged)), "validated without a mask"
        return loss

    monkeypatch.setattr(training._Run, "_step", step)
    fit()
    assert len(seen) == len(set(seen)) == 6


def test_draws_differ_and_stay() -> None:
    fitted = fit()
    weights = [model.readout.outer.weight for model in fitted.models]
    assert len(weights) == 3
    assert not weights[0].equal(weights[1])
    assert all(m.embedding.equal(fitted.models[0].embedding) for m in fitted.models), "one trained network"


def test_killed_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = dataclasses.replace(RECIPE, checkpoints=tmp_path)
    expected, steps, original = fit(), [0], training._Run._step

    def step(self, chosen: torch.Tensor) -> float:
        steps[0] += 1
        if steps[0] == 5:
            raise KeyboardInterrupt
        return original(self, chosen)

    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(training._Run, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe)
    continued = fit(recipe)
    assert steps[0] == 5 + 3, "the first epoch came from the checkpoint"
    for one, other in zip(continued.models, expected.models, strict=True):
        assert all(value.equal(other.state_dict()[name]) for name, value in one.state_dict().items())


def test_another_rate_does_not_take_up_a_checkpoint(tmp_path: Path) -> None:
    one = fit(dataclasses.replace(RECIPE, checkpoints=tmp_path))
    other = fit(dataclasses.replace(RECIPE, checkpoints=tmp_path, rate=0.1))
    assert not one.models[0].embedding.equal(other.models[0].embedding)


def test_refused() -> None:
    for rate in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"rate: got {rate}, expected a probability"):
            Dropout(rate=rate)
    with pytest.raises(ValueError, match="draws: got 1, expected at least 2"):
        Dropout(draws=1)
    assert dropout.Dropout().rate < 0.5
