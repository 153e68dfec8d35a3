"""Dynamics that ask for their own labels: biased towards the uncertain, or stopped where they are too uncertain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import ase
import numpy as np

from uqlib import calibration
from uqlib.active_learning.history import History, predictor_path
from uqlib.active_learning.labels import rounded_copy
from uqlib.active_learning.loop import read_candidates
from uqlib.active_learning.proposals import Candidates, FromDynamics, drawn, possible_and_new
from uqlib.dynamics import Biased, Langevin, simulate, thermal_each
from uqlib.dynamics.trajectories import Ending
from uqlib.prediction import Predictor, predict
from uqlib.structures.datasets import Dataset

AT_ONCE = 500  # steps after which it is looked whether there are enough stops


@dataclass(frozen=True, kw_only=True)
class FromBiasedDynamics(FromDynamics):
    """Frames of dynamics that are pushed to where the predictor is uncertain (`uqlib.dynamics.Biased`).

    Then chosen as other frames of dynamics are: by uncertainty, or at random. `strength`, `of` and `limit` as in
    `Biased`: with a strength of 20 and of="energy", each 10 meV of uncertainty lower the energy by 200 meV. Which
    strength pushes depends on the size of the uncertainties, so there is no default. Errors as those of `Biased`,
    when candidates are asked for.
    """

    strength: float
    of: Literal["energy", "forces"] = "energy"
    limit: float | None = None

    def candidates(self, predictor: Predictor, train: Dataset, *, number: int, seed: int) -> Candidates:
        """The uncertainties that choose are the predictor's own: a bias changes none."""
        biased = Biased(predictor, strength=self.strength, of=self.of, limit=self.limit)
        return super().candidates(biased, train, number=number, seed=seed)


