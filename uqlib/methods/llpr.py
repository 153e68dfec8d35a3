"""Last-layer prediction rigidity: how far could a prediction move without the training set objecting?

Bigi, Chong, Ceriotti, Grasselli, "A prediction rigidity formalism for low-cost uncertainties in trained neural
networks", arXiv:2403.02251. It is the Laplace approximation to the posterior of the last layer's weights, whose loss is
exactly quadratic: Bayesian linear regression on the hidden units of a network that is trained already. Nothing is
trained again; energies and forces keep their values.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from uqlib.methods.shared.curvature import curvature, rows
from uqlib.methods.shared.last_layer import UncertainLastLayer, size
from uqlib.methods.shared.recipes import AfterTraining
from uqlib.networks.evaluation import OtherNetwork, evaluate
from uqlib.networks.losses import EnergyForceLoss, Labelled
from uqlib.networks.memory import pieces_of
from uqlib.networks.painn import PaiNN
from uqlib.structures.datasets import Dataset

RIDGES = tuple(10.0**power for power in range(-10, 1))


@dataclass(frozen=True, kw_only=True)
class LastLayer(AfterTraining):
    """The recipe. `ridge`: the regulariser, as a share of the mean curvature; None: chosen on the validation set."""

    ridge: float | None = None

    def __post_init__(self) -> None:
        if self.ridge is not None and not self.ridge > 0:
            raise ValueError(f"ridge: got {self.ridge}, expected a positive number, or None to have it chosen")
        if not isinstance(self.loss, EnergyForceLoss):
            raise ValueError(f"loss: got {self.loss!r}, expected an EnergyForceLoss: its curvature is what is inverted")

    def fit_to(self, model: PaiNN | OtherNetwork, train: Dataset, valid: Dataset, *, seed: int) -> UncertainLastLayer:
        """The uncertainty of a network trained on `train`; nothing is random, `seed` is there for the contract.

        The regulariser is the one whose uncertainties, each scaled to the right size, make the labels of `valid` most
        likely (the paper's sections on calibration); the two scales, for energies and forces, come from there, too.
        """
        assert isinstance(self.loss, EnergyForceLoss)
        exact = copy.deepcopy(model).to(torch.float64)
        values, axes = torch.linalg.eigh(curvature(exact, train, self.loss))
        values = values.clamp_min(0)  # round-off makes some of them slightly negative
        held_out = _held_out(exact, valid, axes)
        ridges = RIDGES if self.ridge is None else (self.ridge,)
        best = min(ridges, key=lambda ridge: _surprise(held_out, values + ridge * values.mean()))
        root = axes / (values + best * values.mean()).sqrt()
        return UncertainLastLayer(copy.deepcopy(model), root).sized(valid)


def _held_out(model: PaiNN | OtherNetwork, valid: Dataset, axes: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Errors on `valid` and the squares of their rows along the `axes`: (S,), (S, H + 1) and (3N,), (3N, H + 1)."""
    energies, forces = [], []
    for batch in pieces_of(model, valid, structures=len(valid)):
        result, (energy, force) = evaluate(model, batch), rows(model, batch)
        error = Labelled.of(result, batch)
        energy, force = energy[error.structures], force.unflatten(0, (-1, 3))[error.atoms].flatten(0, 1)
        energies.append((error.energy, (energy @ axes).square()))
        forces.append((error.forces.flatten(), (force @ axes).square()))
    found = [(torch.cat([e for e, _ in both]), torch.cat([s for _, s in both])) for both in (energies, forces)]
    return [(error, squares) for error, squares in found if len(error)]


def _surprise(held_out: list[tuple[Tensor, Tensor]], precision: Tensor) -> float:
    """Mean negative log likelihood of energies plus that of forces, each with the factor that suits it best."""
    total = 0.0
    for error, squares in held_out:
        variance = (squares / precision).sum(1)
        known = variance > 1e-12 * variance.max()
        total += float(variance[known].log().mean() / 2) + torch.tensor(size(error, variance)).log().item()
    return total
