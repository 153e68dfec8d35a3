"""What a predictor says of itself: units, elements, what it was trained on, how it was calibrated."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ase.data import chemical_symbols

from uqlib.calibration.calibrated import Calibrated, load
from uqlib.calibration.calibrator import Calibrator
from uqlib.methods.shared.committee import Committee
from uqlib.methods.shared.distances import FeaturePredictor
from uqlib.networks.evaluation import OtherNetwork
from uqlib.networks.painn import PaiNN
from uqlib.prediction import Predictor

UNITS = {"positions": "Å", "energy": "eV", "forces": "eV/Å", "stress": "eV/Å³"}
UNKNOWN = "not known"
WIDTH = 100  # characters of a line


@dataclass(frozen=True, kw_only=True)
class About:
    """What `about` found out. What nobody wrote down is None; files of before say less."""

    method: str  # in words
    network: str  # in words
    elements: tuple[int, ...] | None  # atomic numbers that it may meet
    cutoff: float  # Å
    units: Mapping[str, str]  # of positions, energy, forces and stress
    uncertainty_unit: Literal["eV/Å", "nats"]  # of a force; energies then have theirs in eV or nats
    training_set: str | None
    structures: int | None  # of the training set
    fingerprint: str | None  # of the training set, as `networks.origin.fingerprint`
    level: str | None  # of the theory behind its labels
    version: str | None  # of the uqlib that trained it
    calibrators: tuple[Calibrator, ...]  # in the order in which they act; empty: not calibrated
    stress_uncertainty: bool = False  # whether it also says how sure it is of the stress

    def __str__(self) -> str:
        symbols = None if self.elements is None else " ".join(chemical_symbols[z] for z in self.elements)
        size = "" if self.structures is None else f", {self.structures} structures"
        of_stress = ", eV/Å³ of the stress" if self.stress_uncertainty else "; none of the stress"
        rows = {
            "method": self.method,
            "network": self.network,
            "elements": symbols or UNKNOWN,
            "cutoff": f"{self.cutoff:g} Å",
            "units": ", ".join(f"{name} {unit}" for name, unit in self.units.items()),
            "uncertainty": f"standard deviations, eV/Å of a force component, eV of an energy{of_stress}"
            if self.uncertainty_unit == "eV/Å"
            else "scores in nats: they rank, and are no standard deviations",
            "training set": UNKNOWN if self.training_set is None else self.training_set + size,
            "fingerprint": self.fingerprint or UNKNOWN,
            "level of theory": self.level or UNKNOWN,
            "uqlib": self.version or UNKNOWN,
            "calibration": "\n".join(str(found) for found in self.calibrators) or "none",
        }
        return "\n".join(_row(name, text) for name, text in rows.items())


def about(predictor: Predictor | str | Path, *, model: OtherNetwork | None = None) -> About:
    """What is known of a fitted predictor, or of the file that it was saved in; `model` and errors as `load`.

    `print(about("mine.uq"))` is what `python -m uqlib show mine.uq` prints.
    """
    found = load(predictor, model=model) if isinstance(predictor, (str, Path)) else predictor
    calibrators = []
    while isinstance(found, Calibrated):
        calibrators.insert(0, found.calibrator)
        found = found.predictor
    bare: Any = found
    networks: list[Any] = bare.models if isinstance(bare, Committee) else [getattr(bare, "model", None)]
    network = networks[0]
    trained_on = getattr(network, "trained_on", None) or {}
    known = network.recipe["elements"] if isinstance(network, PaiNN) else getattr(network, "elements", None)
    score = isinstance(bare, FeaturePredictor) and not calibrators
    return About(
        method=f"{len(networks)} networks, uncertain where they disagree"
        if isinstance(bare, Committee)
        else str(getattr(bare, "kind", type(bare).__name__)),
        network=_in_words(network),
        elements=None if known is None else tuple(known),
        cutoff=bare.cutoff,
        units=UNITS,
        uncertainty_unit="nats" if score else "eV/Å",
        training_set=trained_on.get("name"),
        structures=trained_on.get("structures"),
        fingerprint=trained_on.get("sha256"),
        level=trained_on.get("level"),
        version=trained_on.get("uqlib"),
        calibrators=tuple(calibrators),
        stress_uncertainty=getattr(bare, "knows_stress", False) and all(c.stress is not None for c in calibrators),
    )


def _in_words(network: Any) -> str:
    if isinstance(network, PaiNN):
        parts = ", ".join(f"{name} {network.recipe[name]}" for name in ("features", "interactions", "radial"))
        return f"PaiNN: {parts}, {str(network.embedding.dtype).removeprefix('torch.')}"
    return UNKNOWN if network is None else f"{type(network).__name__}, made elsewhere"


def _row(name: str, text: str) -> str:
    """One row of the table; further lines of the text stand below the first."""
    lines = [part for line in text.split("\n") for part in textwrap.wrap(line, WIDTH - 18) or [""]]
    return "\n".join(f"{label:<18}{line}" for label, line in zip([name, *[""] * len(lines)], lines, strict=False))
