"""ASE databases (`.db`, `.json`), with labels as ASE keeps them or, as SchNetPack and graph-pes do, in `row.data`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import ase
import ase.db
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from uqlib.structures.keys import Options, meaning
from uqlib.structures.units import ANGSTROM_PER, EV_PER, EV_PER_ANGSTROM3_PER, factor, force_factor


def read(path: Path, options: Options) -> list[ase.Atoms]:
    """Structures with all that their rows hold. Units that the database states (as SchNetPack's do) are converted.

    Raises ValueError for what is no database, and for units that are stated there and not known.
    """
    try:
        opened: Any = ase.db.connect(path)
        with opened as database:
            metadata = dict(database.metadata or {})
            rows = list(database.select())
            frames = [_frame(row) for row in rows]
    except Exception as error:  # sqlite, JSON and ASE raise whatever a broken file makes them stumble on
        raise ValueError(f"{path}: not an ASE database, or cut short ({type(error).__name__}: {error})") from error
    units = metadata.get("_property_unit_dict") or {}
    length = metadata.get("_distance_unit")
    if options.units_stated:  # the user knows better
        return frames
    try:
        for frame in frames:
            _convert(frame, units, length)
    except ValueError as error:
        raise ValueError(f"{path}: it states units that are not known; give energy_unit=... ({error})") from error
    return frames


def _frame(row: Any) -> ase.Atoms:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ASE's, of its own changes
        frame = row.toatoms()
    for name, value in {**row.key_value_pairs, **row.data}.items():
        array = np.asarray(value)
        if array.dtype.kind in "iuf" and array.ndim and len(array) == len(frame) and len(frame) > 1:
            if name not in frame.arrays:
                frame.set_array(name, array)
        elif name not in frame.info:
            is_one = array.dtype.kind in "iuf" and array.size == 1
            forces_of_one = len(frame) == 1 and array.shape == (1, 3)
            frame.info[name] = array if forces_of_one else array.reshape(()).item() if is_one else value
    return frame


def _convert(frame: ase.Atoms, units: dict[str, str], length: str | None) -> None:
    for name, unit in units.items():
        quantity, holder = meaning(name), frame.arrays if name in frame.arrays else frame.info
        if quantity is None or name not in holder or not unit:
            continue
        of = {
            "energy": lambda u: factor(u, EV_PER, "energy_unit"),
            "virial": lambda u: factor(u, EV_PER, "energy_unit"),
            "forces": force_factor,
            "stress": lambda u: _pressure(u),
        }[quantity](str(unit))
        if of != 1:
            holder[name] = np.asarray(holder[name]) * of
    if length and (scale := factor(length, ANGSTROM_PER, "length_unit")) != 1:
        labels = None if frame.calc is None else dict(frame.calc.results)
        frame.set_cell(np.asarray(frame.cell) * scale)
        frame.positions *= scale
        frame.calc = None if labels is None else SinglePointCalculator(frame, **labels)


def _pressure(unit: str) -> float:
    parts = unit.split("/")
    if len(parts) == 4 and len(set(parts[1:])) == 1:  # SchNetPack's "eV/Ang/Ang/Ang"
        return factor(parts[0], EV_PER, "energy_unit") / factor(parts[1], ANGSTROM_PER, "length_unit") ** 3
    return factor(unit, EV_PER_ANGSTROM3_PER, "stress_unit")
