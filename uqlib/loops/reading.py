"""The campaign's file, read strictly: what is not known is refused, and what is missing is named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from uqlib.common.schema import Name, Positive, Seed, Strict, build, check_options, checked, read_toml
from uqlib.dynamics import BondLengths, ClosestContact, Coordination, ShortestDistance
from uqlib.loops.grid import Grid
from uqlib.loops.rules import AllDistances
from uqlib.loops.settings import PROPOSALS, Barrier, Driver, Sample, Start, Survival, System, Watched, Where
from uqlib.methods import METHODS
from uqlib.networks.painn import PaiNN
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


def load_grid(path: str | Path = DEFAULT) -> Grid:
    """The campaign that comes with the library, or that of a file of yours in the same form.

    Raises ValueError that names the place in the file: an entry too many or too few, a value that is not understood.
    """
    path = Path(path)
    if path.suffix != ".toml" or not path.is_file():
        raise ValueError(f"grid: got {str(path)!r}, expected a .toml file such as {DEFAULT}")
    table = read_toml(path)
    try:
        found = checked(_File, table)
        drivers = {name: _driver(name, entry) for name, entry in found.drivers.items()}
        systems = {name: _system(name, entry) for name, entry in found.systems.items()}
        return Grid(name=path.stem, systems=systems, drivers=drivers, learners=found.learners)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


Table = dict[str, Any]


class _Start(Strict):
    train: Table
    valid: Table


class _System(Strict):
    """A table `[systems.NAME]`; what is a table in it goes to a class of its own."""

    data: str
    oracle: Table
    seeds: tuple[Seed, ...]
    generations: Positive
    labels: Positive
    first: Annotated[int, Field(ge=0)] = 0
    start: _Start
    network: Table
    training: Table
    proposals: dict[str, Table]
    judged: dict[str, Annotated[int, Field(ge=0)]]
    survival: Table
    barrier: Table | None = None


class _File(Strict):
    """The whole file."""

    learners: Annotated[int, Field(ge=2)]
    systems: dict[Name, _System]
    drivers: dict[Name, Table]


def _driver(name: str, table: Table) -> Driver:
    where = f"drivers.{name}"
    found = build(Driver, {"name": name, **table}, where)
    check_options(METHODS[found.method], found.options, f"{where}.options")
    if found.proposal in PROPOSALS:
        check_options(PROPOSALS[found.proposal], found.proposal_options, f"{where}.proposal_options")
    return found


def _system(name: str, table: _System) -> System:
    where = f"systems.{name}"
    found: dict[str, Any] = {key: getattr(table, key) for key in type(table).model_fields}
    found["oracle"] = _chosen(ORACLES, table.oracle, f"{where}.oracle")
    found["training"] = build(Settings, table.training, f"{where}.training")
    found["start"] = Start(
        train=build(Sample, table.start.train, f"{where}.start.train"),
        valid=build(Sample, table.start.valid, f"{where}.start.valid"),
    )
    check_options(PaiNN, table.network, f"{where}.network")
    if unknown := sorted(set(table.proposals) - set(PROPOSALS)):
        raise ValueError(f"{where}.proposals: got the entries {unknown}, expected some of {sorted(PROPOSALS)}")
    found["proposals"] = {
        kind: build(PROPOSALS[kind], options, f"{where}.proposals.{kind}") for kind, options in table.proposals.items()
    }
    found["survival"] = _survival(table.survival, f"{where}.survival")
    if table.barrier is not None:
        found["barrier"] = build(Barrier, table.barrier, f"{where}.barrier")
    return System(name=name, **found)


def _survival(table: Table, where: str) -> Survival:
    found = dict(table)
    for name, kind in {"rest": Where, "ends": Watched, "between": Watched, "learners": Watched}.items():
        if name in table:
            found[name] = build(kind, table[name], f"{where}.{name}")
    rules = checked(_Rules, {"rules": table.get("rules", {})}, where).rules
    found["rules"] = {
        name: tuple(_chosen(RULES, rule, f"{where}.rules.{name}") for rule in some) for name, some in rules.items()
    }
    if not found["rules"] or not all(found["rules"].values()):
        raise ValueError(f"{where}.rules: expected at least one set of at least one rule")
    return build(Survival, found, where)


class _Rules(Strict):
    rules: dict[str, tuple[Table, ...]]


def _chosen(kinds: Mapping[str, Any], table: Mapping[str, Any], where: str) -> Any:
    """An object of the kind that the table's `kind` names."""
    options = dict(table)
    kind = options.pop("kind", None)
    if kind not in kinds:
        raise ValueError(f"{where}.kind: got {kind!r}, expected one of {sorted(kinds)}")
    return build(kinds[kind], options, where)
