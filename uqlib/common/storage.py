"""Files of weights and training states: written whole or not at all, checked when read, never running code.

A file is one line of JSON (format, version, kind, length, SHA-256) followed by what `torch.save` writes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import platform
import re
import secrets
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

VERSION = 1
HEAD = {"format": str, "version": int, "kind": str, "bytes": int, "sha256": str}
LONGEST_HEAD = 1000  # bytes; a file of others may be one endless line
OLD = 60.0  # seconds: processes of another container, whose numbers are others, may write in the same folder
MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"  # in names of temporary files: a process is one of a machine


def save(path: str | Path, payload: dict[str, Any], *, kind: str) -> None:
    """Write tensors and plain containers to `path`, replacing an older file only when the new one is complete.

    Raises OSError naming the file when it cannot be written (a full disk, say); the older file is then untouched.
    """
    path = Path(path)
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    body = buffer.getvalue()
    head = {"format": "uqlib", "version": VERSION, "kind": kind, "bytes": len(body), "sha256": _sha256(body)}
    write_atomically(path, json.dumps(head).encode() + b"\n" + body)


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that a reader, or a crash, never sees half of it. Raises OSError as `save`."""
    temporary = path.with_name(temporary_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent.absolute())
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:  # also when interrupted
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(
            error.errno,
            f"could not write {len(content)} bytes ({error.strerror}); an older file is as it was",
            str(path),
        ) from error


def temporary_name(name: str) -> str:
    """A name for a temporary file or folder that says which process has made it, and that `sweep` knows."""
    return f".{name}.{MACHINE}-{os.getpid()}-{secrets.token_hex(4)}"


@contextmanager
def own_folder(name: str) -> Iterator[Path]:
    """A new folder among the temporary ones of the system, removed at the end, or else by a later `sweep`."""
    system = Path(tempfile.gettempdir())
    sweep(system)
    folder = system / temporary_name(name)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache  # once for each folder: what is left there was left before
def sweep(folder: Path) -> None:
    """Remove temporary files and folders that processes of this machine left in `folder` when they were killed."""
    left = re.compile(rf"\..+\.{MACHINE}-(\d+)-[0-9a-f]{{8}}")
    with os.scandir(folder) as entries:
        found = [(entry.name, match) for entry in entries if (match := left.fullmatch(entry.name))]
    for name, match in found:
        if not _is_alive(int(match[1])) and _age(folder / name) > OLD:
            try:
                (folder / name).unlink()
            except OSError:  # a folder, or gone, or somebody else's
                shutil.rmtree(folder / name, ignore_errors=True)


def _age(path: Path) -> float:
    """Seconds since it was written; 0 where it is gone."""
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # where asking with a signal ends a process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # there, and somebody else's
    return True


def load(path: str | Path, *, kind: str) -> dict[str, Any]:
    """Read a file that `save` wrote; tensors come on the CPU, wherever they were.

    Raises FileNotFoundError, or ValueError when the file is no such file, is of another kind or of a newer
    version, is cut short, or was changed since it was written.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = _head(path, file.readline(LONGEST_HEAD))
        body = file.read()
    if head["kind"] != kind:
        raise ValueError(f"{path}: got a file of kind {head['kind']!r}, expected {kind!r}")
    if head["version"] > VERSION:
        raise ValueError(
            f"{path}: got version {head['version']}, this uqlib reads up to {VERSION}; install a newer uqlib"
        )
    if len(body) != head["bytes"]:
        raise ValueError(
            f"{path}: got {len(body)} bytes, expected {head['bytes']}; the file is cut short, copy it again"
        )
    if _sha256(body) != head["sha256"]:
        raise ValueError(
            f"{path}: got SHA-256 {_sha256(body)}, expected {head['sha256']}; the file was changed, copy it again"
        )
    try:
        refuse_bomb(body)
        return torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")  # files open on any machine
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: refused, it holds more than tensors and plain containers") from error
    except Exception as error:  # a whole file with a body that is none: torch lets through what it stumbles on
        raise ValueError(
            f"{path}: its body is not what `save` writes ({type(error).__name__}: {error}); write the file again"
        ) from error


def refuse_bomb(body: bytes) -> None:
    """Raise ValueError for an archive that grows when it is unpacked: `torch.save` stores its parts as they are."""
    if zipfile.is_zipfile(io.BytesIO(body)):
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
        if total > len(body):
            raise ValueError(f"it says that its parts have {total} bytes, in {len(body)} bytes of archive")


@contextmanager
def content_of(path: str | Path) -> Iterator[None]:
    """While what `load` gave is made into an object: what is missing or misshapen there is an error of the file."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, RuntimeError, AssertionError, ValueError) as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(
            f"{path}: whole, but not what uqlib saves ({type(error).__name__}: {error}); save the predictor again"
        ) from error


def kind_of(path: str | Path) -> str:
    """What kind of file `save` wrote at `path`. Raises FileNotFoundError, ValueError for files of others."""
    path = Path(path)
    with path.open("rb") as file:
        return _head(path, file.readline(LONGEST_HEAD))["kind"]


def _head(path: Path, line: bytes) -> dict[str, Any]:
    """The first line of a file, checked for all that `save` puts there."""
    try:
        head = json.loads(line)
        if head["format"] != "uqlib" or not all(isinstance(head[key], of) for key, of in HEAD.items()):
            raise ValueError("the head is not one of uqlib")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a file of uqlib; expected one that `save` wrote") from error
    return head


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
