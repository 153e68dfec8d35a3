"""How wrong are released potentials on our silica, and which error bar tells? Prints a table; needs `uqlib[released]`.

    python -m scripts.data.compare_released --frames 6

Each potential is referred to the energies of twelve glasses of `train`. A mixture and distances to neighbours are
fitted to its features of the same glasses, and mapped to error bars on `valid` (isotonic). The committee is the spread
of two potentials, once referred, with a scalar from `valid`.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy.stats import spearmanr

from uqlib.calibration import calibrate
from uqlib.interfaces import ForeignModel, released
from uqlib.methods.gmm import GaussianMixture
from uqlib.methods.neighbours import NearestNeighbours
from uqlib.prediction import Prediction, predict
from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset

SPLITS = ("test", "melt", "tension", "compression", "crystals")
LABELS, CALIBRATION = 12, 8


def spread(one: Prediction, other: Prediction) -> Prediction:
    """Two potentials as a committee."""
    forces, energy = torch.stack([one.forces, other.forces]), torch.stack([one.energy, other.energy])
    return Prediction(
        energy=energy.mean(0),
        forces=forces.mean(0),
        force_uncertainty=forces.var(0).mean(-1).sqrt(),
        energy_uncertainty=energy.var(0).sqrt(),
    )


def row(found: Prediction, bars: Prediction, part: Dataset) -> str:
    """Errors of energies (meV/atom) and forces (meV/Å), rank correlation with them, coverage of 95 %."""
    sizes = np.array([len(frame) for frame in part.atoms])
    energy = 1000 * np.abs((found.energy.numpy() - part.energies) / sizes).mean()
    error = found.forces.numpy() - np.asarray(part.forces)
    of_atom = np.sqrt((error**2).mean(axis=1))
    rank = spearmanr(found.force_uncertainty, of_atom).statistic
    sigma = bars.force_uncertainty.numpy()[:, None]
    return f"{energy:9.1f} {1000 * np.abs(error).mean():9.0f} {rank:9.2f} {(np.abs(error) < 1.96 * sigma).mean():9.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=6, help="of each split")
    frames = parser.parse_args().frames
    silica = datasets.load("silica")
    own, valid = silica["train"].take(range(0, 90, 90 // LABELS)[:LABELS]), silica["valid"].take(range(CALIBRATION))
    parts = {name: silica[name].take(np.linspace(0, len(silica[name]) - 1, frames).astype(int)) for name in SPLITS}
    everything = {"valid": valid, **parts}
    print(f"{'':24}{'split':12} {'meV/atom':>9} {'meV/Å':>9} {'Spearman':>9} {'in 95 %':>9}", flush=True)
    found: dict[tuple[str, str], dict[str, Prediction]] = {}
    for name, door in {"CHGNet": released.chgnet, "SevenNet-0": released.sevennet}.items():
        model: ForeignModel = released.referred_to(door(), own)
        for method, recipe in {"mixture": GaussianMixture(), "neighbours": NearestNeighbours()}.items():
            fitted = recipe.fit_to(model, own, valid, seed=0)
            found[name, method] = {split: predict(fitted, part) for split, part in everything.items()}
    one, other = found["CHGNet", "mixture"], found["SevenNet-0", "mixture"]
    found["both", "committee"] = {split: spread(one[split], other[split]) for split in everything}
    for (name, method), predictions in found.items():
        kind = "scalar" if method == "committee" else "isotonic"
        bars = calibrate(kind, predictions["valid"], valid)
        for split, part in parts.items():
            line = row(predictions[split], bars(predictions[split], part.batch(labels=False)), part)
            print(f"{name:12}{method:12}{split:12} {line}", flush=True)


if __name__ == "__main__":
    main()
