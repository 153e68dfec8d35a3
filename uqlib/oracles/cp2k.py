"""Periodic cells with CP2K: PBE, GTH pseudopotentials, Gaussians and plane waves, through its input file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from uqlib.oracles.labelling import OracleError, check_geometry, labelled_copy
from uqlib.units import EV_PER_ANGSTROM3_PER_GPA, EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR, EV_PER_HARTREE

if TYPE_CHECKING:
    from numpy.typing import NDArray

VALENCE = {"H": 1, "C": 4, "N": 5, "O": 6, "Si": 4}  # electrons that the GTH-PBE pseudopotential leaves
NUMBER = r"[-+]?\d+\.\d+(?:[eE][-+]?\d+)?"


@dataclass(frozen=True, kw_only=True)
class CP2KOracle:
    """A periodic cell at PBE / GTH / DZVP-MOLOPT-SR, Gamma point only, closed shell: energy, forces and stress.

    The orbitals are found by standard diagonalisation with Broyden mixing, which for silica took less than half the
    time of orbital transformation. PBE: Phys. Rev. Lett. 77, 3865; GTH: Phys. Rev. B 54, 1703; MOLOPT: J. Chem. Phys.
    127, 114105; CP2K: J. Chem. Phys. 152, 194103.

    `cutoff` and `relative_cutoff` of the plane-wave grids in Ry, `scf_threshold` as CP2K's EPS_SCF, `program` is found
    on the PATH, `ranks` > 1 starts it through `launcher`, `data_directory` holds basis sets and pseudopotentials (None:
    where the program was built to look). `timeout` in seconds, None waits for ever.
    """

    cutoff: float = 400.0
    relative_cutoff: float = 50.0
    scf_threshold: float = 1e-6
    max_cycles: int = 100
    program: str = "cp2k.psmp"
    ranks: int = 1
    launcher: tuple[str, ...] = ("mpirun", "--allow-run-as-root", "--oversubscribe", "-np")
    data_directory: str | None = None
    timeout: float | None = None

    def label(self, atoms: Atoms) -> Atoms:
        """Label one fully periodic cell: energy in eV, forces (N, 3) in eV/Å, stress in eV/Å^3.

        Raises:
            OracleError: the SCF did not converge, CP2K failed, or the geometry is not one it can label.
            FileNotFoundError: the program is not installed; the message says how to get it.
        """
        check_geometry(atoms)
        if not atoms.pbc.all():
            raise OracleError("CP2KOracle labels fully periodic cells; set atoms.pbc and a cell", atoms)
        if unknown := sorted(set(atoms.get_chemical_symbols()) - VALENCE.keys()):
            raise OracleError(f"no pseudopotential is listed for {unknown}; known: {sorted(VALENCE)}", atoms)
        if sum(VALENCE[symbol] for symbol in atoms.get_chemical_symbols()) % 2:
            raise OracleError("an odd number of electrons; expected a closed shell", atoms)
        output = self._run(self.input_text(atoms), atoms)
        return parse_output(output, atoms)

    def input_text(self, atoms: Atoms) -> str:
        """The input file for one cell."""
        vectors = "\n".join(
            f"      {name} {x:.10f} {y:.10f} {z:.10f}" for name, (x, y, z) in zip("ABC", atoms.cell.array, strict=True)
        )
        symbols = atoms.get_chemical_symbols()
        coordinates = "\n".join(
            f"      {symbol} {x:.10f} {y:.10f} {z:.10f}"
            for symbol, (x, y, z) in zip(symbols, atoms.positions, strict=True)
        )
        kinds = "\n".join(KIND.format(symbol=s, valence=VALENCE[s]) for s in sorted(set(symbols)))
        return INPUT.format(
            cutoff=self.cutoff,
            relative_cutoff=self.relative_cutoff,
            scf_threshold=self.scf_threshold,
            max_cycles=self.max_cycles,
            cell=vectors,
            coordinates=coordinates,
            kinds=kinds,
        )

    def command(self) -> list[str]:
        """The command line, without the input file."""
        if shutil.which(self.program) is None:
            raise FileNotFoundError(
                f"program={self.program!r} is not on the PATH; install CP2K (Debian: `apt install cp2k`, conda: "
                "`conda install -c conda-forge cp2k`) or name yours: CP2KOracle(program=...)"
            )
        return [self.program] if self.ranks == 1 else [*self.launcher, str(self.ranks), self.program]

    def _run(self, text: str, atoms: Atoms) -> str:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if self.data_directory is not None:
            environment["CP2K_DATA_DIR"] = self.data_directory
        command = self.command()
        with tempfile.TemporaryDirectory(prefix="cp2k-") as folder:
            Path(folder, "label.inp").write_text(text, encoding="utf-8")
            try:
                done = subprocess.run(
                    [*command, "label.inp"],
                    cwd=folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=self.timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise OracleError(f"CP2K took longer than timeout={self.timeout} s", atoms) from error
        if "SCF run converged" not in done.stdout:
            if "SCF run NOT converged" in done.stdout:
                raise OracleError(f"the SCF did not converge in {self.max_cycles} cycles (CP2K)", atoms)
            raise OracleError(f"CP2K failed (exit status {done.returncode}): {_end(done.stdout + done.stderr)}", atoms)
        return done.stdout


def parse_output(output: str, atoms: Atoms) -> Atoms:
    """Read energy, forces and stress from CP2K's output into a labelled copy of `atoms`.

    CP2K prints hartree, hartree/bohr, GPa, and the stress with the sign of a pressure: positive under compression.

    Raises:
        OracleError: one of the three is missing, or the number of forces is not that of the atoms.
    """
    _, _, tensor = output.partition("STRESS| Analytical stress tensor")  # its eigenvectors follow, in rows alike
    energy = re.search(rf"ENERGY\| Total FORCE_EVAL \( QS \) energy \[a\.u\.\]:\s+({NUMBER})", output)
    forces = re.findall(rf"^ +\d+ +\d+ +[A-Z][a-z]? +({NUMBER}) +({NUMBER}) +({NUMBER})$", output, re.MULTILINE)
    stress = re.findall(rf"^ STRESS\| +[xyz] +({NUMBER}) +({NUMBER}) +({NUMBER})$", tensor, re.MULTILINE)[:3]
    if energy is None or len(forces) != len(atoms) or len(stress) != 3:
        raise OracleError(
            f"CP2K's output holds {0 if energy is None else 1} energies, {len(forces)} forces, {len(stress)} rows of "
            f"stress; expected 1, {len(atoms)}, 3: {_end(output)}",
            atoms,
        )
    pressure = _array(stress)
    return labelled_copy(
        atoms,
        energy=float(energy.group(1)) * EV_PER_HARTREE,
        forces=_array(forces) * EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR,
        stress=-(pressure + pressure.T) / 2 * EV_PER_ANGSTROM3_PER_GPA,
    )


def _array(rows: list[tuple[str, ...]]) -> NDArray[np.float64]:
    return np.array([[float(value) for value in row] for row in rows])


def _end(text: str, lines: int = 12) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


KIND = """    &KIND {symbol}
      BASIS_SET DZVP-MOLOPT-SR-GTH
      POTENTIAL GTH-PBE-q{valence}
    &END KIND"""

INPUT = """&GLOBAL
  PROJECT label
  RUN_TYPE ENERGY_FORCE
  PRINT_LEVEL LOW
