"""Files that are written whole or not at all, and folders for a while; what a killed process left is swept.

Without torch: an oracle's workers write files, and each would else carry its weight.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

OLD = 60.0  # seconds: processes of another container, whose numbers are others, may write in the same folder
FULL = {errno.ENOSPC, errno.EROFS, errno.EACCES, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else [])}
LITTLE = 16_384  # bytes: a disk with less is full, for any file that is written here
MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"  # in names of temporary files: a process is one of a machine


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
    """A new folder among the temporary ones of the system, removed at the end, or else by a later `sweep`.

    Raises OSError that says where and names TMPDIR: there can be no folder, or what is put into it finds no room.
    """
    try:
        system = Path(tempfile.gettempdir())
        sweep(system)
        folder = system / temporary_name(name)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise _no_room(error, tempfile.tempdir or "the folders that the system has for it") from error
    try:
        yield folder
    except Exception as error:
        if _for_want_of_room(error, folder):
            raise _no_room(error, system) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _for_want_of_room(error: Exception, folder: Path) -> bool:
    """Whether a folder's disk is full: SQLite, torch and programs say so in words of their own, or not at all."""
    if isinstance(error, OSError) and error.errno in FULL:
        return error.filename is None or Path(os.fsdecode(error.filename)).is_relative_to(folder)
    try:
        return shutil.disk_usage(folder).free < LITTLE
    except OSError:
        return False


def _no_room(error: Exception, system: str | Path) -> OSError:
    number = error.errno if isinstance(error, OSError) else errno.ENOSPC
    return OSError(
        number or errno.ENOENT,
        f"temporary files need room and cannot be written there ({getattr(error, 'strerror', None) or error}); set the "
        "environment variable TMPDIR to a folder that has room and that you may write in",
        str(system),
    )


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
