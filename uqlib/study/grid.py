"""What the study consists of: methods × systems × seeds, read from one file, and cut into units of work."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from uqlib import methods
from uqlib.calibration import KINDS
from uqlib.common.schema import (
    build,
    check_different,
    check_names,
    check_options,
    check_seeds,
    checked,
    read_toml,
)
from uqlib.methods.shared.recipes import AfterTraining
from uqlib.networks.painn import PaiNN
from uqlib.networks.training import Settings
from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset
from uqlib.study.cells import chosen
from uqlib.study.drawing import complete, resplit, set_aside
from uqlib.study.file_form import StudyFile, network_options

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
    share: float = 1.0  # of the training structures that are taken
    source: Literal["own", "published"] = "own"  # of the data, as for `datasets.load`

    def __post_init__(self) -> None:
        where = f"systems.{self.name}.regimes"
        if unknown := set(self.regimes) - set(REGIMES):
            raise ValueError(f"{where}: got {sorted(unknown)}, expected some of {REGIMES}")
        splits = tuple(split for found in self.regimes.values() for split in found)
        if not splits:
            raise ValueError(f"{where}: names no split to score")
        if learnt := sorted({"train", "valid"} & set(splits)):
            raise ValueError(f"{where}: got {learnt[0]!r}, which is learnt from; expected splits to be tested on")
        check_different(splits, where)
        if not 0 < self.share <= 1:
            raise ValueError(f"systems.{self.name}.share: got {self.share}, expected a number above 0 and at most 1")

    def load(self, *, seed: int | None = None, calibration: float = 0.0) -> Dataset:
        """The data; with a seed, `train`, `valid` and `test` drawn anew, group by group, from all they hold.

        `calibration`: this share of `test` becomes a split of that name. Raises ValueError where the data have not all
        splits that the regimes name, and as `datasets.load`; OSError where published data cannot be had.
        """
        data = datasets.load(self.data, source=self.source)
        if self.source == "published":
            data = complete(data)
        wanted = {"train", "valid", *(split for splits in self.regimes.values() for split in splits)}
        if missing := wanted - set(data.splits):
            raise ValueError(
                f"systems.{self.name}: {self.data!r} has the splits {sorted(data.splits)}, not {sorted(missing)}"
            )
        data = data if seed is None else resplit(data, seed, share=self.share)
        return set_aside(data, calibration, seed or 0) if calibration else data

    def scored(self, data: Dataset) -> dict[str, str]:
        """Split -> regime, of the splits that are large enough to be scored."""
        named = {split: regime for regime, splits in self.regimes.items() for split in splits}
        return {split: regime for split, regime in named.items() if len(data.splits[split]) >= FEWEST}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A method trained for longer, or with another network: an ensemble's processor time, spent otherwise.

    Five times the `epochs`, or five times the arithmetic of a wider network, are what an ensemble of five costs.
    """

    method: str
    epochs: float = 1.0  # times those of the system
    network: Mapping[str, int | float] = field(default_factory=dict)  # what differs from that of the others

    def __post_init__(self) -> None:
        if self.method not in methods.METHODS:
            raise ValueError(f"variants: method is {self.method!r}, expected one of {sorted(methods.METHODS)}")
        if self.epochs <= 0:
            raise ValueError(f"variants: epochs is {self.epochs}, expected a number above 0")


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
    calibration: float = 0.0  # share of the test split that recalibrates all methods, and scores none; 0: `valid` does
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {*methods.METHODS, *self.variants}
        if unknown := [name for name in self.methods if name not in known]:
            raise ValueError(f"methods: got {unknown}, expected some of {sorted(known)}")
        if taken := sorted(set(self.variants) & set(methods.METHODS)):
            raise ValueError(f"variants: {taken} are names of methods; choose others")
        if not 0 <= self.calibration < 1:
            raise ValueError(f"calibration: got {self.calibration}, expected a share of the test split, from 0 to 1")
        if not self.resplit and (small := [s.name for s in self.systems.values() if s.share < 1]):
            raise ValueError(f"systems.{small[0]}.share: a share is drawn with the seed, so it needs resplit = true")
        if self.recalibration not in KINDS:
            raise ValueError(f"recalibration: got {self.recalibration!r}, expected one of {KINDS}")
        if not (self.methods and self.seeds and self.systems):
            raise ValueError("methods, seeds, systems: each needs at least one entry")
        check_names(self.systems, "systems")
        check_seeds(self.seeds, "seeds")
        check_different(self.methods, "methods")

    def identity(self, system: str, method: str, seed: int) -> dict[str, Any]:
        """All that decides what a cell holds, as plain data; what is not here may change without a new training."""
        known = self.systems[system]
        found = {
            "version": VERSION,
            "method": method,
            "seed": seed,
            "data": known.data,
            "splits": sorted({split for splits in known.regimes.values() for split in splits}),
            "training": asdict(self.training_of(system, method)),
            "network": self.network_of(system, method),
            "recalibration": self.recalibration,
            "resplit": self.resplit,
        }
        later = {  # entries that came later: where they say nothing new, cells stay what they were
            "variant_of": self.variants[method].method if method in self.variants else None,
            "calibration": self.calibration or None,
            "share": known.share if known.share < 1 else None,
        }
        return found | {name: value for name, value in later.items() if value is not None}

    def recipe_of(self, method: str) -> Any:
        """A method's recipe, with its own defaults."""
        return methods.METHODS[self.variants[method].method if method in self.variants else method]

    def network_of(self, system: str, method: str = "") -> dict[str, int | float]:
        """What goes to `PaiNN`."""
        own = self.variants[method].network if method in self.variants else {}
        return {**self.network, **self.systems[system].network, **own}

    def training_of(self, system: str, method: str = "") -> Settings:
        """How long, and how, the networks of a method are trained; the schedule is stretched with the epochs."""
        settings = self.systems[system].training
        times = self.variants[method].epochs if method in self.variants else 1.0
        if times == 1:
            return settings
        longer = {name: max(round(times * getattr(settings, name)), 1) for name in ("epochs", "plateau")}
        return replace(settings, **longer)

    def load(self, system: str, seed: int) -> Dataset:
        """The data of a system, as the cells of this seed see them."""
        known = self.systems[system]
        return known.load(seed=seed if self.resplit else None, calibration=self.calibration)

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
    recipe = methods.METHODS.get(method)  # variants stand alone
    shared = isinstance(recipe, AfterTraining) or hasattr(recipe, "continue_from") or method == "ensemble"
    return SHARED if shared else method


