"""Files of structures with labels, in the formats that people keep them in."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import ase
import ase.db
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from uqlib.structures import nff
from uqlib.structures.arrays import read_npz

LABELS = ("energy", "forces", "stress")


def read_frames(path: str | Path, *, energy_unit: str | None = None, length_unit: str = "Å") -> list[ase.Atoms]:
    """Files of yours: extended XYZ, an ASE database (`.db`), an NFF archive (`.pth.tar`), numpy (`.npz`), or a folder.

    Extended XYZ (`.xyz`, `.extxyz`): energies in eV under `energy` or `REF_energy`, forces in eV/Å under `forces` or
    `REF_forces`. Of a folder, all such files are read, and the frames of one file are one group. NFF archives, in
    kcal/mol, are converted; they are read without running the code that a pickle may carry. A numpy archive does not
    say its units: give `energy_unit` (eV, kcal/mol, kJ/mol, hartree) and, if it is not Å, `length_unit` (bohr).
    Raises FileNotFoundError, and ValueError for other endings, broken files and files without structures.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path: {path} does not exist")
    name = path.name
    if (energy_unit is None) == name.endswith(".npz"):
        raise ValueError(f"energy_unit: got {energy_unit!r}; a .npz file needs it, {name!r} is read in its own units")
    if path.is_dir():
        frames = _read_folder(path)
    elif name.endswith((".xyz", ".extxyz")):
        frames = read_extxyz(path)
    elif name.endswith(".db"):
        frames = _read_database(path)
    elif name.endswith((".pth.tar", ".pth")):
        frames = nff.read(path)
    elif energy_unit is not None:
        frames = read_npz(path, energy_unit=energy_unit, length_unit=length_unit)
    else:
        raise ValueError(f"path: got {name!r}, expected a folder or an ending .xyz, .extxyz, .db, .pth.tar or .npz")
    if not frames:
        raise ValueError(f"path: {path} holds no structures")
    return frames


def _read_folder(folder: Path) -> list[ase.Atoms]:
    frames = []
    for path in sorted([*folder.glob("*.xyz"), *folder.glob("*.extxyz")]):
        part = read_extxyz(path)
        for frame in part:
            frame.info.setdefault("group", path.stem)
        frames.extend(part)
    return frames


def _read_database(path: Path) -> list[ase.Atoms]:
    try:
        return [row.toatoms() for row in ase.db.connect(path).select()]
    except (sqlite3.Error, ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{path}: not an ASE database, or cut short ({type(error).__name__}: {error})") from error


def read_extxyz(path: Path) -> list[ase.Atoms]:
    """Frames of an extended XYZ file, labels in a calculator. Raises ValueError when it is broken."""
    try:
        frames = list(ase.io.iread(path, index=":", format="extxyz"))
    except Exception as error:  # the parser raises what it stumbles on: KeyError, IndexError, its own XYZError
        raise ValueError(f"{path}: not extended XYZ, or cut short ({type(error).__name__}: {error})") from error
    return [_with_labels(frame) for frame in frames if isinstance(frame, ase.Atoms)]


def _with_labels(frame: ase.Atoms) -> ase.Atoms:
    """REF_ entries become labels: ASE itself would drop or recompute what is called plainly `energy`."""
    found = dict(frame.calc.results) if frame.calc is not None else {}
    for label in LABELS:
        value = frame.info.pop(f"REF_{label}", frame.arrays.pop(f"REF_{label}", None))
        if value is not None:
            is_stress = label == "stress" and np.size(value) == 9
            found[label] = full_3x3_to_voigt_6_stress(np.reshape(value, (3, 3))) if is_stress else value
    frame.calc = SinglePointCalculator(frame, **{k: v for k, v in found.items() if k in LABELS}) if found else None
    return frame
