"""The command line: what data there is, train and score methods, compare them, predict for structures of yours."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from uqlib.commands import COMMANDS
from uqlib.commands.common import Stop
from uqlib.study.running import StudyError

EXAMPLES = """\
examples:
  python -m uqlib data                                      what data sets there are
  python -m uqlib data ammonia                              one of them, described
  python -m uqlib train --data ammonia --method ensemble    train five networks and score them
  python -m uqlib train --data mine.xyz --method ensemble --out mine.uq --checkpoints run1
  python -m uqlib compare --data ammonia                    all methods, side by side: some minutes
  python -m uqlib study --only 'ammonia/0/*'                the study of the book, or a part of it: hours
  python -m uqlib loops --only 'ammonia/*'                  each method drives its own active learning: hours
  python -m uqlib predict mine.uq others.xyz --out predicted.xyz
  python -m uqlib show mine.uq                              what a saved model was trained on, and its units
  python -m uqlib export mine.uq mine.pt                    one file for ASE, i-PI, LAMMPS and others

The book that explains all this is built by `make book`, in the folder that this package came in.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 failed, 2 bad usage, 130 interrupted."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (Stop, StudyError, ValueError, KeyError, OSError, FloatingPointError, KeyboardInterrupt) as error:
        if arguments.verbose:
            traceback.print_exc()
        print(f"uqlib: {_in_one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, Stop) else 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m uqlib",
        description="Uncertainty quantification for neural-network interatomic potentials.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="show where an error arose")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, parents=[common], help=command.HELP)
        command.add_options(one)
        one.set_defaults(run=command.run)
    return parser


def _in_one_line(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; with --checkpoints, the same command continues where it was"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
