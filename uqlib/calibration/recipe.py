"""A method and its recalibration as one recipe, for whoever fits again and again: active learning, a study."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from uqlib.calibration.calibrated import Calibrated
from uqlib.calibration.calibrator import Kind
from uqlib.calibration.fitting import calibrate
from uqlib.prediction import Method, predict
from uqlib.structures.datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Recalibrated:
    """Fits `method`, then maps of that kind to the validation set; the result is a `Calibrated`, in eV/Å.

    The validation set has stopped the training already, so the map is a little too sure of itself: a data set of its
    own is better where there is one. What it is good for is a score in nats that has to be weighed against something
    else, such as the energy in an attack. Arguments and errors as `calibrate`.
    """

    method: Method
    kind: Kind = "affine"
    per_element: bool = False

    def fit(self, train: Dataset, valid: Dataset, *, seed: int, progress: bool = True) -> Calibrated:
        """As the method's own `fit`."""
        fit: Any = self.method.fit
        options = {"progress": progress} if "progress" in inspect.signature(fit).parameters else {}
        fitted = fit(train, valid, seed=seed, **options)
        return Calibrated(fitted, calibrate(self.kind, predict(fitted, valid), valid, per_element=self.per_element))
