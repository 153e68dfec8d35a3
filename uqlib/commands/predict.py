"""`predict`: a copy of a file's structures with energies and forces, and how far to trust them."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import ase
import ase.io
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from uqlib import calibration
from uqlib.commands.common import Stop, check_place
from uqlib.common import storage
from uqlib.prediction import Prediction, predict
from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset

HELP = "energies, forces and uncertainties for a file"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `predict`."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="what `train --out` saved")
    parser.add_argument("file", type=Path, metavar="FILE", help="structures: .xyz, .db or .pth.tar")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.xyz", help="extended XYZ, written whole")


def run(arguments: argparse.Namespace) -> None:
    """`predict`: a copy of the structures with predicted energies and forces, and how far to trust them."""
    if arguments.out.suffix not in (".xyz", ".extxyz"):
        raise Stop(f"--out: got {arguments.out.name!r}, expected an ending .xyz or .extxyz")
    check_place(arguments.out)
    predictor = calibration.load(arguments.model)
    data = datasets.read(arguments.file)
    frames = _with_predictions(data, predict(predictor, data))
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    storage.write_atomically(arguments.out, text.getvalue().encode())
    print(f"wrote {len(frames)} structures to {arguments.out}")


def _with_predictions(data: Dataset, prediction: Prediction) -> list[ase.Atoms]:
    """Predictions as `energy` and `forces`, uncertainties beside them; labels become REF_energy and REF_forces."""
    frames, end = [], 0
    for index, original in enumerate(data.atoms):
        start, end = end, end + len(original)
        frame = original.copy()
        for label, value in ({} if original.calc is None else original.calc.results).items():
            (frame.arrays if label == "forces" else frame.info)[f"REF_{label}"] = value
        results = {"energy": float(prediction.energy[index]), "forces": prediction.forces[start:end].double().numpy()}
        if prediction.stress is not None and frame.pbc.all():
            results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress[index].double().numpy())
        frame.calc = SinglePointCalculator(frame, **results)
        frame.arrays["force_uncertainty"] = prediction.force_uncertainty[start:end].double().numpy()
        if prediction.energy_uncertainty is not None:
            frame.info["energy_uncertainty"] = float(prediction.energy_uncertainty[index])
        frame.info["uncertainty_unit"] = prediction.unit
        frames.append(frame)
    return frames
