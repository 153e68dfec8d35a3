"""Methods of uncertainty quantification, one file each: a recipe (`fit`) and what it returns (`predict`)."""

from uqlib.methods.ensemble import Ensemble

METHODS = {"ensemble": Ensemble}
