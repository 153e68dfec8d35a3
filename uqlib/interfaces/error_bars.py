"""Error bars in the files of ASE: what was predicted, beside the labels and under names that nobody takes for labels.

    atoms.calc = UncertaintyCalculator(predictor)
    BFGS(atoms).run()
    error_bars.write("relaxed.traj", [error_bars.keep(atoms)])  # or .xyz, .db, .json
    (again,) = error_bars.read("relaxed.traj")
    again.arrays["uqlib_force_uncertainty"]

All that is predicted begins with `uqlib_`: of a structure (in `info`) `uqlib_energy` eV, `uqlib_energy_uncertainty` eV
or nats, `uqlib_stress` and `uqlib_stress_uncertainty` (6,) eV/Å³ and `uqlib_unit`, "eV/Å" or "nats"; of atoms (in
`arrays`) `uqlib_forces` (N, 3) eV/Å, `uqlib_force_uncertainty` (N,) eV/Å or nats and `uqlib_atom_energy_uncertainty`
(N,) eV. What a method does not have is not there. No reader of ours takes them for labels.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase
import ase.db
import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.jsonio import encode
from ase.stress import full_3x3_to_voigt_6_stress

from uqlib.common import storage
from uqlib.interfaces.ase import UncertaintyCalculator
from uqlib.prediction import Prediction

PREFIX = "uqlib_"
ARRAYS = "uqlib_arrays"  # names of the arrays that had to become entries
ENDINGS = (".xyz", ".extxyz", ".traj", ".db", ".json")
OF_A_STRUCTURE = ("energy", "energy_uncertainty", "stress", "stress_uncertainty")  # the rest is of atoms
ASE_KEEPS = {"numbers", "positions", "tags", "momenta", "masses", "initial_magmoms", "initial_charges"}


def keep(atoms: ase.Atoms) -> ase.Atoms:
    """A copy of a structure with what its `UncertaintyCalculator` computed for it, and without the calculator.

    Nothing is computed anew. Raises ValueError where the calculator is another one, or where nothing is known of the
    structure as it is now.
    """
    calc = atoms.calc
    if not isinstance(calc, UncertaintyCalculator):
        raise ValueError(
            f"atoms: got a structure with {type(calc).__name__} as its calculator, expected an UncertaintyCalculator; "
            "set `atoms.calc`, or use `attach` for what `predict` returned"
        )
    if not calc.results or calc.check_state(atoms):
        raise ValueError("atoms: nothing is known of them as they are now; ask first, with `atoms.get_forces()`")
    copy = atoms.copy()
    _put(copy, {name: value for name, value in calc.results.items() if name != "free_energy"})
    return copy


def attach(frames: Sequence[ase.Atoms], prediction: Prediction) -> list[ase.Atoms]:
    """Copies of structures with what `predict` said of them; labels stay in their calculators.

    Raises ValueError where the prediction is of other structures.
    """
    sizes = [len(frame) for frame in frames]
    if (len(prediction.energy), len(prediction.forces)) != (len(frames), sum(sizes)):
        raise ValueError(
            f"prediction: got one of {len(prediction.energy)} structures with {len(prediction.forces)} atoms, expected "
            f"{len(frames)} with {sum(sizes)}; predict these very structures"
        )
    names = (*OF_A_STRUCTURE, "forces", "force_uncertainty", "atom_energy_uncertainty")
    told = {name: getattr(prediction, name, None) for name in names}
    arrays = {name: value.detach().double().cpu().numpy() for name, value in told.items() if value is not None}
    found = []
    for index, (frame, end) in enumerate(zip(frames, np.cumsum(sizes), strict=True)):
        atoms = slice(int(end) - sizes[index], int(end))
        own = {name: array[index if name in OF_A_STRUCTURE else atoms] for name, array in arrays.items()}
        for name in ("stress", "stress_uncertainty"):
            if name in own and not np.isfinite(own[name]).all():  # not periodic in all directions
                del own[name]
            elif name in own:
                own[name] = full_3x3_to_voigt_6_stress(own[name])
        copy = _copy(frame)
        _put(copy, own | {"unit": prediction.unit})
        found.append(copy)
    return found


def write(path: str | Path, frames: Iterable[ase.Atoms]) -> None:
    """Structures with all their `info` and `arrays`, whole or not at all, as `.xyz`, `.traj`, `.db` or `.json` of ASE.

    ASE alone would drop arrays from a `.traj`, and `info`, too, from a `.db` and a `.json`: in a `.traj` they become
    `info`, in a `.db` and a `.json` they are the row's `data`. Raises ValueError for other endings and for entries that
    these files cannot hold, OSError as `storage.save`.
    """
    path = Path(path)
    _check_ending(path)
    frames = list(frames)
    if not frames:
        raise ValueError(f"frames: got none to write to {path.name!r}, expected at least one structure")
    with storage.own_folder("frames") as folder:
        place = folder / f"frames{path.suffix}"
        if path.suffix in (".xyz", ".extxyz"):
            text = io.StringIO()
            ase.io.write(text, frames, format="extxyz")
            place.write_text(text.getvalue(), encoding="utf-8")
        elif path.suffix == ".traj":
            ase.io.write(place, [_arrays_as_info(frame) for frame in frames])
        else:
            opened: Any = ase.db.connect(place)
            with opened as database:
                for frame in frames:
                    database.write(frame, data=_dropped(frame))
        storage.write_atomically(path, place.read_bytes())


def read(path: str | Path) -> list[ase.Atoms]:
    """What `write` wrote: predictions in `info` and `arrays`, labels in calculators. Raises ValueError as `write`."""
    path = Path(path)
    _check_ending(path)
    if path.suffix not in (".db", ".json"):
        frames: Any = ase.io.read(path, index=":", format="traj" if path.suffix == ".traj" else "extxyz")
        return [_info_as_arrays(frame, dict(frame.info)) for frame in frames]
    opened: Any = ase.db.connect(path)
    with opened as database:
        return [_info_as_arrays(row.toatoms(), row.data) for row in database.select()]


def _put(atoms: ase.Atoms, results: Mapping[str, Any]) -> None:
    for name, value in results.items():
        if name in OF_A_STRUCTURE or np.ndim(value) == 0:
            atoms.info[PREFIX + name] = value if isinstance(value, str) or np.ndim(value) else float(value)
        else:
            atoms.arrays[PREFIX + name] = np.array(value)


def _copy(frame: ase.Atoms) -> ase.Atoms:
    copy = frame.copy()
    if frame.calc is not None:
        copy.calc = SinglePointCalculator(copy, **frame.calc.results)
    return copy


def _dropped(frame: ase.Atoms) -> dict[str, Any]:
    """What a database of ASE has no column for, and which of it are arrays."""
    arrays = {name: array for name, array in frame.arrays.items() if name not in ASE_KEEPS}
    return {name: _plain(name, value) for name, value in {**frame.info, **arrays, ARRAYS: sorted(arrays)}.items()}


def _plain(name: str, value: Any) -> Any:
    """Without numpy's scalars and texts, which databases do not take. Raises ValueError for what no file takes."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.dtype.kind == "U"):
        return value.tolist()
    try:
        encode(value)
    except TypeError as error:
        raise ValueError(
            f"frames: {name!r} in `info` or `arrays` is a {type(value).__name__}, expected numbers, text, or lists and "
            "dictionaries of them; remove it"
        ) from error
    return value


def _arrays_as_info(frame: ase.Atoms) -> ase.Atoms:
    copy = _copy(frame)
    copy.info = _dropped(frame)
    return copy


def _info_as_arrays(frame: ase.Atoms, entries: Mapping[str, Any]) -> ase.Atoms:
    """Entries back where they were before `_dropped`."""
    arrays = set(entries.get(ARRAYS, ()))
    frame.info = {name: value for name, value in entries.items() if name != ARRAYS and name not in arrays}
    for name in arrays:
        frame.set_array(name, np.array(entries[name]))
    return frame


def _check_ending(path: Path) -> None:
    if path.suffix not in ENDINGS:
        raise ValueError(f"path: got {path.name!r}, expected an ending {', '.join(ENDINGS)}")
