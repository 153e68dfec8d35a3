"""Labels that are paid for once: kept by geometry, oracle and version, failures too."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np

from uqlib.common.digest import digest_of
from uqlib.common.json_files import read_json
from uqlib.common.owner import first_of, waiting_for
from uqlib.common.storage import write_atomically
from uqlib.oracles import LabelResult, Oracle, OracleError, geometry_digest, label_many, labelled_copy

LABELS = ("energy", "forces", "stress")
CHECK = "check"  # of the numbers
REMEDY = "delete it, and the label is asked for again"
AT_ONCE = 100  # labels that are held against other processes
DECIMALS = 6  # of positions and cells, in Å, as `geometry_digest` sees them


class LabelStore:
    """A folder of labels, one small file each, written whole as it comes.

    The name of a file is a hash of elements, positions, cell and periodicity (to 1e-6 Å) and of `identity`: another
    level of theory, or another version of the code, is another label. Several runs may share a folder, at the same time
    too: a label that one is making the others wait for. Raises ValueError for an oracle without an identity.
    """

    def __init__(self, folder: str | Path, oracle: Oracle) -> None:
        self.folder = Path(folder)
        self.oracle = oracle
        self.identity = identity(oracle)

    def label(
        self, frames: Sequence[ase.Atoms], *, executor: Executor | None = None, progress: bool = True
    ) -> list[LabelResult]:
        """One result per frame, in their order: from the folder, or from the oracle where there is none yet.

        Frames that the oracle could not label come back with their `OracleError` and are not tried again. Labels are
        for the geometry rounded to 1e-6 Å, and always read back from the folder, so that a run that was interrupted
        sees the same numbers as one that was not. Raises ValueError for a file that was changed, or is another's.
        """
        rounded = [rounded_copy(atoms) for atoms in frames]
        by_path = {self._path(atoms): atoms for atoms in rounded}
        missing = [path for path in by_path if not path.exists()]
        for first in range(0, len(missing), AT_ONCE):
            some = missing[first : first + AT_ONCE]
            with first_of(some) as mine:
                self._make(mine, by_path, executor, progress)
            for path in some:
                if not path.exists():  # another process is making it, or was
                    with waiting_for(path):
                        self._make([path], by_path, executor, progress)
        return [self._read(index, atoms) for index, atoms in enumerate(rounded)]

    def _make(
        self, paths: Sequence[Path], frames: dict[Path, ase.Atoms], executor: Executor | None, progress: bool
    ) -> None:
        paths = [path for path in paths if not path.exists()]

        def save(result: LabelResult) -> None:
            path = paths[result.index]
            write_atomically(path, json.dumps(_plain(result, frames[path], self.identity)).encode())

        if paths:
            todo = [frames[path] for path in paths]
            label_many(self.oracle, todo, executor=executor, on_result=save, progress=progress)

    def _path(self, atoms: ase.Atoms) -> Path:
        return self.folder / f"{fingerprint(atoms, self.identity)}.json"

    def _read(self, index: int, atoms: ase.Atoms) -> LabelResult:
        path = self._path(atoms)
        plain = read_json(path, "a label", REMEDY)
        if fault := _fault(plain, atoms, self.identity):
            raise ValueError(f"{path}: {fault}; {REMEDY}")
        if "error" in plain:
            return LabelResult(index=index, error=OracleError(plain["error"], atoms))
        labelled = labelled_copy(
            atoms,
            energy=plain["energy"],
            forces=None if plain["forces"] is None else np.array(plain["forces"]),
            stress=None if plain["stress"] is None else np.array(plain["stress"]),
        )
        return LabelResult(index=index, atoms=labelled)


def identity(oracle: Oracle) -> str:
    """What a label depends on besides the geometry: the oracle: settings, code and, where it has one, `version`.

    Of the library's own oracles their `repr`, which is then all of it, and people can read it. Of others the name and a
    digest of all they hold and of their source: a `repr` abbreviates arrays, hides fields, or holds an address. Raises
    ValueError for an oracle that holds what has no identity.
    """
    return f"{name_of(oracle)} {getattr(oracle, 'version', '')}".strip()


def name_of(oracle: Oracle) -> str:
    """`identity` without the version. One oracle around another has a `label_name` that says so."""
    if (own := getattr(oracle, "label_name", None)) is not None:
        return own
    return repr(oracle) if _says_all(oracle) else f"{type(oracle).__name__}({digest_of(oracle, 'oracle')})"


def _says_all(value: Any) -> bool:
    """Whether the `repr` of an oracle, or of a field, is all that there is: a dataclass of ours with plain fields."""
    if isinstance(value, tuple):
        return all(map(_says_all, value))
    if not is_dataclass(value):
        return value is None or type(value) in (bool, int, float, str)
    counted = [each for each in fields(value) if each.compare]
    ours = type(value).__module__.partition(".")[0] == __name__.partition(".")[0]
    return ours and all(_says_all(getattr(value, each.name)) for each in counted)


def fingerprint(atoms: ase.Atoms, identity: str) -> str:
    """40 hex digits for a geometry, to 1e-6 Å, and an oracle."""
    return hashlib.sha256(f"{geometry_digest(atoms)} {identity}".encode()).hexdigest()[:40]


def rounded_copy(atoms: ase.Atoms) -> ase.Atoms:
    """A copy without labels whose positions and cell are those that `fingerprint` sees."""
    copy = ase.Atoms(
        atoms.numbers,
        positions=np.round(atoms.positions, DECIMALS),
        cell=np.round(np.asarray(atoms.cell), DECIMALS),
        pbc=atoms.pbc,
    )
    copy.info = dict(atoms.info)
    return copy


def _plain(result: LabelResult, atoms: ase.Atoms, identity: str) -> dict[str, object]:
    geometry = {
        "oracle": identity,
        "symbols": atoms.get_chemical_formula(mode="reduce"),
        "positions": atoms.positions.tolist(),
        "cell": np.asarray(atoms.cell).tolist() if atoms.pbc.any() else None,
    }
    if result.atoms is None:
        return {**geometry, "error": result.error.reason if result.error is not None else "no reason was given"}
    found = result.atoms.calc.results  # pyright: ignore[reportOptionalMemberAccess]
    stress = result.atoms.get_stress(voigt=False).tolist() if "stress" in found else None
    energy, forces = found.get("energy"), found.get("forces")
    labels = {
        "energy": None if energy is None else float(energy),
        "forces": None if forces is None else np.asarray(forces).tolist(),
        "stress": stress,
    }
    if not all(map(_finite, labels.values())):
        raise ValueError(f"oracle: gave a label that is not finite; let it raise an OracleError instead ({identity})")
    return {**geometry, **labels, CHECK: check_of(labels)}


def check_of(plain: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of the numbers of a label, kept with them: a label that was changed is noticed."""
    numbers = [plain.get(name) for name in LABELS]
    return hashlib.sha256(json.dumps(numbers).encode()).hexdigest()[:16]


def _fault(plain: Any, atoms: ase.Atoms, identity: str) -> str:
    """What is wrong with the content of a label's file; empty where nothing is."""
    if not isinstance(plain, dict) or not ("error" in plain or all(name in plain for name in LABELS)):
        return f"not a label, expected {', '.join(LABELS)}"
    if plain.get("oracle") != identity:
        return f"a label of another oracle: {plain.get('oracle')}"
    places = np.asarray(plain.get("positions", []), dtype=object)
    if places.shape != atoms.positions.shape or not np.array_equal(places, atoms.positions):
        return "a label of another geometry"
    if "error" in plain:
        return "" if isinstance(plain["error"], str) else "an error that is no text"
    shapes = {"energy": (), "forces": (len(atoms), 3), "stress": (3, 3)}
    for name, shape in shapes.items():
        if plain[name] is not None and not (_finite(plain[name]) and np.shape(plain[name]) == shape):
            return f"{name} is not of shape {shape}, or not finite"
    if CHECK in plain and plain[CHECK] != check_of(plain):  # not in files of before
        return "its numbers are not those that were written; the file was changed"
    return ""


def _finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_finite, value))
    return value is None or (type(value) in (int, float) and math.isfinite(value))
