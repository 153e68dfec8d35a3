"""Make `uqlib/data/curvature`: what DFT's second derivatives of ammonia are made from, and labels around its saddle.

    python -m scripts.data.make_ammonia_curvature

`ammonia.xyz`: the first and the middle frame of `path` of the data set `ammonia`, and for each coordinate of each atom
two frames that are moved along it (`uqlib.propagation.displaced`). Each frame says in `point` which of the two it
belongs to, and in `step` how far it was moved, in Å. `around_saddle.xyz`: the middle frame with Gaussian displacements.
All are labelled at the data set's own level.
"""

from __future__ import annotations

from pathlib import Path

import ase
import ase.io
import numpy as np
from tqdm.auto import tqdm

from scripts.data.make_ammonia import ORACLE
from uqlib.propagation import displaced
from uqlib.structures import datasets

FOLDER = Path(__file__).resolve().parents[2] / "uqlib" / "data" / "curvature"
STEP = 0.05  # Å, wide enough to look over the wrinkles of a small network; the networks are asked with the same
AROUND, SIZE, SEED = 24, 0.06, 817  # frames, Å of each coordinate


def main() -> None:
    path = datasets.load("ammonia")["path"].atoms
    points = {"minimum": path[0], "saddle": path[len(path) // 2]}
    FOLDER.mkdir(parents=True, exist_ok=True)
    frames = []
    for point, start in points.items():
        for frame in tqdm(displaced(start, step=STEP), desc=point, unit="label"):
            frames.append(_labelled(frame, point=point, step=STEP))
    ase.io.write(FOLDER / "ammonia.xyz", frames, format="extxyz")
    rng, frames = np.random.default_rng(SEED), []
    for _ in tqdm(range(AROUND), desc="around the saddle", unit="label"):
        frame = points["saddle"].copy()
        frame.positions += rng.normal(scale=SIZE, size=frame.positions.shape)
        frames.append(_labelled(frame, source="around-saddle"))
    ase.io.write(FOLDER / "around_saddle.xyz", frames, format="extxyz")


def _labelled(frame: ase.Atoms, **info: str | float) -> ase.Atoms:
    label = ORACLE.label(frame)
    label.info = {**info, "level": ORACLE.level}
    return label


if __name__ == "__main__":
    main()
