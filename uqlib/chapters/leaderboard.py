"""The mini-projects of a class: one label budget, your choice, and a board that thirty people may write to.

    project = leaderboard.project()
    chosen = ...  # at most project.budget numbers, structures of project.pool
    method = uqlib.METHODS["ensemble"]
    predictor = method.fit(project.pool.take(chosen), project.valid, seed=0)
    leaderboard.submit("board", "Ada and Emmy", predict(predictor, project.held_out), chosen, note="farthest first")
    print(leaderboard.table("board"))

A board is a folder with one small file for each submission. Nobody writes to a file of somebody else's, so that nothing
is lost where many submit at once, on a network drive either.
"""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from uqlib import metrics
from uqlib.common.storage import write_atomically
from uqlib.prediction import Prediction
from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset

BUDGET = 60
SPLITS = ("train", "test", "hot", "grid")
SEED, HELD_OUT = 2026, 120  # structures; whole trajectories, so that no neighbour of theirs is in the pool
COLUMNS = {"CRPS": "CRPS", "force MAE": "force MAE", "coverage of 95 %": "95 %"}
LONGEST = 80  # characters of a name or a note


@dataclass(frozen=True, kw_only=True)
class Project:
    """What everybody gets: structures to choose from, a validation set for all, and what all are scored on."""

    pool: Dataset
    valid: Dataset
    held_out: Dataset
    budget: int = BUDGET


@cache
def project() -> Project:
    """Ammonia of all kinds, cold, hot and distorted: the same division for everybody."""
    data = datasets.load("ammonia")
    everything = data.take([k for name in SPLITS for k in data.splits[name]], name="ammonia, all kinds")
    halves = everything.split(seed=SEED, by_group=True, held_out=HELD_OUT, pool=len(everything) - HELD_OUT)
    return Project(pool=halves["pool"], valid=data["valid"], held_out=halves["held_out"])


def score(prediction: Prediction) -> dict[str, float | None]:
    """Scores of a prediction for `project().held_out`: force MAE and CRPS in meV/Å, and the share of force components
    inside the 95 % interval. The last two are None for an uncertainty that is no standard deviation (nats).

    Raises:
        ValueError: the prediction is for something else, or holds what is no number.
    """
    truth = torch.as_tensor(project().held_out.forces, dtype=torch.float64)
    forces, spread = prediction.forces.detach().double(), prediction.force_uncertainty.detach().double()
    if forces.shape != truth.shape:
        raise ValueError(
            f"prediction: got {len(forces)} atoms, expected {len(truth)}: predict(predictor, project.held_out)"
        )
    if not (torch.isfinite(forces).all() and torch.isfinite(spread).all()):
        raise ValueError("prediction: some forces or uncertainties are no finite numbers; look at them first")
    found: dict[str, float | None] = {"force MAE": 1000 * float(metrics.mae(forces, truth))}
    if prediction.unit != "eV/Å":
        return {**found, "CRPS": None, "coverage of 95 %": None}
    error, std = metrics.force_components(forces, truth, spread)
    return {
        **found,
        "CRPS": 1000 * float(metrics.crps(error, std)),
        "coverage of 95 %": float(metrics.coverage(error, std)),
    }


def submit(
    board: str | Path, who: str, prediction: Prediction, chosen: Sequence[int], *, note: str = ""
) -> dict[str, float | None]:
    """Score a prediction and put it on the board.

    Args:
        board: the class's folder; it is made if it is not there.
        who: name of the person or the team.
        prediction: for `project().held_out`.
        chosen: which structures of the pool were trained on.
        note: how they were chosen, in a few words.

    Returns:
        The scores, as `score`.

    Raises:
        ValueError: more structures than the budget, one twice, one that is not in the pool, no name; or as `score`.
    """
    numbers = [int(number) for number in chosen]
    there = len(project().pool)
    if not 1 <= len(numbers) <= BUDGET:
        raise ValueError(f"chosen: got {len(numbers)} structures, expected 1 to {BUDGET}, the budget of all")
    if len(set(numbers)) < len(numbers) or not all(0 <= number < there for number in numbers):
        raise ValueError(f"chosen: expected each number once, from 0 to {there - 1}, the structures of project.pool")
    if not who.strip():
        raise ValueError("who: got an empty name, expected that of the person or the team")
    found = score(prediction)
    entry = {"who": who.strip()[:LONGEST], "note": note.strip()[:LONGEST], "labels": len(numbers), "time": time.time()}
    folder = Path(board)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**entry, "chosen": numbers, "scores": found}, ensure_ascii=False)
    write_atomically(folder / f"{time.time_ns()}-{secrets.token_hex(4)}.json", text.encode())
    return found


def entries(board: str | Path) -> list[dict[str, Any]]:
    """All submissions, in the order of their time. A file that is none is passed over."""
    found = []
    for path in sorted(Path(board).glob("*.json")):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            if {"who", "labels", "scores", "time"} <= entry.keys():
                found.append(entry)
        except (OSError, ValueError, AttributeError):
            continue
    return sorted(found, key=lambda entry: entry["time"])


def table(board: str | Path, *, by: str = "CRPS") -> str:
    """The board as text: the best submission of each team, best first.

    Args:
        board: the class's folder.
        by: "CRPS" or "force MAE".

    Raises:
        ValueError: another `by`.
    """
    if by not in ("CRPS", "force MAE"):
        raise ValueError(f"by: got {by!r}, expected 'CRPS' or 'force MAE'")

    def rank(entry: dict[str, Any]) -> float:
        value = entry["scores"].get(by)
        return math.inf if value is None else value

    best: dict[str, dict[str, Any]] = {}
    for entry in entries(board):
        if entry["who"] not in best or rank(entry) < rank(best[entry["who"]]):
            best[entry["who"]] = entry
    lines = [f"{'':3} {'team':24}" + "".join(f"{head:>11}" for head in COLUMNS.values()) + f"{'labels':>8}  how"]
    for place, entry in enumerate(sorted(best.values(), key=rank), start=1):
        cells = [entry["scores"].get(name) for name in COLUMNS]
        shown = "".join(f"{'–':>11}" if cell is None else f"{cell:>11.3g}" for cell in cells)
        lines.append(f"{place:3} {entry['who'][:24]:24}{shown}{entry['labels']:>8}  {entry.get('note', '')}")
    return "\n".join(lines)
