"""How a study ends: interrupted, with a worker lost, with another process at work, with files that are no cells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import signals

from uqlib.common.owner import InUse, owner_of
from uqlib.study import load_grid, load_results
from uqlib.study.cells import StudyError, do_all
from uqlib.study.grid import FOLDER
from uqlib.study.running import run
from uqlib.study.stored import read_cell

CELL = Path("ammonia") / "0" / "mve.json"
TOML = """
methods = ["mve"]
seeds = [0, 1, 2, 3, 4, 5]
recalibration = "affine"
resplit = false
[network]
features = 16
[systems.ammonia]
data = "ammonia"
training = {{ epochs = {epochs} }}
regimes = {{ in-domain = ["test"] }}
"""


def wait_for(what: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert what()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_study_ends_soon_and_says_so(
    tmp_path: Path, how: signal.Signals, status: int, workers: int
) -> None:
    (tmp_path / "mine.toml").write_text(TOML.format(epochs=100_000))
    command = [sys.executable, "-m", "uqlib", "study", "--scale", "mine.toml", "--workers", str(workers)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path]), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=signals.heeded
    ) as process:
        checkpoints = tmp_path / "study-mine" / "checkpoints"
        wait_for(lambda: len(list(checkpoints.rglob("*.lock"))) >= workers)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(how)
        started = time.monotonic()
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - started < 15
    assert process.returncode == status
    assert errors.splitlines()[-1] == (
        "uqlib: interrupted; what is done is kept, and the same command continues where it was"
    )
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [each for each in alive if each.status() != psutil.STATUS_ZOMBIE]


class Interrupting(ThreadPoolExecutor):
    """Workers, and a key that is pressed when the third unit is handed in; two are done by then."""

    def submit(self, call: Any, /, *args: Any, **more: Any) -> Future:
        future = super().submit(call, *args, **more)
        if args[0]() == 2:
            time.sleep(0.2)
            signal.raise_signal(signal.SIGINT)
        return future


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Heard in this process, too, where it was started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_was_done_before_an_interrupt_is_kept(interrupts: None) -> None:
    kept: list[int] = []
    jobs = [(number, lambda number=number: number) for number in range(9)]
    with pytest.raises(KeyboardInterrupt), Interrupting(1) as executor:
        do_all(
            jobs, lambda work, _: kept.append(work) or 1,
            executor=executor, kept=0, total=9, called=("a", "b"), progress=False,
        )  # fmt: skip
    assert sorted(kept) == [0, 1]


class KilledWorker(Exception):
    """As dask's."""


class Losing(Executor):
    """A cluster that loses a worker, with what it had, at every tenth unit."""

    def __init__(self) -> None:
        self.calls = 0
        self.most = 0
        self.waiting = 0
        self.lock = threading.Lock()
        self.inner = ThreadPoolExecutor(4)

    def submit(self, call: Any, /, *args: Any, **more: Any) -> Future:
        self.waiting += 1
        self.most = max(self.most, self.waiting)

        def attempt() -> Any:
            with self.lock:
                self.calls += 1
                self.waiting -= 1
                if self.calls % 10 == 0:
                    raise KilledWorker
            return call(*args, **more)

        return self.inner.submit(attempt)


def test_units_of_lost_workers_are_done_again_each_once() -> None:
    executor, kept = Losing(), []
    jobs = [(number, lambda number=number: number) for number in range(2000)]
    made = do_all(
        jobs, lambda work, _: kept.append(work) or 1,
        executor=executor, kept=0, total=2000, called=("a", "b"), progress=False,
    )  # fmt: skip
    assert made == 2000
    assert sorted(kept) == list(range(2000))
    assert executor.most <= 400, "few at a time, so that memory does not grow with their number"


class Confused(Executor):
    """A cluster whose every worker dies while its answer travels: what dask's `cfexecutor` does then."""

    def submit(self, call: Any, /, *args: Any, **more: Any) -> Future:
        future: Future = Future()
        try:
            _, error, trace = call(*args, **more)
            raise error.with_traceback(trace)
        except BaseException as error:
            future.set_exception(error)
        return future


