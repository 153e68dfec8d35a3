"""What the campaign consists of: systems × drivers × seeds, cut into units of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from uqlib.common.schema import check_names, check_seeds
from uqlib.loops.recipes import recipe
from uqlib.loops.settings import POOL, Driver, System
from uqlib.networks.losses import UNSAID
from uqlib.study.cells import chosen

VERSION = 1  # of what a cell holds: with another, older cells are stale
LATER: Mapping[str, Any] = UNSAID
"""Fields that settings did not have when the first cells were made, where they change nothing: left out there."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The whole campaign. Made by `load_grid`."""

    name: str
    systems: Mapping[str, System]
    drivers: Mapping[str, Driver]
    learners: int  # members of the ensemble that learns from everyone's data

    def __post_init__(self) -> None:
        if not (self.systems and self.drivers):
            raise ValueError("systems, drivers: each needs at least one entry")
        check_names(self.systems, "systems")
        check_names(self.drivers, "drivers")
        for system in self.systems.values():
            check_seeds(system.seeds, f"systems.{system.name}.seeds")
            if missing := {d.proposal for d in self.drivers.values()} - {*system.proposals, POOL}:
                raise ValueError(f"systems.{system.name}.proposals: has no {sorted(missing)}, which drivers ask for")

    def identity(self, system: str, driver: str, seed: int) -> dict[str, Any]:
        """All that decides what a cell holds, as plain data; what is not here may change without new work."""
        known, who = self.systems[system], self.drivers[driver]
        settings = {key: value for key, value in plain(known).items() if key not in ("name", "seeds", "proposals")}
        asked = None if who.proposal == POOL else plain(known.proposals[who.proposal])
        return {
            "version": VERSION,
            "seed": seed,
            "driver": plain(who),
            "recipe": plain(recipe(known, who)),
            "proposal": asked,
            "learners": self.learners,
            **settings,
        }

    def units(self, wanted: Sequence[str] = ()) -> list[Unit]:
        """All work, or cells "system/seed/driver" that match a pattern (`"ammonia/*"`): whole seeds one after another.

        Raises ValueError for a pattern that matches nothing.
        """
        every = [
            Unit(grid=self, system=system.name, seed=seed, driver=driver)
            for system in self.systems.values()
            for seed in system.seeds
            for driver in self.drivers
        ]
        return chosen({str(unit): unit for unit in every}, wanted, "system/seed/driver")


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A piece of work for one worker: the loop of one driver on one system from one seed."""

    grid: Grid
    system: str
    seed: int
    driver: str

    def __str__(self) -> str:
        return f"{self.system}/{self.seed}/{self.driver}"

    def identity(self) -> dict[str, Any]:
        return self.grid.identity(self.system, self.driver, self.seed)


def plain(value: Any) -> Any:
    """The content of dataclasses, mappings and sequences as plain data for JSON; of an object, its class as `kind`.

    Fields that do not count when two are compared, as the device, are left out, and those of `LATER`.
    """
    if is_dataclass(value) and not isinstance(value, type):
        known = {field.name: getattr(value, field.name) for field in fields(value) if field.compare}
        content = {name: plain(one) for name, one in known.items() if name not in LATER or one != LATER[name]}
        return {"kind": type(value).__name__} | content
    if isinstance(value, Mapping):
        return {str(key): plain(found) for key, found in value.items()}
    if isinstance(value, list | tuple):
        return [plain(found) for found in value]
    return value
