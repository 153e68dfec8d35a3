"""What CP2K prints of one structure after another: cell, coordinates, energy, forces, stress. ASE has no reader for it.

Its units are hartree, hartree/bohr and, for the stress, bar or GPa with the sign of a pressure, as its headings say.
"""

from __future__ import annotations

import re

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from uqlib.structures.units import (
    EV_PER_ANGSTROM3_PER,
    EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR,
    EV_PER_HARTREE,
)

NUMBER = r"[-+]?\d+\.\d+(?:[EeDd][-+]?\d+)?"
THREE = rf"\s+({NUMBER})\s+({NUMBER})\s+({NUMBER})"
MARK = "CP2K| version string"
ENERGY = re.compile(rf"ENERGY\| Total FORCE_EVAL \( \w+ \) energy \[(?:a\.u\.|hartree)\][: ]\s+({NUMBER})")
ATOM = re.compile(rf"^\s+\d+\s+\d+\s+([A-Z][a-z]?)\s+\d+{THREE}", re.MULTILINE)
FORCE = re.compile(rf"^\s+\d+\s+\d+\s+[A-Z][a-z]?{THREE}\s*$|^ FORCES\|\s+\d+{THREE}\s", re.MULTILINE)
VECTOR = re.compile(rf"CELL\| Vector [abc] \[angstrom\]:?{THREE}")
STRESS = re.compile(rf"^ (?:STRESS\|)?\s+[xyzXYZ]{THREE}\s*$", re.MULTILINE)


def parse(text: str) -> list[ase.Atoms]:
    """The structures of a CP2K output whose coordinates it prints, with the labels it prints beside them.

    Raises ValueError where energies and coordinates do not come in pairs, so that none is given another's.
    """
    blocks = re.split(r"ATOMIC COORDINATES IN (?:ANGSTROM|angstrom)", text)
    if len(blocks) < 2:
        raise ValueError("CP2K output without ATOMIC COORDINATES; print them, or read the trajectory that it wrote")
    frames, cell = [], _cell(blocks[0])
    periodic = re.search(r"CELL\|? .*PERIODIC.*NONE|POISSON\| Periodicity\s+NONE", blocks[0]) is None
    for block in blocks[1:]:
        atoms = ATOM.findall(block)
        energies = ENERGY.findall(block)
        if not atoms or len(energies) > 1:
            raise ValueError(f"CP2K output with {len(energies)} energies for one set of coordinates, expected one")
        frame = ase.Atoms([a[0] for a in atoms], positions=_numbers([a[1:] for a in atoms]), cell=cell, pbc=periodic)
        cell = _cell(block) if VECTOR.search(block) else cell
        frame.calc = SinglePointCalculator(frame, **_labels(block, len(frame), energies)) if energies else None
        frames.append(frame)
    return frames


def _labels(block: str, count: int, energies: list[str]) -> dict:
    found: dict = {"energy": _number(energies[0]) * EV_PER_HARTREE}
    heading = re.search(r"ATOMIC FORCES in \[a\.u\.\]|FORCES\| Atomic forces \[hartree/bohr\]", block)
    forces = [f[:3] if f[0] else f[3:] for f in FORCE.findall(block[heading.end() :])[:count]] if heading else []
    if heading and len(forces) != count:
        raise ValueError(f"CP2K output with {len(forces)} forces for {count} atoms")
    if forces:
        found["forces"] = _numbers(forces) * EV_PER_ANGSTROM_PER_HARTREE_PER_BOHR
    title = re.search(r"(?:Analytical )?(?:STRESS TENSOR|stress tensor) \[(GPa|bar|kbar)\]", block)
    rows = STRESS.findall(block[title.end() :])[:3] if title else []
    if title and len(rows) == 3:
        tensor = -_numbers(rows) * EV_PER_ANGSTROM3_PER[title.group(1)]
        found["stress"] = full_3x3_to_voigt_6_stress(tensor)
    return found


def _cell(text: str) -> np.ndarray | None:
    vectors = VECTOR.findall(text)[-3:]
    return _numbers(vectors) if len(vectors) == 3 else None


def _numbers(rows: list[tuple[str, ...]]) -> np.ndarray:
    return np.array([[_number(word) for word in row] for row in rows])


def _number(word: str) -> float:
    return float(word.replace("D", "E").replace("d", "e"))
