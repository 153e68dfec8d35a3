"""`train`: fit one method, save it, and score it on every split that it was not trained on."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from uqlib import methods
from uqlib.commands.common import (
    Stop,
    add_device,
    add_reading,
    add_splitting,
    add_stress,
    check_place,
    device_of,
    find_splits,
    stress_of,
)
from uqlib.networks.training import Settings
from uqlib.prediction import predict
from uqlib.study import scoring

HELP = "train a method and score it on the test splits"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `train`."""
    parser.add_argument("--data", required=True, metavar="NAME|FILE", help="one of ours, or a file or folder of yours")
    parser.add_argument("--method", required=True, choices=sorted(methods.EVERY), help="the way to an uncertainty")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--members", type=int, metavar="N", help="networks in an ensemble")
    parser.add_argument("--epochs", type=int, metavar="N",
                        help="passes over the training data, at most; of a second training in proportion")  # fmt: skip
    add_stress(parser)
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
    print(scoring.table({name: scoring.score(predict(predictor, part), part) for name, part in tests.items()}))


def recipe_of(arguments: argparse.Namespace) -> Any:
    """The recipe, with what was asked for; what was not stays as the method has it."""
    recipe: Any = methods.EVERY[arguments.method]
    known = {field.name for field in dataclasses.fields(recipe)}
    options = {name: getattr(arguments, name) for name in ("members", "checkpoints")}
    options = {name: value for name, value in options.items() if value is not None} | {
        "device": str(device_of(arguments))
    }
    if unknown := sorted(set(options) - known):
        raise Stop(f"--{unknown[0]}: the method {arguments.method!r} has no such option")
    stress = stress_of(arguments)
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
