"""Train the same PaiNN on published rMD17 ethanol and on ours, and test each on both.

    UQLIB_DATA_DIR=<folder of downloads> python -m scripts.data.compare_training --seeds 2

Labels of one level on geometries of one temperature should be equally hard to learn. Besides as many frames of each,
950 published ones are trained on; the remaining 50 then choose the weights and are all there is to test on.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from uqlib.chapters import baseline
from uqlib.networks.painn import PaiNN
from uqlib.networks.training import EnergyForceLoss, Settings, train
from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset

PUBLISHED = "rmd17_ethanol_train.xyz"
VALID = 50  # frames that choose the weights


def fitted(training: Dataset, valid: Dataset, *, seed: int, epochs: int) -> tuple[PaiNN, float]:
    """A PaiNN of 64 features and 3 interactions, and the seconds of processor time that its training took."""
    model = PaiNN(elements=training.elements, features=64, interactions=3, seed=seed)
    settings = Settings(epochs=epochs, learning_rate=2e-3, plateau=15)
    loss = EnergyForceLoss(energy_weight=10.0, force_weight=1.0)
    begin = time.process_time()
    model = train(model, training, valid, seed=seed, loss=loss, settings=settings, label=training.name).model
    return model, time.process_time() - begin


def published(folder: Path, *, train: int, seed: int) -> Dataset:
    """The published frames, drawn at random into `train`, `valid` and, if any are left, `test`."""
    data = datasets.read(folder / PUBLISHED)
    order = np.random.default_rng(seed).permutation(len(data)).tolist()
    parts = {"train": order[:train], "valid": order[train : train + VALID], "test": order[train + VALID :]}
    splits = {name: tuple(rows) for name, rows in parts.items() if rows}
    return Dataset(name="published ethanol", atoms=data.atoms, splits=splits)


def together(tests: Mapping[str, Dataset]) -> Dataset:
    """Several data sets as the splits of one. (Energies of the two programs differ by 0.1 meV/atom: let be.)"""
    atoms = tuple(frame for data in tests.values() for frame in data.atoms)
    rows = iter(range(len(atoms)))
    return Dataset(name="tests", atoms=atoms, splits={n: tuple(islice(rows, len(data))) for n, data in tests.items()})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=100, help="of 500 frames; others get as many steps (default 100)")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args(arguments)
    folder = Path(os.environ.get("UQLIB_DATA_DIR", ""))
    if not (folder / PUBLISHED).exists():
        raise SystemExit(f"UQLIB_DATA_DIR={str(folder)!r} holds no {PUBLISHED}; set it to the folder of published data")
    torch.set_num_threads(1)
    ours = datasets.load("ethanol")
    for seed in range(options.seeds):
        theirs = published(folder, train=len(ours["train"]), seed=seed)
        tests = together({"ours": ours["test"], "published": theirs["test"]})
        most = published(folder, train=len(theirs) - VALID, seed=seed)
        for data, judged in ((ours, tests), (theirs, tests), (most, together({"the 50 left": most["valid"]}))):
            count = len(data["train"])
            epochs = options.epochs * len(ours["train"]) // count
            valid = data["valid"].take(range(VALID))
            model, seconds = fitted(data["train"], valid, seed=seed, epochs=epochs)
            print(f"\nseed {seed}: {count} of {data.name}, {epochs} epochs, {seconds:.0f} s of one core")
            print(baseline.table(baseline.split_errors(model, judged)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
