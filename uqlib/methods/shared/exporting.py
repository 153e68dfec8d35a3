"""What methods of one network put into an exported file, and the members that some of them have."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from uqlib.interfaces.metatomic import AtomTerms
from uqlib.networks.painn import PaiNN, Perceptron
from uqlib.structures.batch import Batch


class WithoutMembers:
    """A predictor with no potentials behind its uncertainty."""

    kind: str
    why_no_members: str

    def members(self, batch: Batch) -> NoReturn:
        """Raises ValueError, with the reason."""
        raise ValueError(
            f"predictor: {self.kind!r} has no members: {self.why_no_members}; take an ensemble, a shallow ensemble or "
            "LLPR"
        )


class DeviationTerms(AtomTerms):
    """A network and a covariance of the last layer of a perceptron: `root` (H + 1, K) @ `root.T`, eV²."""

    root: Tensor

    def __init__(self, network: PaiNN, perceptron: Perceptron, root: Tensor) -> None:
        super().__init__(network)
        self.perceptron = copy.deepcopy(perceptron).requires_grad_(False).eval().to("cpu")
        self.register_buffer("root", root.detach().double().cpu())

    def uncertainty(self, features: Tensor, heads: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """An atom's hidden units, and 1 for the bias, times `root`."""
        hidden = F.silu(self.perceptron.inner(features)).double()
        return hidden @ self.root[:-1] + self.root[-1], features[:, :0]


class SpreadTerms(AtomTerms):
    """A network whose heads say how wrong it is; `of_atoms` makes (N, 2) standard deviations of them and the scale."""

    def __init__(self, network: PaiNN, of_atoms: Callable[[Mapping[str, Tensor], Tensor], Tensor]) -> None:
        super().__init__(network)
        self.of_atoms = of_atoms

    def uncertainty(self, features: Tensor, heads: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Of the force and of the energy."""
        return features[:, :0], self.of_atoms(heads, self.network.scale)


def gaussian_samples(dimensions: int, count: int, seed: int) -> Tensor:
    """(dimensions, count) standard normal numbers less their mean over the samples, float64.

    The mean is taken off so that the mean of the members is the network's own energy; the variance over `count` - 1 is
    then 1 on average. Raises ValueError for a count below 2.
    """
    if count < 2:
        raise ValueError(f"count: got {count}, expected at least 2 members; one has nobody to differ from")
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(dimensions, count, generator=random, dtype=torch.float64)
    return drawn - drawn.mean(1, keepdim=True)
