"""`calibrate`: fit maps for the forces, the energies and the stress of one predictor, together a `Calibrator`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uqlib.calibration.calibrator import ALL, KINDS, Calibrator, Kind, Map, Unit
from uqlib.calibration.conformal import Conformal
from uqlib.calibration.maps import Affine, Isotonic, LogAffine, Scalar
from uqlib.metrics import UndefinedMetric, allowed_directions
from uqlib.metrics.checks import as_deviations, as_fraction, as_vectors
from uqlib.metrics.quantities import voigt
from uqlib.networks.labels import label_or_nan
from uqlib.prediction import Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset
from uqlib.structures.notices import say

SYMMETRIC = 1e-6  # of the largest uncertainty: less is round-off of a component of the stress that symmetry makes zero


def calibrate(
    kind: Kind, prediction: Prediction, data: Dataset, *, per_element: bool = False, level: float | None = None
) -> Calibrator:
    """Fit maps for forces and, where the predictor has an uncertainty of them, for energies and stress.

    Each force component counts as one error with the uncertainty of its atom, unless symmetry makes it zero. Energies
    and their uncertainties are divided by the number of atoms, so that structures of different size share one map. Of a
    stress its six components count, each with its own uncertainty. A structure may lack some of the labels: each map is
    of those that have its own, which the calibrator counts. Where none has a label, that uncertainty is left out, which
    is said in a `DataWarning`; of stress, which most data lack, it is not.

    Args:
        kind: "scalar" sigma = a u; "affine" sigma² = a u² + b, or log sigma = a u + b for scores in nats; "isotonic"
            any non-decreasing function; "conformal" intervals ± q u with a guarantee, at one level.
        prediction: What the predictor says of `data`: `predict(predictor, data)`.
        data: Labelled structures, some forces at least, neither trained on nor scored afterwards. Its groups of
            correlated frames count as one draw each for "conformal".
        per_element: A map of the forces for each element, instead of one for all.
        level: Of "conformal", between 0 and 1; default 0.9.

    Raises:
        ValueError: Unknown kind; a level without "conformal"; predictions of other data; no forces; scores in nats with
            "scalar" or "conformal"; too few groups; errors that are all zero; a score that is the same everywhere.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}, expected one of {KINDS}")
    if level is not None and kind != "conformal":
        raise ValueError(f"level: got {level} with kind {kind!r}; only 'conformal' intervals have a level")
    if prediction.unit == "nats" and kind in ("scalar", "conformal"):
        raise ValueError(
            f"kind: got {kind!r} for a score in nats, which has no size to be multiplied; use 'affine' or 'isotonic', "
            "and 'conformal' over the result, on other held-out data"
        )
    level = as_fraction("level", 0.9 if level is None else level) if kind == "conformal" else None
    sizes = np.array([len(frame) for frame in data.atoms])
    if len(prediction.energy) != len(data) or len(prediction.forces) != sizes.sum():
        raise ValueError(
            f"prediction: got {len(prediction.energy)} structures and {len(prediction.forces)} atoms, {data.name!r} "
            f"has {len(data)} and {sizes.sum()}; predict the same data set"
        )
    if not data.known("forces").any():
        raise ValueError(f"data: the structures of {data.name!r} have no forces, expected some: maps start with theirs")
    fit = _Fit(kind=kind, unit=prediction.unit, level=level)
    labelled = _Labelled.of(prediction, data, sizes)
    found = {
        "forces": labelled.fit_forces(fit, data.elements if per_element else (ALL,)),
        "energy": labelled.fit_energy(fit),
        "stress": labelled.fit_stress(fit),
    }
    known = {label: int(data.known(label).sum()) for label, maps in found.items() if maps is not None}
    return Calibrator(
        kind=kind,
        unit=prediction.unit,
        level=level,
        data=data.name,
        structures=len(data),
        groups=int(labelled.groups.max()) + 1,
        known=None if set(known.values()) <= {len(data)} else known,
        **found,  # pyright: ignore[reportArgumentType]
    )


