"""What is drawn at random is drawn anew: for each member of an ensemble, and for each generation of a loop."""

from __future__ import annotations

from typing import Any

import pytest
import samples
import torch

from uqlib.active_learning.loop import derived_seed
from uqlib.methods import Ensemble, ensemble


@pytest.mark.parametrize("bootstrap", [False, True])
@pytest.mark.parametrize("seed", [0, 7])
def test_members_begin_apart_and_are_shuffled_apart(
    monkeypatch: pytest.MonkeyPatch, bootstrap: bool, seed: int
) -> None:
    starts: list[torch.Tensor] = []
    seeds: list[int] = []
    real = ensemble.train

    def spy(model: Any, *arguments: Any, **options: Any) -> Any:
        starts.append(torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()]))
        seeds.append(options["seed"])
        return real(model, *arguments, **options)

    monkeypatch.setattr(ensemble, "train", spy)
    data = samples.dataset({"train": 6, "valid": 3})
    recipe = Ensemble(members=3, network=samples.NETWORK, settings=samples.BRIEF, bootstrap=bootstrap)
    recipe.fit(data["train"], data["valid"], seed=seed, progress=False)
    assert len(set(seeds)) == 3
    for one in range(3):
        for other in range(one):
            assert not starts[one].equal(starts[other])


def test_each_generation_and_purpose_has_a_seed_of_its_own() -> None:
    every = [derived_seed(seed, number, purpose) for seed in range(5) for number in range(5) for purpose in range(2)]
    assert len(set(every)) == len(every)
