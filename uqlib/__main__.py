"""The command line: what data there is, train and score methods, compare them, predict for structures of yours."""

from __future__ import annotations

import argparse
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from uqlib.commands import COMMANDS, command
from uqlib.commands.stop import Stop
from uqlib.commands.words import in_words_of_the_command_line
from uqlib.structures.notices import DataWarning

EXAMPLES = """\
examples:
  python -m uqlib data                                      what data sets there are
  python -m uqlib data ammonia                              one of them, described
  python -m uqlib data mine.xyz                             what is in a file of yours, and what looks wrong
  python -m uqlib train --data ammonia --method ensemble    train five networks and score them
  python -m uqlib train --data mine.xyz --method ensemble --out mine.uq --checkpoints run1
  python -m uqlib compare --data ammonia                    all methods, side by side: some minutes
  python -m uqlib study --only 'ammonia/0/*'                the study of the book, or a part of it: hours
  python -m uqlib loops --only 'ammonia/*'                  each method drives its own active learning: hours
  python -m uqlib predict mine.uq others.xyz --out predicted.xyz
  python -m uqlib show mine.uq                              what a saved model was trained on, and its units
  python -m uqlib export mine.uq mine.pt                    one file for ASE, i-PI, LAMMPS and others
  python -m uqlib doctor                                    is everything there, and does it work

The book that explains all this is built by `make book`, in the folder that this package came in.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 failed, 2 bad usage, 130 interrupted."""
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        parser = _parser(given)
    except ImportError as error:
        print(f"uqlib: {_in_one_line(error)}. What is missing, says: python -m uqlib doctor", file=sys.stderr)
        return 1
    arguments = parser.parse_args(given)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", DataWarning)
            warnings.showwarning = _show(warnings.showwarning)
            return arguments.run(arguments) or 0
    except (Exception, KeyboardInterrupt) as error:
        if not _is_foreseen(error):
            raise
        if arguments.verbose:
            traceback.print_exc()
        print(f"uqlib: {_in_one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, Stop) else 130 if isinstance(error, KeyboardInterrupt) else 1


def _is_foreseen(error: BaseException) -> bool:
    """Whether an error says all by its words. `StudyError` is looked for only where its module has been in use."""
    kinds = (Stop, ValueError, KeyError, OSError, ImportError, FloatingPointError, KeyboardInterrupt)
    running = sys.modules.get("uqlib.study.running")
    return isinstance(error, kinds if running is None else (*kinds, running.StudyError))


def _parser(given: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Knows the command that is given, and no other, or all of them if none is: each import takes its time."""
    parser = argparse.ArgumentParser(
        prog="python -m uqlib",
        description="Uncertainty quantification for neural-network interatomic potentials.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--verbose", action="store_true", help="show where an error arose")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in given[:1] if given and given[0] in COMMANDS else COMMANDS:
        module = command(name)
        one = commands.add_parser(name, parents=[common], help=module.HELP)
        module.add_options(one)
        one.set_defaults(run=module.run)
    return parser


def _in_one_line(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; with --checkpoints, the same command continues where it was"
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return in_words_of_the_command_line(" ".join(text.split())) or type(error).__name__


def _show(other: Callable[..., None]) -> Callable[..., None]:
    """Remarks on data as one line each, once, without the place in our code where they arose; others as ever."""
    told: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, DataWarning):
            text = in_words_of_the_command_line(str(message))
            if text not in told:  # each member of an ensemble says it again
                print(f"note: {text}", file=sys.stderr)
            told.add(text)
        else:
            other(message, category, *rest, **more)

    return show


if __name__ == "__main__":
    sys.exit(main())
