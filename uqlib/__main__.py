"""The command line: what data there is, train and score methods, compare them, predict for structures of yours."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    """Run one command. Returns the exit status: 0 done, 1 failed, 2 bad usage, 130 interrupted, 143 terminated."""
    _plain_streams()
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        parser = _parser(given)
    except ImportError as error:
        print(f"uqlib: {_in_one_line(error)}. What is missing, says: python -m uqlib doctor", file=sys.stderr)
        return 1
    arguments = parser.parse_args(given)
    try:
        with _told_to_end(), warnings.catch_warnings():
            warnings.simplefilter("always", DataWarning)
            warnings.showwarning = _show(warnings.showwarning)
            return arguments.run(arguments) or 0
    except (Exception, KeyboardInterrupt) as error:
        if not _is_foreseen(error):
            raise
        if arguments.verbose:
            traceback.print_exc()
        told = f"interrupted; {_remedy(arguments)}" if isinstance(error, KeyboardInterrupt) else _in_one_line(error)
        print(f"uqlib: {told}", file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130 if isinstance(error, KeyboardInterrupt) else _status(error)


class Terminated(KeyboardInterrupt):
    """Asked to end by the system, as by a batch queue whose time is up."""


@contextmanager
def _told_to_end() -> Iterator[None]:
    """SIGTERM ends like an interrupt from the keyboard: what is done is kept, and helpers are ended."""

    def end(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _plain_streams() -> None:
    """Let no letter stop a command that a terminal or a file cannot show, and no closed stream."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before we came
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as we live
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _remedy(arguments: argparse.Namespace) -> str:
    """How an interrupted command is taken up, in words of its own options."""
    if arguments.command in ("study", "loops"):
        return "what is done is kept, and the same command continues where it was"
    if getattr(arguments, "checkpoints", None) is not None:
        return f"the same command continues from {arguments.checkpoints}"
    return (
        "with --checkpoints FOLDER it could be continued" if hasattr(arguments, "checkpoints") else "nothing was kept"
    )


def _status(error: BaseException) -> int:
    return 2 if isinstance(error, Stop) else 1


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
        one.set_defaults(run=module.run, command=name)
    return parser


def _in_one_line(error: BaseException) -> str:
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
