"""Label stored frames again and compare: `python -m scripts.data.relabel ammonia train 3`.

Prints stored and new energy, the largest force difference and the tolerance; exit status 1 if it is exceeded.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from scripts.data.campaign import DATA, read_frames
from uqlib.oracles import CP2KOracle, Oracle, PySCFOracle, VashishtaOracle


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a new label may be from the stored one on another machine or version."""

    energy: float  # eV per atom
    forces: float  # eV/Å, largest component


# A converged SCF repeats to 1e-5 eV/Å here; the rest is for other versions of the codes.
ORACLES: dict[str, tuple[Oracle, Tolerance]] = {
    "ammonia": (PySCFOracle(level="bp86-d3/def2-svp"), Tolerance(energy=1e-5, forces=2e-4)),
    "ethanol": (PySCFOracle(level="pbe/def2-svp"), Tolerance(energy=1e-5, forces=2e-4)),
    "malonaldehyde": (PySCFOracle(level="pbe/def2-svp"), Tolerance(energy=1e-5, forces=2e-4)),
    "silica": (CP2KOracle(data_directory="/usr/share/cp2k"), Tolerance(energy=1e-5, forces=2e-3)),
    "silica_vashishta": (VashishtaOracle(), Tolerance(energy=1e-7, forces=1e-6)),
}


def differences(stored: Atoms, new: Atoms) -> tuple[float, float]:
    """Energy difference in eV per atom and the largest force difference in eV/Å, new against stored."""
    energy = (new.get_potential_energy() - stored.get_potential_energy()) / len(stored)
    return energy, float(np.abs(new.get_forces() - stored.get_forces()).max())


def relabel(name: str, split: str, index: int) -> bool:
    """Label one stored frame again, print the comparison, and say whether it is within the tolerance."""
    oracle, tolerance = ORACLES[name]
    frames = read_frames(DATA / name / f"{split}.xyz")
    if not 0 <= index < len(frames):
        raise SystemExit(f"index={index}: {name}/{split} has {len(frames)} frames")
    stored = frames[index]
    new = oracle.label(stored)
    energy, forces = differences(stored, new)
    good = abs(energy) <= tolerance.energy and forces <= tolerance.forces
    print(f"{name}/{split} frame {index}, {stored.get_chemical_formula()}, {oracle}")
    print(f"  energy    stored {stored.get_potential_energy():.6f}  new {new.get_potential_energy():.6f} eV")
    print(f"  energy    difference {energy:+.1e} eV per atom, tolerance {tolerance.energy:.1e}")
    print(f"  forces    largest difference {forces:.1e} eV/Å, tolerance {tolerance.forces:.1e}")
    print("  agrees" if good else "  DOES NOT AGREE")
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(ORACLES))
    parser.add_argument("split")
    parser.add_argument("index", type=int, help="counted from 0, in the file of the split")
    options = parser.parse_args(arguments)
    return 0 if relabel(options.name, options.split, options.index) else 1


if __name__ == "__main__":
    raise SystemExit(main())
