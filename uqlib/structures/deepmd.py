"""Systems of DeePMD-kit: a folder with `type.raw`, `type_map.raw` and `set.000`, `set.001`, ... of numpy arrays.

All frames of a system are of the same atoms in the same order. Units are eV and Å; `virial.npy` is minus the stress
times the volume (DeePMD-kit's documentation, "Formats of a system").
"""

from __future__ import annotations

from pathlib import Path

import ase
import numpy as np
from ase.data import atomic_numbers

ARRAYS = {"energy": "energy", "force": "forces", "virial": "virial"}  # file -> our name


def read(types: Path) -> list[ase.Atoms]:
    """Frames of the system whose `type.raw` is `types`, with what each set knows of energy, forces and virial.

    Raises ValueError where elements are not known, no set has coordinates, or an array is not of the right shape.
    """
    folder = types.parent
    numbers = _elements(types)
    sets = sorted(path.parent for path in folder.glob("set.*/coord.npy"))
    if not sets:
        raise ValueError(f"{folder}: has {types.name}, but no set.000/coord.npy")
    periodic = not (folder / "nopbc").exists()
    return [frame for part in sets for frame in _frames(part, numbers, periodic)]


def _elements(types: Path) -> np.ndarray:
    """(N,) atomic numbers."""
    names = types.parent / "type_map.raw"
    try:
        kinds = np.loadtxt(types, dtype=int, ndmin=1)
    except ValueError as error:
        raise ValueError(f"{types}: expected one integer an atom ({error})") from error
    if not names.exists():
        raise ValueError(f"{names}: is missing, so nobody knows the elements; write it, one symbol a line")
    symbols = names.read_text(encoding="utf-8").split()
    if unknown := [symbol for symbol in symbols if symbol not in atomic_numbers]:
        raise ValueError(f"{names}: {unknown[0]!r} is no element; write a chemical symbol a line")
    if kinds.min() < 0 or kinds.max() >= len(symbols):
        raise ValueError(f"{types}: got types {kinds.min()} to {kinds.max()}, {names.name} names {len(symbols)}")
    return np.array([atomic_numbers[symbol] for symbol in symbols])[kinds]


def _frames(part: Path, numbers: np.ndarray, periodic: bool) -> list[ase.Atoms]:
    n = len(numbers)
    positions = _array(part / "coord.npy", 3 * n).reshape(-1, n, 3)
    found = {ours: _array(part / f"{name}.npy", {"energy": 1, "force": 3 * n, "virial": 9}[name], len(positions))
             for name, ours in ARRAYS.items() if (part / f"{name}.npy").exists()}  # fmt: skip
    cells = _array(part / "box.npy", 9, len(positions)).reshape(-1, 3, 3) if periodic else None
    frames = []
    for k, where in enumerate(positions):
        frame = ase.Atoms(numbers, positions=where, cell=None if cells is None else cells[k], pbc=periodic)
        if "energy" in found:
            frame.info["energy"] = float(found["energy"][k, 0])
        if "forces" in found:
            frame.arrays["forces"] = found["forces"][k].reshape(n, 3)
        if "virial" in found and periodic:
            frame.info["virial"] = found["virial"][k].reshape(3, 3)
        frames.append(frame)
    return frames


def _array(path: Path, width: int, frames: int | None = None) -> np.ndarray:
    """(frames, width) numbers in double precision."""
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a numpy array ({error})") from error
    size = values.size // width if frames is None else frames
    if values.dtype.kind not in "iuf" or not size or values.size != size * width:
        expected = f"({frames or 'frames'}, {width})"
        raise ValueError(f"{path}: got {values.dtype} of shape {values.shape}, expected numbers of shape {expected}")
    return values.reshape(size, width).astype(np.float64)
