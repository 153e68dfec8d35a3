"""`train`: fit one method, save it, and score it on every split that it was not trained on."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from uqlib import methods, metrics
from uqlib.commands.common import Stop, add_device, add_reading, add_splitting, check_place, device_of, find_splits
from uqlib.metrics.layout import as_text
from uqlib.networks.training import Settings
from uqlib.prediction import Prediction, predict
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset
from uqlib.study import scoring

HELP = "train a method and score it on the test splits"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `train`."""
    parser.add_argument("--data", required=True, metavar="NAME|FILE", help="one of ours, or a file or folder of yours")
    parser.add_argument("--method", required=True, choices=sorted(methods.METHODS), help="the way to an uncertainty")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--members", type=int, metavar="N", help="networks in an ensemble")
    parser.add_argument("--epochs", type=int, metavar="N",
                        help="passes over the training data, at most; of a second training in proportion")  # fmt: skip
    parser.add_argument("--stress-weight", type=float, metavar="X",
                        help="learn stress, too, at X times the usual weight: try 1 (default: 0)")  # fmt: skip
    parser.add_argument("--features", type=int, metavar="N", help="width of the network")
    add_device(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="save the trained networks here (mine.uq)")
    parser.add_argument(
        "--checkpoints", type=Path, metavar="FOLDER", help="save here as it goes; if stopped, run again"
    )
    add_reading(parser)
    add_splitting(parser)


def run(arguments: argparse.Namespace) -> None:
    """`train`: fit, save if asked, and score on every split that was not trained on."""
    if arguments.out is not None:
        check_place(arguments.out)
    if arguments.checkpoints is not None:
        check_place(arguments.checkpoints / "network.ckpt", "--checkpoints")
    data = find_splits(arguments)
    method = recipe_of(arguments)
    predictor: Any = method.fit(data["train"], data["valid"], seed=arguments.seed)
    if arguments.out is not None:
        predictor.save(arguments.out)
        print(f"saved {arguments.out}", flush=True)
    tests = {name: data[name] for name in data.splits if name not in ("train", "valid") and len(data.splits[name]) > 1}
    said = {name: predict(predictor, part) for name, part in tests.items()}
    print(scoring.table({name: scoring.score(said[name], part) for name, part in tests.items()}))
    if rows := _of_stress(said, tests):
        print("\n".join(["", *as_text([("split", "of", *scoring.heads()), *rows])]))


def _of_stress(said: Mapping[str, Prediction], tests: Mapping[str, Dataset]) -> list[tuple[str, ...]]:
    """A row for each split with labels of stress; empty where none has any, or nothing is predicted."""
    rows = []
    for name, part in tests.items():
        batch = Batch.from_atoms(part.atoms, dtype=torch.float64)
        stress = metrics.stress_quantity(said[name], batch, groups=scoring.groups_of(part)[0])
        if stress is not None and len(stress.groups.unique()) > 1:
            found = metrics.score(stress, scoring.SHOWN, resamples=500, seed=0).values
            values = {metric: found.get(scoring.full_name(metric)) for metric in scoring.SHOWN}
            rows.append((name, "stress", *scoring.cells(values, " meV/Å³")))
    return rows


def recipe_of(arguments: argparse.Namespace) -> Any:
    """The recipe, with what was asked for; what was not stays as the method has it."""
    recipe: Any = methods.METHODS[arguments.method]
    known = {field.name for field in dataclasses.fields(recipe)}
    options = {name: getattr(arguments, name) for name in ("members", "checkpoints")}
    options = {name: value for name, value in options.items() if value is not None} | {
        "device": str(device_of(arguments))
    }
    if unknown := sorted(set(options) - known):
        raise Stop(f"--{unknown[0]}: the method {arguments.method!r} has no such option")
    stress = arguments.stress_weight
    if stress is not None and not 0 <= stress < float("inf"):
        raise Stop(f"--stress-weight: got {stress:g}, expected 0 or more")
    try:
        if arguments.features is not None:
            options["network"] = {**recipe.network, "features": arguments.features}
        if arguments.epochs is not None:
            options |= _of_epochs(recipe, arguments.epochs)
        recipe = dataclasses.replace(recipe, **options)
        return recipe if stress is None else methods.with_stress(recipe, stress)
    except ValueError as error:
        raise Stop(f"--method {arguments.method}: {error}") from error


def _of_epochs(recipe: Any, epochs: int) -> dict[str, Settings]:
    """The recipe's own settings with so many epochs; other trainings of the method are shortened in proportion."""
    found: dict[str, Settings] = {}
    for name, own in ((field.name, getattr(recipe, field.name)) for field in dataclasses.fields(recipe)):
        if isinstance(own, Settings):
            share = own.epochs / recipe.settings.epochs
            found[name] = dataclasses.replace(own, epochs=max(round(share * epochs), min(epochs, 1)))
    return found
