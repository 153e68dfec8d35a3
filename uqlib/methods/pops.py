"""Pointwise optimal parameter sets (POPS): how far must the last layer move to repair each training point alone?

Swinburne, Perez, "Parameter uncertainties for imperfect surrogate models in the low-noise regime", Mach. Learn.: Sci.
Technol. 6, 015008 (2025), arXiv:2402.01810. Labels of DFT carry next to no noise. What a network still errs on its
training data is *misspecification*: no weights fit all points at once. A posterior such as LLPR's shrinks with every
further point and knows nothing of that. Here each point gets the weights that pass through it and raise the loss least;
the box around all these changes of the weights is the posterior, and its width bounds errors of the kind already seen.

The paper's points are numbers. Ours are energies and whole force vectors: taken one Cartesian component at a time, the
result would depend on how the training structures lie in the axes. `popsregression` (BSD, on PyPI) would also refit the
weights, and has no slopes by positions; what is needed of it is a dozen lines.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from uqlib.methods.shared.curvature import STRUCTURES_AT_ONCE, curvature, rows
from uqlib.methods.shared.last_layer import UncertainLastLayer
from uqlib.methods.shared.recipes import AfterTraining
from uqlib.networks.evaluation import OtherNetwork, evaluate
from uqlib.networks.losses import EnergyForceLoss, Labelled
from uqlib.networks.memory import pieces_of
from uqlib.networks.painn import PaiNN
from uqlib.structures.datasets import Dataset

NEGLIGIBLE = 1e-6  # of the largest leverage of a point, or of the widest side of the box: taken for zero


@dataclass(frozen=True, kw_only=True)
class PointwiseOptimal(AfterTraining):
    """The recipe.

    `ridge`: the regulariser, as a share of the mean curvature. `share`: of the points, those on which the loss bears
    most, that make the box; the paper takes half. With `sized`, factors from the validation set as for LLPR; without,
    the sizes are the paper's, which need no calibration.
    """

    ridge: float = 1e-6
    share: float = 0.5
    sized: bool = False

    def __post_init__(self) -> None:
        if not self.ridge > 0:
            raise ValueError(f"ridge: got {self.ridge}, expected a positive number")
        if not 0 < self.share <= 1:
            raise ValueError(f"share: got {self.share}, expected a share of the points, 0 < share <= 1")
        if not isinstance(self.loss, EnergyForceLoss):
            raise ValueError(f"loss: got {self.loss!r}, expected an EnergyForceLoss: its curvature is what is inverted")

    def fit_to(self, model: PaiNN | OtherNetwork, train: Dataset, valid: Dataset, *, seed: int) -> UncertainLastLayer:
        """The uncertainty of a network trained on `train`; nothing is random, `seed` is there for the contract."""
        assert isinstance(self.loss, EnergyForceLoss)
        exact = copy.deepcopy(model).to(torch.float64)
        hessian = curvature(exact, train, self.loss)
        eye = torch.eye(len(hessian), dtype=hessian.dtype, device=hessian.device)
        inverse = torch.linalg.inv(hessian + self.ridge * hessian.diagonal().mean() * eye)
        changes, leverage = corrections(exact, train, self.loss, inverse)
        least = leverage.sort().values[math.ceil((1 - self.share) * (len(leverage) - 1))]
        kept = changes[leverage >= least]
        fitted = UncertainLastLayer(copy.deepcopy(model), box(kept))
        return fitted.sized(valid) if self.sized else fitted


def corrections(
    model: PaiNN | OtherNetwork, train: Dataset, loss: EnergyForceLoss, inverse: Tensor
) -> tuple[Tensor, Tensor]:
    """Of P points, energies and forces with a label: changes of the weights (P, H + 1), and their leverage (P,).

    A point with derivatives J (1 or 3 rows) and error e is repaired by -A⁻¹ Jᵀ (J A⁻¹ Jᵀ)⁻¹ e, of all changes that do
    so the one that raises the loss least. Its leverage is the trace of J A⁻¹ Jᵀ,
    times the weight of the point in the loss.
    """
    of_energy = loss.energy_weight / loss.force_weight
    changes, leverage = [], []
    for batch in pieces_of(model, train, structures=STRUCTURES_AT_ONCE):
        result, (energy, force) = evaluate(model, batch), rows(model, batch)
        error, sizes = Labelled.of(result, batch), batch.atoms_per_structure
        of_structures = (energy / sizes[:, None])[error.structures].unsqueeze(1)
        points = [
            (of_structures, (error.energy / sizes[error.structures]).unsqueeze(1), of_energy),
            (force.unflatten(0, (-1, 3))[error.atoms], error.forces, 1.0),
        ]
        for slopes, errors, weight in points:
            if weight and len(slopes):
                moved = slopes @ inverse
                rigid = moved @ slopes.mT
                repaired = torch.linalg.pinv(rigid, rtol=NEGLIGIBLE, hermitian=True) @ errors.double().unsqueeze(-1)
                changes.append(-(moved * repaired).sum(1))
                leverage.append(weight * rigid.diagonal(dim1=-2, dim2=-1).sum(-1))
    return torch.cat(changes), torch.cat(leverage)


def box(changes: Tensor) -> Tensor:
    """(H + 1, K) a root of the second moment, about no change at all, of points spread evenly over the smallest box.

    The box stands along the principal axes of `changes` (P, H + 1) and holds all of them. An axis from a to b has the
    second moment (a² + a b + b²)/3.
    """
    values, axes = torch.linalg.eigh(changes.mT @ changes)
    along = changes @ axes[:, values > NEGLIGIBLE**2 * values.max()]
    low, high = along.amin(0), along.amax(0)
    moment = (low.square() + low * high + high.square()) / 3
    return axes[:, values > NEGLIGIBLE**2 * values.max()] * moment.sqrt()
