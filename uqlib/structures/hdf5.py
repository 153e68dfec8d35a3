"""HDF5 files of the kind of SPICE and ANI-1x: a group for each molecule, one geometry after another inside.

SPICE (Eastman et al. 2023, doi:10.1038/s41597-022-01882-6) states the unit of each array; where a file does not,
its user has to.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import ase
import numpy as np

from uqlib.structures.arrays import KEYS
from uqlib.structures.bounds import check_unpacked, real_numbers, whole_numbers
from uqlib.structures.keys import Options, meaning
from uqlib.structures.units import ANGSTROM_PER, EV_PER, factor, force_factor

POSITIONS = ("conformations", *KEYS["positions"], "coordinates")


def read(path: Path, options: Options) -> list[ase.Atoms]:
    """All geometries with what is known of each, in eV and Å, and the name of the molecule as their group.

    Gradients become forces. Raises ValueError for other layouts and unknown units, and ImportError without h5py.
    """
    try:
        h5py = import_module("h5py")
    except ImportError as error:
        raise ImportError(
            f"{path}: HDF5 files are read through h5py, which is not installed: pip install h5py"
        ) from error
    frames: list[ase.Atoms] = []
    try:
        with h5py.File(path, "r") as file:
            packed = path.stat().st_size
            sizes: list[int] = []
            file.visititems(lambda _, item: sizes.append(item.nbytes) if hasattr(item, "nbytes") else None)
            check_unpacked(packed, sum(sizes), str(path))
            groups: list[tuple[str, Any]] = []
            file.visititems(lambda name, item: groups.append((name, item)) if hasattr(item, "keys") else None)
            for name, group in groups:
                if any(key in group for key in POSITIONS):
                    frames += _molecule(name, group, options)
    except (OSError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path}: not HDF5, or cut short ({type(error).__name__}: {error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    if not frames:
        raise ValueError(f"{path}: no group has atomic_numbers and {' or '.join(POSITIONS)}")
    return frames


def _molecule(name: str, group: Any, options: Options) -> list[ase.Atoms]:
    place = next(key for key in POSITIONS if key in group)
    kinds = next((key for key in KEYS["kinds"] if key in group), None)
    if kinds is None:
        raise ValueError(f"{name}: has {place} but none of {KEYS['kinds']}")
    numbers = whole_numbers(group[kinds][()], f"{name}/{kinds}")
    points = real_numbers(group[place][()], f"{name}/{place}") * _unit(group[place], options, "length", name)
    if points.ndim != 3 or points.shape[1:] != (len(numbers), 3):
        raise ValueError(f"{name}/{place}: has shape {points.shape}, expected (M, {len(numbers)}, 3)")
    known: dict[str, np.ndarray] = {}
    for key in group:
        given = next((q for q in ("energy", "forces") if key in options.keys_for(q)), None)
        quantity = given or (
            "gradient" if "gradient" in key and meaning(key.replace("gradient", "force")) else meaning(key)
        )
        if quantity in ("energy", "forces", "gradient") and group[key].shape[:1] == points.shape[:1]:
            kind = "energy" if quantity == "energy" else "force"
            values = real_numbers(group[key][()], f"{name}/{key}") * _unit(group[key], options, kind, name)
            known[key if quantity != "gradient" else "forces"] = -values if quantity == "gradient" else values
        elif group[key].shape == points.shape[:1] and group[key].dtype.kind == "f":
            known[key] = np.asarray(group[key])  # not used, and listed as left over
    frames = []
    for index, positions in enumerate(points):
        frame = ase.Atoms(numbers, positions=positions)
        for key, values in known.items():
            if np.isfinite(values[index]).all():  # ANI-1x has NaN where a level of theory was not run
                (frame.info if values.ndim == 1 else frame.arrays)[key] = values[index]
        frame.info["group"] = name
        frames.append(frame)
    return frames


def _unit(array: Any, options: Options, kind: str, name: str) -> float:
    stated = array.attrs.get("units", array.attrs.get("unit"))
    if stated is None and kind == "length" and options.length_unit is not None:
        return options.length
    if stated is None and kind != "length" and options.energy_unit is not None:
        return options.energy if kind == "energy" else options.force
    if stated is None:
        raise ValueError(f"{name}: {array.name} does not say its unit; give energy_unit=... and length_unit=...")
    stated = stated.decode() if isinstance(stated, bytes) else str(stated)
    if kind == "force":
        return force_factor(stated)
    return factor(stated, EV_PER if kind == "energy" else ANGSTROM_PER, f"{kind}_unit")
