"""Oracles: electronic-structure codes that label a geometry with its energy and forces.

An oracle is anything with a `label(atoms)` method. Both oracles here are small frozen dataclasses: they hold settings,
no state, and can be pickled, so that `label_many` works with any `concurrent.futures.Executor`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from tqdm.auto import tqdm

from uqlib.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE

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
    atoms: Atoms, *, energy: float, forces: NDArray[np.float64], stress: NDArray[np.float64] | None = None
) -> Atoms:
    """Return a copy of `atoms` with labels in a `SinglePointCalculator`.

    `energy` in eV, `forces` (N, 3) in eV/Å, `stress` (3, 3) in eV/Å^3 (positive under tension, as in ASE).
    """
    copy = atoms.copy()
    results: dict[str, float | NDArray[np.float64]] = {"energy": energy, "forces": forces}
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


@dataclass(frozen=True, kw_only=True)
class PySCFOracle:
    """A molecule at one of two density-functional levels, with PySCF: neutral, closed shell, no symmetry.

    `bp86-d3/def2-svp`: exchange B88 (Phys. Rev. A 38, 3098), correlation P86 on VWN (Phys. Rev. B 33, 8822), the
    combination ORCA calls BP86, plus Grimme's D3 with zero damping (J. Chem. Phys. 132, 154104). PySCF's own `bp86`
    builds P86 on another local correlation and differs by 0.01 eV/Å.
    `pbe/def2-svp`: PBE (Phys. Rev. Lett. 77, 3865) without dispersion, the level of rMD17.

    Both use density fitting and count the response of the integration grid to the nuclei in the forces, without which
    forces are not the derivative of the energy. Grid level 4 is converged to 1e-5 eV/Å for NH3 and 4e-5 eV/Å for
    ethanol (against level 6); level 3, twice as fast, misses 2e-4 and 5e-4 eV/Å.

    `grid_level` 0-9 (PySCF's), `energy_tolerance` of the SCF in hartree, `max_cycles` of the SCF, `threads` for PySCF
    within one label (several labels at once, one thread each, is the faster use of several cores).
    """

    level: Literal["bp86-d3/def2-svp", "pbe/def2-svp"]
    grid_level: int = 4
    energy_tolerance: float = 1e-9
    max_cycles: int = 100
    threads: int = 1

    def __post_init__(self) -> None:
        if self.level not in _FUNCTIONALS:
            raise ValueError(f"level={self.level!r} is unknown; expected one of {sorted(_FUNCTIONALS)}")

    def label(self, atoms: Atoms) -> Atoms:
        """Label one isolated molecule: energy in eV, forces (N, 3) in eV/Å.

        Raises:
            OracleError: the SCF did not converge, the geometry is periodic or unphysical, or has an odd electron.
            ImportError: `pyscf` (or `dftd3`, for D3) is missing; the message says how to install it.
        """
        check_geometry(atoms)
        if atoms.pbc.any():
            raise OracleError("PySCFOracle labels isolated molecules; got periodic boundaries; use CP2KOracle", atoms)
        if atoms.numbers.sum() % 2:
            raise OracleError("an odd number of electrons; expected a closed shell", atoms)
        functional, dispersion = _FUNCTIONALS[self.level]
        energy, gradient = self._scf(atoms, functional)
        if dispersion is not None:
            energy_d3, gradient_d3 = _dispersion(atoms, dispersion)
            energy, gradient = energy + energy_d3, gradient + gradient_d3
        return labelled_copy(
            atoms, energy=energy * EV_PER_HARTREE, forces=-gradient * (EV_PER_HARTREE / ANGSTROM_PER_BOHR)
        )

    def _scf(self, atoms: Atoms, functional: str) -> tuple[float, NDArray[np.float64]]:
        """Energy in hartree and gradient (N, 3) in hartree/bohr of the functional alone."""
        try:
            from pyscf import dft, gto, lib
        except ImportError as error:
            raise ImportError("PySCFOracle needs PySCF: pip install pyscf==2.14.0 (or `uqlib[oracles]`)") from error
        lib.num_threads(self.threads)
        positions = atoms.positions / ANGSTROM_PER_BOHR
        geometry = list(zip(atoms.get_chemical_symbols(), positions.tolist(), strict=True))
        molecule = gto.M(atom=geometry, unit="Bohr", basis="def2-svp", verbose=0)
        field = dft.RKS(molecule, xc=functional).density_fit()
        field.grids.level = self.grid_level
        field.conv_tol = self.energy_tolerance
        field.max_cycle = self.max_cycles
        try:
            energy = float(field.kernel())
            if not field.converged:
                raise OracleError(f"the SCF did not converge in {self.max_cycles} cycles ({self.level})", atoms)
            gradients = field.nuc_grad_method()
            gradients.grid_response = True
            return energy, np.asarray(gradients.kernel(), dtype=np.float64)
        except np.linalg.LinAlgError as error:
            raise OracleError(f"the SCF broke down ({self.level}): {error}", atoms) from error


# Level of theory -> (PySCF's name of the functional, D3 parameters or None).
_FUNCTIONALS: dict[str, tuple[str, str | None]] = {
    "bp86-d3/def2-svp": ("b88,p86vwn", "bp"),
    "pbe/def2-svp": ("pbe", None),
}


def _dispersion(atoms: Atoms, functional: str) -> tuple[float, NDArray[np.float64]]:
    """D3 with zero damping: energy in hartree, gradient (N, 3) in hartree/bohr."""
    try:
        from dftd3.interface import DispersionModel, ZeroDampingParam
    except ImportError as error:
        raise ImportError("this level needs D3: pip install dftd3 (or `uqlib[oracles]`)") from error
    model = DispersionModel(atoms.numbers, atoms.positions / ANGSTROM_PER_BOHR)
    result = model.get_dispersion(ZeroDampingParam(method=functional), grad=True)
    return float(result["energy"]), np.asarray(result["gradient"], dtype=np.float64)


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
