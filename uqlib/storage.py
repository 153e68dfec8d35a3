"""Files of weights and training states: written whole or not at all, checked when read, never running code.

A file is one line of JSON (format, version, kind, length, SHA-256) followed by what `torch.save` writes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch

VERSION = 1


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
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"could not write {len(content)} bytes ({error.strerror}); an older file is as it was",
            str(path),
        ) from error


def load(path: str | Path, *, kind: str) -> dict[str, Any]:
    """Read a file that `save` wrote.

    Raises FileNotFoundError, or ValueError when the file is no such file, is of another kind or of a newer
    version, is cut short, or was changed since it was written.
    """
    path = Path(path)
    first, _, body = path.read_bytes().partition(b"\n")
    try:
        head = json.loads(first)
        found = (head["format"], head["kind"], int(head["version"]), int(head["bytes"]), head["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a file of uqlib; expected one written by `save` of kind {kind!r}") from error
    if found[:2] != ("uqlib", kind):
        raise ValueError(f"{path}: got a file of kind {found[1]!r}, expected {kind!r}")
    if found[2] > VERSION:
        raise ValueError(f"{path}: got version {found[2]}, this uqlib reads up to {VERSION}; install a newer uqlib")
    if len(body) != found[3]:
        raise ValueError(f"{path}: got {len(body)} bytes, expected {found[3]}; the file is cut short, copy it again")
    if _sha256(body) != found[4]:
        raise ValueError(
            f"{path}: got SHA-256 {_sha256(body)}, expected {found[4]}; the file was changed, copy it again"
        )
    try:
        return torch.load(io.BytesIO(body), weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: refused, it holds more than tensors and plain containers") from error


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
