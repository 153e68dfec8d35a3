"""Active learning on silica glass, labelled by CP2K: from cold glass to one that may be melted.

    python -m scripts.campaigns.silica_active_learning                      # DFT: some minutes a label, resumable
    python -m scripts.campaigns.silica_active_learning --classical --seeds 3    # Vashishta's potential: seconds a label

The potential starts from glass at 300 and 600 K and buys three times a few labels, of attacks in which atoms and cell
move. To know what the attacks are worth, the same number of labels is also spent on more of the same: frames of the
campaign, glass up to 2000 K, whose labels are there already. The classical run shows what several seeds make of the
same protocol; DFT can afford one. Runs live in `scripts/runs/silica_active_learning/`; what the chapter reads goes to
`uqlib/data/active_learning/silica[_classical].json` and, structures to look at, `.xyz`. The settings were tried with
seed 100, which is in no result.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import cast

import ase
import numpy as np
import torch

from scripts.campaigns.active_learning_runs import lasting, measured, more_of_the_same, results_text
from scripts.data.campaign import DATA, SCRIPTS, frame_text, single_threaded_pool, write_atomically
from scripts.data.make_silica import COLD, COLDEST, ORACLE
from uqlib.active_learning import ActiveLearning, Attacked, force_mae, force_spearman
from uqlib.active_learning.measures import Measure
from uqlib.dynamics import ClosestContact, Coordination
from uqlib.methods import LastLayer
from uqlib.networks.training import Settings
from uqlib.oracles import VashishtaOracle
from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset

RUNS = SCRIPTS / "runs" / "silica_active_learning"
RESULTS = DATA / "active_learning"
LABELS, GENERATIONS = 6, 3
METHOD = LastLayer(
    network={"features": 32, "interactions": 2, "cutoff": 4.0},
    settings=Settings(epochs=150, batch_size=2, learning_rate=5e-3, schedule="cosine", patience=150, clip=1.0),
)
PROPOSAL = Attacked(
    temperature=3000.0,
    steps=40,
    learning_rate=0.02,
    displacement=0.02,
    strain=True,
    stages=4,
    oversampling=8,
    percentile=50.0,
    choose="spread",
)
RULES = (ClosestContact(share=0.6), Coordination(centre="Si", neighbour="O", within=2.3, allowed=(2, 6), share=0.1))
JUDGED = ("test", "melt", "tension", "compression", "crystals")
TEMPERATURES = (300.0, 1500.0, 3000.0)  # K, of the dynamics that are to survive
DYNAMICS = {"replicas": 8, "steps": 600}  # of 0.5 fs


def name_of(classical: bool) -> str:
    """Of the results."""
    return "silica_classical" if classical else "silica"


def start_of(data: Dataset, split: str) -> Dataset:
    """The first cold structures of a split."""
    cold = np.flatnonzero(np.asarray(data[split].info("temperature"), dtype=float) <= COLDEST)
    if len(cold) < COLD[split]:
        raise SystemExit(
            f"{split}: {len(cold)} labelled structures at {COLDEST:g} K or less, {COLD[split]} are needed; go on with "
            "`python -m scripts.data.make_silica`"
        )
    return data[split].take(cold[: COLD[split]])


def measures_of(data: Dataset) -> dict[str, Measure]:
    """What is followed: errors, and how well they are ranked, per split."""
    splits = [split for split in JUDGED if split in data.splits]
    found: dict[str, Measure] = {f"force MAE on {split} (eV/Å)": force_mae(data[split]) for split in splits}
    return found | {f"Spearman on {split}": force_spearman(data[split]) for split in splits}


def run(classical: bool, seed: int) -> dict[str, object]:
    """One run from start to end, or what is missing of it, and its comparison with more of the same."""
    torch.set_num_threads(1)
    data = datasets.load("silica_vashishta" if classical else "silica")
    train, valid = start_of(data, "train"), start_of(data, "valid")
    measures = measures_of(data)
    folder = RUNS / ("classical" if classical else "dft") / str(seed)
    history = ActiveLearning(
        method=METHOD,
        oracle=VashishtaOracle() if classical else ORACLE,
        propose=PROPOSAL,
        generations=GENERATIONS,
        labels=LABELS,
        valid_share=0.0,
    ).run(
        train,
        valid,
        seed=seed,
        folder=folder,
        label_folder=RUNS / "labels",
        measures=measures,
        progress=False,
    )
    labels = sum(generation.labelled for generation in history.generations)
    same = more_of_the_same(METHOD, data["train"], train, valid, labels, seed=seed, folder=folder)
    potentials = {"before": history.predictor_path(0), "after": history.predictor_path(-1), "more of the same": same}
    rest = train.atoms[0]
    return {
        "seed": seed,
        "cells": {split: len(data[split]) for split in JUDGED if split in data.splits},
        "generations": [json.loads(generation.to_json()) for generation in history.generations],
        "more of the same": measured(same, measures),
        "lifetimes": {
            word: {f"{t:g}": lasting(path, rest, RULES, t, **DYNAMICS)[0] for t in TEMPERATURES}
            for word, path in potentials.items()
        },
        "labelled": [tagged(atoms, generation=number) for number, added in enumerate(history.added) for atoms in added],
        "dynamics": [
            tagged(atoms, potential=word, temperature=t)
            for word, path in potentials.items()
            for t in TEMPERATURES
            for atoms in lasting(path, rest, RULES, t, **DYNAMICS)[1]
        ],
    }


def tagged(atoms: ase.Atoms, **info: float | str) -> ase.Atoms:
    """A copy that says where it comes from, and nothing else."""
    copy = atoms.copy()
    copy.info = dict(info)
    copy.calc = atoms.calc
    return copy


def settings(*, classical: bool) -> dict[str, object]:
    """What makes the runs, in words."""
    return {
        "command": "python -m scripts.campaigns.silica_active_learning"
        + (" --classical --seeds 3" if classical else ""),
        "oracle": repr(VashishtaOracle() if classical else ORACLE),
        "start": {**COLD, "at most (K)": COLDEST},
        "labels": LABELS,
        "generations": GENERATIONS,
        "method": repr(METHOD),
        "proposal": repr(PROPOSAL),
        "rules": [str(rule) for rule in RULES],
        "dynamics": {**DYNAMICS, "temperatures": list(TEMPERATURES)},
    }


def save(found: Sequence[Mapping[str, object]], *, classical: bool) -> None:
    """The trace, with what made it; and the structures of the first seed, to look at."""
    name = name_of(classical)
    versions = {name: metadata.version(name) for name in ("torch", "ase")}
    keep = ("seed", "cells", "generations", "more of the same", "lifetimes")
    made = {
        **settings(classical=classical),
        "versions": versions,
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    runs = [{key: result[key] for key in keep} for result in found]
    write_atomically(RESULTS / f"{name}.json", results_text(made, runs))
    for kind in ("labelled", "dynamics"):  # of the first seed
        frames = cast(list[ase.Atoms], found[0][kind])
        write_atomically(RESULTS / f"{name}_{kind}.xyz", "".join(map(frame_text, frames)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classical", action="store_true", help="labels of a classical potential, by LAMMPS")
    parser.add_argument("--seeds", type=int, default=1, help="runs that differ in all that is random (default: 1)")
    parser.add_argument("--workers", type=int, default=1, help="runs at once, one thread each (default: 1)")
    parser.add_argument("--nice", type=int, default=0, help="give way to other programs, 1 to 19")
    arguments = parser.parse_args()
    os.nice(arguments.nice)
    with single_threaded_pool(arguments.workers) as pool:
        jobs = [pool.submit(run, arguments.classical, seed) for seed in range(arguments.seeds)]
        save([job.result() for job in jobs], classical=arguments.classical)


if __name__ == "__main__":
    main()
