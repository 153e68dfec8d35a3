"""Label published geometries with our oracle and save how both labels agree, for the card.

    UQLIB_DATA_DIR=<folder of downloads> python -m scripts.data.compare_published ammonia
    UQLIB_DATA_DIR=<folder of downloads> python -m scripts.data.compare_published ethanol

Energies of two codes differ by a constant for each composition (core electrons, auxiliary basis); what must agree is
their scatter about it, and the forces.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from scripts.data.campaign import SCRIPTS, write_atomically
from scripts.data.relabel import ORACLES
from uqlib.oracles import label_many
from uqlib.structures import datasets

# Which published file each of our sets is compared with, who made it, and how many frames are labelled again.
PUBLISHED = {
    "ammonia": (
        "ammonia.pth.tar",
        "ammonia set of Schwalbe-Koda et al., Nat. Commun. 12, 5104 (2021); ORCA, with energies from another zero",
        8,
    ),
    "ethanol": ("rmd17_ethanol_train.xyz", "rMD17 ethanol, Christensen and von Lilienfeld (2020); ORCA", 4),
}


def agreement(published: Sequence[Atoms], ours: Sequence[Atoms]) -> dict[str, int | float]:
    """Energy offset and its scatter (meV), force RMSE beside the size of the forces (eV/Å)."""
    offsets = np.array(
        [a.get_potential_energy() - b.get_potential_energy() for a, b in zip(ours, published, strict=True)]
    )
    reference = np.concatenate([atoms.get_forces() for atoms in published])
    errors = np.concatenate([atoms.get_forces() for atoms in ours]) - reference
    return {
        "frames": len(ours),
        "energy offset, ours minus published (meV)": round(1000 * float(offsets.mean()), 3),
        "scatter of the energy offset (meV)": round(1000 * float(offsets.std()), 4),
        "force RMSE (eV/Å)": round(float(np.sqrt((errors**2).mean())), 5),
        "largest force difference (eV/Å)": round(float(np.abs(errors).max()), 5),
        "force RMS of the published frames (eV/Å)": round(float(np.sqrt((reference**2).mean())), 3),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(PUBLISHED))
    options = parser.parse_args(arguments)
    file, source, count = PUBLISHED[options.name]
    folder = os.environ.get("UQLIB_DATA_DIR")
    if folder is None or not Path(folder, file).exists():
        raise SystemExit(f"UQLIB_DATA_DIR={folder!r} holds no {file}; set it to the folder of the published data")
    everything = datasets.read(Path(folder, file)).atoms
    # Evenly spread over the file, so that initial and adversarial geometries both occur.
    published = [everything[i] for i in np.linspace(0, len(everything) - 1, count).round().astype(int)]
    results = label_many(ORACLES[options.name][0], published)
    pairs = [(a, result.atoms) for a, result in zip(published, results, strict=True) if result.atoms is not None]
    report: dict[str, str | int | float] = {"published": source}
    report |= agreement([a for a, _ in pairs], [b for _, b in pairs])
    report["geometries that our oracle refused"] = count - len(pairs)
    write_atomically(
        SCRIPTS / "agreement" / f"{options.name}.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    )
    print(json.dumps(report, indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
