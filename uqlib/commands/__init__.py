"""The commands of `python -m uqlib`: one file a command, with its help, its options and what it does.

May import every other room but `chapters`. A newcomer adds a module with `HELP`, `add_options` and `run`, and a line
below.
"""

from types import ModuleType

from . import compare, data, export, loops, predict, show, study, train

COMMANDS: dict[str, ModuleType] = {
    "data": data,
    "train": train,
    "compare": compare,
    "study": study,
    "loops": loops,
    "predict": predict,
    "show": show,
    "export": export,
}
"""In the order in which `--help` lists them."""
