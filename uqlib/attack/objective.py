"""What an attack climbs: the logarithm of uncertainty times Boltzmann weight.

Schwalbe-Koda, Tan, Gómez-Bombarelli, "Differentiable sampling of molecular geometries with uncertainty-based
adversarial attacks", Nat. Commun. 12, 5104 (2021), arXiv:2101.11588, eqs. 5 to 7; with energies per atom as in Tan et
al., npj Comput. Mater. 9, 225 (2023), arXiv:2305.01754. With a target, an attack does not climb without bound but to
an error of a chosen size, as in calibrated adversarial geometry optimisation, arXiv:2502.18314.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uqlib.dynamics.bias import structure_uncertainty
from uqlib.prediction import Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset
from uqlib.structures.units import KB

WINDOW = 0.1  # of a target: how far from it the uncertainty may end


@dataclass(frozen=True, kw_only=True)
class Terms:
    """The objective of S structures and what it is made of."""

    value: Tensor  # (S,)  log U + log w, or with a target -((U / target - 1) / WINDOW)² / 2 + log w: what is maximised
    uncertainty: Tensor  # (S,)  U in eV/Å, or a score in nats
    log_weight: Tensor  # (S,)  log of exp(-E/kT)/Q
    energy: Tensor  # (S,)  eV/atom above the mean of the training set


@dataclass(frozen=True, kw_only=True)
class Objective:
    """log U + log w with w = exp(-E/kT)/Q and Q = Σ exp(-E_i/kT) over the training structures.

    E is the energy per atom, above the references fitted to the training set (one for each element), so that structures
    of different composition can be in one sum. Everything stays in log space: at 300 K, one eV/atom is a factor of
    e^-39. log Q is the same for all structures. It moves no atom; it makes weights comparable.

    U is the root mean square of the atoms' force uncertainty. A score in nats is the logarithm of an unlikelihood
    already, and may be negative: its mean over the atoms stands for log U itself. Multiplying it with the weight would,
    wherever it is negative, reward improbable structures.

    With a `target` the logarithm of a Gaussian around it, a tenth of it wide, stands for log U: the attack looks for
    the likeliest structures with about that uncertainty. An uncertainty of the right size is then the error that they
    are expected to show. Where the energy pulls, it ends a little below.
    """

    kt: float  # eV; infinite for no weight at all
    log_partition: float  # log Q
    references: Tensor  # (119,)  eV of an atom, by atomic number, float64
    target: float | None = None  # eV/Å

    @classmethod
    def of(cls, train: Dataset, *, temperature: float, target: float | None = None) -> Objective:
        """From the labels of the training set. `temperature` in K, positive, possibly infinite; `target` in eV/Å.

        Raises ValueError for other temperatures and targets, and where no structure has an energy.
        """
        if target is not None and not 0 < target < math.inf:
            raise ValueError(f"target: got {target}, expected a finite number of eV/Å above 0, or None to climb on")
        if not temperature > 0:
            raise ValueError(f"temperature: got {temperature}, expected K above 0, or math.inf for uncertainty alone")
        kt = KB * temperature
        train = train if train.known("energy").all() else train.having("energy")
        counts = np.stack([np.bincount(frame.numbers, minlength=119) for frame in train.atoms]).astype(float)
        references = np.linalg.lstsq(counts, train.energies, rcond=None)[0]
        energy = (train.energies - counts @ references) / counts.sum(1)
        log_partition = float(torch.logsumexp(torch.as_tensor(-energy / kt), dim=0))
        return cls(kt=kt, log_partition=log_partition, references=torch.as_tensor(references), target=target)

    def __call__(self, prediction: Prediction, batch: Batch) -> Terms:
        """One value a structure, each from its own atoms alone; differentiable as the prediction is.

        Raises ValueError for a target where the uncertainty is a score in nats.
        """
        uncertainty = structure_uncertainty(prediction, batch)
        if self.target is None:
            wanted = uncertainty if prediction.unit == "nats" else uncertainty.log()
        elif prediction.unit == "nats":
            raise ValueError(
                f"target: got {self.target} eV/Å, but the predictor's uncertainty is a score in nats; calibrate it "
                "(uqlib.calibration), or leave the target out"
            )
        else:
            wanted = -0.5 * ((uncertainty / self.target - 1) / WINDOW).square()
        reference = self.references.to(batch.positions.device)[batch.atomic_numbers]
        total = prediction.energy - reference.new_zeros(batch.n_structures).index_add(
            0, batch.structure_of_atom, reference
        )
        energy = total / batch.atoms_per_structure
        log_weight = -energy / self.kt - self.log_partition
        return Terms(value=wanted + log_weight, uncertainty=uncertainty, log_weight=log_weight, energy=energy)


def percentile(values: Tensor, percent: float) -> float:
    """Of values (n,). Raises ValueError outside 0 to 100."""
    if not 0 <= percent <= 100 or math.isnan(percent):
        raise ValueError(f"percentile: got {percent}, expected 0 to 100")
    return float(torch.quantile(values, percent / 100))
