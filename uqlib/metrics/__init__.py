"""Scores for predictions and for their uncertainties: tensors in, one number out.

Four questions, one file each:

* `accuracy`: how large are the errors?
* `ranking`: are the uncertain predictions the bad ones? Any score will do.
* `gaussian`: are the error bars of the right size? Needs standard deviations.
* `resampling`: how sure are we of any of these numbers?

`report` asks all of them at once, of energies, of forces and of each element.

Everything is computed in float64. Nothing here imports more than torch.
"""

from .accuracy import atom_force_error, force_components, mae, rmse
from .checks import UndefinedMetric
from .gaussian import (
    calibrated_nll,
    calibration_curve,
    coverage,
    crps,
    ence,
    error_based_calibration,
    interval_score,
    miscalibration_area,
    nll,
    sharpness,
)
from .quantities import Quantity, quantities, stress_quantity, voigt
from .ranking import ause, ideal_spearman, roc_auc, roc_auc_sweep, sparsification_curve, spearman
from .report import report
from .resampling import Estimate, bootstrap
from .suite import FULL_NAME, METRICS, Scores, score
from .symmetry import allowed_directions
from .table import Report

__all__ = [
    "FULL_NAME",
    "METRICS",
    "Estimate",
    "Quantity",
    "Report",
    "Scores",
    "UndefinedMetric",
    "allowed_directions",
    "atom_force_error",
    "ause",
    "bootstrap",
    "calibrated_nll",
    "calibration_curve",
    "coverage",
    "crps",
    "ence",
    "error_based_calibration",
    "force_components",
    "ideal_spearman",
    "interval_score",
    "mae",
    "miscalibration_area",
    "nll",
    "quantities",
    "report",
    "rmse",
    "roc_auc",
    "roc_auc_sweep",
    "score",
    "sharpness",
    "sparsification_curve",
    "spearman",
    "stress_quantity",
    "voigt",
]
