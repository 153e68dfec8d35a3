"""`python -m benchmarks.dynamics`: 100 ammonia replicas in one batch against one after another in ASE."""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable

import ase.units
import numpy as np
import torch
from ase.md.langevin import Langevin as AseLangevin

from benchmarks.systems import ammonia
from benchmarks.timing import busy, interleave
from uqlib.dynamics import Langevin, simulate, thermal
from uqlib.interfaces.ase import UncertaintyCalculator
from uqlib.methods.mve import FittedMeanVariance
from uqlib.methods.shared.committee import Committee
from uqlib.networks.painn import PaiNN
from uqlib.prediction import Predictor

TEMPERATURE, FRICTION, TIMESTEP = 300.0, 0.01, 0.5  # K, 1/fs, fs
REPLICAS, STEPS = 100, 10
ALONE = 50  # replicas that ASE runs, for twice as many steps: the same number of replica-steps


def networks(members: int, features: int) -> Predictor:
    """An ensemble, or one network with mean-variance estimation, untrained and pulling gently: time does not depend on
    the weights. Runs are short, since such molecules do not hold together."""
    heads = {"spread": 2} if members == 1 else {}
    models = [PaiNN(elements=(1, 7), features=features, heads=heads, seed=seed) for seed in range(members)]
    for model in models:
        model.scale.fill_(1e-3)
    return FittedMeanVariance(models[0]) if members == 1 else Committee(models)


def batched(predictor: Predictor) -> Callable[[], object]:
    starts = thermal(ammonia()[0], temperature=TEMPERATURE, replicas=REPLICAS, seed=0)
    integrator = Langevin(temperature=TEMPERATURE, friction=FRICTION)
    options = {"steps": STEPS, "seed": 0, "timestep": TIMESTEP, "every": STEPS, "progress": False}
    return lambda: simulate(predictor, starts, integrator=integrator, **options)


def one_after_another(predictor: Predictor) -> Callable[[], object]:
    starts = thermal(ammonia()[0], temperature=TEMPERATURE, replicas=ALONE, seed=0)

    def run() -> None:
        for start in starts:
            atoms = start.copy()
            atoms.calc = UncertaintyCalculator(predictor)
            dynamics = AseLangevin(
                atoms,
                TIMESTEP * ase.units.fs,
                temperature_K=TEMPERATURE,
                friction=FRICTION / ase.units.fs,
                fixcm=False,
                rng=np.random.default_rng(0),
            )
            dynamics.run(REPLICAS * STEPS // ALONE)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dynamics", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each comparison")
    parser.add_argument("--threads", type=int, default=1, help="torch threads; more do not help one small molecule")
    parser.add_argument("--cpu-time", action="store_true", help="count processor time, on a machine with other work")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if warning := busy():
        print(f"WARNING: {warning}")
    clock = time.process_time if options.cpu_time else time.perf_counter
    measure = functools.partial(interleave, seconds=options.seconds, clock=clock)
    print(
        f"torch {torch.__version__}, {options.threads} threads, float32, NH3, Langevin, neighbours searched as needed"
    )
    for members, features in ((1, 64), (1, 128), (2, 32), (5, 64), (5, 128)):
        predictor = networks(members, features)
        times = measure({"ASE": one_after_another(predictor), "uqlib": batched(predictor)})
        middle, low, high = times.ratio("ASE", "uqlib")
        speed = {name: REPLICAS * STEPS / times.median(name) for name in times.names}
        print(
            f"{members} x {features} features, replica-steps/s: ASE {speed['ASE']:.0f}, "
            f"uqlib {speed['uqlib']:.0f}, {middle:.1f} x faster (quartiles {low:.1f} to {high:.1f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
