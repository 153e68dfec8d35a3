"""Dynamics that look for what the potential does not know: an energy biased by the uncertainty, with its slope.

    simulate(Biased(predictor, strength=2.0, of="energy"), starts, ...)

Energy minus `strength` times the uncertainty: its forces push towards the uncertain, its stress strains a cell there.
Kulichenko et al., Nat. Comput. Sci. 3, 230 (2023), with a bias that saturates; van der Oord, Sachs, Kovács, Ortner,
Csányi, npj Comput. Mater. 9, 168 (2023), linear in a standard deviation; Zaverkin et al., npj Comput. Mater. 10, 83
(2024), with calibrated uncertainties and bias stress.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from uqlib.common.devices import Target, targets
from uqlib.prediction import AroundPredictor, Prediction, Predictor, mapped, placed
from uqlib.structures.batch import Batch

SMALLEST = 1e-24  # (eV/Å)²: keeps a logarithm or a slope finite where symmetry or solitude makes the uncertainty zero


class Biased(AroundPredictor):
    """Predicts the energy minus a bias, and the forces and the stress that belong to it.

    The bias is strength · U of each structure. With `limit` it is Kulichenko's Gaussian form,
    strength · limit · (1 - exp(-U²/limit²)): it never exceeds strength · limit, and beyond twice the limit hardly
    pushes any more. Uncertainties are passed on as they are. The true prediction is that of `.predictor`, and
    `both` gives the two of them at the price of one.

    The bias needs the uncertainty's slope, which costs about as much again as a prediction, or a few times as much
    where the uncertainty itself is made of forces.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        strength: float,
        of: Literal["energy", "forces"] = "energy",
        limit: float | None = None,
    ) -> None:
        """Around a predictor with uncertainties in eV/Å; calibrate those in nats, and best all of them, beforehand.

        Args:
            predictor: differentiable where `batch.positions.requires_grad`.
            strength: of the bias. Positive: towards the uncertain; negative: away from it. For "energy" eV of bias
                per eV of uncertainty, a plain number; for "forces" eV of bias per eV/Å of uncertainty.
            of: whose uncertainty is U: of the structure's "energy", in eV, which grows with the structure; or of its
                "forces", the root mean square over its atoms in eV/Å, which does not.
            limit: U at which the bias saturates, in the unit of U; None: it never does.

        Raises:
            ValueError: a strength that is zero or not finite, another `of`, a limit that is not positive.
        """
        if not isinstance(predictor, Predictor):
            raise TypeError(f"predictor: got a {type(predictor).__name__}, expected a fitted predictor with `predict`")
        if not math.isfinite(strength) or strength == 0:
            raise ValueError(f"strength: got {strength}, expected a finite number other than 0; above 0 it pushes "
                             "towards the uncertain, below 0 away from it")  # fmt: skip
        if of not in ("energy", "forces"):
            raise ValueError(f"of: got {of!r}, expected 'energy' or 'forces', whose uncertainty is followed")
        if limit is not None and not 0 < limit < math.inf:
            unit = "eV" if of == "energy" else "eV/Å"
            raise ValueError(f"limit: got {limit}, expected {unit} above 0, or None for a bias without a limit")
        self.predictor, self.strength, self.limit = predictor, strength, limit
        self.of: Literal["energy", "forces"] = of

    def predict(self, batch: Batch) -> Prediction:
        """Differentiable as the predictor is. Errors as `both`."""
        return self.both(batch)[1]

    def both(self, batch: Batch) -> tuple[Prediction, Prediction]:
        """The true prediction and the biased one.

        Raises ValueError for an uncertainty in nats, for one of the energy that the predictor does not have, and for a
        predictor without gradients.
        """
        asked = batch.positions.requires_grad or batch.cell.requires_grad
        with torch.enable_grad():
            moved, stretch = _strained(batch)
            true = self.predictor.predict(moved)
            bias = self._bias(true, batch)
            wanted = [moved.positions] if stretch is None or true.stress is None else [moved.positions, stretch]
            slopes = torch.autograd.grad(bias.sum(), wanted, create_graph=asked, retain_graph=True, allow_unused=True)
        known = [torch.zeros_like(x) if found is None else found for found, x in zip(slopes, wanted, strict=True)]
        biased = replace(true, energy=true.energy - bias, forces=true.forces + known[0].to(true.forces.dtype))
        if len(known) > 1 and true.stress is not None:
            volume = torch.linalg.det(batch.cell).abs()[:, None, None]
            biased = replace(biased, stress=true.stress - (known[1] / volume).to(true.stress.dtype))
        return (true, biased) if asked else (mapped(true, Tensor.detach), mapped(biased, Tensor.detach))

    def _bias(self, prediction: Prediction, batch: Batch) -> Tensor:
        """(S,) eV"""
        if prediction.unit == "nats":
            raise ValueError(
                f"predictor: a {type(self.predictor).__name__} gives uncertainties in nats, expected eV and eV/Å, "
                "since a bias is an energy; calibrate it first, `Recalibrated(method=...)` or `Calibrated(...)`"
            )
        if self.of == "forces":
            uncertainty = structure_uncertainty(prediction, batch)
        elif prediction.energy_uncertainty is None:
            raise ValueError(
                f"predictor: a {type(self.predictor).__name__} has no uncertainty of the energy, expected one; take "
                'of="forces"'
            )
        else:
            uncertainty = prediction.energy_uncertainty.double()
        if not uncertainty.requires_grad:
            raise ValueError(
                f"predictor: {type(self.predictor).__name__} gives uncertainties without gradients, expected them to "
                "be differentiable where `batch.positions.requires_grad`"
            )
        if self.limit is None:
            return self.strength * uncertainty
        return -self.strength * self.limit * torch.expm1(-(uncertainty / self.limit).square())

    def to(
        self, *target: Target, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None
    ) -> Biased:
        """A copy around the predictor in another floating-point type, on another device, or both."""
        place = targets(target, device=device, dtype=dtype)
        moved = placed(self.predictor, device=place[0], dtype=place[1])
        return Biased(moved, strength=self.strength, of=self.of, limit=self.limit)


def structure_uncertainty(prediction: Prediction, batch: Batch) -> Tensor:
    """(S,) float64, one number a structure: the root mean square over its atoms in eV/Å, or the mean in nats."""
    atoms = prediction.force_uncertainty.double()
    score = prediction.unit == "nats"
    total = atoms.new_zeros(batch.n_structures).index_add(
        0, batch.structure_of_atom, atoms if score else atoms.square()
    )
    mean = total / batch.atoms_per_structure
    return mean if score else mean.clamp_min(SMALLEST).sqrt()


def _strained(batch: Batch) -> tuple[Batch, Tensor | None]:
    """The batch with positions to differentiate by, and the strain (S, 3, 3), zero, that does so for its cells.

    No strain where no structure has a volume.
    """
    positions = batch.positions if batch.positions.requires_grad else batch.positions.detach().requires_grad_()
    if not bool((torch.linalg.det(batch.cell.detach()) != 0).any()):
        return replace(batch, positions=positions), None
    stretch = torch.zeros_like(batch.cell).requires_grad_()
    strain = torch.eye(3, dtype=stretch.dtype, device=stretch.device) + 0.5 * (stretch + stretch.mT)
    moved = torch.einsum("na,nab->nb", positions, strain.index_select(0, batch.structure_of_atom))
    return replace(batch, positions=moved, cell=batch.cell @ strain), stretch
