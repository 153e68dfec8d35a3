"""A folder for temporary files that is full, missing, or not to be written: it is named with the remedy."""

from __future__ import annotations

import errno
import gzip
import io
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
import torch

from uqlib import calibration
from uqlib.__main__ import main
from uqlib.common import storage
from uqlib.common.temporary import own_folder
from uqlib.interfaces import error_bars
from uqlib.oracles import labelled_copy
from uqlib.structures import datasets


def full(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files can be made, and nothing can be put into them."""
    real = io.open

    def opened(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        found = real(file, mode, *more, **options)
        if not isinstance(file, int) and here in Path(os.fspath(file)).parents and set(mode) & set("wxa+"):
            found.close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return found

    here.mkdir()
    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr("builtins.open", opened)


def missing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there when the system was asked, and is gone."""


def read_only(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that was mounted to be read."""
    real = Path.mkdir

    def mkdir(path: Path, *more: object, **options: object) -> None:
        if path.parent == here:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        real(path, *more, **options)  # pyright: ignore[reportArgumentType]

    here.mkdir()
    monkeypatch.setattr(Path, "mkdir", mkdir)


def reads_a_packed_file(folder: Path) -> None:
    datasets.read(folder / "packed.traj.gz")


class Small:
    """A predictor of one tensor."""

    cutoff, dtype, device = 1.0, torch.float64, torch.device("cpu")

    def predict(self, batch: object) -> None:
        """What nobody asks for here."""

    def save(self, path: Path) -> None:
        storage.save(path, {"one": torch.ones(3)}, kind="test")


def saves_a_calibrated_predictor(folder: Path) -> None:
    calibration.Calibrated(Small(), None).save(folder / "out.uq")  # pyright: ignore[reportArgumentType]


def writes_frames(folder: Path) -> None:
    error_bars.write(folder / "out.traj", [ase.Atoms("H")])


USES = [writes_frames, reads_a_packed_file, saves_a_calibrated_predictor]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where results go; not where temporary files go."""
    folder = tmp_path / "own"
    folder.mkdir()
    ase.io.write(folder / "plain.traj", labelled_copy(ase.Atoms("H"), energy=1.0, forces=np.zeros((1, 3))))
    (folder / "packed.traj.gz").write_bytes(gzip.compress((folder / "plain.traj").read_bytes()))
    (folder / "out.traj").write_text("older")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return folder


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("fault", [full, missing, read_only])
def test_the_folder_and_the_remedy_are_named(
    use: Callable[[Path], None],
    fault: Callable[[Path, pytest.MonkeyPatch], None],
    own: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = own.parent / "temporary"
    fault(here, monkeypatch)
    with pytest.raises(OSError, match=r"temporary files .*set the environment variable TMPDIR") as caught:
        use(own)
    monkeypatch.undo()
    assert caught.value.filename == str(here)
    assert caught.value.errno in (errno.ENOSPC, errno.ENOENT, errno.EROFS)
    assert not here.exists() or list(here.iterdir()) == [], "something half-written stayed"
    assert (own / "out.traj").read_text() == "older"


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("database or disk is full"), RuntimeError("file write failed"), OSError("?")]
)
def test_a_full_disk_is_seen_whatever_the_error_says(
    error: Exception, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own.parent / "temporary").mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(OSError, match="set the environment variable TMPDIR"), own_folder("test"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the file is broken"),
        OSError(errno.ENOSPC, "full", "/somewhere/else"),
        FileNotFoundError(errno.ENOENT, "no such file", "model.uq"),
    ],
    ids=repr,
)
def test_other_errors_stay_what_they_are(error: Exception, own: Path) -> None:
    (own.parent / "temporary").mkdir()
    with pytest.raises(type(error)) as caught, own_folder("test"):
        raise error
    assert caught.value is error


def test_the_command_line_says_it_in_a_line(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read_only(own.parent / "temporary", monkeypatch)
    assert main(["data", str(own / "packed.traj.gz")]) == 1
    said = capsys.readouterr().err
    assert str(own.parent / "temporary") in said
    assert "TMPDIR" in said
    assert "Traceback" not in said
