"""Methods of uncertainty quantification, one file each: a recipe (`fit`) and what it returns (`predict`)."""

from pathlib import Path

from uqlib import storage
from uqlib.methods.ensemble import Ensemble, FittedEnsemble
from uqlib.prediction import Predictor

METHODS = {"ensemble": Ensemble}  # name -> recipe
FITTED = {"ensemble": FittedEnsemble}  # kind of file -> what its `load` gives back


def load(path: str | Path) -> Predictor:
    """A fitted method of any kind that its `save` wrote; errors as `storage.load`."""
    kind = storage.kind_of(path)
    if kind not in FITTED:
        raise ValueError(f"{path}: got a file of kind {kind!r}, expected a fitted method: {sorted(FITTED)}")
    return FITTED[kind].load(path)
