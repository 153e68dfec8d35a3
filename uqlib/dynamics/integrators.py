"""How positions and velocities advance: velocity Verlet, Langevin (BAOAB) and a Nosé-Hoover chain.

A step is what happens before the new forces are known and what happens after. States are in float64, whatever the
network: a sum of many small moves loses more to rounding than a force does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from uqlib.dynamics.constraints import without_drift
from uqlib.dynamics.randomness import Noise, check_positive, thermal_variance
from uqlib.structures.units import ANGSTROM_FS2_PER_EV_ANGSTROM_AMU, KB


@dataclass(frozen=True, kw_only=True)
class State:
    """L replicas with N atoms in all, float64."""

    positions: Tensor  # (N, 3)  Å
    velocities: Tensor  # (N, 3)  Å/fs
    forces: Tensor  # (N, 3)  eV/Å
    masses: Tensor  # (N, 1)  amu
    replica_of_atom: Tensor  # (N,)    0..L-1, sorted
    freedoms: Tensor  # (L,)    degrees of freedom that hold kinetic energy
    chain: Tensor | None = None  # (2, L, C)  positions (no unit) and velocities (1/fs) of a thermostat chain
    free: Tensor | None = None  # (N, 3)  0 for coordinates that are held, else 1; None: all are free

    @property
    def kinetic_energy(self) -> Tensor:
        """(L,) eV"""
        of_atom = 0.5 * (self.masses * self.velocities.square()).sum(-1) / ANGSTROM_FS2_PER_EV_ANGSTROM_AMU
        return torch.zeros_like(self.freedoms).index_add(0, self.replica_of_atom, of_atom)

    @property
    def temperature(self) -> Tensor:
        """(L,) K"""
        return 2 * self.kinetic_energy / (self.freedoms * KB)

    def select(self, replicas: Tensor, atoms: Tensor) -> State:
        """The replicas and their atoms, named by their indices."""
        sizes = torch.bincount(self.replica_of_atom, minlength=len(self.freedoms))[replicas]
        return State(
            positions=self.positions[atoms],
            velocities=self.velocities[atoms],
            forces=self.forces[atoms],
            masses=self.masses[atoms],
            replica_of_atom=torch.repeat_interleave(sizes),
            freedoms=self.freedoms[replicas],
            chain=None if self.chain is None else self.chain[:, replicas],
            free=None if self.free is None else self.free[atoms],
        )


class Integrator(Protocol):
    """A recipe of a step of `timestep` fs."""

    def begin(self, state: State) -> State:
        """The state with what the integrator adds to it."""
        ...

    def before(self, state: State, timestep: float, noise: Noise) -> State:
        """Up to the new positions."""
        ...

    def after(self, state: State, timestep: float) -> State:
        """From the new forces on."""
        ...

    def bath_energy(self, state: State) -> Tensor | float:
        """(L,) eV that, with the energy of the atoms, is conserved; nan where nothing is."""
        ...


@dataclass(frozen=True, kw_only=True)
class VelocityVerlet:
    """Constant energy (NVE). Swope, Andersen, Berens, Wilson, J. Chem. Phys. 76, 637 (1982)."""

    def begin(self, state: State) -> State:
        return replace(state, freedoms=_without_drift(state))

    def before(self, state: State, timestep: float, noise: Noise) -> State:
        return _drift(_kick(state, timestep / 2), timestep)

    def after(self, state: State, timestep: float) -> State:
        return _kick(state, timestep / 2)

    def bath_energy(self, state: State) -> float:
        return 0.0


@dataclass(frozen=True, kw_only=True)
class Langevin:
    """Constant temperature (K) by friction (1/fs) and noise, in the order BAOAB.

    Leimkuhler, Matthews, Appl. Math. Res. Express 2013, 34. The positions of a harmonic oscillator are sampled without
    any error of the time step. Total momentum diffuses, too.
    """

    temperature: float  # K
    friction: float = 0.01  # 1/fs

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature, friction=self.friction)

    def begin(self, state: State) -> State:
        return state

    def before(self, state: State, timestep: float, noise: Noise) -> State:
        state = _drift(_kick(state, timestep / 2), timestep / 2)
        kept = math.exp(-self.friction * timestep)
        width = (thermal_variance(state.masses, self.temperature) * (1 - kept**2)).sqrt()
        pushed = kept * state.velocities + width * noise.draw().to(width.device)
        if state.free is not None:
            pushed = pushed * state.free
        return _drift(replace(state, velocities=pushed), timestep / 2)

    def after(self, state: State, timestep: float) -> State:
        return _kick(state, timestep / 2)

    def bath_energy(self, state: State) -> float:
        return math.nan


@dataclass(frozen=True, kw_only=True)
class NoseHoover:
    """Constant temperature (K) by a chain of thermostats that answer within `time` fs; deterministic.

    Martyna, Tuckerman, Tobias, Klein, Mol. Phys. 87, 1117 (1996), with one factorisation step and no further splitting:
    take `time` at least ten time steps. One small molecule explores badly under it; Langevin serves better there.
    """

    temperature: float  # K
    time: float = 50.0  # fs
    links: int = 3

    def __post_init__(self) -> None:
        check_positive(temperature=self.temperature, time=self.time, links=self.links)

    def begin(self, state: State) -> State:
        chain = state.positions.new_zeros(2, len(state.freedoms), self.links)
        return replace(state, freedoms=_without_drift(state), chain=chain)

    def before(self, state: State, timestep: float, noise: Noise) -> State:
        return _drift(_kick(self._half_step(state, timestep), timestep / 2), timestep)

    def after(self, state: State, timestep: float) -> State:
        return self._half_step(_kick(state, timestep / 2), timestep)

    def bath_energy(self, state: State) -> Tensor:
        assert state.chain is not None
        place, speed = state.chain
        weight = torch.ones_like(place)
        weight[:, 0] = state.freedoms
        kt = KB * self.temperature
        return (0.5 * self._inertia(state.freedoms) * speed.square() + weight * kt * place).sum(-1)

    def _inertia(self, freedoms: Tensor) -> Tensor:
        """(L, C) eV fs²"""
        weight = freedoms.new_ones(len(freedoms), self.links)
        weight[:, 0] = freedoms
        return weight * KB * self.temperature * self.time**2

    def _half_step(self, state: State, timestep: float) -> State:
        """Half a step of the chain, which scales all velocities of a replica by one factor."""
        assert state.chain is not None
        kt, inertia, half = KB * self.temperature, self._inertia(state.freedoms), timestep / 2
        speed, twice_kinetic = list(state.chain[1].unbind(-1)), 2 * state.kinetic_energy

        def advance(link: int) -> None:
            if link == 0:
                pull = (twice_kinetic - state.freedoms * kt) / inertia[:, 0]
            else:
                pull = (inertia[:, link - 1] * speed[link - 1].square() - kt) / inertia[:, link]
            drag = torch.exp(-speed[link + 1] * half / 4) if link + 1 < self.links else 1.0
            speed[link] = (speed[link] * drag + pull * half / 2) * drag

        for link in reversed(range(self.links)):
            advance(link)
        factor = torch.exp(-speed[0] * half)
        twice_kinetic = twice_kinetic * factor.square()
        place = state.chain[0] + torch.stack(speed, dim=-1) * half
        for link in range(self.links):
            advance(link)
        velocities = state.velocities * factor[state.replica_of_atom, None]
        return replace(state, velocities=velocities, chain=torch.stack([place, torch.stack(speed, dim=-1)]))


def _kick(state: State, time: float) -> State:
    push = state.forces * (time * ANGSTROM_FS2_PER_EV_ANGSTROM_AMU) / state.masses
    return replace(state, velocities=state.velocities + push)


def _drift(state: State, time: float) -> State:
    return replace(state, positions=state.positions + time * state.velocities)


def _without_drift(state: State) -> Tensor:
    """Where total momentum is conserved (and zero), it holds no heat."""
    return without_drift(state.freedoms, state.free, state.replica_of_atom)
