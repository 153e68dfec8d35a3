"""Gaussian mixture: the density of the training atoms in feature space; where it is low, the network extrapolates.

Zhu, Batzner, Musaelian, Kozinsky, "Fast uncertainty estimates in deep learning interatomic potentials", J. Chem. Phys.
158, 164111 (2023), arXiv:2211.09866; one of the methods of Tan et al., npj Comput. Mater. 9, 225 (2023),
arXiv:2305.01754, which pools all elements. With a single component it is the Mahalanobis distance of Lee et al., "A
simple unified framework for detecting out-of-distribution samples", NeurIPS 2018, arXiv:1807.03888.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from uqlib.methods.shared.distances import AtomScore, FeatureDistance, FeaturePredictor
from uqlib.networks.evaluation import OtherNetwork
from uqlib.networks.painn import PaiNN
from uqlib.structures.datasets import Dataset

if TYPE_CHECKING:
    from sklearn import mixture

STARTS = 3  # of expectation maximisation: the best one is kept
STEPS = 1000  # at most


@dataclass(frozen=True, kw_only=True)
class Mixture(AtomScore):
    """K Gaussians with full covariances in D whitened dimensions; everything in float64."""

    log_weights: Tensor  # (K,)
    means: Tensor  # (K, D)
    precision_factors: Tensor  # (K, D, D)  upper triangular U with U Uᵀ the inverse covariance
    bic: Mapping[int, float]  # number of components -> Bayesian information criterion, of all that were tried

    @property
    def components(self) -> int:
        return len(self.log_weights)

    def log_likelihood(self, coordinates: Tensor) -> Tensor:
        """(n, D) whitened coordinates to (n,): log Σ_k w_k N(x; μ_k, Σ_k), summed in log space."""
        offset = coordinates.unsqueeze(1) - self.means
        scaled = torch.einsum("nkd,kde->nke", offset, self.precision_factors)
        log_volume = self.precision_factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_norm = log_volume - 0.5 * self.means.shape[1] * math.log(2 * math.pi)
        exponent = -0.5 * scaled.square().sum(-1)
        return torch.logsumexp(self.log_weights + log_norm + exponent, dim=1)

    def raw(self, features: Tensor) -> Tensor:
        """Negative log likelihood."""
        return -self.log_likelihood(self.whitening(features))


class FittedMixture(FeaturePredictor):
    """Predicts how many nats less likely than a usual training atom each atom is."""

    kind: ClassVar[str] = "gmm"
    score: ClassVar[type[AtomScore]] = Mixture

    @property
    def mixtures(self) -> dict[int, Mixture]:
        """Atomic number, or `features.ALL`, -> mixture, with the table its number of components was chosen from."""
        return {number: score for number, score in self.scores.items() if isinstance(score, Mixture)}


@dataclass(frozen=True, kw_only=True)
class GaussianMixture(FeatureDistance):
    """The recipe. `components=None`: as many as give the lowest Bayesian information criterion, for each mixture.

    `regularisation` is added to the diagonal of every covariance, in units of the variance of all training atoms:
    without it a component may shrink onto a few atoms, with a likelihood as high as you like.
    """

    components: int | None = None
    most_components: int = 10  # tried at most, and no more than leave each 2 (D + 1) atoms
    regularisation: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("components", self.components), ("most_components", self.most_components)):
            if value is not None and value < 1:
                raise ValueError(f"{name}: got {value}, expected at least 1")
        if not self.regularisation > 0:
            raise ValueError(f"regularisation: got {self.regularisation}, expected a positive share of the variance")

    def fit_to(self, model: PaiNN | OtherNetwork, train: Dataset, valid: Dataset, *, seed: int) -> FittedMixture:
        """One mixture for each element, or one for all. `seed` starts the expectation maximisation.

        Raises ValueError for elements whose atoms all look alike, and where there are more components than atoms that
        differ or the maximisation does not end.
        """
        features = self.training_features(model, train)
        mixtures = {number: self.mixture(found, seed=seed) for number, found in features.items()}
        return FittedMixture(model, mixtures, elements=train.elements)

    def mixture(self, features: Tensor, *, seed: int) -> Mixture:
        """The density of (n, F) features, float64; errors as `fit_to`."""
        whitening, coordinates = self.whiten(features)
        points = coordinates.cpu().numpy()
        distinct = len(np.unique(points, axis=0))
        if self.components is None:
            most = min(self.most_components, max(1, distinct // (2 * points.shape[1] + 2)))
            tried = range(1, most + 1)
        else:
            tried = (self.components,)
        if max(tried) > distinct:
            raise ValueError(f"components: got {self.components} for {distinct} atoms that differ, expected fewer")
        found = {k: gaussians for k in tried if (gaussians := self._maximise(points, k, seed)).converged_}
        if not found:
            raise ValueError(
                f"components: {self.components} did not settle in {STEPS} steps; take fewer, or a larger "
                f"regularisation (now {self.regularisation})"
            )
        bic = {k: float(gaussians.bic(points)) for k, gaussians in found.items()}
        best = found[min(bic, key=bic.__getitem__)]
        return Mixture(
            whitening=whitening,
            typical=torch.as_tensor(-best.score(points), dtype=torch.float64, device=features.device),
            log_weights=torch.as_tensor(best.weights_, device=features.device).log(),
            means=torch.as_tensor(best.means_, device=features.device),
            precision_factors=torch.as_tensor(best.precisions_cholesky_, device=features.device),
            bic=bic,
        )

    def _maximise(self, points: np.ndarray, components: int, seed: int) -> mixture.GaussianMixture:
        """K Gaussians by expectation maximisation; `converged_` says whether it settled."""
        from sklearn import mixture  # large: not for each worker
        from sklearn.exceptions import ConvergenceWarning

        gaussians = mixture.GaussianMixture(
            components,
            covariance_type="full",
            reg_covar=self.regularisation,
            random_state=seed,
            n_init=STARTS if components > 1 else 1,
            max_iter=STEPS,
        )
        # As many threads as torch may use: more only wait for one another where the points are few.
        with threadpool_limits(torch.get_num_threads()), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is asked instead
            return gaussians.fit(points)
