"""Nearest neighbours: the distance in feature space to the training atoms that look most alike.

No density and no Gaussian, only the training atoms themselves: Sun, Ming, Zhu, Li, "Out-of-distribution detection with
deep nearest neighbors", ICML 2022, arXiv:2204.06507; for networks of chemistry Janet, Duan, Yang, Nandy, Kulik, "A
quantitative uncertainty metric controls error in neural network-driven chemical discovery", Chem. Sci. 10, 7913 (2019).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from uqlib.methods.shared.distances import AtomScore, FeatureDistance, FeaturePredictor
from uqlib.networks.evaluation import OtherNetwork
from uqlib.networks.painn import PaiNN
from uqlib.structures.datasets import Dataset

LARGEST_TABLE = 5_000_000  # distances held at a time, 40 MB
SMOOTHING = 1e-12  # added to squared distances, whose root has no slope at an atom of the training set


@dataclass(frozen=True, kw_only=True)
class NearestAtoms(AtomScore):
    """The training atoms as points in D whitened dimensions, in float64."""

    points: Tensor  # (n, D)
    neighbours: int

    def distance(self, coordinates: Tensor, *, skip: int = 0) -> Tensor:
        """(m, D) whitened coordinates to (m,) mean distances to the nearest points, leaving out the first `skip`.

        Which points are nearest is looked up without gradients; the distances to them are differentiable.
        """
        nearest = self._nearest(coordinates.detach(), self.neighbours + skip)[:, skip:]
        apart = coordinates.unsqueeze(1) - self.points[nearest]
        return (apart.square().sum(-1) + SMOOTHING).sqrt().mean(1)

    def raw(self, features: Tensor) -> Tensor:
        """Logarithm of the distance: log r of k neighbours is, times -D, the estimate of a log density."""
        return self.distance(self.whitening(features)).log()

    def _nearest(self, coordinates: Tensor, count: int) -> Tensor:
        """(m, count) indices of the nearest points, nearest first, a piece of the table of distances at a time."""
        rows = max(1, LARGEST_TABLE // len(self.points))
        exact = "donot_use_mm_for_euclid_dist"  # the shortcut through a product loses what is small
        found = [
            torch.cdist(part, self.points, compute_mode=exact).topk(count, largest=False).indices
            for part in coordinates.split(rows)
        ]
        return torch.cat(found)


class FittedNeighbours(FeaturePredictor):
    """Predicts the logarithm of the distance to the nearest training atoms, over that among training atoms."""

    kind: ClassVar[str] = "neighbours"
    score: ClassVar[type[AtomScore]] = NearestAtoms


@dataclass(frozen=True, kw_only=True)
class NearestNeighbours(FeatureDistance):
    """The recipe: the mean distance to so many `neighbours`, fewer where an element has no more training atoms."""

    neighbours: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 1:
            raise ValueError(f"neighbours: got {self.neighbours}, expected at least 1")

    def fit_to(self, model: PaiNN | OtherNetwork, train: Dataset, valid: Dataset, *, seed: int) -> FittedNeighbours:
        """Keep the features of all training atoms. Nothing is drawn: `seed` is not used.

        Raises ValueError for elements whose atoms all look alike.
        """
        features = self.training_features(model, train)
        atoms = {number: self.nearest(found) for number, found in features.items()}
        return FittedNeighbours(model, atoms, elements=train.elements)

    def nearest(self, features: Tensor) -> NearestAtoms:
        """The score that measures distances to (n, F) features, float64; errors as `fit_to`."""
        whitening, points = self.whiten(features)
        count = min(self.neighbours, len(points) - 1)
        atoms = NearestAtoms(whitening=whitening, typical=points.new_zeros(()), points=points, neighbours=count)
        return replace(atoms, typical=atoms.distance(points, skip=1).mean().log())  # none is its own neighbour
