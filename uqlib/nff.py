"""Reader of the archives of the Neural Force Field package (NFF), the study's own format, without running their code.

Such a file is a pickled `nff.data.Dataset`. A pickle may name any function to be called when it is read; torch's
restricted unpickler admits tensors, plain containers and the one class named here, which does nothing.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator

from uqlib.units import EV_PER_KCAL_MOL

EV_PER = {"kcal/mol": EV_PER_KCAL_MOL, "eV": 1.0}


class _NFFDataset:
    """Receives the attributes `props` and `units` of the pickled object, and nothing else."""


def read(path: str | Path) -> list[ase.Atoms]:
    """Structures of an NFF archive with energies (eV) and forces (eV/Å, the negative of the stored gradients).

    Raises ValueError when the file is broken, would run code, or states units other than kcal/mol and eV.
    """
    allowed: list = [(_NFFDataset, "nff.data.dataset.Dataset"), (_NFFDataset, "nff.data.Dataset")]
    try:
        with torch.serialization.safe_globals(allowed):
            archive = torch.load(path, weights_only=True, map_location="cpu")
        props, units = archive.props, archive.units
        numbers_positions, energies = props["nxyz"], props["energy"]
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: refused, it holds more than tensors and plain containers") from error
    except (RuntimeError, EOFError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not an NFF archive, or cut short ({type(error).__name__}: {error})") from error
    if units not in EV_PER:
        raise ValueError(f"{path}: got units {units!r}, expected one of {sorted(EV_PER)}")
    factor = EV_PER[units]
    frames = []
    for index, nxyz in enumerate(numbers_positions):
        table = np.asarray(nxyz, dtype=np.float64)
        frame = ase.Atoms(numbers=table[:, 0].astype(int), positions=table[:, 1:])
        results: dict[str, Any] = {"energy": float(energies[index]) * factor}
        if "energy_grad" in props:
            results["forces"] = -np.asarray(props["energy_grad"][index], dtype=np.float64) * factor
        frame.calc = SinglePointCalculator(frame, **results)
        frame.info["group"] = str(int(props["geom_id"][index])) if "geom_id" in props else str(index)
        frames.append(frame)
    return frames
