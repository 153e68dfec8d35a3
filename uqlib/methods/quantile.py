"""Conformalised quantiles: a head learns which error an atom seldom exceeds, and held-out errors set it right.

Romano, Patterson, Candès, "Conformalized quantile regression", NeurIPS 2019, arXiv:1905.03222: learn quantiles by the
pinball loss (Koenker, Bassett, Econometrica 46, 33 (1978)), then widen or shrink them so that the interval keeps its
promise on data that were not learnt from. Theirs are a lower and an upper quantile of the label. A force component has
neither in a way that rotations respect: turn the molecule, and upper becomes lower. What is invariant is the *length*
of an atom's error, so one upper quantile of that is learnt, a ball around the network's own force. So with energies,
whose interval lies evenly about the network's.

The network is trained first and then left alone; the head sees its features. Quantiles go with any growing function:
the head learns those of the logarithm, where an error of 1 meV/Å and one of 1 eV/Å count alike. The correction is a
factor (the score of Sesia, Candès, Stat 9, e261 (2020), for intervals about a centre), so that a radius stays positive
and the ranking is the head's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from uqlib.methods.shared.likelihoods import (
    VIRIAL,
    errors_of,
    positive,
    start_head,
    stress_deviation,
    sum_of_atoms,
    typical_errors,
    typical_virial_error,
    virial_errors,
)
from uqlib.methods.shared.recipes import AfterTraining
from uqlib.methods.shared.self_assessing import SelfAssessing
from uqlib.networks.evaluation import OtherNetwork, evaluate
from uqlib.networks.losses import labels_of
from uqlib.networks.memory import pieces_of
from uqlib.networks.painn import PaiNN, moved
from uqlib.networks.references import doubtful
from uqlib.prediction import Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset

HEAD = "quantile"
LEARNING_RATE = 1e-2
COMPONENTS = (3, 1, VIRIAL)  # of an error of a force, an energy, a virial: a length is the root of so many squares


class Piece(NamedTuple):
    """What the head sees and has to bound, of one batch."""

    features: Tensor  # (N, F)  float64
    batch: Batch
    lengths: tuple[tuple[Tensor, Tensor | slice], ...]  # of errors in eV/Å, eV, eV, and which rows have them


@dataclass(frozen=True, kw_only=True)
class Quantile(AfterTraining):
    """The recipe. `level`: the share of errors that the quantile is to exceed; `steps`: of the head's training.

    With a stress in `loss` there is a quantile of the virial's error, too, and a `stress_uncertainty`.
    """

    level: float = 0.9
    steps: int = 300

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise ValueError(f"level: got {self.level}, expected a share of the errors, 0 < level < 1")
        if self.steps < 1:
            raise ValueError(f"steps: got {self.steps}, expected at least 1")

    def fit_to(self, model: PaiNN | OtherNetwork, train: Dataset, valid: Dataset, *, seed: int) -> FittedQuantile:
        """A head on a network trained on `train`, corrected on `valid`; `seed` draws the head's first weights.

        Raises ValueError for a network that is not `PaiNN`, which has no place for a head.
        """
        if type(model) is not PaiNN:
            raise ValueError(
                f"model: got a {type(model).__name__}, expected PaiNN itself, which carries the head; around other "
                "networks put LastLayer, PointwiseOptimal, GaussianMixture or NearestNeighbours"
            )
        stress = "stress" in labels_of(self.loss)
        grown = moved(
            PaiNN(**{**model.recipe, "heads": {HEAD: 3 if stress else 2}}, seed=seed), model.device, model.dtype
        )
        grown.load_state_dict(model.state_dict(), strict=False)
        grown.trained_on = model.trained_on
        errors = typical_errors(grown, train)
        if stress:
            errors = (*errors, typical_virial_error(grown, train))
        radius = [_of_a_gaussian(self.level, n) for n in COMPONENTS]
        scale = float(grown.scale)
        start_head(grown, HEAD, [error * r / scale for error, r in zip(errors, radius, strict=False)])
        self._learn(grown, _pieces(grown, train, stress=stress))
        factors = _correction(grown, _pieces(grown, valid, stress=stress), self.level)
        sizes = tuple(factor / r for factor, r in zip(factors, radius, strict=False))
        return FittedQuantile(grown, factors=sizes)

    def _learn(self, model: PaiNN, pieces: list[Piece]) -> None:
        """Minimise the pinball loss of the logarithms over all errors at once, each quantity with the same weight."""
        head, scale = model.heads[HEAD].double().requires_grad_(), float(model.scale)
        optimiser = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        for _ in range(self.steps):
            with torch.enable_grad():
                found = [_ratios(radii(head(p.features), p.batch, scale), p) for p in pieces]
                each = [torch.cat(parts) for parts in zip(*found, strict=True)]
                loss = torch.stack([pinball(ratio.log(), self.level).mean() for ratio in each if len(ratio)]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        head.to(model.dtype)


class FittedQuantile(SelfAssessing):
    """A network and, of each error, the standard deviation of the Gaussian that has the corrected quantile.

    The quantile itself is `force_uncertainty` times the root of the quantile of χ² with three degrees of freedom. That
    it covers its share holds for structures drawn like the validation set, on average over them, and no further.
    """

    kind = "quantile"

    def of_atoms(self, heads: Mapping[str, Tensor], scale: Tensor) -> Tensor:
        """As `predict`; the squares of the second column add up to the variance of the energy."""
        force, energy = (positive(heads[HEAD][:, :2]) * scale).unbind(-1)
        return torch.stack([self.factors[0] * force, self.factors[1] * energy], dim=-1)

    def predict(self, batch: Batch) -> Prediction:
        """What the network says, and how wrong it may be."""
        result = evaluate(self.model, batch)
        force, energy, *virial = radii(result.heads[HEAD], batch, self.model.scale)
        stress = None
        if virial and self.knows_stress:
            stress = self.factors[2] * stress_deviation(virial[0].square(), batch)
        return Prediction(
            energy=result.energy,
            forces=result.forces,
            stress=result.stress,
            force_uncertainty=self.factors[0] * force,
            energy_uncertainty=doubtful(self.model, batch, (self.factors[1] * energy).double()),
            stress_uncertainty=stress,
            atom_energy_uncertainty=self.of_atoms(result.heads, self.model.scale)[:, 1].double(),
        )


def radii(head: Tensor, batch: Batch, scale: Tensor | float) -> list[Tensor]:
    """From the head (N, 2 or 3): quantiles of the lengths of errors, of forces (N,) eV/Å, energies and virials (S,) eV.

    Of sums over atoms the squares add up, as if the atoms' shares were independent.
    """
    force, *sums = (positive(head) * scale).unbind(-1)
    return [force, *(sum_of_atoms(values.square(), batch).sqrt() for values in sums)]


def pinball(excess: Tensor, level: float) -> Tensor:
    """Of a value less its supposed quantile: level times it where positive, level - 1 times it where negative.

    Its mean is smallest where the share `level` of the values lies below (Koenker, Bassett 1978).
    """
    return torch.maximum(level * excess, (level - 1) * excess)


def conformal(ratios: Tensor, level: float) -> float:
    """The ⌈(n + 1) level⌉-th smallest of n held-out ratios of error and quantile (Romano et al. 2019, Theorem 1).

    Of fewer than level / (1 - level) ratios no finite factor keeps the promise; the largest then stands in. 1 for none.
    """
    if not len(ratios):
        return 1.0
    place = min(math.ceil((len(ratios) + 1) * level), len(ratios))
    return float(ratios.sort().values[place - 1])


def _of_a_gaussian(level: float, components: int) -> float:
    """Which multiple of the standard deviation of a component the length of the error exceeds with 1 - `level`."""
    return float(stats.chi.ppf(level, components))


@torch.no_grad()
def _pieces(model: PaiNN, data: Dataset, *, stress: bool) -> list[Piece]:
    found = []
    for batch in pieces_of(model, data):
        result = evaluate(model, batch)
        errors = errors_of(result, batch)
        lengths = [(errors.force_squared.sqrt(), errors.atoms), (errors.energy.abs(), errors.structures)]
        if stress:
            squared, cells = virial_errors(result, batch)
            lengths.append((squared.sqrt(), cells))
        found.append(Piece(result.features.double(), batch, tuple((e.double(), at) for e, at in lengths)))
    return found


def _ratios(quantiles: list[Tensor], piece: Piece) -> list[Tensor]:
    """Of each quantity error over quantile, where there is a label; never zero, which has no logarithm."""
    pairs = zip(quantiles, piece.lengths, strict=True)
    return [(length / quantile[at]).clamp_min(1e-6) for quantile, (length, at) in pairs]


@torch.no_grad()
def _correction(model: PaiNN, pieces: list[Piece], level: float) -> list[float]:
    head, scale = model.heads[HEAD], float(model.scale)
    found = [_ratios(radii(head(p.features.to(model.dtype)).double(), p.batch, scale), p) for p in pieces]
    return [conformal(torch.cat(parts), level) for parts in zip(*found, strict=True)]
