"""What is particular to snapshot ensembles; `test_contract.py` has what all methods share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import samples
import torch

from uqlib.methods.shared.committee import Committee
from uqlib.methods.snapshot import Snapshot
from uqlib.networks import training
from uqlib.networks.training import Settings

RECIPE = Snapshot(cycles=3, network=samples.NETWORK, settings=Settings(epochs=9, batch_size=4, learning_rate=4e-3))


def fit(recipe: Snapshot = RECIPE, *, seed: int = 0) -> Committee:
    data = samples.dataset()
    return recipe.fit(data["train"], data["valid"], seed=seed, progress=False)


def test_cycles_of_the_learning_rate() -> None:
    """Each starts at the top and falls along half a cosine; the epochs are shared out, none is added."""
    fitted = fit()
    rates = [[row["learning_rate"] for row in history] for history in fitted.histories]
    assert len(fitted.models) == 3
    assert rates == [pytest.approx([4e-3, 3e-3, 1e-3])] * 3


def test_each_cycle_continues_from_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    starts, original = [], training._Run.__init__

    def begin(self, model, *args, **kwargs) -> None:
        starts.append(model.embedding.detach().clone())
        original(self, model, *args, **kwargs)

    monkeypatch.setattr(training._Run, "__init__", begin)
    fitted = fit()
    assert [start.equal(model.embedding) for start, model in zip(starts[1:], fitted.models, strict=False)] == [True] * 2
    assert not fitted.models[0].embedding.equal(fitted.models[1].embedding)


def test_no_cycle_stops_early() -> None:
    """Even where nothing gets better: a cycle that ended at its top would be no snapshot."""
    recipe = dataclasses.replace(RECIPE, settings=dataclasses.replace(RECIPE.settings, patience=1, learning_rate=1e-9))
    assert [len(history) for history in fit(recipe).histories] == [3, 3, 3]


def test_killed_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = dataclasses.replace(RECIPE, checkpoints=tmp_path)
    expected, steps, original = fit(), [0], training._Run._step

    def step(self, chosen: torch.Tensor) -> float:
        steps[0] += 1
        if steps[0] == 14:
            raise KeyboardInterrupt
        return original(self, chosen)

    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(training._Run, "_step", step)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cycle-0.ckpt", "cycle-1.ckpt"]
    continued = fit(recipe)
    for one, other in zip(continued.models, expected.models, strict=True):
        assert all(value.equal(other.state_dict()[name]) for name, value in one.state_dict().items())
    assert steps[0] == 14 + 3 * 9 - 12, "nothing but the broken epoch was done twice"


def test_refused() -> None:
    with pytest.raises(ValueError, match="cycles: got 1, expected at least 2"):
        Snapshot(cycles=1)
    with pytest.raises(ValueError, match="got 2 epochs for 5 cycles, expected at least one for each"):
        Snapshot(settings=Settings(epochs=2))
