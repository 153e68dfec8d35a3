"""Under which names energies, forces and stress come, and what of them becomes a label.

Habits of the field: plain names and ASE's own results; `REF_energy` (MACE); `dft_energy`, `dft_force`, `dft_virial`
(GAP); `DFT_forces`; `Energy`, `Virial` (NEP, GPUMD); `TotEnergy`, `force` (CASTEP); `energy_xtb`. A name is taken when
each of its words is known, so that `MACE_energy`, a prediction, is not. A virial is minus the stress times the volume.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from uqlib.structures.units import (
    ANGSTROM_PER,
    EV_PER,
    EV_PER_ANGSTROM3_PER,
    factor,
    force_factor,
)

LABELS = ("energy", "forces", "stress")
QUANTITIES = (*LABELS, "virial")
WORDS = {
    "energy": "energy", "toten": "energy", "totenergy": "energy", "etot": "energy",
    "force": "forces", "forces": "forces", "stress": "stress", "virial": "virial", "virials": "virial",
}  # fmt: skip
LITTLE = 1e-3  # eV/atom
QUALIFIERS = {
    "ref", "reference", "true", "target", "label", "tot", "total", "potential", "dft", "qm", "qc", "xtb", "gfn1",
    "gfn2",
    "vasp", "cp2k", "castep", "orca", "aims", "qe", "psi4", "pyscf", "dftb", "hf", "mp2", "ccsd", "ccsdt", "lda", "pbe",
    "pbe0", "pbesol", "rpbe", "revpbe", "blyp", "b3lyp", "scan", "r2scan", "wb97x", "wb97m", "d3", "d4", "mbd",
}  # fmt: skip
PLAIN = {*LABELS, *(f"REF_{label}" for label in LABELS)}  # what we ask for ourselves: nothing to be said
HINTS = {"energy": ("energ",), "forces": ("forc", "grad"), "stress": ("stress",), "virial": ("virial",)}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a reader is told about a file. A key may be several, of which a frame has one; units default to eV and Å."""

    energy_key: str | Sequence[str] | None = None
    forces_key: str | Sequence[str] | None = None
    stress_key: str | Sequence[str] | None = None
    virial_key: str | Sequence[str] | None = None
    energy_unit: str | None = None
    length_unit: str | None = None
    forces_unit: str | None = None  # None: energy_unit/length_unit
    stress_unit: str | None = None  # None: energy_unit/length_unit³

    def __post_init__(self) -> None:
        _ = self.energy, self.length, self.force, self.pressure  # raises ValueError for units that are not known

    @property
    def energy(self) -> float:
        """eV."""
        return factor(self.energy_unit or "eV", EV_PER, "energy_unit")

    @property
    def length(self) -> float:
        """Å."""
        return factor(self.length_unit or "Å", ANGSTROM_PER, "length_unit")

    @property
    def force(self) -> float:
        """eV/Å."""
        return self.energy / self.length if self.forces_unit is None else force_factor(self.forces_unit)

    @property
    def pressure(self) -> float:
        """eV/Å³."""
        if self.stress_unit is None:
            return self.energy / self.length**3
        return factor(self.stress_unit, EV_PER_ANGSTROM3_PER, "stress_unit")

    @property
    def units_stated(self) -> list[str]:
        """Names of the units that were given."""
        return [f.name for f in fields(self) if f.name.endswith("_unit") and getattr(self, f.name) is not None]

    def keys_for(self, quantity: str) -> list[str]:
        """The names that were given for a quantity; none where it is to be found out."""
        given = getattr(self, f"{quantity}_key")
        return [] if given is None else [given] if isinstance(given, str) else list(given)


def meaning(name: str) -> str | None:
    """Which quantity a name stands for, if each of its words is known: "dft_force" is "forces", "MACE_energy" none."""
    words = [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z0-9]+", name)]
    whole = re.sub(r"[^a-z0-9]", "", name.lower())
    if whole in WORDS:
        return WORDS[whole]
    found = {WORDS[w] for w in words if w in WORDS}
    rest = [w for w in words if w not in WORDS]
    return found.pop() if len(found) == 1 and all(word in QUALIFIERS for word in rest) else None


