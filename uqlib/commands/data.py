"""`data`: what data sets there are, and what is in one of them, or in a file."""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace

from uqlib.commands.common import add_reading, find_data
from uqlib.commands.words import in_words_of_the_command_line
from uqlib.structures import datasets
from uqlib.structures.notices import DataWarning

HELP = "list our data sets, or say what is in one, or in a file or folder of yours"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `data`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of ours, or a file or folder")
    add_reading(parser)


def run(arguments: argparse.Namespace) -> None:
    """`data`: our sets with their counts, or the repr and the card of one."""
    if arguments.name is None:
        for name in datasets.available():
            print(datasets.load(name), end="\n\n")
        print("More of one: python -m uqlib data NAME. From Python: uqlib.structures.datasets.load(NAME).")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # all of it is in the report
        data = find_data(arguments, arguments.name)
    print(replace(data, reading=None))
    if data.reading is not None:
        print(in_words_of_the_command_line(str(data.report())))
    for key in ("title", "licence", "command", "source"):
        if key in data.card:
            print(f"  {key:<17} {data.card[key]}")
    for name, entry in data.card.get("splits", {}).items():
        print(f"  {name:<17} {entry.get('frames', '?')} structures: {entry.get('sampling', 'sampling not stated')}")
    for limit in data.card.get("limits", ()):
        print(f"  limit             {limit}")
