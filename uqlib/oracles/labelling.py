"""What an oracle is, and how many geometries are labelled with one, here or on any executor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from tqdm.auto import tqdm

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLOSEST_CONTACT = 0.3  # Å; two nuclei closer than this are a mistake, not chemistry


class OracleError(RuntimeError):
    """A geometry could not be labelled. The message names the geometry: formula and positions."""

    def __init__(self, reason: str, atoms: Atoms) -> None:
        self.reason = reason
        self.atoms = atoms
        rows = (
            f"  {symbol:2s} {x:12.6f} {y:12.6f} {z:12.6f}"
            for symbol, (x, y, z) in zip(atoms.get_chemical_symbols(), atoms.positions, strict=True)
        )
        super().__init__(f"{reason}\ngeometry {atoms.get_chemical_formula()} (positions in Å):\n" + "\n".join(rows))

    def __reduce__(self) -> tuple[type[OracleError], tuple[str, Atoms]]:
        # An exception is unpickled from its arguments; without this a worker process could not send it back.
        return type(self), (self.reason, self.atoms)


class Oracle(Protocol):
    """What `label_many` and active learning ask for: a labelled copy of one geometry."""

    def label(self, atoms: Atoms) -> Atoms:
        """Return a copy with energy (eV), forces (N, 3) (eV/Å) and, for some oracles, stress (eV/Å^3) attached.

        Raises:
            OracleError: the calculation did not converge, or the geometry is unphysical.
        """
        ...


def labelled_copy(
    atoms: Atoms,
    *,
    energy: float | None = None,
    forces: NDArray[np.float64] | None = None,
    stress: NDArray[np.float64] | None = None,
) -> Atoms:
    """Return a copy of `atoms` with labels in a `SinglePointCalculator`, those that are given.

    `energy` in eV, `forces` (N, 3) in eV/Å, `stress` (3, 3) in eV/Å^3 (positive under tension, as in ASE).
    """
    copy = atoms.copy()
    results: dict[str, float | NDArray[np.float64]] = {} if energy is None else {"energy": energy}
    if forces is not None:
        results["forces"] = forces
    if stress is not None:
        results["stress"] = np.array([*np.diag(stress), stress[1, 2], stress[0, 2], stress[0, 1]])
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def check_geometry(atoms: Atoms) -> None:
    """Refuse what no electronic-structure code should be asked for: no atoms, NaN, nuclei on top of each other.

    Raises:
        OracleError: naming the geometry.
    """
    if len(atoms) == 0:
        raise OracleError("the geometry has no atoms; expected at least one", atoms)
    if not np.isfinite(atoms.positions).all():
        raise OracleError("the positions hold NaN or infinity; expected finite numbers in Å", atoms)
    if len(atoms) > 1:
        distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))[np.triu_indices(len(atoms), 1)]
        if distances.min() < CLOSEST_CONTACT:
            raise OracleError(f"two atoms are {distances.min():.3f} Å apart; expected > {CLOSEST_CONTACT} Å", atoms)


def geometry_digest(atoms: Atoms) -> str:
    """64 hex digits (SHA-256) from elements, positions and cell, both rounded to 1e-6 Å, and periodicity."""
    digest = hashlib.sha256(atoms.numbers.astype("<i8").tobytes())
    for array in (atoms.positions, np.asarray(atoms.cell)):
        digest.update((np.round(array * 1e6) + 0.0).astype("<i8").tobytes())
    digest.update(atoms.pbc.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class LabelResult:
    """What became of frame `index`: either `atoms` (labelled) or `error` (why not) is set."""

    index: int
    atoms: Atoms | None = None
    error: OracleError | None = None


def label_many(
    oracle: Oracle,
    frames: Sequence[Atoms],
    *,
    executor: Executor | None = None,
    on_result: Callable[[LabelResult], None] | None = None,
    progress: bool = True,
) -> list[LabelResult]:
    """Label `frames` and return one result per frame, in their order.

    Frames are independent: one that cannot be labelled comes back with its `OracleError` and does not stop the others.
    Any other exception is a mistake of ours and is raised. `on_result` is called in this process as each label comes,
    in order of completion: save there. `executor`: any `concurrent.futures.Executor`; None labels here, one by one.
    """
    results: dict[int, LabelResult] = {}
    stream = _one_by_one(oracle, frames) if executor is None else _in_parallel(oracle, frames, executor)
    for result in tqdm(stream, total=len(frames), desc="labelling", unit="frame", disable=not progress):
        results[result.index] = result
        if on_result is not None:
            on_result(result)
    return [results[index] for index in range(len(frames))]


def _attempt(oracle: Oracle, index: int, atoms: Atoms) -> LabelResult:
    try:
        return LabelResult(index=index, atoms=oracle.label(atoms))
    except OracleError as error:
        return LabelResult(index=index, error=error)


def _one_by_one(oracle: Oracle, frames: Sequence[Atoms]) -> Iterator[LabelResult]:
    for index, atoms in enumerate(frames):
        yield _attempt(oracle, index, atoms)


def _in_parallel(oracle: Oracle, frames: Sequence[Atoms], executor: Executor) -> Iterator[LabelResult]:
    futures: list[Future[LabelResult]] = [executor.submit(_attempt, oracle, i, atoms) for i, atoms in enumerate(frames)]
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        for future in futures:  # after an error or an interrupt nobody waits for the rest
            future.cancel()
