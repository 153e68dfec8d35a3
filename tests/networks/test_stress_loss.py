"""Stress in the loss: of what has a label and a volume, with the gradient that finite differences have."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import ase
import numpy as np
import pytest
import samples
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from samples import batch_of, rattled
from torch import Tensor

from uqlib.methods import Ensemble
from uqlib.networks.evaluation import evaluate
from uqlib.networks.losses import EnergyForceLoss, labels_of, stress_errors
from uqlib.networks.painn import PaiNN
from uqlib.networks.training import Settings, Trained, train
from uqlib.structures.batch import Batch
from uqlib.structures.dataset import Dataset
from uqlib.structures.notices import DataWarning

ONLY_STRESS = EnergyForceLoss(energy_weight=0.0, force_weight=0.0, stress_weight=1.0)
ALL = EnergyForceLoss(stress_weight=1000.0)


def only(frame: ase.Atoms, *labels: str) -> ase.Atoms:
    bare = frame.copy()
    bare.calc = SinglePointCalculator(bare, **{name: frame.calc.results[name] for name in labels})  # pyright: ignore
    return bare


def slab(seed: int) -> ase.Atoms:
    """With a stress that a program has given it, and no period along its normal."""
    known = samples.skewed(seed)
    known.pbc = [True, True, False]
    return known


def network(seed: int = 0) -> PaiNN:
    return PaiNN(elements=[1, 7, 8], seed=seed, **samples.NETWORK)  # pyright: ignore[reportArgumentType]


def mixed() -> Batch:
    """A cell with all labels, a molecule, a cell with stress alone, one without stress, a slab, a bare cell."""
    frames = [samples.skewed(k) for k in range(4)]
    molecule = samples.label(rattled("H2O", 0))
    return batch_of(
        frames[0], molecule, only(frames[1], "stress"), only(frames[2], "energy", "forces"), slab(5), frames[3].copy()
    )


def test_the_loss_is_of_what_has_a_label_and_a_volume() -> None:
    batch, model = mixed(), samples.small_network()
    said = evaluate(model, batch)
    assert batch.stress is not None
    expected = np.mean([(said.stress[k] - batch.stress[k]).square().mean().item() for k in (0, 2)])
    assert float(ONLY_STRESS(said, batch)) == pytest.approx(expected, rel=1e-12)
    assert float(ALL(said, batch)) == pytest.approx(float(EnergyForceLoss()(said, batch)) + 1000 * expected, rel=1e-12)
    assert stress_errors(said, batch)[1].tolist() == [0, 2]
    assert (
        float(ONLY_STRESS(evaluate(model, batch_of(rattled("O2", 0))), batch_of(samples.label(rattled("O2", 0))))) == 0
    )


def test_gradients_of_weights_are_finite_differences() -> None:
    batch, model = mixed(), copy.deepcopy(samples.small_network()).requires_grad_(True)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(ALL(evaluate(model, batch, train=True), batch), parameters, materialize_grads=True)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    random = torch.Generator().manual_seed(0)
    for _ in range(4):
        way = [torch.randn(p.shape, generator=random, dtype=p.dtype) for p in parameters]
        values = []
        for step in (1e-6, -1e-6):
            moved = copy.deepcopy(model)
            with torch.no_grad():
                for parameter, direction in zip(moved.parameters(), way, strict=True):
                    parameter.add_(step * direction)
            values.append(float(ALL(evaluate(moved, batch), batch)))
        along = sum(float((g * w).sum()) for g, w in zip(gradients, way, strict=True))
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(along, rel=1e-5)


def test_gradients_of_weights_are_those_of_strained_energies() -> None:
    """The stress from energies of stretched cells alone, and the slope of its square with the weights."""
    batch, step = batch_of(samples.skewed(1), samples.skewed(2)), 1e-4
    model = copy.deepcopy(samples.small_network()).requires_grad_(True)
    volume = torch.linalg.det(batch.cell).abs()

    def from_energies(a: int, b: int) -> Tensor:
        strain = torch.zeros(3, 3, dtype=torch.float64)
        strain[a, b] += step / 2
        strain[b, a] += step / 2
        up, down = (evaluate(model, samples.strained(batch, s * strain), train=True).energy for s in (1, -1))
        return (up - down) / (2 * step * volume)

    slow = torch.stack([from_energies(a, b) for a in range(3) for b in range(3)], dim=1)
    fast = evaluate(model, batch, train=True).stress.flatten(1)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-8)
    parameters = list(model.parameters())
    expected = torch.autograd.grad(slow.square().sum(), parameters, materialize_grads=True)
    found = torch.autograd.grad(fast.square().sum(), parameters, materialize_grads=True)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6 * float(other.abs().max()) + 1e-10)


def run(data: Dataset, loss: EnergyForceLoss, *, epochs: int = 25, checkpoint: Path | None = None) -> Trained:
    settings = Settings(epochs=epochs, batch_size=3, learning_rate=5e-3)
    options = {"seed": 0, "loss": loss, "settings": settings, "progress": False, "checkpoint": checkpoint}
    return train(network(), data["train"], data["valid"], **options)


def test_stress_is_learnt() -> None:
    data = samples.with_cells({"train": 20, "valid": 6})
    with_it, without = run(data, EnergyForceLoss(stress_weight=3e4)), run(data, EnergyForceLoss())
    batch = data["valid"].batch(cutoff=samples.CUTOFF)
    errors = [float(stress_errors(evaluate(t.model, batch), batch)[0].abs().mean()) for t in (with_it, without)]
    assert errors[0] < 0.7 * errors[1]
    assert min(with_it.history, key=lambda row: row["valid_loss"])["stress_mae"] == pytest.approx(errors[0], rel=1e-4)
    assert "stress_mae" not in without.history[0]


def test_labels_that_the_loss_does_not_weigh_change_nothing() -> None:
    data = samples.with_cells()
    bare = replace(data, atoms=tuple(only(frame, "energy", "forces") for frame in data.atoms))
    one, other = (run(each, EnergyForceLoss(), epochs=3).model.state_dict() for each in (data, bare))
    assert all(one[name].equal(other[name]) for name in one)


def test_a_set_of_stress_on_some_frames_and_nothing_else() -> None:
    frames = [only(samples.skewed(k), "stress") if k % 3 else rattled("NH3", k) for k in range(12)]
    data = Dataset(name="squeezed", atoms=tuple(frames), splits={"train": tuple(range(9)), "valid": (9, 10, 11)})
    with pytest.warns(DataWarning, match="'squeezed/train' has no energy"):
        trained = run(data, EnergyForceLoss(stress_weight=1000.0), epochs=8)
    losses = [row["train_loss"] for row in trained.history]
    assert losses[-1] < 0.7 * losses[0]


def test_what_is_said_of_missing_stress() -> None:
    data, none = samples.with_cells(), samples.dataset()
    recipe = Ensemble(members=2, network=samples.NETWORK, settings=samples.BRIEF, loss=ALL)
    with pytest.raises(
        ValueError, match=r"train: the structures of 'molecules/train' have none of stress; .* stress_weight=0"
    ):
        recipe.fit(none["train"], data["valid"], seed=0, progress=False)
    with pytest.warns(DataWarning, match="valid: 'molecules/valid' has no stress"):
        recipe.fit(data["train"], none["valid"], seed=0, progress=False)
    flat = Dataset(name="cells", atoms=(*data["train"].atoms, slab(3)))
    with pytest.warns(DataWarning, match=r"1 structures of 'cells' have a stress and are not periodic .* first is 12"):
        recipe.fit(flat, data["valid"], seed=0, progress=False)
    slabs = Dataset(name="slabs", atoms=tuple(slab(k) for k in range(4)))
    with pytest.raises(ValueError, match=r"'slabs' have none of stress; no structure that has one is periodic in all"):
        recipe.fit(slabs, data["valid"], seed=0, progress=False)
    with pytest.raises(ValueError, match=r"stress_weight: got nan, expected a finite number"):
        EnergyForceLoss(stress_weight=float("nan"))


def test_only_labels_with_a_weight_are_asked_for() -> None:
    assert labels_of(EnergyForceLoss()) == ("energy", "forces")
    assert labels_of(EnergyForceLoss(force_weight=0.0, stress_weight=1.0)) == ("energy", "stress")
    assert labels_of(lambda evaluation, batch: evaluation.energy.sum()) == ("energy", "forces")
    frames = [only(frame, "energy") for frame in samples.dataset({"all": 6}).atoms]
    data = Dataset(name="sums", atoms=tuple(frames), splits={"train": (0, 1, 2, 3), "valid": (4, 5)})
    run(data, EnergyForceLoss(force_weight=0.0), epochs=2)  # without a warning: nobody asked for forces


def test_a_checkpoint_knows_its_stress(tmp_path: Path) -> None:
    data = samples.with_cells()
    run(data, ALL, epochs=2, checkpoint=tmp_path / "run.ckpt")
    with pytest.raises(ValueError, match="belongs to a training with another loss"):
        run(data, EnergyForceLoss(), epochs=2, checkpoint=tmp_path / "run.ckpt")
    other = [frame.copy() for frame in data.atoms]
    for frame, before in zip(other, data.atoms, strict=True):
        results = dict(before.calc.results)  # pyright: ignore[reportOptionalMemberAccess]
        frame.calc = SinglePointCalculator(frame, **results | {k: 2 * results[k] for k in ("stress",) if k in results})
    with pytest.raises(ValueError, match="belongs to a training with another train, valid"):
        run(replace(data, atoms=tuple(other)), ALL, epochs=2, checkpoint=tmp_path / "run.ckpt")


def test_losses_without_stress_show_themselves_as_before() -> None:
    assert repr(EnergyForceLoss()) == "EnergyForceLoss(energy_weight=10.0, force_weight=1.0)"
    assert repr(ALL) == "EnergyForceLoss(energy_weight=10.0, force_weight=1.0, stress_weight=1000.0)"
    assert EnergyForceLoss() != ALL
