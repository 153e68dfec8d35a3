"""Two processes in one folder: one waits, or is told who is there; and what a killed one left is swept away."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ase
import pytest
import samples
import torch

from uqlib.active_learning import LabelStore
from uqlib.common import storage, temporary
from uqlib.common.owner import InUse, first_of, owner_of, waiting_for
from uqlib.networks.painn import PaiNN
from uqlib.networks.training import train

HOLD = """
import sys, time
from pathlib import Path
from uqlib.common.owner import owner_of, waiting_for
folder = Path({folder!r})
with {lock}:
    print("mine", flush=True)
    sys.stdin.readline()
    {then}
"""


@contextmanager
def another(folder: Path, lock: str, then: str = "pass") -> Iterator[subprocess.Popen]:
    code = HOLD.format(folder=str(folder), lock=lock, then=then)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        yield process
        if process.poll() is None:
            process.communicate("\n", timeout=60)


@pytest.mark.parametrize("what", ["folder", "--out", "label_folder"])
def test_the_second_is_told_who_is_the_first(tmp_path: Path, what: str) -> None:
    with another(tmp_path, f"owner_of(folder, {what!r})") as process:
        words = rf"{what}: {re.escape(str(tmp_path))} is in use by process {process.pid} on .* since 20\d\d-.*; wait"
        with pytest.raises(InUse, match=words), owner_of(tmp_path, what):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with owner_of(tmp_path, what):
        pass
    with owner_of(tmp_path, what):
        pass


def test_who_wants_the_same_file_waits_and_finds_it(tmp_path: Path) -> None:
    with another(tmp_path, 'waiting_for(folder / "a")', '(folder / "a").write_text("theirs")') as process:
        assert process.stdin is not None
        with first_of([tmp_path / "a", tmp_path / "b"]) as mine:
            assert mine == [tmp_path / "b"]
        process.stdin.write("\n")
        process.stdin.flush()
        with waiting_for(tmp_path / "a"):
            assert (tmp_path / "a").read_text() == "theirs"


class Counting:
    """An oracle that counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def identity(self) -> str:
        return "counting"

    def label(self, atoms: ase.Atoms) -> ase.Atoms:
        self.asked += 1
        return samples.label(atoms)


def test_a_label_that_another_process_is_making_is_waited_for(tmp_path: Path) -> None:
    frames = [samples.rattled("NH3", seed) for seed in range(3)]
    source, oracle = LabelStore(tmp_path / "source", Counting()), Counting()
    source.label(frames, progress=False)
    store = LabelStore(tmp_path / "shared", oracle)
    path = store._path(frames[1])
    then = f"import shutil; time.sleep(1); shutil.copy({str(tmp_path / 'source' / path.name)!r}, {str(path)!r})"
    path.parent.mkdir()
    with another(path.parent, f"waiting_for(Path({str(path)!r}))", then) as process:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        results = store.label(frames, progress=False)
    assert oracle.asked == 2
    assert all(result.atoms is not None for result in results)
    assert not list(path.parent.glob(".*")), "no lock is left"


def test_a_training_that_another_process_is_at_is_waited_for(tmp_path: Path) -> None:
    data, checkpoint = samples.dataset({"train": 4, "valid": 4}), tmp_path / "a.ckpt"
    network = PaiNN(elements=[1, 7, 8], seed=0, **samples.NETWORK)  # pyright: ignore[reportArgumentType]
    options = {"seed": 0, "settings": samples.BRIEF, "progress": False}
    one = train(network, data["train"], data["valid"], checkpoint=tmp_path / "b.ckpt", **options)
    then = 'time.sleep(1); (folder / "b.ckpt").replace(folder / "a.ckpt")'
    with another(tmp_path, 'waiting_for(folder / "a.ckpt")', then) as process:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        other = train(network, data["train"], data["valid"], checkpoint=checkpoint, **options)
    assert other.history == one.history, "seconds too: it is the same training"


@pytest.mark.parametrize("name", ["a.json", "cell", "predictor.uq"])
def test_what_a_killed_process_left_is_swept(tmp_path: Path, name: str) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    own = storage.temporary_name(name)
    left = own.replace(f"-{os.getpid()}-", f"-{dead.pid}-")
    elsewhere = left.replace(temporary.MACHINE, "00000000" if temporary.MACHINE != "00000000" else "1" * 8)
    for each in (own, left, elsewhere, f".{name}", name, left + "x"):
        (tmp_path / each).write_text("")
    (tmp_path / left.replace(name, "folder")).mkdir()
    for path in tmp_path.iterdir():
        os.utime(path, (time.time() - 3600, time.time() - 3600))
    fresh = left.replace(name, "fresh")
    (tmp_path / fresh).write_text("")
    storage.write_atomically(tmp_path / "new", b"")
    assert {path.name for path in tmp_path.iterdir()} == {own, elsewhere, f".{name}", name, left + "x", fresh, "new"}


@pytest.mark.parametrize(
    "payload",
    [{}, {"recipe": {}}, [1, 2], {"recipe": {"features": "many"}, "weights": [{}], "histories": None}, {"weights": 3}],
)
@pytest.mark.parametrize("kind", ["ensemble", "mve", "calibrated", "gmm", "last layer"])
def test_a_whole_file_with_the_content_of_none(tmp_path: Path, payload: object, kind: str) -> None:
    from uqlib import calibration

    storage.save(tmp_path / "a.uq", payload, kind=kind)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"a\.uq: whole, but not what uqlib saves .*; save the predictor again"):
        calibration.load(tmp_path / "a.uq")


@pytest.mark.parametrize("body", [b"", b"\x80\x02", b"PK\x03\x04", b"\x80\x04\x95" + b"\xff" * 20, b"]" * 100_000])
def test_a_body_with_the_right_sum_that_is_none(tmp_path: Path, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "save", lambda _, file: file.write(body))
    storage.save(tmp_path / "a.uq", {}, kind="ensemble")
    with pytest.raises(ValueError, match=r"a\.uq: (its body is not|refused, it holds more)"):
        storage.load(tmp_path / "a.uq", kind="ensemble")