def looks_like_label(name: str) -> bool:
    """Whether a name that is not known might be one of a label; what this library predicted is none."""
    return any(may_be(name, quantity) for quantity in HINTS)


def may_be(name: str, quantity: str) -> bool:
    """Whether a name that is not known might be that of energies, forces, stress or virials."""
    low = name.lower()
    if low.startswith("uqlib_") or (quantity == "energy" and "grad" in low):  # a gradient of the energy is no energy
        return False
    return any(hint in low for hint in HINTS[quantity])


def everything(frame: ase.Atoms) -> dict[str, Any]:
    """All that a frame carries beside elements, positions, cell: results of a calculator first, then info, arrays."""
    results = {} if frame.calc is None else dict(frame.calc.results)
    arrays = {name: value for name, value in frame.arrays.items() if name not in ("numbers", "positions")}
    return {**arrays, **frame.info, **results}


def choose(frames: Sequence[ase.Atoms], options: Options, source: str) -> dict[str, list[str]]:
    """Quantity -> names under which these frames have it, in the order in which they count.

    Raises ValueError where a name was given that no frame has, and where two names are there that do not agree.
    """
    carried = [everything(frame) for frame in frames]
    names = list(dict.fromkeys(name for found in carried for name in found))
    chosen: dict[str, list[str]] = {}
    for quantity in QUANTITIES:
        if given := options.keys_for(quantity):
            if not any(name in found for name in given for found in carried):
                raise ValueError(f"{quantity}_key: {source} has no {' or '.join(given)}; it has {_listed(names)}")
            chosen[quantity] = given
            continue
        found_names = [name for name in names if meaning(name) == quantity]
        found_names.sort(key=lambda name: (name not in PLAIN, not name.startswith("REF_")))
        if f"REF_{quantity}" in found_names:  # a reference beside a result of some calculator: what else would it be
            found_names = [name for name in found_names if name != quantity]
        if len(found_names) > 1:
            _refuse_if_different(carried, found_names, quantity, source)
        chosen[quantity] = found_names
    if not chosen["energy"] and [name for name in names if may_be(name, "energy")] == ["free_energy"]:
        chosen["energy"] = ["free_energy"]
    if options.virial_key is not None and options.stress_key is None:
        chosen["stress"] = []
    if options.stress_key is not None and options.virial_key is None:
        chosen["virial"] = []
    return chosen


def smeared(frames: Sequence[ase.Atoms], chosen: Mapping[str, Sequence[str]]) -> float:
    """By how much a program's energy and free energy differ at most, eV/atom, where the energy is chosen; 0 if little.

    With smeared electrons a program extrapolates "the" energy to no smearing, but its forces do not belong to that.
    """
    if list(chosen.get("energy", ())) != ["energy"]:
        return 0.0
    found = [(everything(frame), len(frame)) for frame in frames]
    pairs = [(one["energy"], one["free_energy"], n) for one, n in found if {"energy", "free_energy"} <= set(one)]
    apart = [abs(float(e) - float(f)) / n for e, f, n in pairs if np.size(e) == np.size(f) == 1]
    return most if (most := max(apart, default=0.0)) > LITTLE else 0.0


def _refuse_if_different(carried: list[dict[str, Any]], names: list[str], quantity: str, source: str) -> None:
    """Two names are fine where a frame has both and they say the same."""
    for index, found in enumerate(carried):
        values = [found[name] for name in names if name in found]
        same = len(values) == len(names) and all(_agree(values[0], value) for value in values[1:])
        if values and not same:
            raise ValueError(
                f"{source}: {' and '.join(names)} may both be the {quantity} (first told apart in structure {index}); "
                f"say which: {quantity}_key={names[0]!r}, or one of the others"
            )


def _agree(first: Any, second: Any) -> bool:
    try:
        return np.allclose(np.ravel(first).astype(float), np.ravel(second).astype(float), rtol=1e-6, atol=1e-8)
    except (TypeError, ValueError):
        return False


