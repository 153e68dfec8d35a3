"""`doctor`: whether this machine has what the book and the library need, line by line, with remedies."""

from __future__ import annotations

import argparse

from uqlib.installation import examine

HELP = "check the installation: packages, memory, a short training, viewers, oracles"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `doctor`."""
    parser.add_argument("--quick", action="store_true", help="leave out the short training")


def run(arguments: argparse.Namespace) -> int:
    """`doctor`: print each finding as it is made. Returns 0 if nothing that is needed is missing or wrong, else 1."""
    ill = []
    for finding in examine(training=not arguments.quick):
        print(finding, flush=True)
        if finding.state != "ok" and finding.needed:
            ill.append(finding.subject)
    if ill:
        print(f"\nNot ready: {', '.join(dict.fromkeys(ill))}. The remedies stand above.")
        return 1
    print("\nReady. What is called “not needed” above is for some chapters or for work of your own.")
    return 0
