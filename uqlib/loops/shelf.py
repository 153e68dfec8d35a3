"""Fitted methods and their measures, kept by what decides them: drivers that share a network share what it costs."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from uqlib import calibration
from uqlib.calibration import Calibrated, Recalibrated, calibrate
from uqlib.common.owner import waiting_for
from uqlib.common.storage import write_atomically
from uqlib.loops.grid import VERSION, plain
from uqlib.methods import LastLayer, Shallow
from uqlib.methods.shared.recipes import AfterTraining
from uqlib.prediction import predict
from uqlib.structures.datasets import Dataset
from uqlib.study import costs
from uqlib.study.cells import digest
from uqlib.study.grid import bytes_of


@dataclass(frozen=True, kw_only=True)
class Shelved:
    """A recipe that looks on its shelf first, a folder that several processes may share.

    What is built on a trained network is built on the plain one of the same seed, so that methods which leave its
    forces alone have the very same forces. Two processes that miss the same thing at once both make it, and alike.
    """

    method: Any
    shelf: Path = field(repr=False, compare=False)
    device: str | torch.device = field(default="cpu", repr=False, compare=False)

    def fit(self, train: Dataset, valid: Dataset, *, seed: int, progress: bool = True) -> Any:
        """As the method's own `fit`."""
        path = self.path(train, valid, seed)
        if not path.exists():
            with waiting_for(path):  # another loop may be making it, in the same folder of parts
                if not path.exists():
                    self._make(path, train, valid, seed, progress)
        return calibration.load(path, device=self.device)

    def _make(self, path: Path, train: Dataset, valid: Dataset, seed: int, progress: bool) -> None:
        below, inner = self._network(), _inside(self.method)
        parts = path.with_suffix(".parts") if inner.checkpoints is None else Path(inner.checkpoints)
        begun, earlier = any(parts.rglob("*.ckpt")), 0.0
        inner = replace(inner, checkpoints=parts, device=self.device)
        call: Callable[..., Any] = inner.fit
        if below is not None:
            model = below.fit(train, valid, seed=seed, progress=progress).model
            call, earlier = _continued(inner, model), below.seconds(train, valid, seed)
        options = {"progress": progress} if "progress" in inspect.signature(call).parameters else {}
        spent, fitted = costs.seconds(lambda: self._mapped(call(train, valid, seed=seed, **options), valid))
        total = None if begun or earlier is None else round(spent + earlier, 3)
        write_atomically(path.with_suffix(".seconds"), json.dumps(total).encode())
        fitted.save(path)
        shutil.rmtree(parts, ignore_errors=True)

    def path(self, train: Dataset, valid: Dataset, seed: int) -> Path:
        """Of the fitted method."""
        changes: dict[str, Any] = {"checkpoints": None}
        method = self.method
        if isinstance(method, Recalibrated):
            inner: Any = method.method
            method = replace(method, method=replace(inner, **changes))
        else:
            method = replace(method, **changes)
        return self.shelf / f"{digest([VERSION, plain(method), _digest_of(train), _digest_of(valid), seed])}.uq"

    def forces(self, train: Dataset, valid: Dataset, seed: int) -> Path:
        """The same for all methods that have the same forces."""
        below = self._network()
        moved = below is None or not isinstance(_inside(self.method), AfterTraining)
        return self.path(train, valid, seed) if moved or below is None else below.path(train, valid, seed)

    def seconds(self, train: Dataset, valid: Dataset, seed: int) -> float | None:
        """Processor time of the whole fit, whoever made it; None where it was interrupted and part is not known."""
        return json.loads(self.path(train, valid, seed).with_suffix(".seconds").read_text(encoding="utf-8"))

    def _network(self) -> Shelved | None:
        """The plain network that the method is built on; None where it has none, or is it."""
        inner = _inside(self.method)
        if isinstance(inner, LastLayer) or not isinstance(inner, AfterTraining | Shallow):
            return None
        same = {name: getattr(inner, name) for name in ("network", "settings", "loss", "checkpoints")}
        return Shelved(method=LastLayer(**same), shelf=self.shelf, device=self.device)

    def _mapped(self, fitted: Any, valid: Dataset) -> Any:
        if not isinstance(self.method, Recalibrated):
            return fitted
        maps = calibrate(self.method.kind, predict(fitted, valid), valid, per_element=self.method.per_element)
        return Calibrated(fitted, maps)


def remembered(path: Path, what: Any, measure: Callable[[], Any]) -> Any:
    """What `measure` gives, plain data, kept beside the fitted method at `path`; `what` names it by its settings."""
    kept = path.with_name(f"{path.stem}.{digest(plain(what))}.json")
    if not kept.exists():
        write_atomically(kept, json.dumps(measure()).encode())
    return json.loads(kept.read_text(encoding="utf-8"))


def _inside(method: Any) -> Any:
    return method.method if isinstance(method, Recalibrated) else method


def _continued(inner: Any, model: Any) -> Callable[..., Any]:
    """What a method makes of a trained network, as a function like `fit`."""
    known: Any = inner.fit_to if isinstance(inner, AfterTraining) else inner.continue_from
    return lambda train, valid, *, seed: known(
        model, train, valid, seed=seed, **({} if isinstance(inner, AfterTraining) else {"progress": False})
    )


def _digest_of(data: Dataset) -> str:
    return hashlib.sha256(bytes_of(data)).hexdigest()
