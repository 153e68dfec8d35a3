"""Files are whole or not there, are checked when read, and never run code."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from uqlib.common import storage

PAYLOAD = {"weights": {"w": torch.arange(6.0).reshape(2, 3)}, "numbers": [1, 2.5, None, True], "name": "Å"}


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def whole(path: Path) -> list[str]:
    """What is in the folder, which must be only complete files."""
    return sorted(p.name for p in path.iterdir())


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """No file of this process may grow beyond `limit` bytes: what a full disk does, without filling one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file.uq"
    storage.save(path, PAYLOAD, kind="test")
    found = storage.load(path, kind="test")
    assert found["weights"]["w"].equal(PAYLOAD["weights"]["w"])
    assert (found["numbers"], found["name"]) == (PAYLOAD["numbers"], PAYLOAD["name"])
    assert storage.kind_of(path) == "test"
    assert whole(path.parent) == ["file.uq"]


def test_a_later_file_replaces_an_earlier_one(tmp_path: Path) -> None:
    for number in (1, 2):
        storage.save(tmp_path / "file", {"number": number}, kind="test")
    assert storage.load(tmp_path / "file", kind="test") == {"number": 2}


def test_full_disk_by_the_systems_own_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    storage.save(path, {"number": 1}, kind="test")
    before = path.read_bytes()
    with (
        file_size_limit(5_000),
        pytest.raises(OSError, match=r"could not write \d+ bytes .*an older file is as it was"),
    ):
        storage.save(path, {"large": torch.zeros(10_000)}, kind="test")
    assert path.read_bytes() == before
    assert whole(tmp_path) == ["file"]


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_full_disk_at_the_last_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    storage.save(path, {"number": 1}, kind="test")
    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        storage.save(path, {"number": 2}, kind="test")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    monkeypatch.undo()
    assert storage.load(path, kind="test") == {"number": 1}
    assert whole(tmp_path) == ["file"]


def test_interrupted_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    storage.save(tmp_path / "file", {"number": 1}, kind="test")
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        storage.save(tmp_path / "file", {"number": 2}, kind="test")
    assert storage.load(tmp_path / "file", kind="test") == {"number": 1}
    assert whole(tmp_path) == ["file"], "no temporary file is left"


def test_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    storage.save(folder / "file", {"number": 1}, kind="test")
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # root may write everywhere, nobody may not
        with pytest.raises(OSError, match="Permission denied"):
            storage.save(folder / "file", {"number": 2}, kind="test")
    finally:
        os.seteuid(user)
        folder.chmod(stat.S_IRWXU)
    assert storage.load(folder / "file", kind="test") == {"number": 1}
    assert whole(folder) == ["file"]


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="could not write"):
        storage.save(tmp_path / "file" / "weights", PAYLOAD, kind="test")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_where_the_file_should_be(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    with pytest.raises(OSError, match="could not write"):
        storage.save(tmp_path / "name", PAYLOAD, kind="test")
    assert whole(tmp_path) == ["name"]


def test_others_may_read_what_they_could_read_of_any_new_file(tmp_path: Path) -> None:
    """Temporary files are private; what is left in the end follows the umask like any other file."""
    old = os.umask(0o022)
    try:
        storage.save(tmp_path / "file", PAYLOAD, kind="test")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_every_possible_end_of_a_file_that_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "file"
    storage.save(path, PAYLOAD, kind="test")
    content = path.read_bytes()
    for length in [0, 1, 10, 60, content.index(b"\n"), content.index(b"\n") + 1, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"not a file of uqlib|is cut short"):
            storage.load(path, kind="test")


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    storage.save(path, PAYLOAD, kind="test")
    content = path.read_bytes()
    body = content.index(b"\n") + 1
    for place in range(body, len(content), max((len(content) - body) // 50, 1)):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"SHA-256 .*the file was changed"):
            storage.load(path, kind="test")


def rewrite_head(path: Path, **changes: object) -> None:
    head, _, body = path.read_bytes().partition(b"\n")
    path.write_bytes(json.dumps({**json.loads(head), **changes}).encode() + b"\n" + body)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "training"}, "got a file of kind 'training', expected 'test'"),
        ({"version": 2}, r"got version 2, this uqlib reads up to 1; install a newer"),
        ({"bytes": 5}, r"expected 5; the file is cut short"),
        ({"sha256": "0" * 64}, "the file was changed"),
        ({"format": "other"}, "not a file of uqlib"),
        ({"version": "one"}, "not a file of uqlib"),
        ({"kind": None}, "not a file of uqlib"),
    ],
)
def test_a_head_that_does_not_fit(tmp_path: Path, changes: dict, words: str) -> None:
    path = tmp_path / "file"
    storage.save(path, PAYLOAD, kind="test")
    rewrite_head(path, **changes)
    with pytest.raises(ValueError, match=words) as caught:
        storage.load(path, kind="test")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{}\n", b"[1]\n", b"null\n", b"\x80\x04K\x01.", b"a" * 5000, b"\xff\xfe\n"]
)
def test_files_of_others(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a file of uqlib"):
        storage.load(path, kind="test")
    with pytest.raises(ValueError, match="not a file of uqlib"):
        storage.kind_of(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage.load(tmp_path / "none", kind="test")


def test_a_pickle_that_would_run_code_does_not(tmp_path: Path) -> None:
    mark, control, path = tmp_path / "exploded", tmp_path / "control", tmp_path / "file"
    pickle.loads(pickle.dumps(Bomb(control)))
    assert control.exists(), "the bomb is a real one"
    storage.save(path, {"weights": Bomb(mark)}, kind="test")  # a correct head, length and SHA-256
    with pytest.raises(ValueError, match="refused, it holds more than tensors and plain containers"):
        storage.load(path, kind="test")
    assert not mark.exists()
