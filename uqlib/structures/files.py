"""From paths to frames with labels: files and folders of any known format, and an account of what was found in them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import ase

from uqlib.structures import extxyz, keys, units_check
from uqlib.structures.bounds import HIGHEST
from uqlib.structures.keys import PLAIN, Options
from uqlib.structures.notices import say
from uqlib.structures.readers import OPENERS, Reader, breaks_off, endings, opened, read_file, reader_for
from uqlib.structures.states import unseen_states

SHOWN = 3  # of many remarks of one kind


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a reader found: files, the names under which labels stood, what is left over, and what is to be said."""

    files: tuple[tuple[str, str, int], ...] = ()  # path, kind of file, frames
    skipped: tuple[tuple[str, str], ...] = ()  # path, why
    used: dict[str, tuple[str, ...]] = field(default_factory=dict)  # energy, forces, stress -> names
    left_over: dict[str, int] = field(default_factory=dict)  # name -> frames that have it
    notes: tuple[str, ...] = ()


def read_frames(path: str | Path, options: Options) -> tuple[list[ase.Atoms], Reading]:
    """All frames of a file, or of all files in a folder and the folders in it, with labels in eV and Å.

    Frames of one file share the group that its name gives them, unless the file itself says what they belong to.
    Raises FileNotFoundError; ValueError for what nobody reads, broken files, no structures, and doubtful names.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path: {path} does not exist")
    chosen, skipped = _walk(path) if path.is_dir() else ([(path, _known(path))], [])
    frames: list[ase.Atoms] = []
    parts: list[Reading] = []
    taken: set[str] = set()
    for file, reader in chosen:
        shown = str(file.relative_to(path)) if path.is_dir() else file.name
        try:
            found, account = _one_file(file, shown, reader, options, many=len(chosen) > 1)
        except ValueError as error:
            if path.is_dir() and file.suffix.lower() == ".json":  # many things are called so
                skipped.append((shown, f"no ASE database ({type(error).__name__})"))
                continue
            raise
        for index, frame in enumerate(found):
            if len(odd := frame.numbers[(frame.numbers < 0) | (frame.numbers > HIGHEST)]):
                raise ValueError(f"{file}, frame {index}: got the atomic number {odd[0]}, of no element; mend the file")
        group = _group(Path(shown), taken)
        for frame in found:
            frame.info.setdefault("group", group)
        frames += found
        parts.append(account)
    if not frames:
        what = f" that are read ({endings()})" if path.is_dir() else ""
        there = f"; it has {', '.join(name for name, _ in skipped[:5])}" if skipped else ""
        raise ValueError(f"path: {path} holds no structures{what}{there}")
    reading = _together(parts, skipped)
    _refuse_missing_keys(path, options, reading)
    return frames, replace(reading, notes=(*reading.notes, *_of_all(frames, options)))


def read_extxyz(path: Path) -> list[ase.Atoms]:
    """Frames of an extended XYZ file as they are, labels in a calculator. Raises ValueError when it is broken."""
    frames = extxyz.read(path, opened).frames
    chosen = keys.choose(frames, Options(), str(path))
    for index, frame in enumerate(frames):
        keys.with_labels(frame, chosen, Options(), f"{path}, frame {index}")
    return frames


def announce(name: str, reading: Reading) -> None:
    """Say what has to be said, one warning a remark."""
    for note in reading.notes:
        say(note if note.startswith(name) else f"{name}: {note}", depth=2)


def _known(path: Path) -> Reader:
    reader = reader_for(path)
    if reader is None:
        raise ValueError(
            f"path: got {path.name!r}, expected a folder or an ending {endings()}, or the output of a program that is "
            'known; what ASE reads can be rewritten: ase.io.write("mine.xyz", ase.io.read(path, ":"))'
        )
    return reader


def _walk(folder: Path) -> tuple[list[tuple[Path, Reader]], list[tuple[str, str]]]:
    """Files to be read, and those left aside, each with the reason. A calculation is read once."""
    found: list[tuple[Path, Reader]] = []
    skipped: list[tuple[str, str]] = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(root) / name
            reader = reader_for(path) if path.stat().st_size else None
            if reader is None:
                skipped.append((str(path.relative_to(folder)), "no known format" if path.stat().st_size else "empty"))
            else:
                found.append((path, reader))
    together = {str(part.relative_to(folder)) for path, reader in found for pattern in reader.parts
                for part in path.parent.glob(pattern)}  # fmt: skip
    skipped = [(shown, why) for shown, why in skipped if shown not in together]
    twice = {path.parent for path, reader in found if reader.name == "VASP XML"}
    any_labelled = any(reader.labelled for _, reader in found)
    kept = []
    for path, reader in found:
        shown = str(path.relative_to(folder))
        if reader.name == "VASP OUTCAR" and path.parent in twice:
            skipped.append((shown, "vasprun.xml beside it is the same calculation"))
        elif any_labelled and not reader.labelled:
            skipped.append((shown, f"{reader.name} has no labels"))
        else:
            kept.append((path, reader))
    return sorted(kept, key=lambda item: str(item[0])), skipped


def _one_file(
    path: Path, shown: str, reader: Reader, options: Options, *, many: bool
) -> tuple[list[ase.Atoms], Reading]:
    found = read_file(path, reader, options)
    asked = replace(options, energy_unit=None, length_unit=None, forces_unit=None) if reader.converts else options
    if many:  # in a folder a name that was given need not be in every file
        names = {name for frame in found.frames for name in keys.everything(frame)}
        asked = replace(asked, **{f"{q}_key": None for q in keys.QUANTITIES if not names & set(options.keys_for(q))})
    chosen = keys.choose(found.frames, asked, str(path))
    if many:
        chosen = {q: [] if options.keys_for(q) and not asked.keys_for(q) else names for q, names in chosen.items()}
    carried = Counter(name for frame in found.frames for name in keys.everything(frame))
    notes = list(found.notes)
    if breaks_off(path, reader):
        notes.append(f"{path}: breaks off; steps of the {reader.name} may be missing")
    if apart := keys.smeared(found.frames, chosen):
        notes.append(
            f"{path}: energy and free_energy differ by up to {1000 * apart:.2g} meV/atom (smeared electrons); forces "
            "are slopes of the free energy: energy_key='free_energy' takes that"
        )
    for index, frame in enumerate(found.frames):
        notes += keys.with_labels(frame, chosen, asked, f"{path}, frame {index}")
    used = {quantity: tuple(names) for quantity, names in chosen.items() if names}
    taken = {name for names in used.values() for name in names}
    left = {name: times for name, times in carried.items() if name not in taken and name not in ("group", "unique_id")}
    notes = [note.replace(str(path), shown) for note in notes[:SHOWN]] + (
        [f"{shown}: {len(notes) - SHOWN} more remarks of this kind"] if len(notes) > SHOWN else []
    )
    notes += _of_names(shown, used, left, options)
    account = Reading(files=((shown, reader.name, len(found.frames)),), used=used, left_over=left, notes=tuple(notes))
    return found.frames, account


def _of_names(shown: str, used: dict[str, tuple[str, ...]], left: dict[str, int], options: Options) -> list[str]:
    """What to say of names: those that were guessed, and those that may be labels and were not taken."""
    guessed = [
        f"{quantity} from {names[0]}" + (" (stress = -virial/volume)" if quantity == "virial" else "")
        for quantity, names in used.items()
        if not options.keys_for(quantity) and not any(name in PLAIN for name in names)
    ]
    notes = [f"{shown}: took {', '.join(guessed)}"] if guessed else []
    if each := [name for name in used.get("energy", ()) if re.search(r"(per|/)_?atom", name, re.IGNORECASE)]:
        notes.append(f"{shown}: {each[0]} is taken as the energy of a structure; its name says that it is of an atom")
    doubtful = [name for name in left if keys.looks_like_label(name) and not keys.meaning(name)]
    doubtful = [name for name in doubtful if name not in ("energies", "stresses")]
    missing = [quantity for quantity in ("energy", "forces") if quantity not in used]
    for quantity, likely in ((q, [name for name in doubtful if keys.may_be(name, q)]) for q in missing):
        if likely:
            notes.append(
                f"{shown}: no {quantity} found; it has {', '.join(likely)}: say which it is with "
                f"{quantity}_key={likely[0]!r}"
            )
    return notes


def _group(shown: Path, taken: set[str]) -> str:
    """A file's name without its ending, with the folders above it where it was found in one."""
    plain = shown.with_suffix("") if shown.suffix.lower() in OPENERS else shown
    group = plain.with_suffix("").as_posix()
    group = shown.as_posix() if group in taken else group
    taken.add(group)
    return group