@pytest.mark.parametrize("result", [7, None, (1, 2, 3), {"a": 1, "b": 2, "c": 3}, "abc"], ids=repr)
def test_an_answer_that_arrives_after_its_worker_died_counts(result: Any) -> None:
    kept: list[Any] = []
    made = do_all(
        [("unit", lambda: result)], lambda _, found: kept.append(found) or 1,
        executor=Confused(), kept=0, total=1, called=("a", "b"), progress=False,
    )  # fmt: skip
    assert made == 1
    assert kept == [result]


@pytest.mark.parametrize("wrong", [TypeError("cannot unpack"), ValueError("too many"), KeyError("energy")], ids=repr)
def test_an_error_of_a_unit_stays_its_error(wrong: Exception) -> None:
    def fails() -> int:
        raise wrong

    with ThreadPoolExecutor(1) as executor, pytest.raises(StudyError, match=f"unit: {type(wrong).__name__}: "):
        do_all(
            [("unit", fails)], lambda *_: 1,
            executor=executor, kept=0, total=1, called=("a", "b"), progress=False,
        )  # fmt: skip


def test_another_process_in_the_folder_of_the_results(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TOML.format(epochs=1))
    grid = load_grid(tmp_path / "mine.toml")
    with owner_of(tmp_path / "out", "folder"), pytest.raises(InUse, match=r"folder: .*out is in use by process \d+"):
        run(grid, tmp_path / "out", progress=False)


def spoil(cell: dict[str, Any], metric: str, value: Any) -> None:
    cell["splits"]["test"]["before"]["force"][metric] = value


SPOILT = {
    "MAE below zero": lambda cell: spoil(cell, "MAE", -1.0),
    "MAE a word": lambda cell: spoil(cell, "MAE", "abc"),
    "MAE NaN": lambda cell: spoil(cell, "MAE", float("nan")),
    "MAE infinite": lambda cell: spoil(cell, "RMSE", float("inf")),
    "correlation above one": lambda cell: spoil(cell, "Spearman", 1.2),
    "area above one": lambda cell: spoil(cell, "ROC-AUC", 1.01),
    "no splits": lambda cell: cell.pop("splits"),
    "splits in a list": lambda cell: cell.update(splits=[1]),
    "seed of another": lambda cell: cell.update(seed=1),
    "seed a word": lambda cell: cell.update(seed="0"),
    "method of another": lambda cell: cell.update(method="gmm"),
    "system of another": lambda cell: cell.update(system="silica"),
    "no digest": lambda cell: cell.pop("digest"),
    "no structures": lambda cell: cell["splits"]["test"].update(structures=0),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_cell_that_cannot_be_is_named_by_both_readers(tmp_path: Path, what: str) -> None:
    cell = json.loads((FOLDER / "teaching" / CELL).read_text(encoding="utf-8"))
    SPOILT[what](cell)
    path = tmp_path / CELL
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(cell))
    words = r"mve\.json: not a cell of the study \(.*\); delete it, and run the same command again"
    with pytest.raises(ValueError, match=words):
        load_results("teaching", folder=tmp_path)
    with pytest.raises(ValueError, match=words):
        run(load_grid("teaching"), tmp_path, only=["ammonia/0/mve"], progress=False)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"system": 1}', "\x00", "[" * 100_000])
def test_a_cell_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / CELL
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ValueError, match=r"mve\.json: not a cell of the study"):
        read_cell(path)


def test_a_cell_in_the_place_of_another_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ammonia" / "7" / "mve.json"
    path.parent.mkdir(parents=True)
    path.write_bytes((FOLDER / "teaching" / CELL).read_bytes())
    with pytest.raises(ValueError, match="it is the cell ammonia/0/mve, in the place of ammonia/7/mve"):
        run(load_grid("teaching"), tmp_path, only=["ammonia/7/mve"], progress=False)


def test_all_cells_that_there_are_are_believed() -> None:
    paths = list((FOLDER / "teaching").glob("*/*/*.json"))
    assert len(paths) > 300
    assert {read_cell(path)["method"] for path in paths} == set(load_grid("teaching").methods)
