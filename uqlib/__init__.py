"""Uncertainty quantification for neural-network interatomic potentials.

The front door: what most users need, by its short name.

    import uqlib

    data = uqlib.read("mine.xyz").split(seed=0, train=200, valid=50, test=100)
    predictor = uqlib.METHODS["ensemble"].fit(data["train"], data["valid"], seed=0)
    prediction = uqlib.predict(predictor, data["test"])  # energies, forces, and how far to trust them
    predictor.save("mine.uq")
    print(uqlib.about("mine.uq"))  # units, elements, what it was trained on, how it was calibrated
    atoms.calc = uqlib.UncertaintyCalculator(uqlib.load("mine.uq"))
    predictor.export("mine.pt")  # for i-PI, LAMMPS and others

Behind it the rooms, from the ground up: `structures` (atoms in), `networks`, `prediction` (the waist), `interfaces`
(other people's programs), `methods`, `metrics`, `calibration`, `attack`, `dynamics`, `propagation` (error bars of
results), `oracles`, `active_learning`, `study`, `loops`, `show`, and `chapters` for the book alone. Nothing imports
what stands above it.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uqlib.calibration import Calibrated, about, calibrate, load
    from uqlib.interfaces import UncertaintyCalculator
    from uqlib.methods import METHODS
    from uqlib.metrics import report
    from uqlib.networks.training import Settings
    from uqlib.prediction import Prediction, Predictor, predict
    from uqlib.structures.datasets import Dataset, read

__all__ = [
    "METHODS",
    "Calibrated",
    "Dataset",
    "Prediction",
    "Predictor",
    "Settings",
    "UncertaintyCalculator",
    "__version__",
    "about",
    "calibrate",
    "load",
    "predict",
    "read",
    "report",
]

ROOM_OF = {
    "METHODS": "methods",
    "Calibrated": "calibration",
    "Dataset": "structures.datasets",
    "Prediction": "prediction",
    "Predictor": "prediction",
    "Settings": "networks.training",
    "UncertaintyCalculator": "interfaces",
    "about": "calibration",
    "calibrate": "calibration",
    "load": "calibration",
    "predict": "prediction",
    "read": "structures.datasets",
    "report": "metrics",
}

try:
    __version__ = version("uqlib")
except PackageNotFoundError:  # run from a folder that was never installed
    __version__ = "unknown"


def __getattr__(name: str) -> Any:
    """Fetch a name when it is first asked for: in Colab, `import uqlib` comes before much else is installed."""
    if name not in ROOM_OF:
        raise AttributeError(f"module 'uqlib' has no attribute {name!r}; it has {', '.join(__all__)}")
    found = getattr(import_module(f"uqlib.{ROOM_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
