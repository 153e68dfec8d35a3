"""Several runs of active learning on a molecule: what the scripts of single molecules share.

Runs live in `scripts/runs/active_learning_<name>/` and share their labels; stopped, a script goes on where it was. Its
results go to `uqlib/data/active_learning/<name>.json`, which the chapters read.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from tqdm.auto import tqdm

from scripts.data.campaign import DATA, SCRIPTS, frame_text, read_frames, single_threaded_pool
from uqlib import calibration
from uqlib.active_learning import ActiveLearning, lifetimes
from uqlib.active_learning.measures import Measure
from uqlib.active_learning.proposals import Proposal
from uqlib.common.storage import write_atomically
from uqlib.dynamics import Rule
from uqlib.oracles import PySCFOracle
from uqlib.prediction import Method
from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is compared on one molecule, and how often.

    `start`: structures that a run begins with, per split, the cheapest among the first `among` of the split. `seeds`:
    number of runs for each method and proposal, counted from `first_seed`. `temperatures` (K) of the dynamics from the
    frame `rest` that are to survive, judged by `rules`. `describe` says where a label lies.
    """

    name: str
    oracle: PySCFOracle
    start: Mapping[str, int]
    among: int
    labels: int
    generations: int
    methods: Mapping[str, Method]
    proposals: Mapping[str, Proposal]
    seeds: Mapping[str, Mapping[str, int]]
    first_seed: int
    measures: Callable[[Dataset], dict[str, Measure]]
    rest: Callable[[Dataset], ase.Atoms]
    describe: Callable[[ase.Atoms], dict[str, float]]
    rules: Sequence[Rule]
    temperatures: Sequence[float]
    same: int = 0  # if not 0, each run has a rival: as many labels, drawn from this many first training structures

    @property
    def folder(self) -> Path:
        return SCRIPTS / "runs" / f"active_learning_{self.name}"

    @property
    def results(self) -> Path:
        return DATA / "active_learning" / f"{self.name}.json"

    @property
    def jobs(self) -> list[tuple[str, str, int]]:
        """Method, proposal and seed of every run."""
        return [
            (method, proposal, self.first_seed + seed)
            for method, proposals in self.seeds.items()
            for proposal, seeds in proposals.items()
            for seed in range(seeds)
        ]

    def settings(self) -> dict[str, object]:
        """What makes the runs, in words."""
        return {
            "command": f"python -m scripts.campaigns.active_learning_{self.name}",
            "oracle": repr(self.oracle),
            "start": {**self.start, "among the first": self.among},
            "labels": self.labels,
            "generations": self.generations,
            "seeds": {method: dict(proposals) for method, proposals in self.seeds.items()},
            "temperatures": list(self.temperatures),
            "rules": [str(rule) for rule in self.rules],
            "methods": {name: repr(method) for name, method in self.methods.items()},
            "proposals": {name: repr(proposal) for name, proposal in self.proposals.items()},
        }


def cheapest(data: Dataset, number: int, among: int) -> Dataset:
    """The structures of lowest energy of the first `among`, in the order that they have in `data`."""
    return data.take(np.sort(np.argsort(data.energies[:among], kind="stable")[:number]))


def run(experiment: Experiment, method: str, proposal: str, seed: int) -> dict[str, object]:
    """One run from start to end, or what is missing of it."""
    torch.set_num_threads(1)
    data = datasets.load(experiment.name)
    folder = experiment.folder / f"{method}-{proposal}-{seed}"
    share_beginning(folder, method, seed)
    train, valid = (cheapest(data[split], experiment.start[split], experiment.among) for split in ("train", "valid"))
    history = ActiveLearning(
        method=experiment.methods[method],
        oracle=experiment.oracle,
        propose=experiment.proposals[proposal],
        generations=experiment.generations,
        labels=experiment.labels,
        valid_share=0.0,
    ).run(
        train,
        valid,
        seed=seed,
        folder=folder,
        label_folder=experiment.folder / "labels",
        measures=experiment.measures(data),
        progress=False,
    )
    rest = experiment.rest(data)
    potentials = {"before": history.predictor_path(0), "after": history.predictor_path(-1)}
    result: dict[str, object] = {
        "method": method,
        "proposal": proposal,
        "seed": seed,
        "generations": [json.loads(generation.to_json()) for generation in history.generations],
        "added": [[described(experiment, atoms, rest) for atoms in new] for new in history.added],
    }
    if experiment.same:
        spent = sum(generation.labelled for generation in history.generations)
        pool = data["train"].take(np.arange(experiment.same))
        same = more_of_the_same(experiment.methods[method], pool, train, valid, spent, seed=seed, folder=folder)
        potentials["more of the same"] = same
        result["more of the same"] = measured(same, experiment.measures(data))
    result["lifetimes"] = {
        when: {f"{t:g}": lasting(fitted, rest, experiment.rules, t)[0] for t in experiment.temperatures}
        for when, fitted in potentials.items()
    }
    return result


