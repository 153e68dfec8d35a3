"""One training loop for every method; what is learnt is decided by the loss, which is an argument.

Adam with gradient clipping, a learning rate that falls when the validation loss stops falling, early stopping, and a
running average of the weights, which is what is validated and returned. The state is saved as it goes: a run that is
killed continues where it was and ends with the same weights as one that was not.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from tqdm.auto import tqdm

from uqlib.common import storage
from uqlib.common.digest import digest_of
from uqlib.common.owner import waiting_for
from uqlib.networks.evaluation import Evaluation, evaluate
from uqlib.networks.labels import check_labels, learnable
from uqlib.networks.losses import EnergyForceLoss, Labelled, Loss, labels_of, stress_errors
from uqlib.networks.memory import PREDICTING, pieces_of
from uqlib.networks.origin import origin
from uqlib.networks.painn import PaiNN
from uqlib.networks.references import set_reference
from uqlib.structures.batch import Batch
from uqlib.structures.dataset import Dataset

SECONDS_BETWEEN_CHECKPOINTS = 5.0


class Evaluator(Protocol):
    """`evaluate`, or a function that adds to what it returns what a loss needs beyond it."""

    def __call__(self, model: PaiNN, batch: Batch, *, train: bool = False) -> Evaluation: ...


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long and how fast. Raises ValueError for numbers outside their range."""

    epochs: int = 300  # at most
    batch_size: int = 10  # structures
    learning_rate: float = 2e-3
    schedule: Literal["plateau", "cosine"] = "plateau"  # cosine: falls to zero over `epochs`, whatever happens
    plateau: int = 20  # epochs without a better validation loss before the learning rate is halved
    patience: int = 100  # epochs without a better validation loss before training stops
    lowest_learning_rate: float = 1e-5  # training stops when the plateaus have brought it below this
    clip: float = 10.0  # largest norm of the gradient of all weights together
    averaging: float = 0.99  # how much of the running average of the weights survives a step; 0 for none

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "plateau", "patience", "learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a positive number")
        if not 0 <= self.averaging < 1:
            raise ValueError(f"averaging: got {self.averaging}, expected 0 <= averaging < 1")
        if self.schedule not in ("plateau", "cosine"):
            raise ValueError(f"schedule: got {self.schedule!r}, expected 'plateau' or 'cosine'")


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network, frozen, and how it came about: one dictionary an epoch."""

    model: PaiNN
    history: list[dict[str, float]]


def train(
    model: PaiNN,
    train: Dataset,
    valid: Dataset,
    *,
    seed: int,
    loss: Loss | None = None,
    settings: Settings | None = None,
    before_step: Callable[[PaiNN, int], None] | None = None,
    evaluator: Evaluator = evaluate,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    label: str = "training",
) -> Trained:
    """Train a copy of `model` and return the weights that did best on `valid`.

    `seed` fixes the shuffling; the initial weights come with the model. `before_step` is called with the network in
    training and the number of steps done, and may change the network (dropout). `evaluator` makes what the loss sees.
    With `checkpoint`, a file that is written as training goes and read when it exists: a finished training is then
    returned at once, an interrupted one is continued. A second process with the same file waits for the first. Raises
    ValueError when that file belongs to another training, or when the loss, or what else is called, has no identity by
    which that could be told; FloatingPointError when the loss is no longer a number.
    """
    loss, settings = loss or EnergyForceLoss(), settings or Settings()
    run = _Run(
        model, train, valid, seed=seed, loss=loss, settings=settings, before_step=before_step, evaluator=evaluator
    )
    bar = tqdm(total=settings.epochs, desc=label, disable=not progress, unit="epoch", leave=False)
    if checkpoint is None:
        with bar:
            _to_the_end(run, None, bar)
    else:
        checkpoint = Path(checkpoint)
        run.identify()
        with bar, waiting_for(checkpoint):
            if checkpoint.exists():
                run.restore(storage.load(checkpoint, kind="training"), checkpoint)
            bar.update(run.epoch)
            _to_the_end(run, checkpoint, bar)
    return Trained(model=run.best_model(), history=run.history)


def _to_the_end(run: _Run, checkpoint: Path | None, bar: Any) -> None:
    saved = time.monotonic()
    while not run.finished:
        latest = run.one_epoch()
        bar.update()
        bar.set_postfix_str(_in_brief(latest))
        if checkpoint is not None and (run.finished or time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS):
            storage.save(checkpoint, run.state(), kind="training")
            saved = time.monotonic()


def _in_brief(epoch: dict[str, float]) -> str:
    """What a progress bar has room for."""
    off = epoch["force_mae"]
    return f"loss {epoch['train_loss']:.2g}" + ("" if math.isnan(off) else f", force MAE {1e3 * off:.1f} meV/Å")


class _Run:
    """The state of one training; `state` and `restore` are all that a checkpoint knows."""

    def __init__(
        self,
        model: PaiNN,
        train: Dataset,
        valid: Dataset,
        *,
        seed: int,
        loss: Loss,
        settings: Settings,
        before_step: Callable[[PaiNN, int], None] | None,
        evaluator: Evaluator,
    ) -> None:
        self.labels = labels_of(loss)
        check_labels(train, valid, self.labels)
        self.settings, self.loss, self.before_step, self.evaluate = settings, loss, before_step, evaluator
        self.model = copy.deepcopy(model).requires_grad_(True)
        set_reference(self.model, train)
        self.train, self.valid = train, valid
        self.dtype = self.model.embedding.dtype
        self.averaged = copy.deepcopy(self.model).requires_grad_(False)
        self.averaged.trained_on = origin(train)
        self.best = copy.deepcopy(self.averaged.state_dict())
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=settings.learning_rate, fused=True)
        self.shuffling = torch.Generator().manual_seed(seed)
        self.history: list[dict[str, float]] = []
        self.best_loss, self.best_epoch, self.last_drop, self.steps = float("inf"), -1, 0, 0
        self.finished = False
        self.seed = seed
        self.identity: dict[str, Any] = {}

    def identify(self) -> None:
        """Find out what tells this training from others; a checkpoint needs it. Raises ValueError as `digest_of`."""
        self.identity = {
            "recipe": self.model.recipe,
            "settings": asdict(self.settings),
            "seed": self.seed,
            "loss": digest_of(self.loss, "loss"),
            "before_step": digest_of(self.before_step, "before_step"),
            "evaluator": digest_of(self.evaluate, "evaluator"),
            "train": digest_of(self.train, "train"),
            "valid": digest_of(self.valid, "valid"),
            "weights": digest_of(list(self.model.parameters()), "model"),
        }

    @property
    def epoch(self) -> int:
        return len(self.history)

    def one_epoch(self) -> dict[str, float]:
        started = time.perf_counter()
        if self.settings.schedule == "cosine":
            done = self.epoch / self.settings.epochs
            self.optimiser.param_groups[0]["lr"] = self.settings.learning_rate * (1 + math.cos(math.pi * done)) / 2
        order = torch.randperm(len(self.train), generator=self.shuffling)
        losses = [self._step(chosen) * len(chosen) for chosen in order.split(self.settings.batch_size)]
        row = {
            "epoch": float(self.epoch + 1),
            "train_loss": sum(losses) / len(self.train),
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            **self._validate(),
            "seconds": time.perf_counter() - started,
        }
        self.history.append(row)
        self._keep_best_or_slow_down(row["valid_loss"])
        return row

    def _step(self, chosen: Tensor) -> float:
        if self.before_step is not None:
            self.before_step(self.model, self.steps)
        batch = self.train.batch(chosen, cutoff=self.model.cutoff, dtype=self.dtype).to(self.model.device)
        value = self.loss(self.evaluate(self.model, batch, train=True), batch)
        self.optimiser.zero_grad()
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip, foreach=True)
        if not bool(torch.isfinite(norm)):
            raise FloatingPointError(
                f"the loss or its gradient is no longer a number in epoch {self.epoch + 1}; lower the learning rate "
                f"(now {self.optimiser.param_groups[0]['lr']:.2g}) or look for broken labels in the training set"
            )
        self.optimiser.step()
        self.steps += 1
        keep = min(self.settings.averaging, self.steps / (self.steps + 10))  # early weights are soon forgotten
        with torch.no_grad():
            for average, current in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                average.lerp_(current, 1 - keep)
        return value.item()

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        totals = {"valid_loss": 0.0, "energy_mae": 0.0, "force_mae": 0.0}
        if "stress" in self.labels:
            totals["stress_mae"] = 0.0
        structures, first = max(100, self.settings.batch_size), 0
        for batch in pieces_of(self.averaged, self.valid, structures=structures, largest=PREDICTING):
            result = self.evaluate(self.averaged, batch)
            error = Labelled.of(result, batch)
            chosen = slice(first, first := first + batch.n_structures)
            share = batch.n_structures / len(self.valid)
            totals["valid_loss"] += share * self.loss(result, batch).item()
            totals["energy_mae"] += self._share("energy", chosen, error.energy)
            totals["force_mae"] += self._share("forces", chosen, error.forces)
            if "stress" in self.labels:
                totals["stress_mae"] += self._share("stress", chosen, stress_errors(result, batch)[0])
        return totals

    def _share(self, label: str, chosen: slice, error: Tensor) -> float:
        """What a batch adds to the mean of a label's errors over the validation set; nan where it has no such label."""
        known = learnable(self.valid, label)
        if not known.any():
            return math.nan
        mae = error.abs().mean().item() if error.numel() else 0.0
        return int(known[chosen].sum()) / int(known.sum()) * mae

    def _keep_best_or_slow_down(self, valid_loss: float) -> None:
        settings, group = self.settings, self.optimiser.param_groups[0]
        if valid_loss < self.best_loss:
            self.best_loss, self.best_epoch = valid_loss, self.epoch
            self.best = copy.deepcopy(self.averaged.state_dict())
        elif settings.schedule == "plateau" and self.epoch - max(self.best_epoch, self.last_drop) >= settings.plateau:
            group["lr"], self.last_drop = group["lr"] / 2, self.epoch
        self.finished = (
            self.epoch >= settings.epochs
            or self.epoch - self.best_epoch >= settings.patience
            or (settings.schedule == "plateau" and group["lr"] < settings.lowest_learning_rate)
        )

    def best_model(self) -> PaiNN:
        self.averaged.load_state_dict(self.best)
        return self.averaged.eval()

    def state(self) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            "shuffling": self.shuffling.get_state(),
            "history": self.history,
            "numbers": [self.best_loss, self.best_epoch, self.last_drop, self.steps, self.finished],
        }

    def restore(self, state: dict[str, Any], path: Path) -> None:
        if state["identity"] != self.identity:
            differ = sorted(k for k in self.identity if state["identity"].get(k) != self.identity[k])
            raise ValueError(
                f"checkpoint: {path} belongs to a training with another {', '.join(differ)}; "
                "delete it, or name another file"
            )
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.best = state["best"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.shuffling.set_state(state["shuffling"])
        self.history = state["history"]
        self.best_loss, self.best_epoch, self.last_drop, self.steps, self.finished = state["numbers"]
