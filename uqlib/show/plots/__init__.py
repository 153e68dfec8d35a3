"""The figures of the book. Each function draws data into the Axes it is given and returns it.

Data may be tensors or arrays. Labels carry units. Colours can be told apart by colour-blind readers.
Importing changes nothing; call `use_style()` once to get the look of the book.
"""

from .curves import learning_curves, profile, surface
from .flipbook import Flipbook, flipbook
from .lifetimes import survival
from .rankings import before_and_after, pareto_front, rank_intervals, trade_off
from .report_page import report_page
from .scores import calibration, cost_bars, error_against_uncertainty, parity
from .sortable import SortableTable, sortable_table
from .style import BLACK, BLUE, CYCLE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, use_style
from .surveys import configurations, distributions, errors_by_split, radial_functions

__all__ = [
    "BLACK",
    "BLUE",
    "CYCLE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "SKY",
    "VERMILION",
    "Flipbook",
    "SortableTable",
    "before_and_after",
    "calibration",
    "configurations",
    "cost_bars",
    "distributions",
    "error_against_uncertainty",
    "errors_by_split",
    "flipbook",
    "learning_curves",
    "pareto_front",
    "parity",
    "profile",
    "radial_functions",
    "rank_intervals",
    "report_page",
    "sortable_table",
    "surface",
    "survival",
    "trade_off",
    "use_style",
]
