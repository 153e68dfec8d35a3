"""What is particular to the deep ensemble; `test_contract.py` has what all methods share."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase
import numpy as np
import pytest
import samples
import torch
from samples import batch_of, crystal, rattled

from uqlib.common import storage
from uqlib.methods import Ensemble, ensemble
from uqlib.methods.shared import committee
from uqlib.methods.shared.committee import Committee, stack
from uqlib.networks import training
from uqlib.networks.evaluation import evaluate
from uqlib.structures.datasets import Dataset

RECIPE = Ensemble(members=2, network=samples.NETWORK, settings=samples.BRIEF)


def fit(recipe: Ensemble = RECIPE, *, seed: int = 0, executor: Executor | None = None) -> Committee:
    data = samples.dataset()
    return recipe.fit(data["train"], data["valid"], seed=seed, executor=executor, progress=False)


def same(a: Committee, b: Committee) -> bool:
    states = [(x.state_dict(), y.state_dict()) for x, y in zip(a.models, b.models, strict=True)]
    return all(x[name].equal(y[name]) for x, y in states for name in x)


@pytest.fixture(scope="module")
def fitted() -> Committee:
    return fit()


@pytest.fixture(scope="module")
def untrained() -> Committee:
    return Committee([copy.deepcopy(samples.small_network(seed=seed)) for seed in range(4)])


def test_mean_and_spread_in_closed_form(untrained: Committee) -> None:
    batch = batch_of(rattled("NH3", 0), crystal())
    members = [evaluate(model, batch) for model in untrained.models]
    p = untrained.predict(batch)
    energies, forces = torch.stack([m.energy for m in members]), torch.stack([m.forces for m in members])
    mean = sum(m.forces for m in members) / 4
    variance = sum((m.forces - mean).square() for m in members) / 3  # unbiased
    torch.testing.assert_close(p.forces, mean)
    torch.testing.assert_close(p.force_uncertainty, (variance.sum(1) / 3).sqrt())  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(p.energy, energies.mean(0))
    torch.testing.assert_close(p.energy_uncertainty, energies.std(0))
    torch.testing.assert_close(p.forces, forces.mean(0))
    assert p.unit == "eV/Å"


def test_members_that_agree_leave_no_doubt() -> None:
    model = samples.small_network()
    batch = batch_of(rattled("NH3", 0))
    moving = batch.at(batch.positions.clone().requires_grad_())
    p = Committee([copy.deepcopy(model), copy.deepcopy(model)]).predict(moving)
    assert p.force_uncertainty.max() < 1e-7
    (gradient,) = torch.autograd.grad(p.force_uncertainty.sum(), moving.positions)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("requires_grad", [False, True])
def test_one_pass_equals_one_after_another(
    untrained: Committee, monkeypatch: pytest.MonkeyPatch, requires_grad: bool
) -> None:
    batch = batch_of(rattled("NH3", 0), crystal(), rattled("H2O", 1))
    batch = batch.at(batch.positions.clone().requires_grad_(requires_grad), update_pairs=False)
    results = []
    for limit in (10**9, 0):
        monkeypatch.setattr(committee, "PAIRS_FOR_ONE_PASS", limit)
        results.append(untrained.evaluate_members(batch))
    for field in ("energy", "forces", "stress", "features"):
        one, other = (getattr(result, field) for result in results)
        assert one.shape[0] == 4
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-9, equal_nan=True)
        assert one.requires_grad == other.requires_grad == requires_grad


def test_one_pass_keeps_large_energies_exact(fitted: Committee, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, too: the references are hundreds of eV each and must not be rounded."""
    batch = batch_of(*(rattled("NH3", i) for i in range(3)), dtype=torch.float32)
    together = fitted.evaluate_members(batch).energy
    monkeypatch.setattr(committee, "PAIRS_FOR_ONE_PASS", 0)
    torch.testing.assert_close(together, fitted.evaluate_members(batch).energy, rtol=0, atol=2e-5)
    assert {m.atom_energies.dtype for m in (*fitted.models, stack(fitted.models))} == {torch.float64}
    assert fitted.to(torch.float64).to(torch.float32).models[0].atom_energies.equal(fitted.models[0].atom_energies)


def test_a_copy_in_another_type_leaves_the_original(fitted: Committee) -> None:
    exact = fitted.to(torch.float64)
    assert exact.models[0].embedding.dtype == torch.float64
    assert fitted.models[0].embedding.dtype == torch.float32
    assert exact.histories == fitted.histories


def test_members_differ(fitted: Committee) -> None:
    one, two = fitted.models
    assert not one.embedding.equal(two.embedding)
    losses = [[row["train_loss"] for row in history] for history in fitted.histories]
    assert losses[0] != losses[1]
    assert one.atom_energies.equal(two.atom_energies), "the same data"


def test_members_shuffle_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: dict[int, list[int]] = {}
    original = training._Run._step

    def step(self: training._Run, chosen: torch.Tensor) -> float:
        orders.setdefault(id(self.model), []).extend(chosen.tolist())
        return original(self, chosen)

    monkeypatch.setattr(training._Run, "_step", step)
    kept = fit(dataclasses.replace(RECIPE, settings=training.Settings(epochs=1)))
    assert len(kept.models) == 2
    one, two = orders.values()
    assert one != two
    assert sorted(one) == sorted(two) == list(range(12))


