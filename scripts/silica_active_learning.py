"""Active learning on silica glass, labelled by CP2K: from cold glass to one that may be heated and pulled.

    python scripts/silica_active_learning.py                      # DFT: some minutes a label, resumable
    python scripts/silica_active_learning.py --classical --seeds 3    # Vashishta's potential instead: seconds a label

The potential starts from glass at 300 and 600 K and buys three times a few labels, of attacks in which atoms and cell
move. To know what the attacks are worth, the same number of labels is also spent on more of the same: frames of the
campaign, glass up to 2000 K, whose labels are there already. The classical run shows what several seeds make of the
same protocol; DFT can afford one. Runs live in `scripts/runs/silica_active_learning/`; what the chapter reads goes to
`uqlib/data/active_learning/silica[_classical].json` and `.xyz`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path

import ase
import numpy as np
import torch
from campaign import DATA, SCRIPTS, frame_text, write_atomically
from make_silica import ORACLE
from make_silica_vashishta import VashishtaOracle

from uqlib import calibration, datasets
from uqlib.active_learning import ActiveLearning, Attacked, force_mae, force_spearman, surviving
from uqlib.active_learning.measures import Measure
from uqlib.attack import attack
from uqlib.datasets import Dataset
from uqlib.dynamics import ClosestContact, Coordination
from uqlib.methods import Ensemble
from uqlib.training import Settings

RUNS = SCRIPTS / "runs" / "silica_active_learning"
RESULTS = DATA / "active_learning"
START = {"train": 16, "valid": 4}
COLDEST = 600.0  # K, of the glass it starts from
LABELS, GENERATIONS = 6, 3
METHOD = Ensemble(
    members=4,
    network={"features": 32, "interactions": 2, "cutoff": 4.0},
    settings=Settings(epochs=100, batch_size=2, learning_rate=5e-3),
)
PROPOSAL = Attacked(temperature=3000.0, steps=40, learning_rate=0.02, displacement=0.02, strain=True, oversampling=3)
RULES = (ClosestContact(share=0.6), Coordination(centre="Si", neighbour="O", within=2.3, allowed=(2, 6), share=0.1))
TEMPERATURES = (1500.0, 3000.0)


def start_of(data: Dataset, split: str) -> Dataset:
    """The first cold structures of a split."""
    cold = np.flatnonzero(np.asarray(data[split].info("temperature"), dtype=float) <= COLDEST)
    if len(cold) < START[split]:
        raise SystemExit(
            f"{split}: {len(cold)} labelled structures at {COLDEST:g} K or less, {START[split]} are needed; go on with "
            "`python scripts/make_silica.py`"
        )
    return data[split].take(cold[: START[split]])


def measures_of(data: Dataset, glass: ase.Atoms) -> dict[str, Measure]:
    """What is followed: errors per split, and who is whole after a picosecond."""
    splits = [split for split in ("test", "melt", "tension", "compression", "crystals") if split in data.splits]
    found: dict[str, Measure] = {f"force MAE on {split} (eV/Å)": force_mae(data[split]) for split in splits}
    found |= {f"Spearman on {split}": force_spearman(data[split]) for split in splits}
    for temperature in TEMPERATURES:
        found[f"whole after 0.3 ps at {temperature:g} K"] = surviving(
            glass, RULES, temperature=temperature, replicas=4, steps=600
        )
    return found


def run(classical: bool, seed: int) -> dict[str, object]:
    """One run from start to end, or what is missing of it, and its comparison with more of the same."""
    torch.set_num_threads(1)
    data = datasets.load("silica_vashishta" if classical else "silica")
    train, valid = start_of(data, "train"), start_of(data, "valid")
    measures = measures_of(data, train.atoms[0])
    folder = RUNS / ("classical" if classical else "dft") / str(seed)
    history = ActiveLearning(
        method=METHOD,
        oracle=VashishtaOracle() if classical else ORACLE,
        propose=PROPOSAL,
        generations=GENERATIONS,
        labels=LABELS,
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
    labelling = len(history.added) if seed == 0 else 0  # one seed is enough to look at
    return {
        "seed": seed,
        "generations": [json.loads(generation.to_json()) for generation in history.generations],
        "more of the same": more_of_the_same(data, train, valid, labels, measures, seed, folder),
        "labelled": [
            [tagged(atoms, generation=number, seed=seed) for atoms in added]
            for number, added in enumerate(history.added)
        ],
        "paths": [
            [tagged(atoms, generation=number, seed=seed) for atoms in path_to(history.predictor_path(number), train)]
            for number in range(labelling)
        ],
    }


def more_of_the_same(
    data: Dataset,
    train: Dataset,
    valid: Dataset,
    labels: int,
    measures: Mapping[str, Measure],
    seed: int,
    folder: Path,
) -> dict[str, float]:
    """The measures of a potential that got as many labels of the campaign's own frames, up to 2000 K."""
    path = folder / "more_of_the_same.json"
    if not path.exists():
        known = {id(atoms) for atoms in (*train.atoms, *valid.atoms)}
        others = [atoms for atoms in data["train"].atoms if id(atoms) not in known]
        chosen = np.random.default_rng(seed).permutation(len(others))[:labels]
        new = [others[k] for k in chosen]
        to_valid = labels // 5  # as in active learning
        fitted = METHOD.fit(
            Dataset(name="more", atoms=(*train.atoms, *new[to_valid:])),
            Dataset(name="more", atoms=(*valid.atoms, *new[:to_valid])),
            seed=seed,
            progress=False,
        )
        write_atomically(path, json.dumps({name: float(measure(fitted)) for name, measure in measures.items()}))
    return json.loads(path.read_text(encoding="utf-8"))


