"""Units that do not look like eV and Å. Two checks rest on physics, so that they know the unit and not just a size."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np

from uqlib.structures.units import EV_PER, EV_PER_ANGSTROM3_PER_GPA, EV_PER_HARTREE

ALL_ELECTRON = 10  # elements up to neon, where total energies of pseudopotentials lie far from all others
AT_MOST = 200  # frames that are looked at
NEAR = 0.4  # Å, the largest move of an atom between two frames whose energies are compared
HIGH_PRESSURE = 0.5  # eV/Å³, 80 GPa
LARGE_FORCE = 15.0  # eV/Å, root mean square of a component


def doubts(frames: Sequence[ase.Atoms]) -> list[str]:
    """One remark for each quantity whose unit does not look like ours."""
    step = max(1, len(frames) // AT_MOST)
    sample = [(frame, frame.calc.results) for frame in frames[::step] if frame.calc is not None]
    found = [_total_energies(sample), _energy_against_force(frames), _sizes(sample)]
    return [remark for remark in found if remark]


def thomas_fermi(numbers: np.ndarray) -> float:
    """Total energy of the separate atoms, hartree: -0.7687 Z^(7/3) + Z²/2 - 0.2699 Z^(5/3), within a few per cent.

    Thomas-Fermi with Scott's and Schwinger's corrections (Schwinger, Phys. Rev. A 24, 2353 (1981)).
    """
    z = np.asarray(numbers, dtype=float)
    return float(np.sum(-0.768745 * z ** (7 / 3) + 0.5 * z**2 - 0.269900 * z ** (5 / 3)))


def _total_energies(sample: Sequence[tuple[ase.Atoms, dict]]) -> str:
    ratios = [
        results["energy"] / thomas_fermi(frame.numbers)
        for frame, results in sample
        if "energy" in results and frame.numbers.max() <= ALL_ELECTRON and frame.numbers.max() > 1
    ]
    ratios = [ratio for ratio in ratios if np.isfinite(ratio)]
    if len(ratios) < 1:
        return ""
    ratio = float(np.median(ratios))
    for unit in ("hartree", "rydberg", "kcal/mol", "kJ/mol"):
        if abs(ratio * EV_PER[unit] / EV_PER_HARTREE - 1) < 0.06:
            return f"energies look like total energies in {unit}; if they are, read with energy_unit={unit!r}"
    return ""


def _energy_against_force(frames: Sequence[ase.Atoms]) -> str:
    """Between near geometries E₂ - E₁ = -(F₁ + F₂)·(r₂ - r₁)/2, exactly where the energy is quadratic."""
    work, change = [], []
    last: dict[bytes, list[ase.Atoms]] = {}
    for frame in frames[: 5 * AT_MOST]:
        results = {} if frame.calc is None else frame.calc.results
        if "energy" not in results or "forces" not in results or len(frame) < 2:
            continue
        before = last.setdefault(frame.numbers.tobytes() + np.asarray(frame.cell).tobytes(), [])
        for other in before[-3:]:
            move = frame.positions - other.positions
            if 1e-4 < np.abs(move).max() < NEAR:
                known = other.calc.results  # pyright: ignore[reportOptionalMemberAccess]
                work.append(-0.5 * float(np.sum((results["forces"] + known["forces"]) * move)))
                change.append(results["energy"] - known["energy"])
        before.append(frame)
    w, c = np.array(work), np.array(change)
    good = np.isfinite(w) & np.isfinite(c)
    w, c = w[good], c[good]
    if len(w) < 8 or not w.any() or not c.any() or abs(np.corrcoef(w, c)[0, 1]) < 0.9:
        return ""
    slope = float(w @ c / (w @ w))
    if 0.7 < slope < 1.4:
        return ""
    if -1.4 < slope < -0.7:
        return "forces point uphill in energy: they look like gradients, which have the other sign"
    names = {f"energies in {a}, forces in {b}/Å": EV_PER[b] / EV_PER[a] for a in EV_PER for b in EV_PER if a != b}
    bohr = 0.529177
    names |= {f"energies in {a}, forces in {a}/bohr": 1 / bohr for a in ("eV", "hartree")}
    names["energies in eV, forces in hartree/bohr"] = EV_PER_HARTREE / bohr
    names["energies in hartree, forces in eV/Å"] = 1 / EV_PER_HARTREE
    near = min(names, key=lambda name: abs(np.log(abs(slope) / names[name])))
    like = f": it looks like {near}" if abs(np.log(abs(slope) / names[near])) < 0.3 else ""
    return f"energies change {slope:.3g} times as much as forces say{like}; state energy_unit and forces_unit"


def _sizes(sample: Sequence[tuple[ase.Atoms, dict]]) -> str:
    forces = [np.square(results["forces"]).mean() for _, results in sample if "forces" in results]
    size = float(np.sqrt(np.nanmedian(forces))) if forces else 0.0
    if size > LARGE_FORCE:
        return f"forces are large, {size:.3g} eV/Å; are they in kcal/mol/Å (energy_unit='kcal/mol')?"
    pressures = [abs(np.mean(results["stress"][:3])) for _, results in sample if "stress" in results]
    pressure = float(np.nanmedian(pressures)) if pressures else 0.0
    if pressure > HIGH_PRESSURE:
        unit = "GPa" if pressure < 30 else "kbar" if pressure < 1000 else "bar"
        return (
            f"stress is large, {pressure / EV_PER_ANGSTROM3_PER_GPA:.3g} GPa; it may be in {unit} "
            f"(stress_unit={unit!r})"
        )
    return ""