&END GLOBAL
&FORCE_EVAL
  METHOD Quickstep
  STRESS_TENSOR ANALYTICAL
  &DFT
    BASIS_SET_FILE_NAME BASIS_MOLOPT
    POTENTIAL_FILE_NAME GTH_POTENTIALS
    &MGRID
      CUTOFF {cutoff}
      REL_CUTOFF {relative_cutoff}
    &END MGRID
    &QS
      EPS_DEFAULT 1.0E-12
    &END QS
    &SCF
      SCF_GUESS ATOMIC
      EPS_SCF {scf_threshold:.1E}
      MAX_SCF {max_cycles}
      &DIAGONALIZATION
        ALGORITHM STANDARD
      &END DIAGONALIZATION
      &MIXING
        METHOD BROYDEN_MIXING
        ALPHA 0.4
        NBROYDEN 8
      &END MIXING
      &PRINT
        &RESTART OFF
        &END RESTART
      &END PRINT
    &END SCF
    &XC
      &XC_FUNCTIONAL PBE
      &END XC_FUNCTIONAL
    &END XC
  &END DFT
  &SUBSYS
    &CELL
{cell}
      PERIODIC XYZ
    &END CELL
    &COORD
{coordinates}
    &END COORD
{kinds}
  &END SUBSYS
  &PRINT
    &FORCES ON
    &END FORCES
    &STRESS_TENSOR ON
    &END STRESS_TENSOR
  &END PRINT
&END FORCE_EVAL
"""
