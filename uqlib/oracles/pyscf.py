"""Molecules with PySCF: BP86-D3 as in the study's ammonia, PBE as in rMD17."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase import Atoms

from uqlib.oracles.labelling import OracleError, check_geometry, labelled_copy
from uqlib.structures.units import ANGSTROM_PER_BOHR, EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR, EV_PER_HARTREE

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING = "PySCFOracle needs PySCF: pip install pyscf==2.14.0 (or `uqlib[oracles]`)"
SMEARING = 0.01  # hartree; shares the electrons of a broken bond between its ends, and little else


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

    @property
    def version(self) -> str:
        """Of PySCF, as installed: labels of another version are other labels. Raises as `label` where it is missing."""
        try:
            return f"PySCF {metadata.version('pyscf')}"
        except metadata.PackageNotFoundError as error:
            raise ImportError(MISSING) from error

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
            atoms, energy=energy * EV_PER_HARTREE, forces=-gradient * EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR
        )

    def _scf(self, atoms: Atoms, functional: str) -> tuple[float, NDArray[np.float64]]:
        """Energy in hartree and gradient (N, 3) in hartree/bohr of the functional alone."""
        try:
            from pyscf import dft, gto, lib
        except ImportError as error:
            raise ImportError(MISSING) from error
        lib.num_threads(self.threads)
        positions = atoms.positions / ANGSTROM_PER_BOHR
        geometry = list(zip(atoms.get_chemical_symbols(), positions.tolist(), strict=True))
        molecule = gto.M(atom=geometry, unit="Bohr", basis="def2-svp", verbose=0)
        # Two thirds of the cycles need no fine grid: start from the density that a coarse one gives.
        rough = dft.RKS(molecule, xc=functional).density_fit()
        rough.grids.level, rough.conv_tol, rough.max_cycle = 1, 1e-6, self.max_cycles
        field = dft.RKS(molecule, xc=functional).density_fit()
        field.with_df = rough.with_df  # the integrals of the fit are the same
        field.grids.level = self.grid_level
        field.conv_tol = self.energy_tolerance
        field.max_cycle = self.max_cycles
        try:
            rough.kernel()
            if rough.converged:
                field.kernel(dm0=rough.make_rdm1())
            if not field.converged:
                field = self._second_order(field, rough)
            if not field.converged:
                raise OracleError(f"the SCF did not converge in {self.max_cycles} cycles ({self.level})", atoms)
            gradients = field.nuc_grad_method()
            gradients.grid_response = True
            return float(field.e_tot), np.asarray(gradients.kernel(), dtype=np.float64)
        except np.linalg.LinAlgError as error:
            raise OracleError(f"the SCF broke down ({self.level}): {error}", atoms) from error

    def _second_order(self, field: Any, rough: Any) -> Any:
        """The second-order solver, which is slower and surer, from the lowest solution on the coarse grid.

        A bond that breaks brings orbitals together; first-order cycles then swing between two fillings. The second
        order settles, but not always in the lowest solution: in hydrogen fluoride at 3.5 Å it ended 16 eV above. So it
        starts from several places, where that costs little: where the cycles stopped; orbitals with fractional
        occupations (Fermi-Dirac), shared by both ends of the bond; and those of Hartree-Fock, which keeps filled and
        empty apart.
        """
        from pyscf import scf

        smeared = scf.addons.smearing(rough.copy(), sigma=SMEARING, method="fermi")
        smeared.kernel(dm0=rough.make_rdm1())
        hartree_fock = scf.RHF(field.mol).density_fit()
        hartree_fock.with_df, hartree_fock.max_cycle = field.with_df, self.max_cycles
        hartree_fock.kernel()
        solutions = []
        for start in (rough, smeared, hartree_fock):
            solver = rough.copy().newton()
            solver.kernel(start.mo_coeff, rough.get_occ(start.mo_energy, start.mo_coeff))
            solutions.append(solver)
        lowest = min(solutions, key=lambda solution: (not solution.converged, solution.e_tot))
        solver = field.newton()
        solver.kernel(lowest.mo_coeff, lowest.mo_occ)
        return solver


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