def _together(parts: Sequence[Reading], skipped: Iterable[tuple[str, str]]) -> Reading:
    used: dict[str, tuple[str, ...]] = {}
    left: Counter[str] = Counter()
    for part in parts:
        left.update(part.left_over)
        for quantity, names in part.used.items():
            used[quantity] = tuple(dict.fromkeys((*used.get(quantity, ()), *names)))
    skipped = tuple(skipped)
    notes = [note for part in parts for note in part.notes]
    if len(parts) > 1 and len(names := used.get("energy", ())) > 1 and not all(name in PLAIN for name in names):
        notes.append(f"energies come as {' and as '.join(names)}: are they of one level of theory?")
    if skipped:
        shown = ", ".join(f"{name} ({why})" for name, why in skipped[:SHOWN])
        more = f" and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else ""
        notes.append(f"{len(skipped)} files are not read: {shown}{more}")
    files = tuple(file for part in parts for file in part.files)
    return Reading(files=files, skipped=skipped, used=used, left_over=dict(left), notes=tuple(notes))


def _refuse_missing_keys(path: Path, options: Options, reading: Reading) -> None:
    for quantity in keys.QUANTITIES:
        given = options.keys_for(quantity)
        if given and not set(given) & set(reading.used.get(quantity, ())):
            there = [*reading.left_over, *(n for names in reading.used.values() for n in names)]
            raise ValueError(
                f"{quantity}_key: no file in {path} has {' or '.join(given)}; they have {', '.join(there)}"
            )


def _of_all(frames: Sequence[ase.Atoms], options: Options) -> list[str]:
    """What only shows when all frames are looked at together."""
    return [*unseen_states(frames), *units_check.doubts(frames)]
