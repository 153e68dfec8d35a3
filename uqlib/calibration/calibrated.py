"""`Calibrated`: a predictor with its maps behind it, itself a `Predictor`, in one file when saved."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from uqlib import methods
from uqlib.calibration.calibrator import MAPS, Calibrator, Map
from uqlib.common import storage
from uqlib.common.devices import Target, targets
from uqlib.networks.evaluation import OtherNetwork
from uqlib.prediction import AroundPredictor, Members, Prediction, Predictor, placed
from uqlib.structures.batch import Batch

KIND = "calibrated"  # of file


class Calibrated(AroundPredictor):
    """Predicts what the predictor predicts, with uncertainties made standard deviations by the calibrator."""

    def __init__(self, predictor: Predictor, calibrator: Calibrator) -> None:
        if not isinstance(predictor, Predictor):
            raise TypeError(
                f"predictor: got a {type(predictor).__name__}, expected a fitted predictor with `predict`, `cutoff`, "
                "`dtype` and `device`"
            )
        self.predictor = predictor
        self.calibrator = calibrator

    def predict(self, batch: Batch) -> Prediction:
        """Unit "eV/Å", whatever the predictor's own; errors as its `predict` and as `Calibrator`."""
        return self.calibrator(self.predictor.predict(batch), batch)

    def members(self, batch: Batch) -> Members:
        """Raises ValueError: a map changes error bars, and not the potentials behind them."""
        raise ValueError(
            "predictor: a Calibrated has no members: its map changes error bars, and not the potentials behind them; "
            "ask what was calibrated: `.predictor.members(batch)`"
        )

    def export(self, path: str | Path) -> None:
        """Raises ValueError: an engine makes error bars from members, and no map would stand between."""
        raise ValueError(
            "predictor: a Calibrated cannot be exported: an engine makes error bars from members, and the map would be "
            "left out; export what was calibrated (`.predictor.export(path)`), and apply `.calibrator` to the results"
        )

    def to(
        self, *target: Target, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None
    ) -> Calibrated:
        """A copy in another floating-point type, on another device, or both. The maps are plain numbers."""
        place = targets(target, device=device, dtype=dtype)
        return Calibrated(placed(self.predictor, device=place[0], dtype=place[1]), self.calibrator)

    def save(self, path: str | Path) -> None:
        """The maps and, in the same file, what the predictor saves; errors as `storage.save`."""
        predictor: Any = self.predictor
        with storage.own_folder("calibrated") as folder:
            inner = folder / "predictor.uq"
            predictor.save(inner)
            content = inner.read_bytes()
        payload = {
            "predictor": torch.frombuffer(bytearray(content), dtype=torch.uint8),
            "calibrator": {
                **{name: getattr(self.calibrator, name) for name in PLAIN},
                "forces": {number: _to_plain(found) for number, found in self.calibrator.forces.items()},
                **{name: _to_plain(getattr(self.calibrator, name)) for name in ("energy", "stress")},
            },
        }
        storage.save(path, payload, kind=KIND)

    @classmethod
    def load(cls, path: str | Path, *, model: OtherNetwork | None = None) -> Calibrated:
        """What `save` wrote, `model` as in `methods.load`; errors as `storage.load`."""
        payload = storage.load(path, kind=KIND)
        with storage.content_of(path):
            with storage.own_folder("calibrated") as folder:
                inner = folder / "predictor.uq"
                inner.write_bytes(payload["predictor"].numpy().tobytes())
                # `methods` stands lower and knows nothing of calibration; one calibration may lie on another.
                predictor = load(inner, model=model)
            plain = payload["calibrator"]
            maps = {
                "forces": {number: _from_plain(found) for number, found in plain["forces"].items()},
                **{name: _from_plain(plain.get(name)) for name in ("energy", "stress")},  # no stress in files of before
            }
            return cls(predictor, Calibrator(**{**plain, **maps}))


PLAIN = ("kind", "unit", "level", "data", "structures", "groups", "known")


def _to_plain(found: Map | None) -> dict[str, Any] | None:
    return None if found is None else {"map": type(found).__name__, **asdict(found)}


def _from_plain(plain: dict[str, Any] | None) -> Map | None:
    if plain is None:
        return None
    return MAPS[plain["map"]](**{name: value for name, value in plain.items() if name != "map"})


def load(path: str | Path, *, model: OtherNetwork | None = None, device: str | torch.device | None = None) -> Predictor:
    """Any fitted predictor that was saved, calibrated or not; `model`, `device` and errors as `methods.load`."""
    found = Calibrated if storage.kind_of(path) == KIND else methods
    return placed(found.load(path, model=model), device=device)
