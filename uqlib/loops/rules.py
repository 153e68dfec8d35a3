"""When dynamics have broken, by several sets of rules side by side, of which one is the study's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import torch
from torch import Tensor

from uqlib.dynamics import Rule
from uqlib.dynamics.rules import Check, Frame


@dataclass(frozen=True, kw_only=True)
class AllDistances:
    """No two atoms of a molecule are as close as `shortest` or as far as `longest`, both in Å, bonded or not.

    The rule of Tan et al., npj Comput. Mater. 9, 225 (2023), for ammonia, with 0.7 and 2.25 Å in their code.
    """

    shortest: float
    longest: float

    def __post_init__(self) -> None:
        if not 0 <= self.shortest < self.longest:
            raise ValueError(
                f"shortest, longest: got {self.shortest}, {self.longest}, expected 0 <= shortest < longest"
            )

    def __str__(self) -> str:
        return f"two atoms at most {self.shortest:g} or at least {self.longest:g} Å apart"

    def bind(self, start: Frame) -> Check:
        first, end = [], 0
        for size in start.batch.atoms_per_structure.tolist():
            first += [(end + i, end + j) for i, j in combinations(range(size), 2)]
            end += size
        atoms = torch.as_tensor(first, device=start.positions.device).T

        def check(frame: Frame) -> Tensor:
            place = torch.full((end,), -1, device=atoms.device)
            place[frame.atoms] = torch.arange(len(frame.atoms), device=atoms.device)
            i, j = place[atoms]
            here = i >= 0
            distance = (frame.positions[j] - frame.positions[i]).norm(dim=1)
            wrong = here & ((distance <= self.shortest) | (distance >= self.longest))
            return torch.bincount(frame.batch.structure_of_atom[i[wrong]], minlength=frame.batch.n_structures) > 0

        return check


@dataclass(kw_only=True)
class Witness:
    """Not a rule that ends a replica at once, but one that writes down which set said so first, and when.

    A replica ends when every set has spoken. `seen`: set -> replica -> number of the look at which it broke; the first
    look, at the start, is number 0.
    """

    sets: Mapping[str, Sequence[Rule]]
    seen: dict[str, dict[int, int]] = field(default_factory=dict)
    looks: int = 0

    def __str__(self) -> str:
        return "broken by every set of rules"

    def bind(self, start: Frame) -> Check:
        checks = {name: [rule.bind(start) for rule in rules] for name, rules in self.sets.items()}
        replica_of_atom = start.batch.structure_of_atom
        self.seen, self.looks = {name: {} for name in checks}, 0

        def check(frame: Frame) -> Tensor:
            sizes = frame.batch.atoms_per_structure
            live = replica_of_atom[frame.atoms[sizes.cumsum(0) - sizes]].tolist()
            for name, rules in checks.items():
                broken = torch.stack([rule(frame) for rule in rules]).any(0).nonzero()[:, 0].tolist()
                for place in broken:
                    self.seen[name].setdefault(live[place], self.looks)
            self.looks += 1
            over = [all(replica in known for known in self.seen.values()) for replica in live]
            return torch.as_tensor(over, device=frame.positions.device)

        return check
