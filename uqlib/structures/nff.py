"""Reader of the archives of the Neural Force Field package (NFF), the study's own format, without running their code.

Such a file is a pickled `nff.data.Dataset`. A pickle may name any function to be called when it is read; torch's
restricted unpickler admits tensors, plain containers and the one class named here, which does nothing.
"""

from __future__ import annotations

import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator

from uqlib.common.storage import refuse_bomb
from uqlib.structures.bounds import real_numbers, whole_numbers
from uqlib.structures.units import EV_PER_KCAL_MOL

EV_PER = {"kcal/mol": EV_PER_KCAL_MOL, "eV": 1.0}


class _NFFDataset:
    """Receives the attributes `props` and `units` of the pickled object, and nothing else."""


def read(path: str | Path) -> list[ase.Atoms]:
    """Structures of an NFF archive with energies (eV) and forces (eV/Å, the negative of the stored gradients).

    Raises ValueError when the file is broken, would run code, or states units other than kcal/mol and eV.
    """
    archive = _open(Path(path))
    props, units = getattr(archive, "props", None), getattr(archive, "units", None)
    if not isinstance(archive, _NFFDataset) or not isinstance(props, dict):
        raise ValueError(f"{path}: not an NFF archive, it holds a {type(archive).__name__} without `props`")
    if not isinstance(units, str) or units not in EV_PER:
        raise ValueError(f"{path}: got units {units!r}, expected one of {sorted(EV_PER)}")
    try:
        lengths = {key: len(props[key]) for key in ("nxyz", "energy", "energy_grad", "geom_id") if key in props}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"they hold {lengths} structures")
        return [_frame(props, index, EV_PER[units]) for index in range(len(props["nxyz"]))]
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path}: the lists of this NFF archive do not fit together ({type(error).__name__}: {error})"
        ) from error


def _open(path: Path) -> Any:
    body = path.read_bytes()  # from here on every error is one of the content
    allowed: list = [(_NFFDataset, "nff.data.dataset.Dataset"), (_NFFDataset, "nff.data.Dataset")]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch's, of pickles that it did not write
            refuse_bomb(body)
            return torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: refused, it holds more than tensors and plain containers") from error
    except Exception as error:  # torch lets through whatever a broken file makes it stumble on, struct.error for one
        raise ValueError(f"{path}: not an NFF archive, or cut short ({type(error).__name__}: {error})") from error


def _frame(props: dict[str, Any], index: int, factor: float) -> ase.Atoms:
    table = real_numbers(_plain(props["nxyz"][index], "nxyz"), "nxyz")
    if table.ndim != 2 or table.shape[1] != 4:
        raise ValueError(f"nxyz of structure {index} has shape {table.shape}, expected (N, 4)")
    frame = ase.Atoms(numbers=whole_numbers(table[:, 0], f"nxyz of structure {index}"), positions=table[:, 1:])
    energy = real_numbers(_plain(props["energy"][index], "energy"), "energy")
    results: dict[str, Any] = {"energy": energy.reshape(()).item() * factor}
    if "energy_grad" in props:
        gradient = real_numbers(_plain(props["energy_grad"][index], "energy_grad"), "energy_grad")
        if gradient.shape != (len(table), 3):
            raise ValueError(f"energy_grad of structure {index} has shape {gradient.shape}, expected {(len(table), 3)}")
        results["forces"] = -gradient * factor
    frame.calc = SinglePointCalculator(frame, **results)
    frame.info["group"] = str(int(props["geom_id"][index])) if "geom_id" in props else str(index)
    return frame


def _plain(value: Any, name: str) -> Any:
    """A tensor, a number, or rows of numbers; lists in lists in lists can be longer than any memory."""
    if isinstance(value, torch.Tensor):
        return value.numpy()
    rows = value if isinstance(value, list | tuple) else [value]
    for row in rows:
        for one in row if isinstance(row, list | tuple) else [row]:
            if not isinstance(one, int | float | np.generic) and not (isinstance(one, torch.Tensor) and one.ndim == 0):
                raise ValueError(f"{name} holds a {type(one).__name__}, expected tensors or rows of numbers")
    return value
