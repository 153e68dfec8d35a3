"""Cells as they lie in their folder, looked at before they are believed: place, form, and values that can be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from uqlib.common.json_files import read_json
from uqlib.common.schema import checked
from uqlib.study.cells import REMEDY, Cell

BETWEEN = {
    "MAE": (0.0, math.inf), "RMSE": (0.0, math.inf), "CRPS": (0.0, math.inf), "miscalibration": (0.0, 1.0),
    "Spearman": (-1.0, 1.0), "ROC-AUC": (0.0, 1.0), "coverage": (0.0, 1.0), "AUSE": (-1.0, math.inf),
}  # fmt: skip
"""What a metric can be; others are any number."""

Scores = dict[str, float | None]
Quantities = dict[str, Scores]


class _Open(BaseModel):
    """A table with more in it than is looked at."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Split(_Open):
    structures: Annotated[int, Field(gt=0)]
    before: Quantities
    after: Quantities | None


class _Cell(_Open):
    system: str
    method: str
    seed: int
    digest: str
    data_digest: str
    cost: dict[str, Any]
    splits: dict[str, _Split]


def read_cell(path: Path) -> Cell:
    """A cell of the study from folder/system/seed/method.json.

    Raises:
        ValueError: naming the file: it is no cell, it is the cell of another place, or a value in it cannot be.
    """
    cell = read_json(path, "a cell of the study", REMEDY)
    try:
        found = checked(_Cell, cell)
        place = (path.parent.parent.name, path.parent.name, path.stem)
        if (own := (found.system, str(found.seed), found.method)) != place:
            raise ValueError(f"it is the cell {'/'.join(own)}, in the place of {'/'.join(place)}")
        for name, split in found.splits.items():
            for scores in (split.before, split.after or {}):
                _check(name, scores)
    except ValueError as error:
        raise ValueError(f"{path}: not a cell of the study ({error}); {REMEDY}") from error
    return cell


def _check(split: str, quantities: Quantities) -> None:
    for quantity, scores in quantities.items():
        for metric, value in scores.items():
            low, high = BETWEEN.get(metric, (-math.inf, math.inf))
            if value is not None and not low <= value <= high:
                raise ValueError(f"{split}, {quantity}, {metric}: got {value}, expected {low:g} to {high:g}")