@dataclass(frozen=True, kw_only=True)
class OnTheFly:
    """Learning on the fly: dynamics go on until an atom is too uncertain, are labelled there, and go on from there.

    As in Jinnouchi, Karsai, Kresse, Phys. Rev. B 100, 014105 (2019), and FLARE: Vandermause et al., npj Comput. Mater.
    6, 20 (2020). `ActiveLearning` with this as `propose` does it. Each of its generations runs all replicas with the
    latest potential until `labels` of them have stopped or all have reached their end, asks for labels of the frames
    where they stopped, and fits again, from the beginning as always. With `labels=1` every stop is learnt from before
    anything goes on, and `generations` is the budget. `stops` tells what happened at each.

    Replicas begin at training structures drawn at random, at `temperature` K, under Langevin dynamics. After a fit,
    and at the beginning, a replica runs `unwatched` steps before its uncertainty counts, since what was just labelled
    may still be above the limit (FLARE has the same). One that breaks, or stops with atoms impossibly close, begins
    anew at another training structure, and keeps its clock. The run ends when all have done their `steps`.
    """

    limit: float  # of an atom, in the predictor's unit: eV/Å where calibrated
    temperature: float = 1000.0  # K
    steps: int = 20000  # of each replica, in all
    timestep: float = 0.5  # fs
    replicas: int = 10
    unwatched: int = 20  # steps
    closest: float = 0.7  # of the sum of covalent radii
    rmsd: float = 0.05  # Å
    continues: ClassVar[bool] = True  # the loop keeps where it stood

    def __post_init__(self) -> None:
        for name in ("limit", "temperature", "steps", "timestep", "replicas"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected more than 0")
        if self.unwatched < 0:
            raise ValueError(f"unwatched: got {self.unwatched}, expected 0 steps or more")

    def candidates(
        self, predictor: Predictor, train: Dataset, *, number: int, seed: int, state: Mapping[str, Any] | None = None
    ) -> Candidates:
        """Frames where replicas stopped; `state`, plain data, is where all of them stood before, and stand now."""
        random = np.random.SeedSequence(seed)
        if state is None:
            frames = [_bare(atoms) for atoms in drawn(train, self.replicas, seed).atoms]
            moving = thermal_each(frames, temperature=self.temperature, seed=seed)
            walkers = [_Walker(step=0, blind=self.unwatched, atoms=atoms) for atoms in moving]
        else:
            walkers = [_Walker.read(found) for found in state["replicas"]]
        counts, stops, kept, waiting = Counter[str](), [], [], set[int]()
        while len(kept) < number:
            going = [k for k, walker in enumerate(walkers) if walker.step < self.steps and k not in waiting]
            group = [k for k in going if walkers[k].blind] or going
            if not group:
                break
            own = int(random.spawn(1)[0].generate_state(1)[0])
            for k, ending in self._moved(predictor, walkers, group, own):
                done = walkers[k].step + round(ending.time / self.timestep)
                blind = max(walkers[k].blind - (done - walkers[k].step), 0)
                walkers[k] = _Walker(step=done, blind=blind, atoms=ending.atoms)
                if ending.reason == "completed":
                    continue
                why = "broken" if ending.reason != "uncertain" else "waiting" if len(kept) == number else ""
                why = why or self._worth(ending.atoms, train, kept)
                counts[why] += 1
                if why == "kept":
                    kept.append(_bare(ending.atoms))
                    stops.append({"replica": k, "time": done * self.timestep})
                if why in ("kept", "waiting"):
                    waiting.add(k)
                again = ending.atoms if why in ("kept", "waiting", "duplicate") else self._anew(train, own, k)
                # A step more for what broke at once: it must not break for ever.
                done += why not in ("kept", "waiting", "duplicate") and ending.time == 0
                rest = 0 if why == "waiting" else max(self.unwatched, 1)
                walkers[k] = _Walker(step=done, blind=rest, atoms=again)
        counts["reached the end"] = sum(walker.step >= self.steps for walker in walkers)
        if kept:
            found = predict(predictor, kept)
            sizes = [len(atoms) for atoms in kept]
            for stop, spread in zip(stops, found.force_uncertainty.split(sizes), strict=True):
                stop |= {"uncertainty": float(spread.max()), "unit": found.unit}
        after = {"replicas": [walker.plain() for walker in walkers], "stops": stops}
        return Candidates(structures=kept, counts={w: c for w, c in counts.items() if c}, state=after)

    def _moved(
        self, predictor: Predictor, walkers: list[_Walker], group: list[int], seed: int
    ) -> list[tuple[int, Ending]]:
        """These replicas, all of them watched or none, some steps further; in the order in which they ended."""
        blind = [walkers[k].blind for k in group if walkers[k].blind]
        found = simulate(
            predictor,
            [walkers[k].atoms for k in group],
            integrator=Langevin(temperature=self.temperature),
            steps=min([AT_ONCE, *blind, *(self.steps - walkers[k].step for k in group)]),
            seed=seed,
            timestep=self.timestep,
            stop_above=None if blind else self.limit,
            progress=False,
        )
        return sorted(zip(group, found.endings, strict=True), key=lambda pair: pair[1].time)

    def _worth(self, atoms: ase.Atoms, train: Dataset, kept: list[ase.Atoms]) -> str:
        """Whether the frame is "kept", or why not."""
        known = replace(train, atoms=(*train.atoms, *kept), splits={}, reading=None)
        return next(iter(possible_and_new([_bare(atoms)], known, 1, closest=self.closest, rmsd=self.rmsd).counts))

    def _anew(self, train: Dataset, seed: int, replica: int) -> ase.Atoms:
        """Another beginning for a replica."""
        own = int(np.random.SeedSequence([seed, replica]).generate_state(1)[0])
        (atoms,) = thermal_each([_bare(drawn(train, 1, own).atoms[0])], temperature=self.temperature, seed=own)
        return atoms


@dataclass(frozen=True, kw_only=True)
class _Walker:
    """Where a replica stands."""

    step: int  # how many it has done
    blind: int  # how many it has still to do before its uncertainty counts
    atoms: ase.Atoms

    def plain(self) -> dict[str, Any]:
        atoms = self.atoms
        return {
            "step": self.step,
            "blind": self.blind,
            "numbers": atoms.numbers.tolist(),
            "positions": atoms.positions.tolist(),
            "velocities": atoms.get_velocities().tolist(),
            "cell": np.asarray(atoms.cell).tolist(),
            "pbc": atoms.pbc.tolist(),
        }

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> _Walker:
        rest = {name: value for name, value in plain.items() if name not in ("step", "blind")}
        return cls(step=plain["step"], blind=plain["blind"], atoms=ase.Atoms(**rest))


def _bare(atoms: ase.Atoms) -> ase.Atoms:
    return ase.Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A moment at which learning on the fly asked for a label."""

    generation: int  # whose potential was stopped
    replica: int
    time: float  # fs that the replica had run
    uncertainty: float  # of the most uncertain atom, in `unit`
    unit: str
    error: float  # eV/Å, largest of an atom's forces there, RMS of three components; nan without labels of forces
    energy_jump: float  # eV, by which the next potential lies above this one there

    def __str__(self) -> str:
        return (
            f"generation {self.generation}, replica {self.replica}: stopped after {self.time:g} fs at "
            f"{self.uncertainty:.3g} {self.unit}; true error {self.error:.3g} eV/Å, energy jump "
            f"{1000 * self.energy_jump:.1f} meV"
        )


def stops(history: History) -> list[Stop]:
    """What happened at each stop of a run with `OnTheFly`, from the potentials that the run kept.

    Stops whose frames could not be labelled are not among them. Raises ValueError for a run without stops on record.
    """
    told = []
    for generation, added in zip(history.generations, history.added, strict=False):
        kept = read_candidates(history.folder, generation.number)
        if kept.state is None or "stops" not in kept.state:
            raise ValueError(f"history: {history.folder} holds no stops, expected a run with OnTheFly as its `propose`")
        if not added:
            continue
        labels = {rounded_copy(atoms).positions.tobytes(): atoms for atoms in added}
        places = [rounded_copy(atoms).positions.tobytes() for atoms in kept.structures]
        known = [
            (stop, labels[place]) for stop, place in zip(kept.state["stops"], places, strict=True) if place in labels
        ]
        frames = [atoms for _, atoms in known]
        before, after = (
            predict(calibration.load(predictor_path(history.folder, generation.number + k)), frames) for k in (0, 1)
        )
        jumps = (after.energy - before.energy).tolist()
        sizes = [len(atoms) for atoms in frames]
        for (stop, atoms), forces, jump in zip(known, before.forces.split(sizes), jumps, strict=True):
            has = atoms.calc is not None and "forces" in atoms.calc.results
            true = atoms.get_forces() if has else np.full((len(atoms), 3), np.nan)
            off = np.sqrt(np.square(forces.double().numpy() - true).mean(1))
            told.append(Stop(generation=generation.number, error=float(off.max()), energy_jump=jump, **stop))
    return told
