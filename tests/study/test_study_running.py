"""The study done: what a cell holds, what is kept and what is made anew, what an interruption loses."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pretended
import pytest

from uqlib.__main__ import main
from uqlib.methods import METHODS
from uqlib.methods.shared.recipes import SingleNetwork
from uqlib.networks import training
from uqlib.networks.training import Settings
from uqlib.prediction import predict
from uqlib.study import Grid, System, Unit, do_unit, load_grid, running, scoring
from uqlib.study.cells import Cell, as_text
from uqlib.study.grid import FOLDER
from uqlib.study.running import StudyError, run

BRIEF = Settings(epochs=2, batch_size=40)
GRID = Grid(
    scale="tiny",
    methods=("ensemble", "mve", "gmm"),
    seeds=(0, 1),
    recalibration="affine",
    resplit=False,
    network={"features": 8, "interactions": 1},
    systems={
        "a": System(name="a", data="ammonia", training=BRIEF, regimes={"in-domain": ("test",)}),
        "b": System(name="b", data="ammonia", training=BRIEF, regimes={"near": ("path",)}),
    },
)
FIRST = dataclasses.replace(GRID, systems={"a": GRID.systems["a"]}, seeds=(0,))
QUIET: dict[str, Any] = {"progress": False}
VOLATILE = {"cost", "one_network", "wall_s", "peak_mb", "made", "command", "hardware"}


@pytest.fixture(scope="module")
def cells() -> dict[str, Cell]:
    return {cell["method"]: cell for unit in FIRST.units() for cell in do_unit(unit)}


def lasting(cell: Cell) -> Cell:
    return {key: value for key, value in cell.items() if key not in VOLATILE}


def read(folder: Path) -> dict[str, Cell]:
    return {str(path.relative_to(folder)): json.loads(path.read_text()) for path in sorted(folder.glob("*/*/*.json"))}


def test_scores_are_those_of_the_method(cells: dict[str, Cell]) -> None:
    data = FIRST.systems["a"].load()
    recipe = SingleNetwork(network=FIRST.network, settings=BRIEF)
    start = recipe.untrained(data["train"], data["valid"], seed=0)
    model = recipe.train_network(start, data["train"], data["valid"], seed=0, progress=False).model
    fitted = METHODS["gmm"].fit_to(model, data["train"], data["valid"], seed=0)  # pyright: ignore
    expected = scoring.score(predict(fitted, data["test"]), data["test"], resamples=5)
    found = cells["gmm"]["splits"]["test"]
    for quantity, values in (("energy", expected.energy), ("force", expected.force)):
        for name, value in values.items():
            wanted = None if value is None else pytest.approx(value.value, rel=1e-4)
            assert found["before"][quantity][name] == wanted
    assert found["before"]["force"]["miscalibration"] is None, "in nats"
    assert found["after"]["force"]["miscalibration"] > 0
    assert (found["structures"], found["groups"]) == (100, 100)


def test_a_cell_says_how_it_came_about(cells: dict[str, Cell]) -> None:
    for method, cell in cells.items():
        assert (cell["system"], cell["method"], cell["seed"]) == ("a", method, 0)
        assert (cell["train"], cell["valid"]) == (80, 20)
        assert cell["identity"]["training"]["epochs"] == 2
        assert {"torch", "numpy", "python", "uqlib"} == set(cell["versions"])
        assert cell["hardware"]["threads"] == 1
        assert cell["hardware"]["processor"]
        assert cell["cost"]["training"] > 0
        assert cell["wall_s"] > 0
        assert 50 < cell["peak_mb"] < 10_000
        assert len(as_text(cell, ("splits",))) < 6000
        assert json.loads(as_text(cell, ("splits",))) == cell


def test_the_network_is_shared_and_counts_for_each(cells: dict[str, Cell]) -> None:
    plain = cells["gmm"]["one_network"]
    assert plain["training"] == cells["ensemble"]["one_network"]["training"]
    assert cells["gmm"]["cost"]["training"] > plain["training"]
    assert cells["ensemble"]["cost"]["training"] > 2 * plain["training"]
    assert cells["mve"]["one_network"] is None
    assert cells["ensemble"]["splits"] != cells["gmm"]["splits"]


@pytest.mark.parametrize("pattern", ["*/mve", "*/gmm", "*/ensemble"])
def test_a_cell_from_a_gpu(pattern: str) -> None:
    """A pretended one refuses what nobody moved there."""
    with pretended.gpu():
        (cell,) = do_unit(FIRST.units([pattern])[0], device="cuda")
    assert cell["hardware"]["accelerator"] == "a pretended GPU"
    assert cell["splits"]["test"]["structures"] == 100


def test_same_unit_same_cell(cells: dict[str, Cell]) -> None:
    (again,) = do_unit(FIRST.units(["*/mve"])[0])
    assert lasting(again) == lasting(cells["mve"])


def test_kept_stale_and_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FIRST, tmp_path, only=["*/mve"], command="as typed", **QUIET) == running.Done(made=1, kept=0, stale=0)
    first = read(tmp_path)["a/0/mve.json"]
    assert first["command"] == "as typed"
    done = run(FIRST, tmp_path, only=["*/mve"], **QUIET)
    assert done == running.Done(made=0, kept=1, stale=0)
    assert read(tmp_path)["a/0/mve.json"] == first
    other = dataclasses.replace(FIRST, recalibration="isotonic")
    assert run(other, tmp_path, only=["*/mve"], **QUIET) == running.Done(made=1, kept=0, stale=1)
    assert "stale, made with other settings or data" in capsys.readouterr().out
    second = read(tmp_path)["a/0/mve.json"]
    assert second["splits"]["test"]["before"] == first["splits"]["test"]["before"]
    assert second["splits"]["test"]["after"] != first["splits"]["test"]["after"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"], "no checkpoints are left behind"


def test_other_data_make_a_cell_stale(tmp_path: Path) -> None:
    run(FIRST, tmp_path, only=["*/mve"], **QUIET)
    path = tmp_path / "a" / "0" / "mve.json"
    path.write_text(path.read_text().replace('"data_digest": "', '"data_digest": "0'))
    assert run(FIRST, tmp_path, only=["*/mve"], **QUIET).stale == 1


def test_a_failure_leaves_the_others_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = running.do_unit

    def sometimes(unit: Unit, **options: Any):
        if unit.methods == ("mve",):
            raise ArithmeticError("out of luck")
        return original(unit, **options)

    monkeypatch.setattr(running, "do_unit", sometimes)
    with pytest.raises(StudyError, match=r"1 of 2 units failed.*a, seed 0: mve: ArithmeticError: out of luck"):
        run(FIRST, tmp_path, **QUIET)
    assert list(read(tmp_path)) == ["a/0/ensemble.json", "a/0/gmm.json"]
    monkeypatch.undo()
    assert run(FIRST, tmp_path, **QUIET) == running.Done(made=1, kept=2, stale=0)


def test_any_executor(tmp_path: Path, cells: dict[str, Cell]) -> None:
    with ThreadPoolExecutor(1) as executor:
        assert run(FIRST, tmp_path, executor=executor, **QUIET).made == 3
    assert {cell["method"]: lasting(cell) for cell in read(tmp_path).values()} == {
        method: lasting(cell) for method, cell in cells.items()
    }


def test_interrupted_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: dict[str, Cell]) -> None:
    """Killed in the second training of the ensemble: the first is not repeated, and the scores are the same."""
    original, done = training._Run.one_epoch, []

    def until_killed(self: Any):
        done.append(1)
        if len(done) == 4:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(training._Run, "one_epoch", until_killed)
    with pytest.raises(KeyboardInterrupt):
        run(FIRST, tmp_path, only=["*/ensemble"], **QUIET)
    assert read(tmp_path) == {}
    monkeypatch.setattr(training._Run, "one_epoch", lambda self: (done.append(1), original(self))[1])
    done.clear()
    run(FIRST, tmp_path, only=["*/ensemble"], **QUIET)
    assert len(done) == 8, "five trainings of two epochs, less the one that was finished"
    (cell,) = read(tmp_path).values()
    assert lasting(cell) == lasting(cells["ensemble"])
    assert cell["cost"]["training"] is None, "part of the time was spent before"


def test_a_killed_worker_of_a_cluster_loses_nothing(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=str(tmp_path)
        ) as cluster,
        distributed.Client(cluster) as client,
        ThreadPoolExecutor(1) as beside,
    ):
        pids = client.run(os.getpid)
        job = beside.submit(run, GRID, tmp_path / "out", executor=client.get_executor(), only=["*/mve"], **QUIET)
        busy, deadline = [], time.monotonic() + 60
        while not busy and time.monotonic() < deadline:
            busy = [address for address, tasks in client.processing().items() if tasks]
            time.sleep(0.02)
        os.kill(pids[busy[0]], signal.SIGKILL)
        assert job.result(timeout=120) == running.Done(made=4, kept=0, stale=0)
        assert pids[busy[0]] not in client.run(os.getpid).values(), "it was dead"
    assert list(read(tmp_path / "out")) == [f"{s}/{n}/mve.json" for s in "ab" for n in (0, 1)]


def test_paper_scale_in_miniature(tmp_path: Path) -> None:
    """As it stands in its file but for its size; every method, and the data split anew by the seed."""
    paper = load_grid("paper")
    ammonia = dataclasses.replace(paper.systems["ammonia"], training=Settings(epochs=5, batch_size=80))
    small = dataclasses.replace(
        paper, systems={"ammonia": ammonia}, network={"features": 8, "interactions": 1}, seeds=(3,)
    )
    assert run(small, tmp_path, **QUIET).made == len(paper.methods)
    found = read(tmp_path)
    assert {cell["method"] for cell in found.values()} == set(paper.methods)
    for cell in found.values():
        assert set(cell["splits"]) == {"test", "path", "hot", "grid"}
        for split in cell["splits"].values():
            assert split["before"]["force"]["Spearman"] is not None


def test_command_line_and_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (FOLDER / "teaching.toml").read_text()
    (tmp_path / "quick.toml").write_text(text.replace("epochs = 80, batch_size = 10", "epochs = 2, batch_size = 40"))
    out = tmp_path / "out"
    command = ["study", "--scale", str(tmp_path / "quick.toml"), "--out", str(out), "--only", "ammonia/[01]/mve"]
    assert main([*command, "--workers", "2"]) == 0
    first = capsys.readouterr()
    assert f"{out}: 2 cells made, 0 of them anew; 0 were there" in first.out
    assert "2/2" in first.err, "a progress bar"
    for cell in read(out).values():
        assert cell["command"] == f"python -m uqlib study --scale {tmp_path / 'quick.toml'} --only 'ammonia/[01]/mve'"
    assert main(command) == 0
    assert "0 cells made, 0 of them anew; 2 were there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scale", "huge"], "scale: got 'huge'"),
        (["--workers", "0"], "--workers: got 0, expected at least 1"),
        (["--threads", "-1"], "--threads: got -1"),
        (["--scheduler", "tcp://x:1", "--workers", "2"], "--workers: the workers of a scheduler are its own"),
        (["--only", "ammonia"], "only: 'ammonia' matches no cell"),
    ],
)
def test_mistakes_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["study", "--out", str(tmp_path), *options]) == 1
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
