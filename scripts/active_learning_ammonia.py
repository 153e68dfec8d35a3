"""Active learning on ammonia, several seeds: does it pay to ask the uncertainty where to spend a label?

    python scripts/active_learning_ammonia.py --workers 2            # all runs that are missing, then the results
    python scripts/active_learning_ammonia.py --methods ensemble --proposals attack --seeds 1

Every run starts from the same twenty structures near the pyramidal minimum and buys three times eight labels from
PySCF. Runs live in `scripts/runs/active_learning_ammonia/` and share their labels; stopped, the command goes on where
it was. The results go to `uqlib/data/active_learning/ammonia.json`, which the chapter reads.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import metadata
from pathlib import Path

import torch
from campaign import SCRIPTS, write_atomically
from tqdm.auto import tqdm

from uqlib import datasets
from uqlib.active_learning import (
    ActiveLearning,
    Attacked,
    Displaced,
    FromDynamics,
    barrier_error,
    energy_mae,
    force_mae,
    force_spearman,
    surviving,
)
from uqlib.calibration import Recalibrated
from uqlib.dynamics import BondLengths, ShortestDistance
from uqlib.methods import Ensemble, GaussianMixture, LastLayer
from uqlib.oracles import PySCFOracle
from uqlib.training import Settings

RUNS = SCRIPTS / "runs" / "active_learning_ammonia"
RESULTS = SCRIPTS.parent / "uqlib" / "data" / "active_learning" / "ammonia.json"
NETWORK = {"features": 32, "interactions": 2}
SETTINGS = Settings(epochs=100, batch_size=5)
START = {"train": 20, "valid": 5}
LABELS, GENERATIONS = 8, 3

METHODS = {
    "ensemble": Ensemble(members=4, network=NETWORK, settings=SETTINGS),
    "llpr": LastLayer(network=NETWORK, settings=SETTINGS),
    "gmm": Recalibrated(method=GaussianMixture(network=NETWORK, settings=SETTINGS)),
}
PROPOSALS = {
    "attack": Attacked(temperature=700.0, learning_rate=0.01),
    "dynamics": FromDynamics(temperature=500.0),
    "random": Displaced(scale=0.1),
}


def run(method: str, proposal: str, seed: int) -> dict[str, object]:
    """One run from start to end, or what is missing of it."""
    torch.set_num_threads(1)
    data = datasets.load("ammonia")
    rules = [BondLengths(), ShortestDistance(first="H", second="H", distance=1.1)]
    history = ActiveLearning(
        method=METHODS[method],
        oracle=PySCFOracle(level="bp86-d3/def2-svp"),
        propose=PROPOSALS[proposal],
        generations=GENERATIONS,
        labels=LABELS,
    ).run(
        data["train"].take(range(START["train"])),
        data["valid"].take(range(START["valid"])),
        seed=seed,
        folder=RUNS / f"{method}-{proposal}-{seed}",
        label_folder=RUNS / "labels",
        measures={
            "barrier error (eV)": barrier_error(data["path"]),
            "force MAE on the path (eV/Å)": force_mae(data["path"]),
            "force MAE on test (eV/Å)": force_mae(data["test"]),
            "force MAE on hot (eV/Å)": force_mae(data["hot"]),
            "energy MAE on the grid (eV/atom)": energy_mae(data["grid"]),
            "Spearman on hot": force_spearman(data["hot"]),
            "whole after 500 fs at 1000 K": surviving(data["path"].atoms[0], rules, temperature=1000.0),
        },
        progress=False,
    )
    generations = [json.loads(generation.to_json()) for generation in history.generations]
    return {"method": method, "proposal": proposal, "seed": seed, "generations": generations}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--proposals", nargs="+", choices=PROPOSALS, default=list(PROPOSALS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--nice", type=int, default=0)
    arguments = parser.parse_args()
    os.nice(arguments.nice)
    jobs = [
        (method, proposal, seed)
        for method, proposal in itertools.product(arguments.methods, arguments.proposals)
        for seed in range(arguments.seeds)
    ]
    found = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, context) as pool:
        futures = [pool.submit(run, *job) for job in jobs]
        for future in tqdm(as_completed(futures), total=len(jobs), unit="run"):
            found.append(future.result())
            save(found)


def save(found: list[dict[str, object]]) -> None:
    """All runs so far, in an order of their own, with what made them."""
    ordered = sorted(found, key=lambda result: (result["method"], result["proposal"], result["seed"]))
    versions = {name: metadata.version(name) for name in ("torch", "pyscf", "ase")}
    made = {
        "command": "python scripts/active_learning_ammonia.py",
        "versions": versions,
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "start": START,
        "methods": {name: repr(method) for name, method in METHODS.items()},
        "proposals": {name: repr(proposal) for name, proposal in PROPOSALS.items()},
    }
    Path(RESULTS).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(RESULTS, json.dumps({**made, "runs": ordered}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
