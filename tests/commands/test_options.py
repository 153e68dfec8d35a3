"""Options of the command line arrive: none is read and then left aside."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import samples

from uqlib import methods
from uqlib.__main__ import _parser, main
from uqlib.commands import cells, common, predict, train
from uqlib.structures.datasets import Dataset


def parsed(*words: str) -> argparse.Namespace:
    return _parser(words).parse_args(words)


OWN = ("train", "--data", "ammonia", "--method")


@pytest.mark.parametrize("method", sorted(methods.EVERY))
def test_training_options_reach_every_recipe(method: str, tmp_path: Path) -> None:
    words = [*OWN, method, "--epochs", "7", "--features", "12", "--checkpoints", str(tmp_path), "--device", "cpu"]
    recipe = train.recipe_of(parsed(*words))
    assert recipe.settings.epochs == 7
    assert recipe.network["features"] == 12
    assert Path(recipe.checkpoints) == tmp_path
    assert recipe.device == "cpu"


@pytest.mark.parametrize("method", ["ensemble", "bootstrap", "shallow"])
def test_members(method: str) -> None:
    assert train.recipe_of(parsed(*OWN, method, "--members", "3")).members == 3


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_the_seed_draws_the_splits_and_the_training(monkeypatch: pytest.MonkeyPatch, seed: int, tmp_path: Path) -> None:
    data, seen = samples.dataset({"all": 30}), []

    class Stop(Exception):
        pass

    class Method:
        def fit(self, train: Dataset, valid: Dataset, *, seed: int) -> Any:
            seen.append((seed, tuple(frame.positions.tobytes() for frame in train.atoms)))
            raise Stop

    plain = Dataset(name="a", atoms=data.atoms)
    monkeypatch.setattr(train, "recipe_of", lambda _: Method())
    monkeypatch.setattr(common, "find_data", lambda *_: plain)
    with pytest.raises(Stop):
        train.run(parsed("train", "--data", "a.xyz", "--method", "mve", "--seed", str(seed), "--no-by-group"))
    drawn = plain.split(seed=seed, by_group=False, train=21, valid=3, test=6)
    assert seen == [(seed, tuple(frame.positions.tobytes() for frame in drawn["train"].atoms))]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), {"by_group": True, "blocks": None, "gap": None}),
        (("--no-by-group",), {"by_group": False, "blocks": None, "gap": None}),
        (("--blocks", "--gap", "4"), {"by_group": True, "blocks": True, "gap": 4}),
    ],
)
def test_options_of_splitting(monkeypatch: pytest.MonkeyPatch, words: tuple, expected: dict) -> None:
    found: dict[str, Any] = {}
    monkeypatch.setattr(Dataset, "split", lambda self, **options: found.update(options) or self)
    common._divided(samples.dataset({"all": 20}), parsed(*OWN, "mve", "--seed", "5", *words))
    assert found == {"seed": 5, "train": 14, "valid": 2, "test": 4, **expected}


@pytest.mark.parametrize("memory", [None, 0.25, 3.0])
def test_memory_and_device_of_predictions(
    monkeypatch: pytest.MonkeyPatch, memory: float | None, tmp_path: Path
) -> None:
    found: dict[str, Any] = {}
    monkeypatch.setattr(predict.calibration, "load", lambda path, **options: found.update(options, path=path))
    monkeypatch.setattr(predict, "read_file", lambda *_: samples.dataset({"all": 2}))
    monkeypatch.setattr(predict, "predict", lambda *_, **options: found.update(options))
    monkeypatch.setattr(predict.error_bars, "attach", lambda atoms, _: atoms)
    monkeypatch.setattr(predict.error_bars, "write", lambda path, _: found.update(out=path))
    out, extra = tmp_path / "out.xyz", [] if memory is None else ["--memory", str(memory)]
    predict.run(parsed("predict", "m.uq", "a.xyz", "--out", str(out), "--device", "cpu", *extra))
    assert (found["memory"], str(found["device"]), found["path"], found["out"]) == (memory, "cpu", Path("m.uq"), out)


def test_options_of_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {}
    monkeypatch.setattr(common.datasets, "read", lambda path, **options: found.update(options, path=path))
    given = {
        "energy_key": "e", "forces_key": "f", "stress_key": "s", "virial_key": "v", "energy_unit": "hartree",
        "length_unit": "bohr", "forces_unit": "hartree/bohr", "stress_unit": "GPa",
    }  # fmt: skip
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
    common.read_file(parsed("data", "a.xyz", *words, "--e0", "H=-13.6,O=-1"), "a.xyz")
    assert found == {**given, "E0": {"H": -13.6, "O": -1.0}, "path": "a.xyz"}


@pytest.mark.parametrize("words", [("--only", "a/*", "--threads", "3"), ("--out", "here"), ()])
def test_options_of_running(monkeypatch: pytest.MonkeyPatch, words: tuple, tmp_path: Path, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}

    def run(grid: Any, folder: Path, **options: Any) -> Any:
        found.update(options, folder=folder)
        return cells.Done(made=1, kept=2, stale=0)

    cells.make(None, run, "default", "command", parsed("study", *words))
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert str(found["folder"]) == given.get("--out", "default")
    assert found["only"] == ([given["--only"]] if "--only" in given else [])
    assert found["threads"] == int(given.get("--threads", 1))
    assert "1 cells made" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["file", "below a file", "far below a file"])
def test_checkpoints_that_cannot_be_written_are_refused_before_training(tmp_path: Path, kind: str, capsys) -> None:
    (tmp_path / "file").write_text("")
    place = {
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "a",
        "far below a file": tmp_path / "file" / "a" / "b",
    }[kind]
    assert main([*OWN, "mve", "--checkpoints", str(place)]) == 2
    assert "--checkpoints: cannot write into" in capsys.readouterr().err


@pytest.mark.parametrize("closed", ["stdout", "stderr", "both"])
def test_closed_streams_and_a_terminal_without_our_letters(closed: str) -> None:
    close = {"stdout": ">&-", "stderr": "2>&-", "both": ">&- 2>&-"}[closed]
    command = f"PYTHONIOENCODING=ascii {sys.executable} -m uqlib data ammonia {close}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    if closed == "stderr":
        assert "\\xc5" in done.stdout, "Å, in letters that there are"
