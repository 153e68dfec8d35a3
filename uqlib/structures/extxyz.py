"""Extended XYZ, read so that nothing is lost: a line belongs to a frame, is blank between frames, or is complained of.

ASE's own reader stops at the first blank line, and what follows is gone without a word. Here the lines are counted
first; then ASE reads what they say.
"""

from __future__ import annotations

import io
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ase
import ase.io.extxyz

from uqlib.structures.bounds import unpacked
from uqlib.structures.keys import looks_like_label, meaning

ABOVE = 1000  # lines that say how many digits a number of the file has


@dataclass(frozen=True, kw_only=True)
class Found:
    """Frames, and what there is to be said of the file."""

    frames: list[ase.Atoms]
    notes: list[str]


def read(path: Path, opened: Callable[[Path], io.BufferedIOBase]) -> Found:
    """All frames of a file that `opened` opens as bytes. Raises ValueError, with the line, for what belongs to none."""
    try:
        with opened(path) as file:
            text = unpacked(file, path.stat().st_size, str(path)).decode("utf-8-sig")
    except (UnicodeDecodeError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(f"{path}: not extended XYZ, or cut short ({type(error).__name__}: {error})") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    try:
        pieces = _pieces(lines)
        notes = _check_end(text, lines)
    except ValueError as error:
        raise ValueError(f"{path}: not extended XYZ, or cut short ({error})") from error
    frames = _parsed(path, ["\n".join(lines[start:stop]) for start, stop in pieces], pieces)
    for (start, _), frame in zip(pieces, frames, strict=True):
        if "=" not in lines[start + 1]:
            notes += [f"line {start + 2}: {word} is a word of the comment, not a label" for word in _unlearn(frame)]
    return Found(frames=frames, notes=notes)


def _unlearn(frame: ase.Atoms) -> list[str]:
    """Take away what ASE makes of a comment in plain words: "lowest energy" is no energy of 1 eV."""
    results = {} if frame.calc is None else frame.calc.results
    words = [name for found in (results, frame.info) for name, value in found.items() if value is True]
    for word in words:
        results.pop(word, None)
        if meaning(word):
            frame.info.pop(word, None)
    return [word for word in words if meaning(word)]


def _pieces(lines: list[str]) -> list[tuple[int, int]]:
    """Where each frame starts and ends. Raises ValueError naming the line that fits nowhere."""
    pieces, at = [], 0
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        count = lines[at].split()
        if len(count) != 1 or not re.fullmatch(r"0*[1-9][0-9]{0,8}", count[0]):
            raise ValueError(f"line {at + 1}: expected the number of atoms of a frame, got {lines[at][:60]!r}")
        stop = at + 2 + int(count[0])
        if stop > len(lines) or (stop == len(lines) and not lines[-1].strip()):
            raise ValueError(
                f"line {at + 1}: the frame has {max(len(lines) - at - 2, 0)} lines of atoms, expected {count[0]}"
            )
        columns = _columns(lines[at + 1], at + 2)
        for number in range(at + 2, stop):
            words = len(lines[number].split())
            if words != columns and (columns is not None or words < 4):
                raise ValueError(
                    f"line {number + 1}: expected {columns or 'at least 4'} columns for an atom, got {words}: "
                    f"{lines[number][:60]!r}"
                )
        while stop < len(lines) and re.match(r"\s*VEC\d", lines[stop]):  # a cell, as some programs write it
            stop += 1
        pieces.append((at, stop))
        at = stop
    return pieces


def _columns(header: str, line: int) -> int | None:
    """How many words a line of an atom has, as `Properties` says; None where the header does not say."""
    names = Counter(re.findall(r"(?:^|\s)([A-Za-z_][\w.]*)\s*=", header))
    for name, times in names.items():
        if times > 1 and (looks_like_label(name) or name in ("Lattice", "Properties", "pbc")):
            raise ValueError(f"line {line}: {name} stands {times} times in the header of one frame")
    found = re.search(r"(?:^|\s)Properties\s*=\s*\"?([^\s\"]+)", header)
    if found is None:
        if "Properties" in header and "=" in header:
            raise ValueError(f"line {line}: its Properties cannot be told, expected Properties=species:S:1:...")
        return None
    columns = found.group(1).split(":")
    if len(columns) % 3 or not all(re.fullmatch(r"[1-9][0-9]{0,5}", number) for number in columns[2::3]):
        raise ValueError(f"line {line}: got Properties={found.group(1)[:80]}, expected name:type:columns, and again")
    for name, kind in zip(columns[::3], columns[1::3], strict=True):
        if name.lower() in ("numbers", "z", "atomic_numbers") and kind != "I":
            raise ValueError(f"line {line}: got {name}:{kind}, expected whole atomic numbers, {name}:I:1")
    return sum(map(int, columns[2::3]))


def _check_end(text: str, lines: list[str]) -> list[str]:
    """A file that was cut inside its last number looks whole. Where the line before has more digits, it is refused."""
    if not text or text.endswith(("\n", "\r")):
        return []
    last, above = lines[-1].split(), [line.split() for line in lines[-ABOVE:-1]]
    digits = _digits(last[-1]) if last else 0
    others = [words[-1] for words in above if len(words) == len(last)] or last[2:-1]
    if last and digits < max(map(_digits, others), default=0):
        raise ValueError(
            f"line {len(lines)}: the last number, {last[-1]}, has fewer digits than others, and the line does not end; "
            "if the file is whole, end it with a line break"
        )
    return ["it does not end with the end of a line: if it was cut, its last number is wrong"]


def _digits(word: str) -> int:
    """How many digits of a number stand behind its point."""
    return len(re.split("[eEdD]", word.partition(".")[2])[0])


def _parsed(path: Path, texts: list[str], pieces: list[tuple[int, int]]) -> list[ase.Atoms]:
    """ASE's reading, all at once; where it fails, frame by frame, to say which it is."""
    try:
        frames = _read("\n".join(texts)) if texts else []
    except Exception as error:  # the parser raises what it stumbles on: KeyError, IndexError, its own XYZError
        for (start, _), text in zip(pieces, texts, strict=True):
            try:
                _read(text)
            except Exception as own:
                where = f"frame at line {start + 1}: {type(own).__name__}: {own}"
                raise ValueError(f"{path}: not extended XYZ, or cut short ({where})") from own
        raise ValueError(f"{path}: not extended XYZ, or cut short ({type(error).__name__}: {error})") from error
    if len(frames) != len(texts):
        raise ValueError(f"{path}: it has {len(texts)} frames, {len(frames)} could be read")
    return frames


def _read(text: str) -> list[ase.Atoms]:
    return list(ase.io.extxyz.read_xyz(io.StringIO(text + "\n"), index=slice(None)))  # pyright: ignore[reportArgumentType]