def with_labels(frame: ase.Atoms, chosen: Mapping[str, Iterable[str]], options: Options, where: str) -> list[str]:
    """Turn what was chosen into labels in a `SinglePointCalculator`, in eV and Å; returns what there is to be said.

    `where` names file and frame in errors. Raises ValueError for what is no number or has the wrong shape.
    """
    carried, notes = everything(frame), []
    if options.length != 1:
        frame.set_cell(np.asarray(frame.cell) * options.length)
        frame.positions *= options.length
    values: dict[str, np.ndarray] = {}
    for quantity, names in chosen.items():
        name = next((name for name in names if name in carried), None)
        if name is None:
            continue
        for used in names:
            frame.info.pop(used, None)
            frame.arrays.pop(used, None)
        value = _number(carried[name], f"{where}: {name}")
        if value is None:
            notes.append(f"{where}: {name} is {carried[name]!r}, taken as no label")
            continue
        values[quantity] = _shaped(value, quantity, len(frame), f"{where}: {name}")
    found: dict[str, Any] = {}
    if "energy" in values:
        found["energy"] = float(values["energy"]) * options.energy
    if "forces" in values:
        found["forces"] = values["forces"] * options.force if options.force != 1 else values["forces"]
    found |= _stress(values, frame, options, where, notes)
    notes += [f"{where}: its {label} is not finite" for label, value in found.items() if not np.isfinite(value).all()]
    frame.calc = SinglePointCalculator(frame, **found) if found else None
    return notes


def _number(value: Any, what: str) -> np.ndarray | None:
    """Numbers as an array; None where the file says that there are none."""
    if value is None or (isinstance(value, str) and value.strip().lower() in ("none", "null", "n/a", "")):
        return None
    if isinstance(value, bool | np.bool_):
        raise ValueError(f"{what} is a bare word without a value, expected name=number in the header")
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{what} is {value!r}, expected numbers")
    return array.astype(np.float64) if array.dtype != np.float64 else array


def _shaped(value: np.ndarray, quantity: str, atoms: int, what: str) -> np.ndarray:
    sizes = {"energy": (1,), "forces": (3 * atoms,), "stress": (6, 9), "virial": (9,)}[quantity]
    if value.size not in sizes:
        expected = {"energy": "one number", "forces": f"shape ({atoms}, 3)", "stress": "6 or 9 numbers"}
        raise ValueError(f"{what} has shape {value.shape}, expected {expected.get(quantity, '9 numbers')}")
    if quantity == "energy":
        return value.reshape(())
    if quantity == "forces":
        return value.reshape(atoms, 3)
    return value.reshape(-1) if value.size == 6 else value.reshape(3, 3)


def _stress(
    values: Mapping[str, np.ndarray], frame: ase.Atoms, options: Options, where: str, notes: list[str]
) -> dict[str, np.ndarray]:
    """(6,) eV/Å³ in ASE's order and sign, positive under tension, from a stress or from a virial."""
    found: dict[str, np.ndarray] = {}
    if "stress" in values:
        stress = values["stress"]
        stress = full_3x3_to_voigt_6_stress(stress) if stress.ndim == 2 else stress
        found["stress"] = stress * options.pressure if options.pressure != 1 else stress
    if "virial" in values:
        volume = abs(np.linalg.det(np.asarray(frame.cell))) if frame.pbc.all() else 0.0
        if volume == 0:
            if np.any(values["virial"]):
                notes.append(f"{where}: its virial is left out, it is not periodic in all directions")
            return found
        from_virial = full_3x3_to_voigt_6_stress(-values["virial"] * options.energy / volume)
        if "stress" in found and not np.allclose(found["stress"], from_virial, rtol=1e-2, atol=1e-4):
            raise ValueError(
                f"{where}: stress and virial do not agree; stress = -virial/volume would be "
                f"{np.round(from_virial, 5).tolist()} eV/Å³, it says {np.round(found['stress'], 5).tolist()}; "
                "say which counts with stress_key or virial_key, and its unit with stress_unit"
            )
        found.setdefault("stress", from_virial)
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "none"
