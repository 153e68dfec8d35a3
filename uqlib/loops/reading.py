"""The campaign's file, read strictly: what is not known is refused, and what is missing is named."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from uqlib.dynamics import BondLengths, ClosestContact, Coordination, ShortestDistance
from uqlib.loops.grid import Grid
from uqlib.loops.rules import AllDistances
from uqlib.loops.settings import PROPOSALS, Barrier, Driver, Sample, Start, Survival, System, Watched, Where
from uqlib.networks.training import Settings
from uqlib.oracles import CP2KOracle, PySCFOracle, VashishtaOracle
from uqlib.structures import datasets

FOLDER = datasets.DATA / "loops"
"""Where the grid of the book and its results are."""
DEFAULT = FOLDER / "loops.toml"
ORACLES = {"pyscf": PySCFOracle, "cp2k": CP2KOracle, "vashishta": VashishtaOracle}
RULES = {
    "bonds": BondLengths,
    "shortest distance": ShortestDistance,
    "all distances": AllDistances,
    "closest contact": ClosestContact,
    "coordination": Coordination,
}
Built = TypeVar("Built")


def load_grid(path: str | Path = DEFAULT) -> Grid:
    """The campaign that comes with the library, or that of a file of yours in the same form.

    Raises ValueError that names the place in the file: an entry too many or too few, a value that is not understood.
    """
    path = Path(path)
    if path.suffix != ".toml" or not path.is_file():
        raise ValueError(f"grid: got {str(path)!r}, expected a .toml file such as {DEFAULT}")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        _only(found, "", {"learners", "systems", "drivers"})
        drivers = {
            name: build(Driver, {"name": name, **table}, f"drivers.{name}") for name, table in found["drivers"].items()
        }
        systems = {name: _system(name, table) for name, table in found["systems"].items()}
        return Grid(name=path.stem, systems=systems, drivers=drivers, learners=found["learners"])
    except (ValueError, TypeError, AttributeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _system(name: str, table: Mapping[str, Any]) -> System:
    where = f"systems.{name}"
    known = {f.name for f in fields(System)} - {"name"}
    _only(table, where, known, optional={"barrier", "first"})
    found: dict[str, Any] = {"first": 0, **table, "name": name, "seeds": tuple(table["seeds"])}
    found["oracle"] = _chosen(ORACLES, table["oracle"], f"{where}.oracle")
    found["training"] = build(Settings, table["training"], f"{where}.training")
    _only(table["start"], f"{where}.start", {"train", "valid"})
    starts = {split: build(Sample, sample, f"{where}.start.{split}") for split, sample in table["start"].items()}
    found["start"] = Start(**starts)
    _only(table["proposals"], f"{where}.proposals", set(PROPOSALS), optional=set(PROPOSALS))
    found["proposals"] = {
        kind: build(PROPOSALS[kind], options, f"{where}.proposals.{kind}")
        for kind, options in table["proposals"].items()
    }
    found["survival"] = _survival(table["survival"], f"{where}.survival")
    if "barrier" in table:
        found["barrier"] = build(Barrier, table["barrier"], f"{where}.barrier")
    return System(**found)


def _survival(table: Mapping[str, Any], where: str) -> Survival:
    found = dict(table)
    for name, kind in {"rest": Where, "ends": Watched, "between": Watched, "learners": Watched}.items():
        if name in table:
            found[name] = build(kind, table[name], f"{where}.{name}")
    found["rules"] = {
        name: tuple(_chosen(RULES, rule, f"{where}.rules.{name}") for rule in rules)
        for name, rules in table.get("rules", {}).items()
    }
    if not found["rules"] or not all(found["rules"].values()):
        raise ValueError(f"{where}.rules: expected at least one set of at least one rule")
    return build(Survival, found, where)


def build(kind: type[Built], table: Mapping[str, Any], where: str) -> Built:
    """An object of the dataclass `kind` from a table that names its fields, lists as tuples. Raises ValueError."""
    known = fields(kind)  # pyright: ignore[reportArgumentType]
    optional = {f.name for f in known if f.default is not MISSING or f.default_factory is not MISSING}
    _only(table, where, {f.name for f in known}, optional=optional)
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in table.items()})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _chosen(kinds: Mapping[str, Any], table: Mapping[str, Any], where: str) -> Any:
    """An object of the kind that the table's `kind` names."""
    options = dict(table)
    kind = options.pop("kind", None)
    if kind not in kinds:
        raise ValueError(f"{where}.kind: got {kind!r}, expected one of {sorted(kinds)}")
    return build(kinds[kind], options, where)


def _only(table: Mapping[str, Any], where: str, known: set[str], *, optional: set[str] | None = None) -> None:
    """Refuse a table with other entries than these, or without some."""
    name = where or "the file"
    if unknown := sorted(set(table) - known):
        raise ValueError(f"{name}: got the entries {unknown}, expected some of {sorted(known)}")
    if missing := sorted(known - (optional or set()) - set(table)):
        raise ValueError(f"{name}: has no entry {missing}")
