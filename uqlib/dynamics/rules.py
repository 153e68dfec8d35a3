"""Rules that say when a replica has broken. Which of them mean something depends on the system.

A molecule has bonds: `BondLengths` compares them with those of the start. In a liquid or a glass bonds come and go, and
what cannot be is `ClosestContact`, `Coordination`, `PotentialEnergy` or `Temperature` out of all proportion.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from ase.data import atomic_numbers, covalent_radii
from torch import Tensor

from uqlib.dynamics.pairs import pair_offsets, pair_vectors
from uqlib.structures.batch import Batch

BOND_REACH = 1.25  # times the sum of covalent radii


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The L replicas that still run, at one moment."""

    batch: Batch  # with the pairs within the predictor's cutoff
    positions: Tensor  # (N, 3)  Å, float64
    atoms: Tensor  # (N,)    which of all atoms of the start these are
    potential_energy: Tensor  # (L,)    eV
    temperature: Tensor  # (L,)    K


Check = Callable[[Frame], Tensor]
"""(L,) which replicas have broken."""


class Rule(Protocol):
    """What is not allowed; its text, `str(rule)`, is the reason that is recorded."""

    def bind(self, start: Frame) -> Check:
        """The check for dynamics that begin like this, with all replicas."""
        ...


@dataclass(frozen=True, kw_only=True)
class BondLengths:
    """No bond of the start is stretched or squeezed beyond these multiples of its length at the start.

    A bond is a pair closer than 1.25 times the sum of the covalent radii. Raises ValueError where a start has none.
    """

    longest: float = 1.5
    shortest: float = 0.6

    def __post_init__(self) -> None:
        if not 0 < self.shortest < 1 < self.longest:
            raise ValueError(
                f"shortest, longest: got {self.shortest}, {self.longest}, expected multiples on either side of 1"
            )

    def __str__(self) -> str:
        return f"a bond left {self.shortest:g} to {self.longest:g} times its length at the start"

    def bind(self, start: Frame) -> Check:
        batch = start.batch
        once = torch.arange(batch.n_pairs, device=batch.reverse.device) < batch.reverse
        radii = torch.as_tensor(covalent_radii, device=batch.pairs.device)[batch.atomic_numbers]
        vector = pair_vectors(batch, start.positions)
        bonded = once & (vector.norm(dim=1) < BOND_REACH * radii[batch.pairs].sum(0))
        without = torch.bincount(batch.structure_of_atom[batch.pairs[0, bonded]], minlength=batch.n_structures) == 0
        if bool(without.any()):
            raise ValueError(
                f"rules: replica {int(without.nonzero()[0])} has no bonds at its start, BondLengths expects some; "
                "use ClosestContact or Coordination for it"
            )
        atoms, offset = batch.pairs[:, bonded], pair_offsets(batch)[bonded].double()
        length = vector[bonded].norm(dim=1)

        def check(frame: Frame) -> Tensor:
            place = torch.full((batch.n_atoms,), -1, device=atoms.device)
            place[frame.atoms] = torch.arange(len(frame.atoms), device=atoms.device)
            i, j = place[atoms]
            here = i >= 0
            stretch = (frame.positions[j] - frame.positions[i] + offset).norm(dim=1) / length
            wrong = here & ((stretch > self.longest) | (stretch < self.shortest))
            return _any_of_replica(frame, frame.batch.structure_of_atom[i[wrong]])

        return check


@dataclass(frozen=True, kw_only=True)
class ClosestContact:
    """No two atoms come closer than `share` of the sum of their covalent radii."""

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share: got {self.share}, expected a share of the covalent distance, 0 to 1")

    def __str__(self) -> str:
        return f"two atoms closer than {self.share:g} of their covalent distance"

    def bind(self, start: Frame) -> Check:
        def check(frame: Frame) -> Tensor:
            batch = frame.batch
            radii = torch.as_tensor(covalent_radii, device=batch.pairs.device)[batch.atomic_numbers]
            close = pair_vectors(batch, frame.positions).norm(dim=1) < self.share * radii[batch.pairs].sum(0)
            return _any_of_replica(frame, batch.structure_of_atom[batch.pairs[0, close]])

        return check


