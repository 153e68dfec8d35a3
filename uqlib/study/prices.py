"""What methods cost with a network as wide as one would use: measured for its own sake, in trainings of few epochs.

The cells of the study know what their own small networks cost. There, what a method adds to a prediction weighs more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from uqlib import methods
from uqlib.common.devices import as_device
from uqlib.common.storage import write_atomically
from uqlib.structures import datasets
from uqlib.study.cells import rounded
from uqlib.study.comparison import compare
from uqlib.study.grid import FOLDER
from uqlib.study.machine import hardware, torch_threads, versions

FILE = FOLDER / "prices" / "prices.json"
EPOCHS = (6, 18)  # of two trainings: what comes after a training costs the same in both
LONG = 500  # epochs of a training that one would do in earnest, to which the two are continued as a straight line
SIZES = {"train": 40, "valid": 8, "test": 20}  # of ethanol: frames


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Of all methods, as multiples of one plain network's, on one machine."""

    features: int
    interactions: int
    device: str  # name of the processor, or of the GPU
    training: Mapping[str, float]  # of `LONG` epochs
    prediction: Mapping[str, float]


def measure_prices(*, features: int = 128, interactions: int = 3, device: str = "cpu", seed: int = 0) -> dict[str, Any]:
    """Times of all methods on ethanol, as plain data for JSON. Minutes on one core."""
    whole = datasets.load("ethanol")
    splits = {split: whole.splits[split][:number] for split, number in SIZES.items()}
    data = datasets.Dataset(name="ethanol", atoms=whole.atoms, splits=splits, card=whole.card)
    network = {"features": features, "interactions": interactions}
    options: dict[str, Any] = {"network": network, "seed": seed, "resamples": 0, "progress": False, "device": device}
    with torch_threads(1):
        compare(data, {"gmm": methods.METHODS["gmm"]}, epochs=EPOCHS[0], **options)  # the first one finds its tools
        found = [compare(data, methods.METHODS, epochs=epochs, **options) for epochs in EPOCHS]
    times = [{"one network": each.plain, **each.cost} for each in found]
    return rounded(
        {
            "network": network,
            "epochs": EPOCHS,
            "structures": SIZES,
            "hardware": hardware(1, torch.device(as_device(device))),
            "versions": versions(),
            "training": {name: [each[name].training for each in times] for name in times[0]},
            "prediction": {name: [each[name].inference for each in times] for name in times[0]},
        }
    )


def keep(found: Mapping[str, Any], path: str | Path = FILE) -> None:
    """Add to a file what was measured; what it has of the same hardware and network is replaced."""
    path = Path(path)
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    others = [one for one in known if _place(one) != _place(found)]
    text = ",\n".join(json.dumps(one, ensure_ascii=False) for one in [*others, dict(found)])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f"[\n{text}\n]\n".encode())


def load_prices(path: str | Path = FILE) -> list[Prices]:
    """All that were measured. Raises ValueError where the file is none of ours."""
    try:
        known = json.loads(Path(path).read_text(encoding="utf-8"))
        return [_read(one) for one in known]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no prices ({error}); make it with `python -m uqlib study --prices`") from error


def _read(one: Mapping[str, Any]) -> Prices:
    few, more = one["epochs"]
    training = {
        name: short + (long - short) / (more - few) * (LONG - few) for name, (short, long) in one["training"].items()
    }
    prediction = {name: min(times) for name, times in one["prediction"].items()}
    ratios = [  # nothing costs less than its network, and a tenth of that is what clocks are worth
        {name: max(round(value / each["one network"], 1), 1.0) for name, value in each.items() if name != "one network"}
        for each in (training, prediction)
    ]
    device = one["hardware"]["accelerator"] or one["hardware"]["processor"]
    return Prices(**one["network"], device=device, training=ratios[0], prediction=ratios[1])


def _place(one: Mapping[str, Any]) -> tuple[Any, Any]:
    return one["network"], {name: one["hardware"][name] for name in ("processor", "accelerator")}
