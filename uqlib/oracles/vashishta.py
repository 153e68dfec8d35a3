"""Silica with the classical potential of Vashishta, by LAMMPS: a known surface whose labels cost a second.

P. Vashishta, R. K. Kalia, J. P. Rino and I. Ebbsjo, Phys. Rev. B 41, 12197 (1990). No electronic structure: for
rehearsals of what is then done with DFT.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from uqlib.common.programs import guarded
from uqlib.oracles.labelling import check_geometry, labelled_copy

POTENTIAL = "SiO.1990.vashishta"
FOLDERS = ("/usr/share/lammps/potentials", "/usr/local/share/lammps/potentials")


@dataclass(frozen=True, kw_only=True)
class VashishtaOracle:
    """Energy (eV), forces (N, 3) in eV/Å and stress in eV/Å^3 of SiO2 cells, by LAMMPS."""

    program: str = "lmp"

    def label(self, atoms: Atoms) -> Atoms:
        """Label one periodic cell of Si and O."""
        check_geometry(atoms)
        from ase.calculators.lammpsrun import LAMMPS

        path = potential_file()
        calculator = LAMMPS(
            command=shlex.join(guarded([self.program])),  # which ends with us
            files=[str(path)],
            specorder=["Si", "O"],
            pair_style="vashishta",
            pair_coeff=[f"* * {path.name} Si O"],
            always_triclinic=True,
        )
        copy = atoms.copy()
        copy.calc = calculator
        forces = copy.get_forces(apply_constraint=False)  # atoms that are held have forces as well
        return labelled_copy(
            atoms, energy=copy.get_potential_energy(), forces=forces, stress=copy.get_stress(voigt=False)
        )


def potential_file() -> Path:
    """Where LAMMPS keeps the potential. Raises FileNotFoundError with what to set."""
    for folder in (os.environ.get("LAMMPS_POTENTIALS"), *FOLDERS):
        if folder and (path := Path(folder) / POTENTIAL).exists():
            return path
    raise FileNotFoundError(f"{POTENTIAL} not found in {FOLDERS}; set LAMMPS_POTENTIALS to LAMMPS's potentials folder")