@dataclass(frozen=True, kw_only=True)
class ShortestDistance:
    """No atom of one element comes closer than `distance` Å to one of the other: `first="H", second="H"` in ammonia.

    For atoms that are not bonded, and whose distance says that the angle between them has collapsed.
    """

    first: str
    second: str
    distance: float  # Å

    def __post_init__(self) -> None:
        _elements(first=self.first, second=self.second)
        _positive("distance", self.distance)

    def __str__(self) -> str:
        return f"{self.first} and {self.second} closer than {self.distance:g} Å"

    def bind(self, start: Frame) -> Check:
        first, second = atomic_numbers[self.first], atomic_numbers[self.second]

        def check(frame: Frame) -> Tensor:
            batch = frame.batch
            i, j = batch.pairs
            near = pair_vectors(batch, frame.positions).norm(dim=1) < self.distance
            meant = (batch.atomic_numbers[i] == first) & (batch.atomic_numbers[j] == second)
            return _any_of_replica(frame, batch.structure_of_atom[i[near & meant]])

        return check


@dataclass(frozen=True, kw_only=True)
class Coordination:
    """At most `share` of the `centre` atoms have fewer or more `neighbour` atoms within `within` Å than allowed.

    Silica: `Coordination(centre="Si", neighbour="O", within=2.3, allowed=(3, 5))`. `within` must not exceed the
    predictor's cutoff.
    """

    centre: str
    neighbour: str
    within: float  # Å
    allowed: tuple[int, int]
    share: float = 0.05

    def __post_init__(self) -> None:
        for name in ("centre", "neighbour"):
            if getattr(self, name) not in atomic_numbers:
                raise ValueError(
                    f'{name}: got {getattr(self, name)!r}, expected the symbol of an element, such as "Si"'
                )
        if not 0 <= self.share < 1 or self.within <= 0 or self.allowed[0] > self.allowed[1]:
            raise ValueError(
                f"share, within, allowed: got {self.share}, {self.within}, {self.allowed}, expected 0 <= share < 1, a "
                "positive distance and (fewest, most)"
            )

    def __str__(self) -> str:
        fewest, most = self.allowed
        return (
            f"more than {100 * self.share:g} % of {self.centre} without {fewest} to {most} {self.neighbour} "
            f"within {self.within:g} Å"
        )

    def bind(self, start: Frame) -> Check:
        if self.within > start.batch.cutoff:
            raise ValueError(f"within: got {self.within} Å, the predictor's pairs reach to {start.batch.cutoff} Å only")
        centre, neighbour = atomic_numbers[self.centre], atomic_numbers[self.neighbour]

        def check(frame: Frame) -> Tensor:
            batch = frame.batch
            i, j = batch.pairs
            near = pair_vectors(batch, frame.positions).norm(dim=1) < self.within
            counted = torch.bincount(i[near & (batch.atomic_numbers[j] == neighbour)], minlength=batch.n_atoms)
            centres = batch.atomic_numbers == centre
            wrong = centres & ((counted < self.allowed[0]) | (counted > self.allowed[1]))
            total = torch.bincount(batch.structure_of_atom[centres], minlength=batch.n_structures)
            return torch.bincount(batch.structure_of_atom[wrong], minlength=batch.n_structures) > self.share * total

        return check


@dataclass(frozen=True, kw_only=True)
class PotentialEnergy:
    """The potential energy stays within `change` eV an atom of that at the start, above and below.

    A fall below says more than a rise: heat raises it, but only a hole in the potential lets it fall far.
    """

    change: float  # eV an atom

    def __post_init__(self) -> None:
        _positive("change", self.change)

    def __str__(self) -> str:
        return f"potential energy changed by more than {self.change:g} eV an atom"

    def bind(self, start: Frame) -> Check:
        first = start.potential_energy
        replica_of_atom = start.batch.structure_of_atom

        def check(frame: Frame) -> Tensor:
            sizes = frame.batch.atoms_per_structure
            which = replica_of_atom[frame.atoms[sizes.cumsum(0) - sizes]]
            return (frame.potential_energy - first[which]).abs() > self.change * sizes

        return check


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """The kinetic temperature stays below `highest` K. In a molecule it fluctuates by half of itself: leave room."""

    highest: float  # K

    def __post_init__(self) -> None:
        _positive("highest", self.highest)

    def __str__(self) -> str:
        return f"hotter than {self.highest:g} K"

    def bind(self, start: Frame) -> Check:
        return lambda frame: frame.temperature > self.highest


def _any_of_replica(frame: Frame, replicas: Tensor) -> Tensor:
    return torch.bincount(replicas, minlength=frame.batch.n_structures) > 0


def _positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name}: got {value}, expected a positive number")


def _elements(**symbols: str) -> None:
    for name, symbol in symbols.items():
        if symbol not in atomic_numbers:
            raise ValueError(f'{name}: got {symbol!r}, expected the symbol of an element, such as "Si"')