@dataclass(frozen=True, kw_only=True)
class _Labelled:
    """What was predicted and what is known of the same structures, on the CPU in float64; nan where nothing is."""

    prediction: Prediction
    data: Dataset
    sizes: Tensor  # (S,)
    groups: Tensor  # (S,)

    @classmethod
    def of(cls, prediction: Prediction, data: Dataset, sizes: np.ndarray) -> _Labelled:
        groups = torch.as_tensor(np.unique(data.groups, return_inverse=True)[1])
        return cls(prediction=prediction, data=data, sizes=torch.as_tensor(sizes), groups=groups)

    def fit_forces(self, fit: _Fit, elements: Sequence[int]) -> dict[int, Map]:
        """Element, or `ALL`, -> map."""
        known = self.data.known("forces")
        frames = [frame for frame, there in zip(self.data.atoms, known, strict=True) if there]
        atoms = torch.as_tensor(known).repeat_interleave(self.sizes)
        said, label = _plain(self.prediction.forces)[atoms], torch.as_tensor(self.data.having("forces").forces)
        directions = allowed_directions(Batch.from_atoms(frames, dtype=torch.float64, labels=False), said, label)
        error = (directions @ (said - label)[:, :, None])[:, :, 0]
        there = directions.any(dim=2)  # errors that symmetry makes zero would teach that uncertainties are too large
        uncertainty = self.prediction.force_uncertainty.detach().cpu()[atoms]
        groups = self.groups.repeat_interleave(self.sizes)[atoms]
        numbers = torch.as_tensor(np.concatenate([frame.numbers for frame in frames]))
        maps = {}
        for number in elements:
            of_element = (numbers == number) | (number == ALL)
            chosen = there & of_element[:, None]
            if not bool(of_element.any()):
                raise UndefinedMetric(f"data: no structure with Z = {number} has forces, expected some errors")
            if not bool(chosen.any()):
                raise UndefinedMetric(f"data: symmetry makes every force on Z = {number} zero, expected some errors")
            spread, group = (values[:, None].expand_as(chosen)[chosen] for values in (uncertainty, groups))
            maps[number] = fit(error[chosen], spread, group, name="force_uncertainty")
        return maps

    def fit_energy(self, fit: _Fit) -> Map | None:
        """None, and said so, where no structure has an energy."""
        if self.prediction.energy_uncertainty is None:
            return None
        known = torch.as_tensor(self.data.known("energy"))
        if not bool(known.any()):
            say(f"data: {self.data.name!r} has no energies; the uncertainty of the energy is left out", depth=2)
            return None
        sizes, label = self.sizes[known], torch.as_tensor(self.data.having("energy").energies)
        error = (_plain(self.prediction.energy)[known] - label) / sizes
        spread = _plain(self.prediction.energy_uncertainty)[known]
        spread = spread / sizes if fit.unit == "eV/Å" else spread
        return fit(error, spread, self.groups[known], name="energy_uncertainty")

    def fit_stress(self, fit: _Fit) -> Map | None:
        """None, and said so, also where a map cannot be fitted: nobody asked for it."""
        said, stress = self.prediction.stress_uncertainty, self.prediction.stress
        if said is None or stress is None or not self.data.known("stress").any():
            return None
        label = torch.as_tensor(label_or_nan(self.data, "stress"))
        error = voigt(_plain(stress)) - label
        spread = voigt(_plain(said))
        there = error.isfinite() & (spread > SYMMETRIC * spread.nan_to_num(0.0).max())
        if not bool(there.any()):
            return None
        group = self.groups[:, None].expand_as(there)
        try:
            return fit(error[there], spread[there], group[there], name="stress_uncertainty")
        except ValueError as reason:
            say(f"data: no map for the stress, whose uncertainty is left out: {reason}", depth=2)
            return None


def _plain(values: Tensor) -> Tensor:
    return values.detach().cpu().double()


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """One kind of map, to be fitted to forces and to energies."""

    kind: Kind
    unit: Unit
    level: float | None

    def __call__(self, error: Tensor, uncertainty: Tensor, groups: Tensor, *, name: str) -> Map:
        error, uncertainty = as_vectors(**{"error": error, name: uncertainty})
        if not bool(error.any()):
            raise ValueError("data: every error is zero, expected held-out errors; was the predictor trained on them?")
        if self.unit == "eV/Å":
            uncertainty = as_deviations(name, uncertainty, positive=self.kind in ("scalar", "conformal"))
        if self.kind in ("affine", "isotonic") and bool((uncertainty == uncertainty[0]).all()):
            raise UndefinedMetric(
                f"{name} is {float(uncertainty[0]):.3g} everywhere, expected different values: nothing can be learned "
                "about how errors grow with it"
            )
        if self.kind == "scalar":
            return Scalar.fit(error, uncertainty)
        if self.kind == "affine":
            return (Affine if self.unit == "eV/Å" else LogAffine).fit(error, uncertainty)
        if self.kind == "isotonic":
            return Isotonic.fit(error, uncertainty, proportional=self.unit == "eV/Å")
        assert self.level is not None
        return Conformal.fit(error, uncertainty, groups, level=self.level)
