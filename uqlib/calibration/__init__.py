"""Recalibration: make an uncertainty a standard deviation of the right size, on data kept for that purpose.

`calibrate` fits a map from what a predictor says to what its errors demand; `Calibrated` is the predictor with that
map behind it, itself a `Predictor`. The data must be neither those it was trained on nor those it is scored on.
Whatever the map, it speaks about data like those it was fitted to: when the domain shifts, it lapses.
"""

from uqlib.calibration.calibrated import Calibrated, load
from uqlib.calibration.calibrator import KINDS, Calibrator
from uqlib.calibration.conformal import Conformal
from uqlib.calibration.describing import About, about
from uqlib.calibration.fitting import calibrate
from uqlib.calibration.maps import Affine, Isotonic, LogAffine, Scalar
from uqlib.calibration.recipe import Recalibrated

__all__ = [
    "KINDS",
    "About",
    "Affine",
    "Calibrated",
    "Calibrator",
    "Conformal",
    "Isotonic",
    "LogAffine",
    "Recalibrated",
    "Scalar",
    "about",
    "calibrate",
    "load",
]