def test_bootstrap_members_see_different_data(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def untrained(model: Any, train: Any, valid: Any, **_: Any) -> Any:
        seen.append((train, valid, model))
        return SimpleNamespace(model=model)

    monkeypatch.setattr(ensemble, "train", untrained)
    data, recipe = samples.dataset(), dataclasses.replace(RECIPE, bootstrap=True)
    for index, seed in enumerate((11, 12, 11)):
        recipe.fit_member(data["train"], data["valid"], index, seed, progress=False)
    drawn = [[id(atoms) for atoms in train.atoms] for train, _, _ in seen]
    assert drawn[0] != drawn[1]
    assert drawn[0] == drawn[2], "the draw comes with the seed"
    assert all(len(d) == 12 and len(set(d)) < 12 for d in drawn), "with replacement"
    assert all(set(d) <= {id(atoms) for atoms in data["train"].atoms} for d in drawn), "nothing from other splits"
    assert all([id(a) for a in valid.atoms] == [id(a) for a in data["valid"].atoms] for _, valid, _ in seen)
    assert all(model.recipe["elements"] == [1, 7, 8] for _, _, model in seen), "whatever was drawn"


def test_bootstrap_with_an_element_that_was_not_drawn() -> None:
    """One structure in twelve has nitrogen: a third of the draws leave it out, and would not know its energy."""
    data = samples.dataset({"train": 12, "valid": 4}, names=("H2O",) * 11 + ("NH3",))
    recipe = dataclasses.replace(RECIPE, bootstrap=True, members=5)
    fitted = recipe.fit(data["train"], data["valid"], seed=0, progress=False)
    p = fitted.predict(batch_of(rattled("NH3", 5), dtype=torch.float32))
    assert p.energy_uncertainty is not None
    assert p.energy_uncertainty.item() < 100.0, "eV; the energy of a nitrogen atom is far more"


def test_bootstrap_ends_however_rare_the_elements() -> None:
    """Forty frames, each with an element of its own: no draw with replacement has them all."""
    frames = tuple(ase.Atoms([number], [[0.0, 0.0, 0.0]]) for number in range(1, 41))
    data = Dataset(name="rare", atoms=frames)
    drawn = ensemble._drawn_with_replacement(data, seed=0)
    times = np.bincount([atoms.numbers[0] for atoms in drawn.atoms], minlength=41)[1:]
    assert times.min() == 1
    assert times.max() > 1
    missing = 40 - len({atoms.numbers[0] for atoms in drawn.atoms[:40]})
    assert len(drawn) == 40 + missing
    assert 5 < missing < 25


def processes() -> Executor:
    threads = (torch.get_num_threads(),)
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=threads)


@pytest.mark.parametrize("pool", [lambda: ThreadPoolExecutor(2), processes], ids=["threads", "processes"])
def test_workers_change_nothing(fitted: Committee, pool: Callable[[], Executor]) -> None:
    with pool() as executor:
        assert same(fit(executor=executor), fitted)


def test_an_error_in_a_worker_arrives() -> None:
    recipe = dataclasses.replace(RECIPE, network={"features": 0})
    with ThreadPoolExecutor(2) as executor, pytest.raises(ValueError, match="features: got 0"):
        fit(recipe, executor=executor)


def test_interrupted_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fitted: Committee) -> None:
    """The first member is not trained again, the second goes on."""
    recipe = dataclasses.replace(RECIPE, checkpoints=tmp_path / "runs")
    original, calls = training._Run.one_epoch, []

    def interrupted(self: training._Run) -> dict[str, float]:
        calls.append(self)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    monkeypatch.setattr(training._Run, "one_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe)
    assert same(fit(recipe), fitted)
    assert len(calls) == 4 + 1
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["member-0.ckpt", "member-1.ckpt"]


def test_bad_recipes() -> None:
    with pytest.raises(ValueError, match="members: got 1, expected at least 2"):
        Ensemble(members=1)
    with pytest.raises(TypeError, match="unexpected keyword"):
        Ensemble(member=5)  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="unexpected keyword"):
        fit(dataclasses.replace(RECIPE, network={"feature": 8}))
    with pytest.raises(ValueError, match="got 1 networks, expected at least two"):
        Committee([samples.small_network()])
    with pytest.raises(ValueError, match="made by the same recipe"):
        Committee([samples.small_network(), samples.small_network(heads=True)])


def test_files_that_are_broken_or_of_another_kind(fitted: Committee, tmp_path: Path) -> None:
    path = tmp_path / "model.uq"
    fitted.save(path)
    content = path.read_bytes()
    for spoilt, words in (
        (content[:-1], "cut short"),
        (content[:-100] + bytes([content[-100] ^ 1]) + content[-99:], "the file was changed"),
        (b"", "not a file of uqlib"),
    ):
        path.write_bytes(spoilt)
        with pytest.raises(ValueError, match=words):
            Committee.load(path)
    storage.save(path, {"weights": []}, kind="training")
    with pytest.raises(ValueError, match="got a file of kind 'training', expected 'ensemble'"):
        Committee.load(path)
    with pytest.raises(FileNotFoundError):
        Committee.load(tmp_path / "none.uq")
