"""`simulate`: many replicas as one batch, each until its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import ase
import numpy as np
import torch
from tqdm.auto import tqdm

from uqlib.dynamics.integrators import Integrator
from uqlib.dynamics.rules import Rule
from uqlib.dynamics.running import Plan, Run
from uqlib.dynamics.trajectories import Trajectories
from uqlib.prediction import Predictor, placed


def simulate(
    predictor: Predictor,
    starts: Sequence[ase.Atoms],
    *,
    integrator: Integrator,
    steps: int,
    seed: int,
    timestep: float = 0.5,
    every: int = 10,
    rules: Sequence[Rule] = (),
    flag_above: float | None = None,
    stop_above: float | None = None,
    skin: float = 1.0,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    stream: str | Path | None = None,
    progress: bool = True,
) -> Trajectories:
    """Dynamics of all `starts` at once, with the velocities that they carry (`thermal` draws some).

    A replica that ends is frozen and leaves the batch; the others do not notice. It ends "broken" by a rule, by a step
    of more than 1 Å or by atoms on top of each other, "not finite" when energy, forces, uncertainty or positions are
    not numbers, "uncertain" above `stop_above`. What it does depends on `seed` and on its place in `starts`, not on the
    other replicas (to round-off, since matrix products of different sizes are rounded differently).

    Coordinates that `FixAtoms` or `FixCartesian` of ASE hold stay where they are, take no heat, and are not counted in
    the temperature; what is returned carries these constraints on.

    Args:
        predictor: any, in float32 or float64.
        starts: S structures, Å. One that is listed twice runs twice.
        integrator: `VelocityVerlet()`, `Langevin(temperature=...)` or `NoseHoover(temperature=...)`.
        steps: how many, at most.
        seed: of the noise.
        timestep: fs.
        every: steps between records, at which the rules are looked at; uncertainty and finiteness are at each step.
        rules: what counts as broken.
        flag_above: uncertainty of an atom; the first moment above it is noted (`Ending.flagged`).
        stop_above: uncertainty of an atom above which the replica is stopped. How long it would have lasted is then
            unknown for good (`competing_risks` has what is left to say); `flag_above` lets it run on.
        skin: Å beyond the cutoff to which neighbours are searched; 0 searches at every step. The results are the same.
        dtype: None: the predictor's own; otherwise it is brought to this one. Positions and velocities are kept in
            float64.
        device: None: the one that the predictor is on; otherwise it is brought to this one; "auto": a GPU if there is
            one. Noise is drawn on the CPU, the same for every device; `Trajectories` are there, too.
        stream: a folder to which each record is appended as it is made.
        progress: show a bar.

    Raises:
        ValueError: no structures, numbers out of range, a start that breaks a rule or has none of what it is about,
            other constraints of ASE, or constraints that hold all atoms.
        FileExistsError: `stream` holds trajectories already.
    """
    if not len(starts):
        raise ValueError("starts: got no structures, expected at least one")
    plan = Plan(
        steps=steps,
        timestep=timestep,
        every=every,
        skin=skin,
        flag_above=math.inf if flag_above is None else flag_above,
        stop_above=math.inf if stop_above is None else stop_above,
    )
    predictor = placed(predictor, device=device, dtype=dtype)
    run = Run(predictor, [_bare(atoms) for atoms in starts], integrator, plan, seed, stream)
    run.begin(rules)
    with tqdm(total=steps, desc="dynamics", unit="step", disable=not progress, leave=False) as bar:
        while run.step_number < steps and run.live:
            run.step()
            bar.update()
    return run.result()


def _bare(atoms: ase.Atoms) -> ase.Atoms:
    copy = atoms.copy()  # without its calculator
    if not np.isfinite(copy.get_velocities()).all():
        raise ValueError("starts: got velocities that are not finite, expected numbers or none")
    return copy
