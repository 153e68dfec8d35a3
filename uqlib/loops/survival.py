"""How many trajectories stay intact on a potential's own forces: the counts, and when the others broke."""

from __future__ import annotations

from typing import Any

import ase

from uqlib.active_learning.measures import without_uncertainty
from uqlib.dynamics import Langevin, simulate, thermal
from uqlib.loops.rules import Witness
from uqlib.loops.settings import Survival
from uqlib.prediction import Predictor


def survive(
    predictor: Predictor, rest: ase.Atoms, settings: Survival, temperature: float, steps: int
) -> dict[str, Any]:
    """Langevin dynamics of all replicas at one temperature (K), judged by each set of rules for itself.

    Returns the number of replicas, the time (fs) that they were watched, and under the name of each set the times at
    which replicas broke, sorted: those that are missing there were intact to the end. An atom that is thrown, atoms
    on top of each other and numbers that are not finite break a replica by every set. Velocities and noise are the
    same for every potential: of a seed of their own, which no loop has a say in.
    """
    witness = Witness(sets=settings.rules)
    found = simulate(
        without_uncertainty(predictor),
        thermal(rest, temperature=temperature, replicas=settings.replicas, seed=0),
        integrator=Langevin(temperature=temperature),
        steps=steps,
        seed=0,
        timestep=settings.timestep,
        every=settings.every,
        rules=(witness,),
        progress=False,
    )
    broke = {}
    for name, seen in witness.seen.items():
        times = {replica: look * settings.every * settings.timestep for replica, look in seen.items()}
        for replica, ending in enumerate(found.endings):
            if found.broken[replica]:
                times.setdefault(replica, ending.time)
        broke[name] = sorted(times.values())
    return {"replicas": settings.replicas, "fs": steps * settings.timestep, "broke": broke}
