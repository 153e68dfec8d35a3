"""Every method drives its own active learning, on every system, from several seeds, beside rivals that ask no method.

`settings` and `grid` say what is to be done and `reading` reads it from a file; `recipes` makes methods and proposals
of it; `unit` does one loop and judges it, with `shelf`, which fits nothing twice, and the measures of `survival` and
`barrier`; `running` does all loops, here or on a cluster, and keeps what is done; `packing` keeps the labels;
`outcomes` reads what came of it, for the verdict, and `tables` for a page.
"""

from . import outcomes, tables
from .grid import Grid, Unit
from .outcomes import load_campaign
from .reading import FOLDER, load_grid
from .running import run
from .settings import Driver, System
from .unit import do_unit

__all__ = [
    "FOLDER",
    "Driver",
    "Grid",
    "System",
    "Unit",
    "do_unit",
    "load_campaign",
    "load_grid",
    "outcomes",
    "run",
    "tables",
]
