"""Silica geometries from classical dynamics: LAMMPS with the Vashishta potential of 1990.

P. Vashishta, R. K. Kalia, J. P. Rino and I. Ebbsjo, Phys. Rev. B 41, 12197 (1990); the file `SiO.1990.vashishta` comes
with LAMMPS. It only proposes geometries: every label is density-functional theory. (The Tersoff potential that also
comes with LAMMPS runs seven times faster, but quenched as fast it left 29 % of the Si three- or fivefold coordinated.)
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from ase.spacegroup import crystal

from uqlib.oracles.vashishta import potential_file

GRAMS_PER_CM3 = 1.66053906660  # of 1 atomic mass unit per Å^3
SIO2_MASS = 28.085 + 2 * 15.999
TRIES = 10_000  # to place the atoms of one SiO2

HEADER = """
units metal
atom_style atomic
atom_modify map array
boundary p p p
read_data start.data
mass 1 28.085
mass 2 15.999
pair_style vashishta
pair_coeff * * {potential} Si O
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
timestep 0.001
thermo 20000
velocity all create {temperature:.1f} {seed} mom yes rot no dist gaussian
"""


def thermostat(start: float, end: float, picoseconds: float, seed: int) -> str:
    """Langevin dynamics with the temperature going from `start` to `end` (K)."""
    return (
        f"fix move all nve\nfix heat all langevin {start:.1f} {end:.1f} 0.2 {seed}\n"
        f"run {round(picoseconds * 1000)}\nunfix heat\nunfix move\n"
    )


def sample(temperature: float, frames: int, every: float, seed: int, *, settle: float = 4.0) -> str:
    """`frames` frames, `every` ps apart, at `temperature` (K), after `settle` ps."""
    text = thermostat(temperature, temperature, settle, seed)
    for frame in range(frames):
        text += thermostat(temperature, temperature, every, seed + 1 + frame) + WRITE
    return text


WRITE = "write_dump all custom frames.dump id type xu yu zu modify sort id append yes format float %.8f\n"


def simulate(start: Atoms, commands: str, *, temperature: float, seed: int) -> list[Atoms]:
    """Run LAMMPS `commands` from `start` and return the frames they wrote, wrapped into their cells.

    Raises RuntimeError with the end of LAMMPS's output if it fails.
    """
    with tempfile.TemporaryDirectory(prefix="lammps-") as folder:
        ase.io.write(
            Path(folder, "start.data"), start, format="lammps-data", specorder=["Si", "O"], atom_style="atomic"
        )
        header = HEADER.format(potential=potential_file(), temperature=temperature, seed=seed)
        Path(folder, "run.in").write_text(header + commands, encoding="utf-8")
        done = subprocess.run(["lmp", "-in", "run.in"], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"LAMMPS failed:\n{(done.stdout + done.stderr)[-1500:]}")
        read = list(ase.io.iread(Path(folder, "frames.dump"), index=":", format="lammps-dump-text"))
    frames = []
    for atoms in read:
        # Elements come back as LAMMPS's types, 1 and 2.
        numbers = np.where(atoms.numbers == 1, 14, 8)
        frames.append(Atoms(numbers=numbers, positions=atoms.positions, cell=atoms.cell, pbc=True))
        frames[-1].wrap()
    return frames


def random_start(units: int, density: float, rng: np.random.Generator) -> Atoms:
    """`units` SiO2 placed at random in a cube of `density` (g/cm^3), no two atoms nearer than 1.5 Å."""
    length = (units * SIO2_MASS * GRAMS_PER_CM3 / density) ** (1 / 3)
    cell = np.eye(3) * length
    positions = rng.uniform(0, length, (1, 3))
    for _ in range(TRIES * units):
        candidate = rng.uniform(0, length, (1, 3))
        if get_distances(candidate, positions, cell=cell, pbc=True)[1].min() > 1.5:
            positions = np.vstack([positions, candidate])
        if len(positions) == 3 * units:
            break
    else:
        raise ValueError(f"density: got {density} g/cm^3, no room for {3 * units} atoms 1.5 Å apart; ask for less")
    return Atoms(f"Si{units}O{2 * units}", positions=positions, cell=cell, pbc=True)


def quench(units: int, density: float, rng: np.random.Generator) -> Atoms:
    """A glass at 300 K: 5 ps at 5000 K, 5 ps down to 4000 K, then 45 ps of cooling to 300 K."""
    seed = int(rng.integers(1, 10**6))
    commands = (
        "minimize 1e-6 1e-6 200 1000\n"
        + f"velocity all create 5000.0 {seed} mom yes rot no dist gaussian\n"
        + thermostat(5000, 5000, 5, seed + 1)
        + thermostat(5000, 4000, 5, seed + 2)
        + thermostat(4000, 300, 45, seed + 3)
        + WRITE
    )
    return simulate(random_start(units, density, rng), commands, temperature=300.0, seed=seed)[-1]


def tension(strains: Sequence[float], seed: int) -> str:
    """Stretch x to `strains` (of the start) one after another at 300 K, 5 ps each, Poisson contraction left out."""
    text, before = "", 0.0
    for k, strain in enumerate(strains):
        factor = (1 + strain) / (1 + before)
        text += f"change_box all x scale {factor:.8f} remap units box\n"
        text += thermostat(300, 300, 5, seed + k) + WRITE
        before = strain
    return text


def compression(volumes: Sequence[float], seed: int) -> str:
    """Shrink the cell evenly to `volumes` (of the start) one after another at 300 K, 5 ps each."""
    text, before = "", 1.0
    for k, volume in enumerate(volumes):
        factor = (volume / before) ** (1 / 3)
        text += f"change_box all x scale {factor:.8f} y scale {factor:.8f} z scale {factor:.8f} remap units box\n"
        text += thermostat(300, 300, 5, seed + k) + WRITE
        before = volume
    return text


def crystals() -> dict[str, Atoms]:
    """Supercells at experimental lattice constants: alpha-quartz, alpha-cristobalite, the SOD framework."""
    quartz = crystal(
        ["Si", "O"],
        [(0.4697, 0.0, 1 / 3), (0.4133, 0.2672, 0.2145)],
        spacegroup=152,
        cellpar=[4.9134, 4.9134, 5.4052, 90, 90, 120],
    )
    cristobalite = crystal(
        ["Si", "O"],
        [(0.3003, 0.3003, 0.0), (0.2392, 0.1044, 0.1787)],
        spacegroup=92,
        cellpar=[4.9709, 4.9709, 6.9278, 90, 90, 90],
    )
    sodalite = crystal(
        ["Si", "O"],
        [(0.25, 0.5, 0.0), (0.0, 0.353, 0.353)],
        spacegroup=229,
        cellpar=[8.83, 8.83, 8.83, 90, 90, 90],
    )
    return {
        "quartz": quartz.repeat((2, 2, 2)),
        "cristobalite": cristobalite.repeat((2, 2, 2)),
        "sodalite": sodalite,
    }
