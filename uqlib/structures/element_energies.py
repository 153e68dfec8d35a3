"""The energy of each element: given, of isolated atoms, or by least squares; and what of it data leave open.

A network learns what is left of a total energy when its elements are taken out. From structures of one composition the
energies of the elements cannot be told apart: any that add up to the same total serve as well. Elsewhere they do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ase
import numpy as np
from ase.data import atomic_numbers, chemical_symbols

NEAREST_IMAGE = 8.0  # Å; an atom whose images are at least so far away is taken for alone


@dataclass(frozen=True, kw_only=True)
class ElementEnergies:
    """Energies of K elements, eV, and how wrong they may be where the data do not determine them."""

    energies: np.ndarray  # (K,)
    doubt: np.ndarray  # (K, K) eV: a composition c (K,) has an energy that is open by |c @ doubt|
    undetermined: bool


def by_number(energies: Mapping[str | int, float] | Mapping[int, float]) -> dict[int, float]:
    """Atomic number -> eV, from symbols or numbers. Raises ValueError for what is no element or no number."""
    found: dict[int, float] = {}
    for element, energy in energies.items():
        number = atomic_numbers.get(element, 0) if isinstance(element, str) else int(element)
        if not 1 <= number <= 118:
            raise ValueError(f"E0: got the element {element!r}, expected a symbol as 'H' or an atomic number")
        if not np.isfinite(energy):
            raise ValueError(f"E0: got {energy} for {element}, expected an energy in eV")
        found[number] = float(energy)
    return found


def is_isolated(frame: ase.Atoms) -> bool:
    """One atom that has no neighbours, its own images included, whether or not `config_type` says so."""
    if len(frame) != 1:
        return False
    kind = re.sub(r"[^a-z]", "", str(frame.info.get("config_type", "")).lower())
    if kind in ("isolatedatom", "isolatedatoms", "isoatom", "isoatoms", "isolated", "singleatom", "freeatom"):
        return True
    lengths = np.linalg.norm(np.asarray(frame.cell), axis=1)[frame.pbc]
    return bool((lengths >= NEAREST_IMAGE).all()) if len(lengths) else True


def isolated_atoms(frames: Sequence[ase.Atoms]) -> dict[int, float]:
    """Atomic number -> eV, the lowest where an atom is there several times (in several spins, for one)."""
    found: dict[int, float] = {}
    for frame in frames:
        energy = None if frame.calc is None else frame.calc.results.get("energy")
        if energy is not None and is_isolated(frame):
            number = int(frame.numbers[0])
            found[number] = min(float(energy), found.get(number, np.inf))
    return found


def fit(frames: Sequence[ase.Atoms], elements: Sequence[int], E0: Mapping[int, float]) -> ElementEnergies:
    """Energies of `elements`: those in `E0`, then those of isolated atoms, and the rest by least squares.

    What the energies of `frames` leave open is taken as independent for each element, with the size of an energy per
    atom there: its part along the compositions that the data do not span is `doubt`.
    """
    known = {**isolated_atoms(frames), **E0}
    labelled = [f for f in frames if f.calc is not None and f.calc.results.get("energy") is not None]
    energies = np.zeros(len(elements))
    fixed = np.array([z in known for z in elements])
    energies[fixed] = [known[z] for z in elements if z in known]
    if not labelled:
        return ElementEnergies(energies=energies, doubt=np.zeros((len(elements),) * 2), undetermined=False)
    counts = np.array([[np.sum(frame.numbers == z) for z in elements] for frame in labelled]).astype(float)
    totals = np.array([frame.calc.results["energy"] for frame in labelled])  # pyright: ignore[reportOptionalMemberAccess]
    if not fixed.any():
        energies, *_ = np.linalg.lstsq(counts, totals, rcond=None)
    elif not fixed.all():
        rest = totals - counts[:, fixed] @ energies[fixed]
        energies[~fixed], *_ = np.linalg.lstsq(counts[:, ~fixed], rest, rcond=None)
    open_ = _null_space(counts[:, ~fixed])
    doubt = np.zeros((len(elements),) * 2)
    size = float(np.abs(totals / counts.sum(1)).mean())
    doubt[np.ix_(~fixed, ~fixed)] = size * (open_ @ open_.T)
    return ElementEnergies(energies=energies, doubt=doubt, undetermined=open_.shape[1] > 0)


def _null_space(counts: np.ndarray) -> np.ndarray:
    """(K, d) orthonormal compositions that no combination of the rows of (S, K) reaches."""
    if counts.shape[1] == 0:
        return np.zeros((0, 0))
    unique = np.unique(counts, axis=0)
    _, singular, axes = np.linalg.svd(unique, full_matrices=True)
    rank = int((singular > 1e-9 * max(singular.max(), 1.0)).sum())
    return axes[rank:].T


def open_question(frames: Sequence[ase.Atoms], E0: Mapping[int, float]) -> str:
    """In words, which elements the data cannot tell apart; an empty string where they can, or have no energies."""
    elements = sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})
    found = fit(frames, elements, E0)
    if not found.undetermined:
        return ""
    apart = [chemical_symbols[z] for k, z in enumerate(elements) if np.abs(found.doubt[k]).max() > 0]
    apart = apart or [chemical_symbols[z] for z in elements]  # numbers so large that the doubt is lost in them
    formulas = sorted({frame.symbols.formula.reduce()[0].format("hill") for frame in frames})
    shown = ", ".join(formulas[:3]) + (f" and {len(formulas) - 3} more" if len(formulas) > 3 else "")
    return (
        f"the energies of {' and '.join(apart)} cannot be told apart: all structures are made of {shown}; "
        "add isolated atoms, or give E0={'" + apart[0] + "': ..., ...}, before predicting other compositions"
    )
