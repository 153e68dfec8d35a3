"""The attack: many structures at once, each led by Adam to where it is uncertain and still likely."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import ase
import numpy as np
import torch
from torch import Tensor

from uqlib.attack.objective import Objective, Terms
from uqlib.dynamics.constraints import free_coordinates
from uqlib.prediction import Prediction, Predictor, placed
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Attacks:
    """Where S attacks led. Numbers are float64, nan from the step on at which an attack stopped."""

    structures: list[ase.Atoms]  # S, the last geometry of each at which all was finite
    paths: list[list[ase.Atoms]]  # S lists of geometries, step by step; steps + 1 where nothing stopped it
    atom_uncertainty: list[Tensor]  # S tensors (len(path), N) in `unit`, to colour a path by
    uncertainty: Tensor  # (S, steps + 1)  of the structure: RMS over its atoms in eV/Å, mean in nats
    energy: Tensor  # (S, steps + 1)  eV/atom above the mean of the training set
    log_weight: Tensor  # (S, steps + 1)  log of exp(-E/kT)/Q
    stopped: list[str]  # S, why an attack stopped before its time; "" where it did not
    unit: Literal["eV/Å", "nats"]


def attack(
    predictor: Predictor,
    seeds: Dataset,
    train: Dataset,
    *,
    temperature: float,
    target: float | None = None,
    steps: int = 60,
    learning_rate: float = 0.02,
    displacement: float = 0.01,
    seed: int,
    strain: bool = False,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
) -> Attacks:
    """Move the atoms of each seed so that uncertainty times Boltzmann weight grows (`Objective`), all in one batch.

    Adam changes a displacement that is added to the seed geometry, in float64; neighbours are found anew at each step.
    Since it scales each Cartesian coordinate by itself, the path depends on how the seed lies in the axes.

    Coordinates that `FixAtoms` or `FixCartesian` of ASE hold stay where they are. Under `strain` they go with the cell
    and keep their fractional coordinates, as under the cell filters of ASE. What is returned carries the constraints.

    Args:
        seeds: where to start, molecules and periodic cells alike; labels are not looked at.
        train: what the predictor was trained on; its energies make the partition function.
        temperature: K, of the weight; `math.inf` for uncertainty alone. It weighs the energy per atom, so that it means
            the same for any number of atoms.
        target: eV/Å, the uncertainty of a structure at which to end, its energy as low as that allows; None: climb on.
            It means an error of this size where the uncertainty is calibrated.
        steps: of Adam. An atom moves by up to about `learning_rate` Å along each axis in each.
        displacement: Å, standard deviation of the random displacement at the beginning, without which equal seeds
            would take the same path, and mirror planes along the axes would be kept.
        seed: of that displacement.
        strain: also strain cells that are periodic in all directions. An edge then moves like an atom.
        dtype, device: None: the predictor's own; otherwise it is brought there. `Attacks` is on the CPU in any case.

    Returns:
        Paths and ends. An attack that runs into a value that is not finite, or that puts one atom on another, stops
        there while the others go on; its last good structure says so in `info["stopped"]`.

    Raises:
        ValueError: negative steps or displacement, a learning rate, temperature or target that is not positive; a
            target for a score in nats; other constraints of ASE; and what `Batch.from_atoms` and the predictor refuse
            of the seeds.
    """
    for name, value, fine in (
        ("steps", steps, steps >= 0),
        ("learning_rate", learning_rate, learning_rate > 0),
        ("displacement", displacement, displacement >= 0),
    ):
        if not fine:
            raise ValueError(
                f"{name}: got {value}, expected {'more than 0' if name == 'learning_rate' else '0 or more'}"
            )
    predictor = placed(predictor, device=device, dtype=dtype)
    objective = Objective.of(train, temperature=temperature, target=target)
    start = Batch.from_atoms([frame.copy() for frame in seeds.atoms], cutoff=predictor.cutoff, dtype=torch.float64)
    start = start.to(predictor.device)
    random = torch.Generator().manual_seed(seed)
    moves = displacement * torch.randn(start.positions.shape, generator=random, dtype=torch.float64)
    moves = moves.to(predictor.device).requires_grad_()  # drawn on the CPU: the same on every device
    stretch = start.cell.new_zeros(start.cell.shape).requires_grad_(strain)
    leaves = [moves, stretch] if strain else [moves]
    optimiser = torch.optim.Adam(leaves, lr=learning_rate)
    record = _Record(seeds.atoms, steps)
    free = free_coordinates(seeds.atoms, name="seeds")
    for step in range(steps + 1):
        batch = record.drop_impossible(_moved(start, moves, stretch, free), step)
        if batch is None:
            break
        prediction = predictor.predict(batch.to(predictor.dtype))
        terms = objective(prediction, batch)
        if not terms.value.requires_grad:
            raise ValueError(
                f"predictor: {type(predictor).__name__} gives results without gradients, expected them to be "
                "differentiable where `batch.positions.requires_grad`"
            )
        # The sum has no terms that two structures share: each follows its own slope, as if it were alone.
        slopes = torch.autograd.grad(terms.value.sum(), leaves, materialize_grads=True)
        record.add(step, batch, prediction, terms, slopes=_finite(start, *slopes))
        for leaf, slope in zip(leaves, slopes, strict=True):
            leaf.grad = -slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)  # not finite: of attacks that stop here
        optimiser.step()
    return record.result()


def _moved(start: Batch, moves: Tensor, stretch: Tensor, free: Tensor | None) -> Batch:
    """The seeds, displaced by `moves` (N, 3) Å and strained by the symmetric part of `stretch` (S, 3, 3) Å.

    `stretch` is the strain times the cube root of the volume: in these units one learning rate suits both. A structure
    without a volume is not strained. The pairs are still those of the seeds. `free` (N, 3): 1 for what may move.
    """
    positions = start.positions + (moves if free is None else moves * free.to(moves.device))
    if not stretch.requires_grad:
        return replace(start, positions=positions)
    volume = torch.linalg.det(start.cell).abs()[:, None, None]
    strain = torch.where(volume > 0, 0.5 * (stretch + stretch.mT) / volume.clamp_min(1e-9) ** (1 / 3), 0.0)
    deform = torch.eye(3, dtype=strain.dtype, device=strain.device) + strain
    moved = torch.einsum("na,nab->nb", positions, deform.index_select(0, start.structure_of_atom))
    return replace(start, positions=moved, cell=start.cell @ deform)


def _finite(start: Batch, of_atoms: Tensor, of_cells: Tensor | None = None) -> Tensor:
    """(S,) bool: all slopes of a structure, those of its atoms (N, 3) and of its cell (S, 3, 3), are finite."""
    bad = (~torch.isfinite(of_atoms)).any(1).double()
    fine = bad.new_zeros(start.n_structures).index_add(0, start.structure_of_atom, bad) == 0
    return fine if of_cells is None else fine & torch.isfinite(of_cells).flatten(1).all(1)


class _Record:
    """Which attacks still go on, and what has been seen on the way."""

    def __init__(self, seeds: tuple[ase.Atoms, ...], steps: int) -> None:
        self.seeds = seeds
        self.alive = list(range(len(seeds)))
        self.stopped = [""] * len(seeds)
        self.numbers = {name: torch.full((len(seeds), steps + 1), torch.nan, dtype=torch.float64)
                        for name in ("uncertainty", "energy", "log_weight")}  # fmt: skip
        self.paths: list[list[ase.Atoms]] = [[] for _ in seeds]
        self.colours: list[list[Tensor]] = [[] for _ in seeds]
        self.unit: Literal["eV/Å", "nats"] = "eV/Å"

    def drop_impossible(self, everything: Batch, step: int) -> Batch | None:
        """The structures still alive, with the pairs of where their atoms are now; None where there are none."""
        while self.alive:
            batch = everything.select(self.alive)
            try:
                return batch.at(batch.positions)
            except ValueError:
                refused = [k for place, k in enumerate(self.alive) if not _has_pairs(batch.select([place]))]
                if not refused:
                    raise
                for k in refused:
                    finite = bool(torch.isfinite(everything.positions[everything.structure_of_atom == k]).all())
                    self._stop(k, "one atom on top of another" if finite else "positions not finite", step)
        return None

    def add(self, step: int, batch: Batch, prediction: Prediction, terms: Terms, *, slopes: Tensor) -> None:
        """Write down a step of the structures still alive; stop those where a value or a slope is not finite."""
        self.unit = prediction.unit
        sizes = batch.atoms_per_structure.tolist()
        points = batch.positions.detach().cpu().numpy()
        atoms = prediction.force_uncertainty.detach().double().cpu()
        last, fine = np.cumsum(sizes), slopes.tolist()
        numbers = {name: getattr(terms, name).detach().cpu() for name in ("value", *self.numbers)}
        for place, k in enumerate(list(self.alive)):
            mine = slice(int(last[place]) - sizes[place], int(last[place]))
            if not torch.isfinite(numbers["value"][place]):
                self._stop(k, "uncertainty or energy not finite", step)
                continue
            frame = self.seeds[k].copy()
            frame.info = {"source": "attack"}
            if frame.pbc.any():  # directions without a lattice vector keep what the seed's cell said of them
                cell = batch.cell[place].detach().cpu().numpy()
                frame.set_cell(np.where(frame.pbc[:, None], cell, np.asarray(frame.cell)))
            frame.positions = points[mine]
            self.paths[k].append(frame)
            self.colours[k].append(atoms[mine])
            for name, values in self.numbers.items():
                values[k, step] = numbers[name][place]
            if not fine[k]:
                self._stop(k, "gradient not finite", step)

    def _stop(self, k: int, why: str, step: int) -> None:
        self.stopped[k] = f"{why} at step {step}"
        self.alive.remove(k)

    def result(self) -> Attacks:
        for k, path in enumerate(self.paths):
            if not path:  # stopped before it began: the seed itself, of which nothing is known
                path.append(self.seeds[k].copy())
                path[0].info = {"source": "attack"}
                self.colours[k].append(torch.full((len(path[0]),), torch.nan, dtype=torch.float64))
        ends = [path[-1].copy() for path in self.paths]
        for end, why in zip(ends, self.stopped, strict=True):
            if why:
                end.info["stopped"] = why
        colours = [torch.stack(found) for found in self.colours]
        return Attacks(structures=ends, paths=self.paths, atom_uncertainty=colours, stopped=self.stopped,
                       unit=self.unit, **self.numbers)  # fmt: skip


def _has_pairs(batch: Batch) -> bool:
    try:
        batch.at(batch.positions)
    except ValueError:
        return False
    return True
