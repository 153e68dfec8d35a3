"""Structures worth labelling: uncertainty-driven attacks, the filters behind them, and simpler ways to compare with.

`attack` walks uphill on the uncertainty times the Boltzmann weight; `screen` drops what is not worth a label;
`random_displacement` and `from_dynamics` are what an attack has to beat.
"""

from .baselines import from_dynamics, random_displacement
from .climb import Attacks, attack
from .objective import Objective, Terms, structure_uncertainty
from .screening import Screening, aligned_rmsd, closest_contact, screen

__all__ = [
    "Attacks",
    "Objective",
    "Screening",
    "Terms",
    "aligned_rmsd",
    "attack",
    "closest_contact",
    "from_dynamics",
    "random_displacement",
    "screen",
    "structure_uncertainty",
]
