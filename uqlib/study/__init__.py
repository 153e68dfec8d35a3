"""The study: every method, on every system, from several seeds, in and out of domain; and what follows from it.

`grid` says what is to be done and reads it from a file; `work` does one piece of it; `running` does all pieces, here or
on a cluster, and keeps what is done, with `cells` and `machine`, which serve other campaigns as well; `results` reads
it; `statistics` has estimates with intervals that hold, and `families` judges all comparisons of a page at once;
`contests` says which those are; `verdict` puts the conclusions of the book to each system; `prose` and `advice` say
what came out, in `words` that they share.
"""

from . import advice, prose, verdict
from .contests import judged
from .families import Contrast, Key, judge
from .grid import REGIMES, SCALES, Grid, System, Unit, load_grid
from .results import DOMAINS, QUESTIONS, UNCERTAINTY, Results, load_results
from .running import run
from .statistics import hodges_lehmann, ranks, seed_interval
from .work import do_unit

__all__ = [
    "DOMAINS",
    "QUESTIONS",
    "REGIMES",
    "SCALES",
    "UNCERTAINTY",
    "Contrast",
    "Grid",
    "Key",
    "Results",
    "System",
    "Unit",
    "advice",
    "do_unit",
    "hodges_lehmann",
    "judge",
    "judged",
    "load_grid",
    "load_results",
    "prose",
    "ranks",
    "run",
    "seed_interval",
    "verdict",
]
