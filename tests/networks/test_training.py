"""The loop: what it learns, when it slows down and stops, and that being killed changes nothing."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples
import torch
from torch import Tensor

from uqlib.common import storage
from uqlib.networks import training
from uqlib.networks.evaluation import Evaluation, evaluate
from uqlib.networks.losses import EnergyForceLoss
from uqlib.networks.painn import PaiNN
from uqlib.networks.references import set_reference
from uqlib.networks.training import Settings, Trained, train
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset

BRIEF = Settings(epochs=6, batch_size=4)


def network(seed: int = 0) -> PaiNN:
    return PaiNN(elements=[1, 7, 8], seed=seed, **samples.NETWORK)  # pyright: ignore[reportArgumentType]


def run(data: Dataset | None = None, *, seed: int = 0, settings: Settings = BRIEF, **options: Any) -> Trained:
    data = data or samples.dataset()
    return train(network(), data["train"], data["valid"], seed=seed, settings=settings, progress=False, **options)


def same(a: Trained, b: Trained) -> bool:
    """Bit for bit; the seconds may differ."""
    one, two = a.model.state_dict(), b.model.state_dict()
    histories = [[{k: v for k, v in row.items() if k != "seconds"} for row in t.history] for t in (a, b)]
    return one.keys() == two.keys() and all(one[k].equal(two[k]) for k in one) and histories[0] == histories[1]


@pytest.fixture(scope="module")
def undisturbed() -> Trained:
    return run()


@pytest.fixture
def always_save(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)


def test_loss_in_closed_form() -> None:
    batch = dataclasses.replace(
        samples.batch_of(samples.rattled("O2", 0), samples.rattled("NH3", 0)),
        energy=torch.tensor([-10.0, 3.0], dtype=torch.float64),
        forces=torch.zeros(6, 3, dtype=torch.float64),
    )
    empty = torch.empty(0)
    evaluation = Evaluation(
        energy=torch.tensor([-9.0, 5.0], dtype=torch.float64),  # 1 eV on two atoms, 2 eV on four: 0.5 eV/atom each
        forces=torch.full((6, 3), 0.2, dtype=torch.float64),
        stress=empty, features=empty, heads={},
    )  # fmt: skip
    assert EnergyForceLoss()(evaluation, batch).item() == pytest.approx(10.0 * 0.25 + 0.04)
    weighted = EnergyForceLoss(energy_weight=2.0, force_weight=5.0)
    assert weighted(evaluation, batch).item() == pytest.approx(2.0 * 0.25 + 5.0 * 0.04)
    without = dataclasses.replace(batch, forces=None)
    assert EnergyForceLoss()(evaluation, without).item() == pytest.approx(10.0 * 0.25)
    with pytest.raises(ValueError, match="training needs energies or forces"):
        EnergyForceLoss()(evaluation, dataclasses.replace(without, energy=None))


def test_it_learns(undisturbed: Trained) -> None:
    longer = run(settings=Settings(epochs=40, batch_size=4, learning_rate=5e-3))
    losses = [row["valid_loss"] for row in longer.history]
    assert min(losses) < 0.3 * losses[0]
    assert [row["epoch"] for row in undisturbed.history] == [1, 2, 3, 4, 5, 6]
    assert set(undisturbed.history[0]) == {
        "epoch", "train_loss", "learning_rate", "valid_loss", "energy_mae", "force_mae", "seconds",
    }  # fmt: skip


def test_the_weights_returned_are_the_best_ones() -> None:
    data = samples.dataset()
    trained = run(data, settings=Settings(epochs=8, batch_size=4, learning_rate=0.05))  # too fast: it goes up and down
    losses = [row["valid_loss"] for row in trained.history]
    batch = data["valid"].batch(cutoff=samples.CUTOFF)
    assert EnergyForceLoss()(evaluate(trained.model, batch), batch).item() == pytest.approx(min(losses), rel=1e-6)
    assert not any(p.requires_grad for p in trained.model.parameters())


def test_the_model_given_is_left_alone() -> None:
    model, data = network(), samples.dataset()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, data["train"], data["valid"], seed=0, settings=BRIEF, progress=False)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_seeds(undisturbed: Trained) -> None:
    torch.manual_seed(987)  # must not matter
    assert same(run(), undisturbed)
    assert not same(run(seed=1), undisturbed), "another order of the structures"


def test_reference_energies_are_recovered() -> None:
    """Labels that are sums of atomic energies leave nothing to the network."""
    frames = []
    for atoms in samples.dataset({"all": 12}, names=("H2O", "NH3", "O2", "N2", "H2")).atoms:
        assert atoms.calc is not None
        atoms.calc.results["energy"] = sum(samples.ATOM_ENERGIES[int(z)] for z in atoms.numbers)
        frames.append(atoms)
    data, model = Dataset(name="sums", atoms=tuple(frames)), network()
    set_reference(model, data)
    expected = torch.tensor(list(samples.ATOM_ENERGIES.values()), dtype=torch.float64)
    torch.testing.assert_close(model.atom_energies, expected, rtol=1e-6, atol=0)
    assert float(model.scale) == pytest.approx(np.sqrt(np.mean(data.forces**2)), rel=1e-6)


def test_reference_energies_when_elements_always_come_together() -> None:
    data, model = samples.dataset({"all": 5}, names=("NH3",)), network()
    set_reference(model, data)
    nitrogen, hydrogen = model.atom_energies[1], model.atom_energies[0]
    assert float(nitrogen + 3 * hydrogen) == pytest.approx(data.energies.mean(), abs=1e-9)
    assert model.atom_energies[2] == 0


class Constant(EnergyForceLoss):
    """A validation loss that never falls, and training steps that change nothing."""

    def __call__(self, evaluation: Evaluation, batch: Batch) -> Tensor:
        return evaluation.forces.sum() * 0.0 + 1.0


def test_early_stop() -> None:
    trained = run(loss=Constant(), settings=Settings(epochs=50, patience=4, plateau=100))
    assert len(trained.history) == 1 + 4


def test_a_plateau_halves_the_learning_rate() -> None:
    settings = Settings(epochs=10, plateau=3, learning_rate=0.008, patience=100)
    rates = [row["learning_rate"] for row in run(loss=Constant(), settings=settings).history]
    assert rates == [0.008] * 4 + [0.004] * 3 + [0.002] * 3


def test_training_ends_with_the_lowest_learning_rate() -> None:
    settings = Settings(epochs=50, plateau=2, learning_rate=0.008, lowest_learning_rate=0.003)
    assert len(run(loss=Constant(), settings=settings).history) == 1 + 2 + 2


class Exploding(EnergyForceLoss):
    def __call__(self, evaluation: Evaluation, batch: Batch) -> Tensor:
        return evaluation.forces.sum() * float("nan")


def test_a_loss_that_is_no_number() -> None:
    with pytest.raises(
        FloatingPointError, match=r"no longer a number in epoch 1; lower the learning rate \(now 0\.002"
    ):
        run(loss=Exploding())


def test_gradients_are_clipped() -> None:
    """With a bound of almost zero, Adam's direction is that of the gradient, its size is not: weights hardly differ."""
    free, clipped = run(), run(settings=dataclasses.replace(BRIEF, clip=1e-12))
    start = network().embedding
    assert (clipped.model.embedding - start).abs().max() < 0.05 * (free.model.embedding - start).abs().max()


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("batch_size", 0), ("learning_rate", 0.0), ("learning_rate", float("nan")), ("patience", -1),
     ("plateau", 0), ("clip", 0.0), ("averaging", 1.0), ("averaging", -0.1)],
)  # fmt: skip
def test_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: got {value}"):
        Settings(**{name: value})  # pyright: ignore[reportArgumentType]