def path_to(fitted: Path, train: Dataset) -> list[ase.Atoms]:
    """One attack on the predictor in a file, to be played in a viewer: every fourth step, with uncertainties."""
    found = attack(
        calibration.load(fitted),
        train.take([0]),
        train,
        temperature=PROPOSAL.temperature,
        steps=PROPOSAL.steps,
        learning_rate=PROPOSAL.learning_rate,
        displacement=PROPOSAL.displacement,
        seed=0,
        strain=True,
    )
    frames = []
    for atoms, uncertainty in list(zip(found.paths[0], found.atom_uncertainty[0], strict=True))[::4]:
        copy = atoms.copy()
        copy.set_array("force_uncertainty", np.round(np.asarray(uncertainty), 4))
        frames.append(copy)
    return frames


def tagged(atoms: ase.Atoms, **info: int) -> ase.Atoms:
    copy = atoms.copy()
    copy.info = dict(info)
    copy.calc = atoms.calc
    return copy


def save(found: Sequence[Mapping[str, object]], *, classical: bool) -> None:
    """The trace, with what made it; and the structures of the first seed, to look at."""
    name = "silica_classical" if classical else "silica"
    made = {
        "command": "python scripts/silica_active_learning.py" + (" --classical --seeds 3" if classical else ""),
        "oracle": repr(VashishtaOracle() if classical else ORACLE),
        "versions": {name: metadata.version(name) for name in ("torch", "ase")},
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
        "start": {**START, "at most (K)": COLDEST},
        "method": repr(METHOD),
        "proposal": repr(PROPOSAL),
        "rules": [str(rule) for rule in RULES],
    }
    keep = ("seed", "generations", "more of the same")
    runs = [{key: result[key] for key in keep} for result in found]
    write_atomically(RESULTS / f"{name}.json", json.dumps({**made, "runs": runs}, indent=1, ensure_ascii=False) + "\n")
    for kind in ("labelled", "paths"):
        frames = [atoms for part in found[0][kind] for atoms in part]  # pyright: ignore[reportGeneralTypeIssues]
        write_atomically(RESULTS / f"{name}_{kind}.xyz", "".join(map(frame_text, frames)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classical", action="store_true", help="labels of a classical potential, by LAMMPS")
    parser.add_argument("--seeds", type=int, default=1, help="runs that differ in all that is random (default: 1)")
    parser.add_argument("--workers", type=int, default=1, help="runs at once, one thread each (default: 1)")
    parser.add_argument("--nice", type=int, default=0, help="give way to other programs, 1 to 19")
    arguments = parser.parse_args()
    os.nice(arguments.nice)
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(run, arguments.classical, seed) for seed in range(arguments.seeds)]
        save([job.result() for job in jobs], classical=arguments.classical)


if __name__ == "__main__":
    main()
