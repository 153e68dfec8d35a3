"""The figures of the book. Each function draws data into the Axes it is given and returns it.

Data may be tensors or arrays. Labels carry units. Colours can be told apart by colour-blind readers.
Importing changes nothing; call `use_style()` once to get the look of the book.
"""

from .curves import learning_curves, profile, surface
from .flipbook import Flipbook, flipbook
from .scores import calibration, cost_bars, error_against_uncertainty, parity
from .style import BLACK, BLUE, CYCLE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, use_style

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
    "calibration",
    "cost_bars",
    "error_against_uncertainty",
    "flipbook",
    "learning_curves",
    "parity",
    "profile",
    "surface",
    "use_style",
]
