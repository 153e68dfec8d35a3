"""What the study consists of: methods × systems × seeds, read from one file, and cut into units of work."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uqlib import methods
from uqlib.calibration import KINDS
from uqlib.methods.shared.recipes import AfterTraining
from uqlib.networks.training import Settings
from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset
from uqlib.study.cells import chosen

FOLDER = datasets.DATA / "study"
SCALES = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
"""Names of the grids that come with the library."""

REGIMES = ("in-domain", "near", "far")
"""How far the structures of a split are from those of the training set, by name."""
FEWEST = 10  # structures in a split that is scored: the rank correlation of fewer says nothing
SHARED = "one network"  # group of the methods that stand on one trained network
VERSION = 1  # of what a cell holds: with another, older cells are stale


@dataclass(frozen=True, kw_only=True)
class System:
    """A data set, how long networks are trained on it, and how far each of its splits is from `train`."""

    name: str
    data: str  # a name that `datasets.load` knows
    training: Settings
    regimes: Mapping[str, tuple[str, ...]]  # regime -> splits
    network: Mapping[str, int | float] = field(default_factory=dict)  # what differs from that of the grid

    def __post_init__(self) -> None:
        if unknown := set(self.regimes) - set(REGIMES):
            raise ValueError(f"systems.{self.name}.regimes: got {sorted(unknown)}, expected some of {REGIMES}")
        if not any(self.regimes.values()):
            raise ValueError(f"systems.{self.name}.regimes: names no split to score")

    def load(self, *, seed: int | None = None) -> Dataset:
        """The data; with a seed, `train`, `valid` and `test` drawn anew, group by group, from all they hold.

        Raises ValueError where the data have not all splits that the regimes name, and as `datasets.load`.
        """
        data = datasets.load(self.data)
        wanted = {"train", "valid", *(split for splits in self.regimes.values() for split in splits)}
        if missing := wanted - set(data.splits):
            raise ValueError(
                f"systems.{self.name}: {self.data!r} has the splits {sorted(data.splits)}, not {sorted(missing)}"
            )
        return data if seed is None else resplit(data, seed)

    def scored(self, data: Dataset) -> dict[str, str]:
        """Split -> regime, of the splits that are large enough to be scored."""
        named = {split: regime for regime, splits in self.regimes.items() for split in splits}
        return {split: regime for split, regime in named.items() if len(data.splits[split]) >= FEWEST}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The study at one scale. Made by `load_grid`."""

    scale: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    recalibration: str
    resplit: bool
    network: Mapping[str, int | float]
    systems: Mapping[str, System]

    def __post_init__(self) -> None:
        if unknown := [name for name in self.methods if name not in methods.METHODS]:
            raise ValueError(f"methods: got {unknown}, expected some of {sorted(methods.METHODS)}")
        if self.recalibration not in KINDS:
            raise ValueError(f"recalibration: got {self.recalibration!r}, expected one of {KINDS}")
        if not (self.methods and self.seeds and self.systems):
            raise ValueError("methods, seeds, systems: each needs at least one entry")

    def identity(self, system: str, method: str, seed: int) -> dict[str, Any]:
        """All that decides what a cell holds, as plain data; what is not here may change without a new training."""
        known = self.systems[system]
        return {
            "version": VERSION,
            "method": method,
            "seed": seed,
            "data": known.data,
            "splits": sorted({split for splits in known.regimes.values() for split in splits}),
            "training": asdict(known.training),
            "network": self.network_of(system),
            "recalibration": self.recalibration,
            "resplit": self.resplit,
        }

    def network_of(self, system: str) -> dict[str, int | float]:
        """What goes to `PaiNN`."""
        return {**self.network, **self.systems[system].network}

    def units(self, wanted: Sequence[str] = ()) -> list[Unit]:
        """All work, or that of the cells "system/seed/method" that match one of the patterns ("ammonia/*", "*/0/mve").

        Raises ValueError for a pattern that matches nothing.
        """
        cells = {f"{s}/{n}/{m}": (s, n, m) for s in self.systems for n in self.seeds for m in self.methods}
        groups: dict[tuple[str, int, str], list[str]] = {}
        for system, seed, method in chosen(cells, wanted, "system/seed/method"):
            groups.setdefault((system, seed, group_of(method)), []).append(method)
        return [
            Unit(grid=self, system=system, seed=seed, methods=tuple(found))
            for (system, seed, _), found in groups.items()
        ]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A piece of work for one worker: methods that share a training, on one system, from one seed."""

    grid: Grid
    system: str
    seed: int
    methods: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.system}, seed {self.seed}: {', '.join(self.methods)}"


def group_of(method: str) -> str:
    """Methods of one group are fitted together: those around one trained network, and all others alone."""
    recipe = methods.METHODS[method]
    shared = isinstance(recipe, AfterTraining) or hasattr(recipe, "continue_from") or method == "ensemble"
    return SHARED if shared else method


def load_grid(scale: str | Path) -> Grid:
    """A grid by its name, "teaching" or "paper", or from a file of yours in the same form.

    Raises ValueError for an unknown name, and naming what is wrong in the file.
    """
    path = FOLDER / f"{scale}.toml" if scale in SCALES else Path(scale)
    if path.suffix != ".toml" or not path.is_file():
        raise ValueError(f"scale: got {str(scale)!r}, expected one of {', '.join(SCALES)}, or a .toml file")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        systems = {
            name: System(
                name=name,
                data=entry["data"],
                training=Settings(**entry["training"]),
                regimes={regime: tuple(splits) for regime, splits in entry["regimes"].items()},
                network=entry.get("network", {}),
            )
            for name, entry in found["systems"].items()
        }
        lists = {name: tuple(found[name]) for name in ("methods", "seeds")}
        plain = {name: found[name] for name in ("recalibration", "resplit", "network")}
    except KeyError as error:
        raise ValueError(f"{path}: has no entry {error.args[0]!r}; see {FOLDER / 'teaching.toml'}") from error
    except (TypeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    return Grid(scale=path.stem, systems=systems, **lists, **plain)


def resplit(data: Dataset, seed: int) -> Dataset:
    """`train`, `valid` and `test` of the same sizes drawn anew, by whole groups; other splits stay as they are."""
    sizes: dict[str, Any] = {split: len(data.splits[split]) for split in ("train", "valid", "test")}
    pool = [index for split in sizes for index in data.splits[split]]
    drawn = data.take(pool).split(seed=seed, by_group=True, **sizes).splits
    anew = {split: tuple(pool[index] for index in chosen) for split, chosen in drawn.items()}
    return Dataset(name=data.name, atoms=data.atoms, splits={**data.splits, **anew}, card=data.card)


def data_digest(data: Dataset, splits: Sequence[str]) -> str:
    """Of the geometries and labels in some splits, as `digest`: it changes when they are extended or relabelled."""
    found = hashlib.sha256()
    for split in sorted({"train", "valid", *splits}):
        found.update(split.encode() + bytes_of(data[split]))
    return found.hexdigest()[:16]


def bytes_of(data: Dataset) -> bytes:
    """What tells other geometries or labels, or the same in another order, from these."""
    frames = [array for frame in data.atoms for array in (frame.numbers, frame.positions, np.asarray(frame.cell))]
    return b"".join(array.tobytes() for array in (*frames, data.energies, data.forces))
