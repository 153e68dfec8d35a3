"""Where the next generation's geometries come from. Each is a small recipe with one method, `candidates`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import ase
import numpy as np

from uqlib.active_learning.labels import rounded_copy
from uqlib.attack import aligned_rmsd, attack, closest_contact, from_dynamics, random_displacement, screen
from uqlib.prediction import Predictor
from uqlib.structures.datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Geometries worth a label, and what became of all that were looked at."""

    structures: list[ase.Atoms]
    counts: Mapping[str, int]  # "kept", and each reason to drop one, -> how many
    state: Mapping[str, Any] | None = None  # plain data, of a proposal that goes on from where it stood


class Proposal(Protocol):
    """How geometries for the next labels are found.

    One that `continues` (an attribute that is true) also takes `state`: None in the first generation, and what its last
    candidates had as their `state` afterwards.
    """

    def candidates(self, predictor: Predictor, train: Dataset, *, number: int, seed: int) -> Candidates:
        """At most `number` geometries, the same for the same predictor and seed."""
        ...


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What is dropped before a label is paid for: see `uqlib.attack.screen`.

    `choose`: of what passes, the "highest" uncertainties, or some "spread" evenly over all of them, by rank, first
    and last included. The highest tend to be alike, and to be geometries that nothing ever visits.
    """

    percentile: float = 80.0
    closest: float = 0.7  # of the sum of covalent radii
    rmsd: float = 0.05  # Å
    oversampling: int = 4  # candidates made for each label
    choose: Literal["highest", "spread"] = "highest"

    def __post_init__(self) -> None:
        if self.choose not in ("highest", "spread"):
            raise ValueError(f"choose: got {self.choose!r}, expected 'highest' or 'spread'")

    def screened(self, predictor: Predictor, found: Sequence[ase.Atoms], train: Dataset, number: int) -> Candidates:
        limit = number if self.choose == "highest" else None
        result = screen(
            predictor, found, train, percentile=self.percentile, closest=self.closest, rmsd=self.rmsd, limit=limit
        )
        counts, kept = dict(result.counts), result.kept
        if len(kept) > number:
            counts["over the limit"] += len(kept) - number
            counts["kept"] = number
            kept = [kept[k] for k in np.linspace(0, len(kept) - 1, number).round().astype(int)]
        return Candidates(structures=kept, counts={why: count for why, count in counts.items() if count})


@dataclass(frozen=True, kw_only=True)
class Attacked(Filters):
    """Uncertainty-driven attacks (`uqlib.attack.attack`) on training structures drawn at random.

    `temperature` in K; steps, learning rate and first displacement (Å) as in `attack`. `strain`: the cell moves too.
    The temperature weighs the energy per atom: N atoms may spend N kT together for e times the uncertainty, about what
    their vibrations hold at that temperature. It has no reason to grow with their number. How far attacks get at it is
    another matter, to be looked up in the energies of the first labels.
    Many attacks end on the same few summits. With `stages` above 1 each also offers geometries on its way there, at
    even distances in steps, the last being its end: `oversampling` candidates for a label then cost fewer attacks.
    Raises ValueError for fewer than one stage, or more stages than steps, and for another `choose`.
    """

    temperature: float = 1000.0
    steps: int = 60
    learning_rate: float = 0.02
    displacement: float = 0.01
    strain: bool = False
    stages: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.stages <= max(self.steps, 1):
            raise ValueError(f"stages: got {self.stages}, expected 1 to the number of steps ({self.steps})")

    def candidates(self, predictor: Predictor, train: Dataset, *, number: int, seed: int) -> Candidates:
        found = attack(
            predictor,
            drawn(train, -(-number * self.oversampling // self.stages), seed),
            train,
            temperature=self.temperature,
            steps=self.steps,
            learning_rate=self.learning_rate,
            displacement=self.displacement,
            seed=seed,
            strain=self.strain,
        )
        before = [path[(len(path) - 1) * k // self.stages] for path in found.paths for k in range(1, self.stages)]
        return self.screened(predictor, [*found.structures, *before], train, number)


@dataclass(frozen=True, kw_only=True)
class FromDynamics(Filters):
    """Frames of dynamics with the predictor's own forces: `temperature` in K, steps of 0.5 fs.

    `pick`: the most uncertain ones; or "random" ones, of which only what is impossible or known is dropped, so that
    no uncertainty is asked.
    """

    pick: Literal["uncertain", "random"] = "uncertain"
    temperature: float = 1000.0
    steps: int = 200
    trajectories: int = 10

    def candidates(self, predictor: Predictor, train: Dataset, *, number: int, seed: int) -> Candidates:
        found = from_dynamics(
            predictor,
            drawn(train, self.trajectories, seed),
            pick=self.pick,
            temperature=self.temperature,
            steps=self.steps,
            number=number * self.oversampling,
            seed=seed,
        )
        if self.pick == "random":
            return possible_and_new(found, train, number, closest=self.closest, rmsd=self.rmsd)
        return self.screened(predictor, found, train, number)


@dataclass(frozen=True, kw_only=True)
class Displaced:
    """The baseline that asks no uncertainty: training structures, each coordinate displaced at random by `scale` Å.

    Only what is impossible (`closest`, a share of the sum of covalent radii) or known (`rmsd`, Å) is dropped.
    """

    scale: float = 0.1
    closest: float = 0.7
    rmsd: float = 0.05
    oversampling: int = 4

    def candidates(self, predictor: Predictor, train: Dataset, *, number: int, seed: int) -> Candidates:
        seeds = drawn(train, number * self.oversampling, seed)
        found = random_displacement(seeds, scale=self.scale, number=len(seeds), seed=seed)
        return possible_and_new(found, train, number, closest=self.closest, rmsd=self.rmsd)


@dataclass(frozen=True, kw_only=True)
class FromPool:
    """More of the same: structures of `pool` drawn at random, without those of the training set.

    A label is paid for each, as for any other geometry; labels that the pool has are not looked at.
    """

    pool: Dataset = field(repr=False)
    name: str = "pool"

    def candidates(self, predictor: Predictor, train: Dataset, *, number: int, seed: int) -> Candidates:
        known = {rounded_copy(atoms).positions.tobytes() for atoms in train.atoms}
        plain = [rounded_copy(atoms) for atoms in self.pool.atoms]
        others = [atoms for atoms in plain if atoms.positions.tobytes() not in known]
        kept = [others[k] for k in np.random.default_rng(seed).permutation(len(others))[:number]]
        return Candidates(structures=kept, counts={"kept": len(kept)})


def possible_and_new(
    found: Sequence[ase.Atoms], train: Dataset, number: int, *, closest: float, rmsd: float
) -> Candidates:
    """The first `number` structures that are neither impossible nor known, by limits as in `screen`."""
    kept: list[ase.Atoms] = []
    counts = Counter[str]()
    for atoms in found:
        if len(kept) == number:
            break
        if closest_contact(atoms) < closest:
            counts["too close"] += 1
        elif aligned_rmsd(atoms, [*train.atoms, *kept]).min() < rmsd:
            counts["duplicate"] += 1
        else:
            counts["kept"] += 1
            kept.append(atoms)
    return Candidates(structures=kept, counts=dict(counts))


def drawn(train: Dataset, number: int, seed: int) -> Dataset:
    """`number` structures at random; each at most once more often than any other."""
    random = np.random.default_rng(seed)
    rounds = -(-number // len(train))
    order = np.concatenate([random.permutation(len(train)) for _ in range(rounds)])[:number]
    return train.take(order, name=f"{train.name} (seeds)")