def share_beginning(folder: Path, method: str, seed: int) -> None:
    """The potential that a run begins with does not depend on what the run will propose: fitted once."""
    mine = folder / "generation-0"
    others = sorted(folder.parent.glob(f"{method}-*-{seed}/generation-0/record.json"))
    if others and not mine.exists():
        mine.mkdir(parents=True)
        found = sorted(others[0].parent.glob("lifetimes-*"))
        for source in (*found, others[0].with_name("predictor.uq")):  # the predictor last: with it, it counts as fitted
            write_atomically(mine / source.name, source.read_bytes())


def described(experiment: Experiment, atoms: ase.Atoms, rest: ase.Atoms) -> dict[str, float]:
    """Where a label lies, in the words of the experiment, and its energy above the structure at rest in eV."""
    energy = atoms.get_potential_energy() - rest.get_potential_energy()
    return {name: round(float(value), 5) for name, value in {**experiment.describe(atoms), "energy": energy}.items()}


def more_of_the_same(
    method: Method, pool: Dataset, train: Dataset, valid: Dataset, labels: int, *, seed: int, folder: Path
) -> Path:
    """A potential that got as many labels, of frames in `pool` that have one anyway; where it is saved."""
    path = folder / "more_of_the_same" / "predictor.uq"
    if not path.exists():
        known = {atoms.positions.tobytes() for atoms in train.atoms}
        others = [atoms for atoms in pool.atoms if atoms.positions.tobytes() not in known]
        if len(others) < labels:
            raise SystemExit(
                f"{pool.name}: {len(others)} further training structures are labelled, {labels} are needed to compare "
                "with; go on with its `make_` script"
            )
        chosen = np.random.default_rng(seed).permutation(len(others))[:labels]
        more = Dataset(name="more", atoms=(*train.atoms, *(others[k] for k in chosen)))
        path.parent.mkdir(parents=True, exist_ok=True)
        fit: Any = method.fit
        fit(more, valid, seed=seed, progress=False).save(path)
    return path


def measured(fitted: Path, measures: Mapping[str, Measure]) -> dict[str, float]:
    """All measures of a potential, kept beside it."""
    path = fitted.with_name("measures.json")
    if not path.exists():
        predictor = calibration.load(fitted)
        found = {name: float(measure(predictor)) for name, measure in measures.items()}
        write_atomically(path, json.dumps(found).encode())
    return json.loads(path.read_text(encoding="utf-8"))


def lasting(
    fitted: Path, rest: ase.Atoms, rules: Sequence[Rule], temperature: float, **dynamics: int
) -> tuple[dict[str, list[float]], list[ase.Atoms]]:
    """How long replicas last (fs) and which of them broke; the last frame of each. Kept beside the potential."""
    path, frames = (fitted.with_name(f"lifetimes-{temperature:g}.{end}") for end in ("json", "xyz"))
    if not (path.exists() and frames.exists()):
        found = lifetimes(calibration.load(fitted), rest, rules, temperature=temperature, **dynamics)
        write_atomically(frames, "".join(frame_text(ending.atoms) for ending in found.endings).encode())
        plain = {"durations": found.durations.tolist(), "broken": found.broken.tolist()}
        write_atomically(path, json.dumps(plain).encode())
    return json.loads(path.read_text(encoding="utf-8")), read_frames(frames)


def save(experiment: Experiment, found: list[dict[str, object]]) -> None:
    """All runs so far, in an order of their own, with what made them."""
    ordered = sorted(found, key=lambda result: (result["method"], result["proposal"], result["seed"]))
    versions = {name: metadata.version(name) for name in ("torch", "pyscf", "ase")}
    hardware = f"{platform.machine()}, {os.cpu_count()} cores"
    made = {**experiment.settings(), "versions": versions, "hardware": hardware}
    write_atomically(experiment.results, results_text(made, ordered).encode())


def results_text(made: Mapping[str, object], runs: Sequence[Mapping[str, object]]) -> str:
    """JSON of what made the runs, and of the runs, each on a line of its own."""
    head = json.dumps(made, indent=1, ensure_ascii=False).removesuffix("\n}")
    return head + ',\n "runs": [\n  ' + ",\n  ".join(json.dumps(run) for run in runs) + "\n ]\n}\n"


def main(experiment: Experiment, description: str | None) -> None:
    """The command line of a script: all runs that are missing, then the results."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1, help="runs at once, one thread each (default: 1)")
    parser.add_argument("--nice", type=int, default=0, help="give way to other programs, 1 to 19")
    parser.add_argument("--try", type=int, nargs="+", metavar="SEED", dest="trial", help="only runs of these seeds")
    arguments = parser.parse_args()
    os.nice(arguments.nice)
    jobs = experiment.jobs
    if arguments.trial:
        kinds = dict.fromkeys((method, proposal) for method, proposal, _ in jobs)
        jobs = [(*kind, seed) for kind in kinds for seed in arguments.trial]
    found = []
    with single_threaded_pool(arguments.workers) as pool:
        futures = [pool.submit(partial(run, experiment), *job) for job in jobs]
        for future in tqdm(as_completed(futures), total=len(jobs), unit="run"):
            found.append(future.result())
            if not arguments.trial:
                save(experiment, found)
