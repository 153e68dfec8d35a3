"""The study: every method, on every system, from several seeds, in and out of domain; and what follows from it.

`grid` says what is to be done and reads it from a file; `work` does one piece of it; `running` does all pieces, here or
on a cluster, and keeps what is done, with `cells` and `machine`, which serve other campaigns as well; `results` reads
it; `statistics` tells differences from noise, and `contests` asks it of one method against another; `verdict` puts the
conclusions of the book to the results; `prose` and `advice` say what came out, in `words` that they share.
"""

from . import advice, prose, verdict
from .grid import REGIMES, SCALES, Grid, System, Unit, load_grid
from .results import QUESTIONS, UNCERTAINTY, Results, load_results
from .running import run
from .statistics import Comparison, Pair, compare_ranks, pairs, ranks, seed_interval
from .work import do_unit

__all__ = [
    "QUESTIONS",
    "REGIMES",
    "SCALES",
    "UNCERTAINTY",
    "Comparison",
    "Grid",
    "Pair",
    "Results",
    "System",
    "Unit",
    "advice",
    "compare_ranks",
    "do_unit",
    "load_grid",
    "load_results",
    "pairs",
    "prose",
    "ranks",
    "run",
    "seed_interval",
    "verdict",
]
