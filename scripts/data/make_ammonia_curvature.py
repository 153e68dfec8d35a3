"""Make `uqlib/data/curvature/ammonia.xyz`: what DFT's second derivatives are made from, at minimum and saddle.

    python -m scripts.data.make_ammonia_curvature

The first and the middle frame of `path` of the data set `ammonia`, and for each coordinate of each atom two frames that
are moved along it (`uqlib.propagation.displaced`), labelled at the data set's own level. Each frame says in `point`
which of the two it belongs to, and in `step` how far it was moved, in Å.
"""

from __future__ import annotations

from pathlib import Path

import ase.io
from tqdm.auto import tqdm

from scripts.data.make_ammonia import ORACLE
from uqlib.propagation.geometry import STEP, displaced
from uqlib.structures import datasets

TARGET = Path(__file__).resolve().parents[2] / "uqlib" / "data" / "curvature" / "ammonia.xyz"


def main() -> None:
    path = datasets.load("ammonia")["path"].atoms
    frames = []
    for point, start in {"minimum": path[0], "saddle": path[len(path) // 2]}.items():
        for frame in tqdm(displaced(start, step=STEP), desc=point, unit="label"):
            label = ORACLE.label(frame)
            label.info = {"point": point, "step": STEP, "level": ORACLE.level}
            frames.append(label)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(TARGET, frames, format="extxyz")


if __name__ == "__main__":
    main()
