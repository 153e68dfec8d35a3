"""An account of a data set: what was found in it, what was not used, and what looks wrong."""

from __future__ import annotations

import hashlib
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ase
import numpy as np
from ase.data import chemical_symbols

from uqlib.structures.element_energies import is_isolated, isolated_atoms, open_question
from uqlib.structures.files import Reading
from uqlib.structures.keys import LABELS
from uqlib.structures.states import unseen_states
from uqlib.structures.units_check import doubts

WIDTH = 88


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `Dataset.report` found; `print` shows it."""

    name: str
    frames: int
    kinds: dict[str, dict[str, int]]  # kind of frame -> "frames", "energy", "forces", "stress" -> how many
    groups: dict[str, int]  # group -> frames
    duplicates: int  # frames whose elements, positions and cell an earlier frame has
    contradictions: int  # of these, with another energy
    remarks: tuple[str, ...]  # units, states, element energies: what one should look into
    reading: Reading

    def __str__(self) -> str:
        rows = [f"{self.name}: {self.frames} frames"]
        rows += [_line("file", f"{path}: {frames} frames, {kind}") for path, kind, frames in self.reading.files[:20]]
        rows += _more(len(self.reading.files) - 20, "files")
        for kind, counts in self.kinds.items():
            labels = ", ".join(f"{label} {counts[label]}" for label in LABELS)
            rows.append(_line("labels", f"{kind}: {counts['frames']} frames; {labels}"))
        if used := {q: names for q, names in self.reading.used.items() if names}:
            rows.append(_line("taken from", ", ".join(f"{q}: {' or '.join(names)}" for q, names in used.items())))
        if left := self.reading.left_over:
            rows.append(_line("left over", ", ".join(f"{key} ({times})" for key, times in left.items())))
        rows += [_line("not read", f"{path}: {why}") for path, why in self.reading.skipped[:20]]
        rows += _more(len(self.reading.skipped) - 20, "files not read")
        largest = max(self.groups.values(), default=0)
        rows.append(_line("groups", f"{len(self.groups)}, the largest of {largest} frames"))
        if self.duplicates:
            other = f", {self.contradictions} of them with another energy" if self.contradictions else ""
            rows.append(_line("duplicates", f"{self.duplicates} frames are there already{other}"))
        remarks = [*self.remarks, *(note for note in self.reading.notes if note not in self.remarks)]
        return "\n".join([*rows, *(_line("look", remark) for remark in remarks)])

    __repr__ = __str__


def report(name: str, frames: Sequence[ase.Atoms], reading: Reading | None, E0: Mapping[int, float]) -> Report:
    """See `Dataset.report`."""
    kinds: dict[str, dict[str, int]] = {}
    for frame in frames:
        counts = kinds.setdefault(_kind(frame), dict.fromkeys(("frames", *LABELS), 0))
        counts["frames"] += 1
        for label in LABELS:
            counts[label] += frame.calc is not None and frame.calc.results.get(label) is not None
    groups = Counter(str(frame.info.get("group", f"frame {index}")) for index, frame in enumerate(frames))
    duplicates, contradictions = _duplicates(frames)
    alone = isolated_atoms(frames)
    remarks = [*unseen_states(frames), *doubts(frames)]
    if question := open_question(frames, E0):
        remarks.append(question)
    elif alone or E0:
        given = ", ".join(f"{chemical_symbols[z]} {e:.3f}" for z, e in sorted({**alone, **E0}.items()))
        remarks.append(f"element energies (eV) of isolated atoms: {given}")
    return Report(
        name=name,
        frames=len(frames),
        kinds=kinds,
        groups=dict(groups),
        duplicates=duplicates,
        contradictions=contradictions,
        remarks=tuple(remarks),
        reading=reading or Reading(),
    )


def _kind(frame: ase.Atoms) -> str:
    if kind := frame.info.get("config_type"):
        return str(kind)
    if is_isolated(frame):
        return "isolated atoms"
    return ("molecules", "wires", "slabs", "crystals")[int(frame.pbc.sum())]


def _duplicates(frames: Sequence[ase.Atoms]) -> tuple[int, int]:
    """How many frames an earlier one equals, to 1e-5 Å, and how many of them have another energy (by 1 meV)."""
    seen: dict[str, float | None] = {}
    twice = other = 0
    for frame in frames:
        parts = (
            frame.numbers,
            np.round(frame.positions, 5) + 0.0,
            np.round(np.asarray(frame.cell), 5) + 0.0,
            frame.pbc,
        )
        digest = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
        energy = None if frame.calc is None else frame.calc.results.get("energy")
        if digest in seen:
            twice += 1
            first = seen[digest]
            other += energy is not None and first is not None and abs(energy - first) > 1e-3
        else:
            seen[digest] = energy
    return twice, other


def _line(head: str, text: str) -> str:
    return textwrap.fill(text, width=WIDTH, initial_indent=f"  {head:<12}", subsequent_indent=" " * 14)


def _more(count: int, what: str) -> list[str]:
    return [f"  {'':<12}and {count} more {what}"] if count > 0 else []
