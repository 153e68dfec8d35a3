"""What a network takes for each pair is what its operations take; and how many pairs then fit."""

from __future__ import annotations

import ase
import pytest
import samples
import torch
from ase.build import bulk

from uqlib.networks import memory
from uqlib.networks.evaluation import evaluate
from uqlib.networks.memory import UNKNOWN, bytes_per_pair, most_pairs
from uqlib.networks.painn import PaiNN
from uqlib.structures.batch import Batch
from uqlib.study.costs import peak_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("features", "interactions"), [(16, 2), (64, 3), (32, 5)])
def test_the_estimate_is_an_upper_bound_and_no_waste(dtype: torch.dtype, features: int, interactions: int) -> None:
    """Counted from the operations of one pass, not measured by a clock or from the process."""
    atoms = bulk("Cu", "fcc", a=4.0, cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=0)
    model = PaiNN(elements=[29], features=features, interactions=interactions).to(dtype).requires_grad_(False)
    batch = Batch.from_atoms(atoms, dtype=dtype)
    counted = peak_memory(lambda: evaluate(model, batch))
    estimated = bytes_per_pair(model) * (batch.n_pairs + 2 * batch.n_atoms)
    assert counted < estimated < 2 * counted


def test_how_many_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert most_pairs(1000, CPU, memory=0.5) == 500_000
    monkeypatch.setattr(memory, "free_memory", lambda device: 10**12)
    assert most_pairs(1000, CPU) == 600_000
    monkeypatch.setattr(memory, "free_memory", lambda device: 10**9)  # a small machine
    assert most_pairs(1000, CPU) == 250_000
    assert most_pairs(1000, torch.device("cuda")) == 500_000
    assert most_pairs(10**12, CPU) == 1
    assert bytes_per_pair(torch.nn.Linear(1, 1)) == UNKNOWN
    with pytest.raises(ValueError, match=r"memory: got 0, expected GB above 0"):
        most_pairs(1000, CPU, memory=0)


def test_our_own_sets_fit_as_they_ever_did() -> None:
    """A hundred of the molecules of our sets are one batch for the default network, with room to spare."""
    batch = samples.dataset({"train": 100}, names=["CH3CH2OH"]).batch()
    default = PaiNN(elements=[1, 6, 8])
    assert 4 * batch.n_pairs < memory.PREDICTING / bytes_per_pair(default)
    lone = Batch.from_atoms([ase.Atoms("H")] * 3)
    assert evaluate(default, lone).energy.shape == (3,)
