"""JSON as it is kept here: plain data with numbers that are numbers. What is broken is named, with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json(path: str | Path, what: str, remedy: str, *, finite: bool = True) -> Any:
    """What a file of JSON holds.

    Args:
        path: of the file.
        what: the file should be, for the error: "a cell of the study".
        remedy: what to do with one that is not: "delete it, and it is made again".
        finite: refuse NaN and infinity, which JSON does not have and Python writes all the same.

    Raises:
        FileNotFoundError: there is none.
        ValueError: naming the file, for what is no such JSON.
    """
    return parse_json(Path(path).read_bytes(), str(path), what, remedy, finite=finite)


def parse_json(text: str | bytes, source: str, what: str, remedy: str, *, finite: bool = True) -> Any:
    """As `read_json`, of a text that comes from `source`."""
    try:
        return json.loads(text, parse_constant=_refuse if finite else None)
    except (ValueError, RecursionError) as error:  # both of decoding and of parsing
        raise ValueError(f"{source}: not {what} ({error}); {remedy}") from error


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number")
