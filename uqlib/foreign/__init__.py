"""Potentials that come from elsewhere, and what it takes to put error bars on them.

`ForeignModel`: any torch network that gives energies and features, for the methods that need no training.
`CalculatorCommittee`: any calculators of ASE, uncertain where they disagree.
"""

from uqlib.foreign.calculators import CalculatorCommittee
from uqlib.foreign.model import ForeignModel, pack, unpack

__all__ = ["CalculatorCommittee", "ForeignModel", "pack", "unpack"]
