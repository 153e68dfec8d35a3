"""Periodic cells with CP2K: PBE, GTH pseudopotentials, Gaussians and plane waves, through its input file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from uqlib.common.programs import run_program
from uqlib.common.temporary import own_folder
from uqlib.oracles.cp2k_input import COARSE, COARSE_GRID, FINE, INPUT, KIND
from uqlib.oracles.labelling import OracleError, check_geometry, labelled_copy
from uqlib.structures.units import EV_PER_ANGSTROM3_PER_GPA, EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR, EV_PER_HARTREE

if TYPE_CHECKING:
    from numpy.typing import NDArray

VALENCE = {"H": 1, "C": 4, "N": 5, "O": 6, "Si": 4}  # electrons that the GTH-PBE pseudopotential leaves
NUMBER = r"[-+]?\d+\.\d+(?:[eE][-+]?\d+)?"


@dataclass(frozen=True, kw_only=True)
class CP2KOracle:
    """A periodic cell at PBE / GTH / DZVP-MOLOPT-SR, Gamma point only, no spin: energy, forces and stress.

    Electrons have a temperature (Fermi-Dirac); the energy is their free energy, which forces and stress derive from.
    Broken bonds in a glass or a melt close the gap, and with whole occupations the SCF then swings between two fillings
    and never settles. The orbitals are found twice: on a coarse grid with Broyden mixing, which finds its way from any
    start, and from there on the fine one with DIIS, which needs few of its dear steps.

    `cutoff` and `relative_cutoff` of the plane-wave grids in Ry: the sharp core of GTH oxygen needs 800. In one silica
    glass of 600 K, forces were wrong by 102 meV/Å (RMS) at 400, 30 at 600 and 9 at 800, against 1000. `scf_threshold`,
    CP2K's EPS_SCF, is the largest change of an element of the density matrix; 5e-4 leaves less than 1e-3 eV/Å.
    `screening`, its EPS_DEFAULT. `electronic_temperature` in K. `program` is found on the PATH, `ranks` > 1 starts it
    through `launcher`, `data_directory` holds basis sets and pseudopotentials (None: where the program was built to
    look). `timeout` in seconds, None waits for ever.

    PBE: Phys. Rev. Lett. 77, 3865; GTH: Phys. Rev. B 54, 1703; MOLOPT: J. Chem. Phys. 127, 114105; finite electronic
    temperature: Phys. Rev. 137, A1441; CP2K: J. Chem. Phys. 152, 194103.
    """

    cutoff: float = 800.0
    relative_cutoff: float = 40.0
    scf_threshold: float = 5e-4
    screening: float = 1e-8
    electronic_temperature: float = 1000.0
    max_cycles: int = 100
    program: str = "cp2k.psmp"
    ranks: int = 1
    launcher: tuple[str, ...] = ("mpirun", "--allow-run-as-root", "--oversubscribe", "-np")
    data_directory: str | None = None
    timeout: float | None = None

    @property
    def version(self) -> str:
        """What the program says of itself: "CP2K version 2023.1". Raises FileNotFoundError as `label`."""
        done = subprocess.run([*self.command()[-1:], "--version"], capture_output=True, text=True, check=True)
        return done.stdout.strip().splitlines()[0].strip()

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
        return parse_output(self._run(atoms), atoms)

    def input_text(self, atoms: Atoms) -> str:
        """The input file for one cell; it continues from the orbitals that `guess_text` leaves."""
        return self._text(
            atoms,
            task="ENERGY_FORCE",
            grid=(self.cutoff, self.relative_cutoff, self.screening),
            scf=FINE.format(threshold=self.scf_threshold),
            start=f"RESTART\n      MAX_SCF {self.max_cycles}",
        )

    def guess_text(self, atoms: Atoms) -> str:
        """The input file of the coarse SCF that comes first."""
        return self._text(atoms, task="ENERGY", grid=COARSE_GRID, scf=COARSE, start="ATOMIC\n      MAX_SCF 100")

    def _text(self, atoms: Atoms, *, task: str, grid: tuple[float, float, float], scf: str, start: str) -> str:
        vectors = "\n".join(
            f"      {name} {x:.10f} {y:.10f} {z:.10f}" for name, (x, y, z) in zip("ABC", atoms.cell.array, strict=True)
        )
        symbols = atoms.get_chemical_symbols()
        coordinates = "\n".join(
            f"      {symbol} {x:.10f} {y:.10f} {z:.10f}"
            for symbol, (x, y, z) in zip(symbols, atoms.positions, strict=True)
        )
        return INPUT.format(
            task=task,
            stress="ANALYTICAL" if task == "ENERGY_FORCE" else "NONE",
            cutoff=grid[0],
            relative_cutoff=grid[1],
            screening=grid[2],
            start=start,
            scf=scf,
            temperature=self.electronic_temperature,
            empty=4 + sum(VALENCE[symbol] for symbol in symbols) // 4,
            cell=vectors,
            coordinates=coordinates,
            kinds="\n".join(KIND.format(symbol=s, valence=VALENCE[s]) for s in sorted(set(symbols))),
        )

    def command(self) -> list[str]:
        """The command line, without the input file."""
        if shutil.which(self.program) is None:
            raise FileNotFoundError(
                f"program={self.program!r} is not on the PATH; install CP2K (Debian: `apt install cp2k "
                "libopenblas0-serial`, conda: `conda install -c conda-forge cp2k`) or name yours: "
                "CP2KOracle(program=...)"
            )
        return [self.program] if self.ranks == 1 else [*self.launcher, str(self.ranks), self.program]

    def _run(self, atoms: Atoms) -> str:
        """Both SCFs in a folder of their own; what the second printed."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if self.data_directory is not None:
            environment["CP2K_DATA_DIR"] = self.data_directory
        command = self.command()
        with own_folder("cp2k") as folder:
            # A guess that has not settled is a guess still: only the second run is asked whether it converged.
            for text in (self.guess_text(atoms), self.input_text(atoms)):
                Path(folder, "label.inp").write_text(text, encoding="utf-8")
                try:
                    done = run_program(
                        [*command, "label.inp"], folder=folder, environment=environment, timeout=self.timeout
                    )
                except subprocess.TimeoutExpired as error:
                    raise OracleError(f"CP2K took longer than timeout={self.timeout} s", atoms) from error
                if not Path(folder, "label-RESTART.wfn").exists():
                    raise OracleError(f"CP2K failed (exit status {done.returncode}): {_end(done)}", atoms)
        if "SCF run converged" not in done.stdout:
            if "SCF run NOT converged" in done.stdout:
                raise OracleError(f"the SCF did not converge in {self.max_cycles} cycles (CP2K)", atoms)
            raise OracleError(f"CP2K failed (exit status {done.returncode}): {_end(done)}", atoms)
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
            f"stress; expected 1, {len(atoms)}, 3: {_last_lines(output)}",
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


def _end(done: subprocess.CompletedProcess[str]) -> str:
    return _last_lines(done.stdout + done.stderr)


def _last_lines(text: str, lines: int = 12) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
