"""Methods of uncertainty quantification, one file each: a recipe (`fit`) and what it returns (`predict`)."""

from pathlib import Path
from typing import Any

import torch

from uqlib.common import storage
from uqlib.methods.dropout import Dropout
from uqlib.methods.ensemble import Ensemble
from uqlib.methods.evidential import Evidential, FittedEvidential
from uqlib.methods.gmm import FittedMixture, GaussianMixture
from uqlib.methods.llpr import LastLayer
from uqlib.methods.mve import FittedMeanVariance, MeanVariance
from uqlib.methods.neighbours import FittedNeighbours, NearestNeighbours
from uqlib.methods.pops import PointwiseOptimal
from uqlib.methods.quantile import FittedQuantile, Quantile
from uqlib.methods.shallow import Shallow
from uqlib.methods.shared.committee import Committee
from uqlib.methods.shared.last_layer import UncertainLastLayer
from uqlib.methods.shared.recipes import with_stress as with_stress
from uqlib.methods.snapshot import Snapshot
from uqlib.networks.evaluation import OtherNetwork
from uqlib.prediction import Method, Predictor, placed

METHODS: dict[str, Method] = {
    "ensemble": Ensemble(),
    "bootstrap": Ensemble(bootstrap=True),
    "mve": MeanVariance(),
    "evidential": Evidential(),
    "llpr": LastLayer(),
    "shallow": Shallow(),
    "dropout": Dropout(),
    "snapshot": Snapshot(),
    "gmm": GaussianMixture(),
    "mahalanobis": GaussianMixture(components=1),
    "neighbours": NearestNeighbours(),
}
"""Name -> recipe with its defaults, of the methods that the study compares; change some with `dataclasses.replace`."""

NEWER: dict[str, Method] = {
    "crps": Shallow(score="crps"),
    "quantile": Quantile(),
    "pops": PointwiseOptimal(),
}
"""Methods that came since: the study has no cells of them, so they are in no verdict and in no table of prices."""

EVERY: dict[str, Method] = METHODS | NEWER
"""All that can be trained and compared."""

FITTED: dict[str, Any] = {
    "ensemble": Committee,
    "mve": FittedMeanVariance,
    "evidential": FittedEvidential,
    "last layer": UncertainLastLayer,
    "gmm": FittedMixture,
    "neighbours": FittedNeighbours,
    "quantile": FittedQuantile,
}
"""Kind of file -> the class whose `load` reads it."""

AROUND_ANY = ("last layer", "gmm", "neighbours")
"""Kinds whose network may be a `ForeignModel`."""


def load(path: str | Path, *, model: OtherNetwork | None = None, device: str | torch.device | None = None) -> Predictor:
    """A fitted method of any kind that its `save` wrote; errors as `storage.load`.

    `model`: the network, where it is not the book's own but a `ForeignModel`, whose code no file holds.
    `device`: where to; None: the CPU, or where `model` is; "auto": a GPU if there is one.
    """
    return placed(_loaded(path, model), device=device)


def _loaded(path: str | Path, model: OtherNetwork | None) -> Predictor:
    kind = storage.kind_of(path)
    if kind not in FITTED:
        raise ValueError(f"{path}: got a file of kind {kind!r}, expected a fitted method: {sorted(FITTED)}")
    if model is None:
        with storage.content_of(path):
            return FITTED[kind].load(path)
    if kind not in AROUND_ANY:
        raise ValueError(f"model: got one, but this file holds all of its network, of kind {kind!r}; leave it out")
    return FITTED[kind].load(path, model=model)
