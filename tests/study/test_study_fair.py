"""The study made fair: recalibration on structures that do nothing else, equal cost, prices, and a dry run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from uqlib.__main__ import main
from uqlib.methods import METHODS
from uqlib.networks.training import Settings
from uqlib.study import Grid, System, do_unit, prices, work
from uqlib.study.estimate import estimate, trainings
from uqlib.study.grid import Variant
from uqlib.study.running import run

SYSTEM = System(name="a", data="ammonia", training=Settings(epochs=2, batch_size=40), regimes={"in-domain": ("test",)})
GRID = Grid(
    scale="tiny",
    methods=("gmm", "longer", "wider"),
    seeds=(0,),
    recalibration="affine",
    resplit=True,
    network={"features": 8, "interactions": 1},
    systems={"a": SYSTEM},
    calibration=0.4,
    variants={
        "longer": Variant(method="llpr", epochs=3),
        "wider": Variant(method="llpr", network={"features": 16}),
    },
)


def test_cells_of_a_fair_grid(tmp_path: Path) -> None:
    done = run(GRID, tmp_path, progress=False)
    assert (done.made, done.kept, done.stale) == (3, 0, 0)
    assert run(GRID, tmp_path, progress=False).kept == 3
    cells = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("a/0/*.json")}
    assert {cell["splits"]["test"]["structures"] for cell in cells.values()} == {60}
    assert cells["longer"]["identity"]["training"]["epochs"] == 6
    assert cells["wider"]["identity"]["network"]["features"] == 16
    other = dataclasses.replace(GRID, calibration=0.5)
    assert run(other, tmp_path, progress=False).stale == 3


def test_all_are_recalibrated_on_the_same_that_did_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[bytes]] = []

    def watched(kind: Any, prediction: Any, data: Any) -> Any:
        seen.append({frame.positions.tobytes() for frame in data.atoms})
        return calibrate(kind, prediction, data)

    calibrate = work.calibration.calibrate
    monkeypatch.setattr(work.calibration, "calibrate", watched)
    for unit in GRID.units():
        do_unit(unit)
    data = GRID.load("a", 0)
    assert len(seen) == 3
    for frames in seen:
        assert frames == {frame.positions.tobytes() for frame in data["calibration"].atoms}
    for split in ("train", "valid", "test"):
        assert not seen[0] & {frame.positions.tobytes() for frame in data[split].atoms}


def test_estimates(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (found,) = estimate(GRID)
    assert (found.system, found.cells) == ("a", 3)
    assert 0 < found.hours < 1
    (one,) = estimate(GRID, ["*/gmm"])
    assert one.cells == 1
    assert one.hours < found.hours
    many = dataclasses.replace(GRID, methods=("ensemble", "gmm", "shallow"), variants={})
    assert trainings(many.units()[0]) == 5.5
    text = """
methods = ["gmm"]
seeds = [0, 1]
recalibration = "affine"
resplit = false
[network]
features = 4
interactions = 1
[systems.small]
data = "ammonia"
training = { epochs = 1 }
regimes = { in-domain = ["test"] }
"""
    (tmp_path / "mine.toml").write_text(text)
    main(["study", "--scale", str(tmp_path / "mine.toml"), "--dry-run", "--out", str(tmp_path / "out")])
    told = capsys.readouterr().out
    assert "small" in told
    assert "2" in told
    assert not (tmp_path / "out").exists()


def test_committed_prices() -> None:
    (found, *_) = prices.load_prices()
    assert found.features == 128
    for price in (found.training, found.prediction):
        assert set(price) == set(METHODS)
        assert all(value > 0 for value in price.values())
    assert 3.5 < found.training["ensemble"] < 7
    assert 3.5 < found.prediction["ensemble"] < 7


def test_prices_by_hand(tmp_path: Path) -> None:
    """What comes after a training, 10 s here, is little beside 500 epochs of a second."""
    one = {
        "network": {"features": 8, "interactions": 1},
        "epochs": [6, 18],
        "hardware": {"processor": "abacus", "threads": 1, "accelerator": None},
        "training": {"one network": [6.0, 18.0], "gmm": [16.0, 28.0]},
        "prediction": {"one network": [1.0, 2.0], "gmm": [3.0, 1.5]},
    }
    path = tmp_path / "prices.json"
    prices.keep(one, path)
    prices.keep(one, path)
    (found,) = prices.load_prices(path)
    assert found.device == "abacus"
    assert found.training == {"gmm": 1.0}  # 510 of 500
    assert found.prediction == {"gmm": 1.5}
    prices.keep({**one, "hardware": {**one["hardware"], "accelerator": "a GPU"}}, path)
    assert [each.device for each in prices.load_prices(path)] == ["abacus", "a GPU"]
    path.write_text("{}")
    assert prices.load_prices(path) == []
    path.write_text("[1]")
    with pytest.raises(ValueError, match="no prices"):
        prices.load_prices(path)