def test_data_without_labels() -> None:
    data = samples.dataset()
    bare = Dataset(name="bare", atoms=tuple(samples.rattled("NH3", i) for i in range(3)))
    for pair in ((bare, data["valid"]), (data["train"], bare)):
        with pytest.raises(ValueError, match=r"energ|forces|labels"):
            train(network(), *pair, seed=0, settings=BRIEF, progress=False)


def test_unknown_elements() -> None:
    data = samples.dataset(names=("CH4",))
    with pytest.raises(ValueError, match=r"got \[6\], this network knows \[1, 7, 8\]"):
        run(data)


# Being interrupted


@pytest.mark.parametrize("epochs_before", [1, 3, 5])
def test_resumed_after_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, always_save: None, undisturbed: Trained, epochs_before: int
) -> None:
    original = training._Run.one_epoch

    def interrupted(self: training._Run) -> dict[str, float]:
        if self.epoch == epochs_before:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(training._Run, "one_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=tmp_path / "run.ckpt")
    monkeypatch.setattr(training._Run, "one_epoch", original)
    assert len(storage.load(tmp_path / "run.ckpt", kind="training")["history"]) == epochs_before
    assert same(run(checkpoint=tmp_path / "run.ckpt"), undisturbed)
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


KILLED = """
import os, signal, sys
import torch
torch.set_num_threads({threads})
sys.path[:0] = [{tests!r}, {tests!r} + "/.."]
import test_training
from uqlib.common import storage
from uqlib.networks import training
training.SECONDS_BETWEEN_CHECKPOINTS = -1.0
writes = 0
def replace(*names, original=os.replace):
    global writes
    writes += 1
    if writes == 4:  # the fourth checkpoint is written and not yet in its place
        os.kill(os.getpid(), signal.SIGKILL)
    original(*names)
os.replace = replace
test_training.run(checkpoint={checkpoint!r})
"""


def test_resumed_after_a_kill(tmp_path: Path, undisturbed: Trained) -> None:
    """A process that is killed with SIGKILL while it saves; another goes on and ends with the very same weights."""
    checkpoint = tmp_path / "run.ckpt"
    script = KILLED.format(
        threads=torch.get_num_threads(), tests=str(Path(__file__).parent), checkpoint=str(checkpoint)
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(storage.load(checkpoint, kind="training")["history"]) == 3
    assert same(run(checkpoint=checkpoint), undisturbed)


def test_a_finished_run_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Trained
) -> None:
    run(checkpoint=tmp_path / "run.ckpt")
    monkeypatch.setattr(training._Run, "one_epoch", None)
    assert same(run(checkpoint=tmp_path / "run.ckpt"), undisturbed)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, always_save: None) -> None:
    writes, original = [], os.fsync

    def fsync(descriptor: int) -> None:
        writes.append(descriptor)
        if len(writes) == 3:
            raise OSError(28, os.strerror(28))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left on device"):
        run(checkpoint=tmp_path / "run.ckpt")
    monkeypatch.undo()
    assert len(storage.load(tmp_path / "run.ckpt", kind="training")["history"]) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "run.ckpt"
    run(checkpoint=path)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 5}, "another seed"),
        ({"settings": dataclasses.replace(BRIEF, epochs=7)}, "another settings"),
        ({"loss": EnergyForceLoss(energy_weight=3.0)}, "another loss"),
        ({"data": samples.dataset(seed=1)}, "another train, valid"),
        ({"data": samples.dataset({"train": 12, "valid": 5, "test": 3})}, "another valid"),
        ({"model": network(seed=3)}, "another weights"),
        ({"model": PaiNN(elements=[1, 7, 8], features=9)}, "another recipe, weights"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(finished: Path, change: dict[str, Any], words: str) -> None:
    before = finished.read_bytes()
    data = change.pop("data", None) or samples.dataset()
    options: dict[str, Any] = {"model": network(), "seed": 0, "settings": BRIEF, **change}
    with pytest.raises(ValueError, match=f"belongs to a training with {words}; delete it, or name another file"):
        train(train=data["train"], valid=data["valid"], checkpoint=finished, progress=False, **options)
    assert finished.read_bytes() == before


def test_the_same_data_in_another_order_is_other_data(finished: Path) -> None:
    data = samples.dataset()
    turned = data["train"].take(reversed(range(12)))
    with pytest.raises(ValueError, match="belongs to a training with another train"):
        train(network(), turned, data["valid"], seed=0, settings=BRIEF, checkpoint=finished, progress=False)


def test_a_checkpoint_that_is_broken_or_none(finished: Path, tmp_path: Path) -> None:
    content = finished.read_bytes()
    for name, spoilt, words in (
        ("cut", content[:-100], "cut short"),
        ("tampered", content[:-100] + bytes([content[-100] ^ 1]) + content[-99:], "the file was changed"),
        ("other", b"hello", "not a file of uqlib"),
    ):
        (tmp_path / name).write_bytes(spoilt)
        with pytest.raises(ValueError, match=words):
            run(checkpoint=tmp_path / name)
        assert (tmp_path / name).read_bytes() == spoilt
    storage.save(tmp_path / "weights", {"w": torch.zeros(2)}, kind="ensemble")
    with pytest.raises(ValueError, match="got a file of kind 'ensemble', expected 'training'"):
        run(checkpoint=tmp_path / "weights")


def test_progress_is_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    data = samples.dataset()
    train(network(), data["train"], data["valid"], seed=0, settings=Settings(epochs=2), label="member 1 of 5")
    shown = capsys.readouterr().err
    assert "member 1 of 5" in shown
    assert "meV/Å" in shown
    run()
    assert capsys.readouterr().err == ""
