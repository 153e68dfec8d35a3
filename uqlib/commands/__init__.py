"""The commands of `python -m uqlib`: one file a command, with its help, its options and what it does.

May import every other room but `chapters`. A newcomer adds a module with `HELP`, `add_options` and `run`, and its name
below. `run` returns an exit status, or None for success.
"""

from importlib import import_module
from types import ModuleType

COMMANDS = ("data", "train", "compare", "study", "loops", "predict", "show", "export", "doctor")
"""In the order in which `--help` lists them."""


def command(name: str) -> ModuleType:
    """The module of one command. Imported when it is asked for: `doctor` has to run where torch is missing."""
    return import_module(f"{__name__}.{name}")
