"""Where other people's programs meet ours, both ways.

`UncertaintyCalculator`: any predictor as a calculator of ASE, with its uncertainties; `error_bars`: these in its files.
`ForeignModel`: any torch network that gives energies and features, for the methods that need no training.
`CalculatorCommittee`: any calculators of ASE, uncertain where they disagree.
`released`: potentials whose weights come inside their package, CHGNet and SevenNet, as `ForeignModel`.
`metatomic`: one file that ASE, i-PI, LAMMPS and others run, written by the `export` of a predictor.
`MetatomicPredictor`, `MetatomicModel`: such files of others, with an uncertainty of their own or without.
"""

from uqlib.interfaces import error_bars, released
from uqlib.interfaces.ase import UncertaintyCalculator
from uqlib.interfaces.calculators import CalculatorCommittee
from uqlib.interfaces.metatomic_files import MetatomicModel, MetatomicPredictor
from uqlib.interfaces.model import PACKED, ForeignModel, pack, unpack

__all__ = [
    "PACKED",
    "CalculatorCommittee",
    "ForeignModel",
    "MetatomicModel",
    "MetatomicPredictor",
    "UncertaintyCalculator",
    "error_bars",
    "pack",
    "released",
    "unpack",
]
