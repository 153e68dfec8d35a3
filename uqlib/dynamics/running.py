"""One call of `simulate` from the inside: the live replicas, what can go wrong with them, and the records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import ase
import ase.units
import numpy as np
import torch
from torch import Tensor

from uqlib.dynamics.constraints import free_coordinates
from uqlib.dynamics.integrators import Integrator, State
from uqlib.dynamics.pairs import SkinPairs
from uqlib.dynamics.randomness import Noise
from uqlib.dynamics.rules import Check, Frame, Rule
from uqlib.dynamics.trajectories import Ending, Reason, Record, Stream, Trajectories, snapshot
from uqlib.prediction import Predictor
from uqlib.structures.batch import Batch

LONGEST_MOVE = 1.0  # Å in one step; an atom that moves further has been thrown


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long, how finely, and what is watched. Raises ValueError for numbers outside their range."""

    steps: int
    timestep: float  # fs
    every: int
    skin: float  # Å
    flag_above: float
    stop_above: float

    def __post_init__(self) -> None:
        for name in ("steps", "timestep", "every", "flag_above", "stop_above"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a positive number")
        if not 0 <= self.skin < math.inf:
            raise ValueError(f"skin: got {self.skin}, expected a distance in Å, 0 to search at every step")


class Run:
    """One call of `simulate`: the live replicas, and what is known of all of them."""

    def __init__(
        self,
        predictor: Predictor,
        starts: list[ase.Atoms],
        integrator: Integrator,
        plan: Plan,
        seed: int,
        stream: str | Path | None,
    ) -> None:
        self.predictor, self.starts, self.integrator, self.plan = predictor, starts, integrator, plan
        device = predictor.device
        wide = Batch.from_atoms(starts, cutoff=predictor.cutoff + plan.skin, dtype=predictor.dtype).to(device)
        self.pairs = SkinPairs(wide, cutoff=predictor.cutoff)
        self.batch = wide
        self.live = list(range(len(starts)))  # which of the starts still run; their place in this list is their number
        self.atoms = torch.arange(wide.n_atoms, device=device)  # which of all atoms belong to them

        def numbers(rows: list[np.ndarray]) -> Tensor:
            return torch.as_tensor(np.concatenate(rows), dtype=torch.float64, device=device)

        positions = numbers([atoms.positions for atoms in starts])
        velocities = numbers([atoms.get_velocities() * ase.units.fs for atoms in starts])
        freedoms, free = 3.0 * wide.atoms_per_structure.double(), free_coordinates(starts, name="starts")
        if free is not None:  # held coordinates have no velocity, and no force or push will give them one
            free = free.to(device)
            velocities = velocities * free
            freedoms = torch.zeros_like(freedoms).index_add(0, wide.structure_of_atom, free.sum(1))
            if frozen := (freedoms == 0).nonzero()[:, 0].tolist():
                raise ValueError(f"starts: constraints hold every atom of structure {frozen[0]}, expected some to move")
        self.state = integrator.begin(
            State(
                positions=positions,
                velocities=velocities,
                forces=torch.zeros_like(positions),
                masses=numbers([atoms.get_masses() for atoms in starts])[:, None],
                replica_of_atom=wide.structure_of_atom,
                freedoms=freedoms,
                free=free,
            )
        )
        self.energy, self.uncertainty = positions.new_zeros(len(starts)), positions.new_zeros(wide.n_atoms)
        self.unit = ""
        self.noise = Noise([len(atoms) for atoms in starts], seed=seed)
        self.endings: dict[int, Ending] = {}
        self.flagged: dict[int, float] = {}
        self.record = Record(starts=tuple(starts), stream=None if stream is None else Stream(stream, len(starts)))
        self.checks: list[tuple[str, Check]] = []
        self.step_number = 0

    @property
    def time(self) -> float:
        return self.step_number * self.plan.timestep

    def begin(self, rules: Sequence[Rule]) -> None:
        """Forces, rules and the first record."""
        self.batch = self.pairs.at(self.state.positions)
        self._predict()
        for replica, ending in self.endings.items():
            raise ValueError(f"starts: replica {replica} has {ending.detail}")
        self.checks = [(str(rule), rule.bind(self._frame())) for rule in rules]
        self._keep_record()
        self._apply_rules()
        for replica, ending in self.endings.items():
            raise ValueError(f"starts: replica {replica} breaks a rule before it moves: {ending.detail}")
        self._watch_uncertainty()

    def step(self) -> None:
        """One step of all live replicas."""
        self.step_number += 1
        before = self.state
        self.state = self.integrator.before(before, self.plan.timestep, self.noise)
        self._end_thrown(before)
        if self.live:
            self._find_pairs()
        if self.live:
            self._predict()
        if not self.live:
            return
        self.state = self.integrator.after(self.state, self.plan.timestep)
        if self.step_number == self.plan.steps or self.step_number % self.plan.every == 0:
            self._keep_record()
            self._apply_rules()
        self._watch_uncertainty()

    def result(self) -> Trajectories:
        """Everything, once no replica runs any more or time is up."""
        self._end(dict.fromkeys(range(len(self.live)), ("completed", "ran to the end")))
        endings = tuple(self.endings[replica] for replica in range(len(self.starts)))
        return self.record.trajectories(endings=endings, unit=self.unit, searches=self.pairs.searches)

    # What can go wrong, in the order in which it is looked for.
    def _end_thrown(self, before: State) -> None:
        moved = (self.state.positions - before.positions).square().sum(-1)
        thrown = ~(moved <= LONGEST_MOVE**2)  # so that nan counts
        if not bool(thrown.any()):
            return
        words = dict.fromkeys(self._places(thrown), ("broken", "an atom moved by more than 1 Å in one step"))
        words |= dict.fromkeys(self._places(~moved.isfinite()), ("not finite", "positions that are not finite"))
        self._end(words, state=before)

    def _find_pairs(self) -> None:
        try:
            self.batch = self.pairs.at(self.state.positions)
        except ValueError:
            collided = [place for place in range(len(self.live)) if self._refused(place)]
            self._end(dict.fromkeys(collided, ("broken", "atoms on top of each other")))
            if self.live:
                self.batch = self.pairs.at(self.state.positions)

    def _refused(self, place: int) -> bool:
        """Whether a search for the pairs of this replica fails, and with it that of the whole batch."""
        own = self.state.replica_of_atom == place
        try:
            self.pairs.wide.select([place]).at(self.state.positions[own].to(self.predictor.dtype))
        except ValueError:
            return True
        return False

    def _predict(self) -> None:
        prediction = self.predictor.predict(self.batch)
        self.unit = prediction.unit
        self.energy = prediction.energy.detach().double()
        self.uncertainty = prediction.force_uncertainty.detach().double()
        forces, free = prediction.forces.detach().double(), self.state.free
        self.state = replace(self.state, forces=forces if free is None else torch.where(free == 0, 0.0, forces))
        wrong = ~(forces.isfinite().all(-1) & self.uncertainty.isfinite())
        places = {*self._places(wrong), *(~self.energy.isfinite()).nonzero()[:, 0].tolist()}
        self._end(dict.fromkeys(places, ("not finite", "energy, forces or uncertainty that are not finite")))

    def _apply_rules(self) -> None:
        for words, check in self.checks:
            if self.live:
                self._end(dict.fromkeys(check(self._frame()).nonzero()[:, 0].tolist(), ("broken", words)))

    def _watch_uncertainty(self) -> None:
        for place in self._places(self.uncertainty > self.plan.flag_above):
            self.flagged.setdefault(self.live[place], self.time)
        words = ("uncertain", f"an uncertainty above {self.plan.stop_above:g} {self.unit}")
        self._end(dict.fromkeys(self._places(self.uncertainty > self.plan.stop_above), words))

    # Book-keeping
    def _places(self, of_atom: Tensor) -> list[int]:
        """The replicas that an (N,) flag is up for, by their place among the live ones."""
        return torch.unique(self.state.replica_of_atom[of_atom]).tolist() if bool(of_atom.any()) else []

    def _end(self, ended: Mapping[int, tuple[str, str]], *, state: State | None = None) -> None:
        """Freeze these replicas (as they are in `state`, or now) and take them out of the batch."""
        if not ended:
            return
        state = state or self.state
        for place, (reason, words) in ended.items():
            own, replica = state.replica_of_atom == place, self.live[place]
            self.endings[replica] = Ending(
                time=self.time,
                reason=cast(Reason, reason),
                detail=words,
                flagged=self.flagged.get(replica),
                atoms=snapshot(
                    self.starts[replica],
                    state.positions[own].cpu().numpy(),
                    velocities=state.velocities[own].cpu().numpy() / ase.units.fs,
                ),
            )
        kept = [place for place in range(len(self.live)) if place not in ended]
        self.live = [self.live[place] for place in kept]
        replicas = torch.as_tensor(kept, dtype=torch.long, device=self.atoms.device)
        atoms = torch.isin(self.state.replica_of_atom, replicas).nonzero()[:, 0]
        self.state = self.state.select(replicas, atoms)
        self.energy, self.uncertainty, self.atoms = self.energy[replicas], self.uncertainty[atoms], self.atoms[atoms]
        self.noise.keep(kept, atoms)
        if kept:
            self.pairs.keep(replicas, atoms)
            self.batch = self.batch.select(replicas)

    def _frame(self) -> Frame:
        return Frame(
            batch=self.batch,
            positions=self.state.positions,
            atoms=self.atoms,
            potential_energy=self.energy,
            temperature=self.state.temperature,
        )

    def _keep_record(self) -> None:
        state = self.state
        self.record.add(
            self.time,
            self.live,
            self.atoms.cpu().numpy(),
            positions=state.positions.cpu().numpy(),
            force_uncertainty=self.uncertainty.cpu().numpy(),
            potential_energy=self.energy.cpu().numpy(),
            conserved=(self.energy + state.kinetic_energy + self.integrator.bath_energy(state)).cpu().numpy(),
            temperature=state.temperature.cpu().numpy(),
        )
