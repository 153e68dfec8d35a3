"""Labels that are paid for once: kept by geometry, oracle and version, failures too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import ase
import numpy as np

from uqlib.common.storage import write_atomically
from uqlib.oracles import LabelResult, Oracle, OracleError, geometry_digest, label_many, labelled_copy

DECIMALS = 6  # of positions and cells, in Å, as `geometry_digest` sees them


class LabelStore:
    """A folder of labels, one small file each, written whole as it comes.

    The name of a file is a hash of elements, positions, cell and periodicity (to 1e-6 Å) and of `identity`: another
    level of theory, or another version of the code, is another label. Several runs may share a folder.
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
        sees the same numbers as one that was not.
        """
        rounded = [rounded_copy(atoms) for atoms in frames]
        missing: dict[Path, ase.Atoms] = {}
        for atoms in rounded:
            if not (path := self._path(atoms)).exists():
                missing[path] = atoms
        paths = list(missing)

        def save(result: LabelResult) -> None:
            path = paths[result.index]
            write_atomically(path, json.dumps(_plain(result, missing[path], self.identity)).encode())

        if missing:
            label_many(self.oracle, list(missing.values()), executor=executor, on_result=save, progress=progress)
        return [self._read(index, atoms) for index, atoms in enumerate(rounded)]

    def _path(self, atoms: ase.Atoms) -> Path:
        return self.folder / f"{fingerprint(atoms, self.identity)}.json"

    def _read(self, index: int, atoms: ase.Atoms) -> LabelResult:
        path = self._path(atoms)
        plain = json.loads(path.read_text(encoding="utf-8"))
        if "error" in plain:
            return LabelResult(index=index, error=OracleError(plain["error"], atoms))
        if plain["forces"] is not None and np.shape(plain["forces"]) != atoms.positions.shape:
            raise ValueError(
                f"{path}: got {len(plain['forces'])} forces for {len(atoms)} atoms; the file was changed, delete it"
            )
        labelled = labelled_copy(
            atoms,
            energy=plain["energy"],
            forces=None if plain["forces"] is None else np.array(plain["forces"]),
            stress=None if plain["stress"] is None else np.array(plain["stress"]),
        )
        return LabelResult(index=index, atoms=labelled)


def identity(oracle: Oracle) -> str:
    """What a label depends on besides the geometry: the oracle's settings and, where it has one, its `version`."""
    return f"{oracle!r} {getattr(oracle, 'version', '')}".strip()


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
    return {
        **geometry,
        "energy": None if energy is None else float(energy),
        "forces": None if forces is None else np.asarray(forces).tolist(),
        "stress": stress,
    }
