"""Files of weights and training states: written whole or not at all, checked when read, never running code.

A file is one line of JSON (format, version, kind, length, SHA-256) followed by what `torch.save` writes.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from uqlib.common.temporary import own_folder, sweep, temporary_name, write_atomically

__all__ = [
    "content_of", "kind_of", "load", "own_folder", "refuse_bomb", "save", "sweep", "temporary_name", "write_atomically"
]  # fmt: skip

VERSION = 1
HEAD = {"format": str, "version": int, "kind": str, "bytes": int, "sha256": str}
LONGEST_HEAD = 1000  # bytes; a file of others may be one endless line


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