def load_grid(scale: str | Path) -> Grid:
    """A grid by its name, "teaching" or "paper", or from a file of yours in the same form.

    Raises ValueError for an unknown name, and naming what is wrong in the file.
    """
    path = FOLDER / f"{scale}.toml" if scale in SCALES else Path(scale)
    if path.suffix != ".toml" or not path.is_file():
        raise ValueError(f"scale: got {str(scale)!r}, expected one of {', '.join(SCALES)}, or a .toml file")
    table = read_toml(path)
    try:
        found = checked(StudyFile, table)
        systems = {
            name: System(
                name=name,
                data=entry.data,
                training=build(Settings, entry.training, f"systems.{name}.training"),
                regimes=entry.regimes,
                network=network_options(entry.network, f"systems.{name}.network"),
                share=entry.share,
                source=entry.source,
            )
            for name, entry in found.systems.items()
        }
        variants = {name: build(Variant, table, f"variants.{name}") for name, table in found.variants.items()}
        for name, variant in variants.items():
            check_options(PaiNN, variant.network, f"variants.{name}.network")
        plain = {name: getattr(found, name) for name in ("methods", "seeds", "recalibration", "resplit", "calibration")}
        network = network_options(found.network, "network")
        return Grid(scale=path.stem, systems=systems, network=network, variants=variants, **plain)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; see {FOLDER / 'teaching.toml'}") from error


def data_digest(data: Dataset, splits: Sequence[str]) -> str:
    """Of the geometries and labels in some splits, as `digest`: it changes when they are extended or relabelled."""
    found = hashlib.sha256()
    for split in sorted({"train", "valid", *splits}):
        found.update(split.encode() + bytes_of(data[split]))
    return found.hexdigest()[:16]


def bytes_of(data: Dataset) -> bytes:
    """What tells other geometries or labels, or the same in another order, from these.

    Not `digest_of`, since the cells that there are were named so. What they had no need of is added where it says more:
    directions that are periodic or not against what the cell lets expect.
    """
    frames = [array for frame in data.atoms for array in (frame.numbers, frame.positions, np.asarray(frame.cell))]
    odd = [frame.pbc for frame in data.atoms if not np.array_equal(frame.pbc, np.asarray(frame.cell).any(axis=1))]
    return b"".join(array.tobytes() for array in (*frames, data.energies, data.forces, *odd))
