"""The cards of a data set, `card.json` for programs and `card.md` for people: every number in them is computed here."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

LICENCE = "CC0-1.0"
UNITS = {"energy": "eV", "forces": "eV/Å", "positions": "Å", "stress": "eV/Å^3", "temperature": "K", "umbrella": "Å"}


@dataclass(frozen=True, kw_only=True)
class CardText:
    """What a person has to say about a data set; the counts and checks are computed."""

    title: str
    level: str  # level of theory, one line
    settings: Mapping[str, str | float]  # how converged
    packages: Sequence[str]  # of the labels; their versions go on the card
    sampling: Mapping[str, str]  # split -> how its geometries were made
    info_keys: Mapping[str, str]  # what `atoms.info` holds
    limits: Sequence[str]
    references: Sequence[str]
    command: str
    programs: Mapping[str, str] = field(default_factory=dict)  # versions of what is not a Python package


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def summarise(frames: Sequence[Atoms]) -> dict[str, Any]:
    """Counts and ranges of labelled frames: eV per atom, eV/Å."""
    per_atom = [atoms.get_potential_energy() / len(atoms) for atoms in frames]
    sizes = np.concatenate([np.linalg.norm(atoms.get_forces(), axis=1) for atoms in frames])
    return {
        "frames": len(frames),
        "groups": len({atoms.info["group"] for atoms in frames}),
        "sources": dict(sorted(Counter(atoms.info["source"] for atoms in frames).items())),
        "energy_per_atom_min": round(min(per_atom), 6),
        "energy_per_atom_max": round(max(per_atom), 6),
        "force_rms": round(float(np.sqrt((sizes**2).mean() / 3)), 4),
        "force_max": round(float(sizes.max()), 4),
    }


def write_cards(
    folder: Path,
    *,
    name: str,
    text: CardText,
    splits: Mapping[str, Sequence[Atoms]],
    planned: Sequence[Atoms],
    seed: int,
    checks: Mapping[str, Any],
    agreement: Mapping[str, Any],
) -> dict[str, Any]:
    """Write both cards for the files `folder/<split>.xyz` as they are now, and return the machine-readable one."""
    counts = Counter(atoms.info["split"] for atoms in planned)
    entries = {
        split: {
            "file": f"{split}.xyz",
            "sha256": sha256(folder / f"{split}.xyz"),
            "planned": counts[split],
            **summarise(frames),
            "sampling": text.sampling[split],
        }
        for split, frames in splits.items()
    }
    labelled = sum(map(len, splits.values()))
    formulas = sorted({atoms.get_chemical_formula() for frames in splits.values() for atoms in frames})
    card = {
        "name": name,
        "title": text.title,
        "formulas": formulas,
        "level": text.level,
        "settings": dict(text.settings),
        "versions": {**{package: version(package) for package in text.packages}, **text.programs},
        "licence": LICENCE,
        "units": UNITS,
        "info_keys": dict(text.info_keys),
        "command": text.command,
        "seed": seed,
        "complete": labelled == len(planned),
        "labelled": labelled,
        "planned": len(planned),
        "not_started": sorted(set(counts) - set(splits)),
        "splits": entries,
        "checks": dict(checks),
        "agreement": dict(agreement),
        "limits": list(text.limits),
        "references": list(text.references),
    }
    replace(folder / "card.json", json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    replace(folder / "card.md", markdown(card))
    return card


def markdown(card: Mapping[str, Any]) -> str:
    """The same card, for people."""
    missing = f", not started: {', '.join(card['not_started'])}" if card["not_started"] else ""
    state = (
        "complete"
        if card["complete"]
        else f"**partial**: {card['labelled']} of {card['planned']} planned geometries are labelled{missing}; "
        "every split is in an order in which its beginning is a fair sample of the whole"
    )
    lines = [
        f"# {card['title']}",
        "",
        f"{', '.join(card['formulas'])}. {state[0].upper()}{state[1:]}. Licence {card['licence']}. "
        "This card is written by the script that makes the data; do not edit it.",
        "",
        "## Level of theory",
        "",
        f"{card['level']}. Versions: {', '.join(f'{k} {v}' for k, v in card['versions'].items())}.",
        "",
        *(f"- {key}: {value}" for key, value in card["settings"].items()),
        "",
        "## Splits",
        "",
        "| split | frames | of planned | groups | energy per atom / eV | force RMS, max / eV/Å | SHA-256 |",
        "|---|---|---|---|---|---|---|",
    ]
    for split, entry in card["splits"].items():
        lines.append(
            f"| `{split}` | {entry['frames']} | {entry['planned']} | {entry['groups']} "
            f"| {entry['energy_per_atom_min']:.4f} to {entry['energy_per_atom_max']:.4f} "
            f"| {entry['force_rms']:.2f}, {entry['force_max']:.2f} | `{entry['sha256'][:12]}` |"
        )
    lines += ["", *(f"- `{split}`: {entry['sampling']}" for split, entry in card["splits"].items())]
    lines += ["", "Each frame carries, in `atoms.info`:", ""]
    lines += [f"- `{key}`: {meaning}" for key, meaning in card["info_keys"].items()]
    lines += ["", f"Made by `{card['command']}`, seed {card['seed']}.", ""]
    for title, key in (("Checks", "checks"), ("Agreement with published labels", "agreement")):
        if card[key]:
            lines += [f"## {title}", "", *_bullets(card[key]), ""]
    lines += ["## Known limits", "", *(f"- {limit}" for limit in card["limits"]), ""]
    lines += ["## References", "", *(f"- {reference}" for reference in card["references"]), ""]
    return "\n".join(lines)


def _bullets(values: Mapping[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}- {key}:", *_bullets(value, indent + "  ")]
        else:
            lines.append(f"{indent}- {key}: {value}")
    return lines


def replace(path: Path, text: str) -> None:
    """Write `text` to `path` in one step."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
