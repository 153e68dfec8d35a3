"""Labels of a whole system in one file, to be kept and passed on; unpacked where the next session needs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from uqlib.active_learning.labels import REMEDY
from uqlib.common.json_files import parse_json, read_json
from uqlib.common.storage import write_atomically

ORACLE = "oracle"


def pack(folder: Path, file: Path) -> int:
    """Put all labels of `folder`, and those that `file` has already, into `file`, a line each; how many there are.

    A line {"oracle": ...} says who made those that follow. Order and text depend on nothing but the labels.
    """
    found = _read(file)
    for path in folder.glob("*.json"):
        found[path.stem] = read_json(path, "a label", REMEDY)
    if not found:
        return 0
    lines, oracle = [], None
    for name, label in sorted(found.items(), key=lambda item: (item[1][ORACLE], item[0])):
        if label[ORACLE] != oracle:
            oracle = label[ORACLE]
            lines.append(json.dumps({ORACLE: oracle}))
        rest = {key: value for key, value in label.items() if key != ORACLE and value is not None}
        lines.append(json.dumps({"name": name, **rest}, separators=(",", ":")))
    write_atomically(file, ("\n".join(lines) + "\n").encode())
    return len(found)


def unpack(file: Path, folder: Path) -> int:
    """The labels of `file` that `folder` does not have, a file each, as `LabelStore` reads them; how many they are."""
    missing = {name: label for name, label in _read(file).items() if not (folder / f"{name}.json").exists()}
    for name, label in missing.items():
        write_atomically(folder / f"{name}.json", json.dumps(label).encode())
    return len(missing)


def _read(file: Path) -> dict[str, dict[str, Any]]:
    """Name -> label. Raises ValueError for a file that is none."""
    found, oracle = {}, None
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for number, line in enumerate(lines, start=1):
        label = parse_json(line, f"{file}, line {number}", "a label", "restore the file from git")
        if not isinstance(label, dict):
            raise ValueError(f"{file}, line {number}: not a label; restore the file from git")
        if "name" not in label:
            oracle = label.get(ORACLE)
            continue
        if oracle is None:
            raise ValueError(f"{file}: labels before a line that names their oracle; it is not a file of labels")
        name = label.pop("name")
        absent = ("cell", "stress") if "error" in label else ("cell", "energy", "forces", "stress")
        found[name] = {ORACLE: oracle, **label, **{key: None for key in absent if key not in label}}
    return found
