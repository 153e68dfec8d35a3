"""Distance in feature space: what the methods share that ask how unlike its training atoms an atom looks.

A network describes each atom by its final scalar features, F numbers from which it reads the energy. Where these lie
far from those of all training atoms, the network extrapolates. The features are correlated and most directions hardly
vary, so distances are measured in whitened principal components; how, is the business of the methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from uqlib.common import storage
from uqlib.common.devices import Target, targets
from uqlib.interfaces import pack, unpack
from uqlib.methods.shared.exporting import WithoutMembers
from uqlib.methods.shared.one_network import OfOneNetwork
from uqlib.methods.shared.recipes import AfterTraining
from uqlib.networks.evaluation import OtherNetwork, evaluate
from uqlib.networks.memory import pieces_of
from uqlib.networks.painn import PaiNN, moved
from uqlib.prediction import Prediction
from uqlib.structures.batch import Batch
from uqlib.structures.datasets import Dataset

ALL = 0  # stands for all elements where atomic numbers stand
BATCH = 100  # structures evaluated at a time


@dataclass(frozen=True, kw_only=True)
class Whitening:
    """From features to principal components of unit variance, D of them, uncorrelated on what it was fitted to.

    The components are those of the features as they are. Scaling each feature to unit variance beforehand would give a
    feature that the network hardly uses, and that is mostly round-off, the same say as any other.
    """

    mean: Tensor  # (F,)  float64
    axes: Tensor  # (F, D)  float64: principal axes over the standard deviations along them

    @classmethod
    def fit(cls, features: Tensor, *, variance: float, max_dimension: int) -> Whitening:
        """The fewest components of (n, F) features that hold this share of their variance.

        At most `max_dimension`, and at most one for every three atoms, since directions are estimated, too. Raises
        ValueError where the features do not vary.
        """
        centred = features - features.mean(0)
        _, singular, axes = torch.linalg.svd(centred, full_matrices=False)
        deviations = singular / len(features) ** 0.5
        if len(features) < 2 or float(deviations[0]) <= 1e-9 * float(features.abs().max()):
            raise ValueError(
                f"features: got {len(features)} that do not differ, expected some variety to measure distances with; "
                "add structures to the training set, or pool the elements with per_element=False"
            )
        held = deviations.square().cumsum(0) / deviations.square().sum()
        enough = int((held < variance - 1e-12).sum()) + 1
        dimension = max(1, min(enough, max_dimension, len(features) // 3, int((deviations > 0).sum())))
        return cls(mean=features.mean(0), axes=axes[:dimension].T / deviations[:dimension])

    def __call__(self, features: Tensor) -> Tensor:
        """(n, F) features, of any floating-point type, to (n, D) coordinates in float64."""
        return (features.double() - self.mean) @ self.axes


@dataclass(frozen=True, kw_only=True)
class AtomScore(ABC):
    """How unusual an atom looks, given its features: `whitening` and what a method adds to it."""

    whitening: Whitening
    typical: Tensor  # ()  raw score of training atoms, on average: subtracted, so that 0 is a usual atom

    @abstractmethod
    def raw(self, features: Tensor) -> Tensor:
        """(n, F) features to (n,) nats in float64, differentiable."""

    def __call__(self, features: Tensor) -> Tensor:
        """(n, F) features to (n,) nats in float64: 0 for a usual training atom, larger for stranger ones."""
        return self.raw(features) - self.typical

    def on(self, device: torch.device | str) -> Self:
        """A copy on another device. The numbers stay in float64, whatever the network is cast to."""
        return _moved(self, device)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` made of a score."""
        return cls(**{**plain, "whitening": Whitening(**plain["whitening"])})


class FeaturePredictor(OfOneNetwork[PaiNN | OtherNetwork], WithoutMembers):
    """A trained network that leaves its energies and forces alone and adds a score to each atom, in nats.

    `scores` holds one for each element, or a single one under `ALL`; `elements` are those of the training set.
    Subclasses say what kind of score they hold.
    """

    kind: ClassVar[str]  # of file
    score: ClassVar[type[AtomScore]]
    why_no_members = "its score says how unusual an atom looks, and no other potential stands behind that"

    def export(self, path: str | Path) -> None:
        """Raises ValueError: the format's uncertainty is a standard deviation in eV, and a score in nats is none."""
        raise ValueError(
            f"predictor: {self.kind!r} cannot be exported: its uncertainty is a score in nats, and engines take one "
            "standard deviation in eV; take an ensemble, or LLPR on the same network"
        )

    def __init__(
        self,
        model: PaiNN | OtherNetwork,
        scores: Mapping[int, AtomScore],
        *,
        elements: Sequence[int],
        history: Sequence[dict[str, float]] = (),
    ) -> None:
        if model.members is not None:
            raise ValueError(f"model: got a network with {model.members} members, expected a single one")
        self.model = model
        self.scores = dict(scores)
        self.elements = sorted(elements)
        self.history = list(history)

    def predict(self, batch: Batch) -> Prediction:
        """The network's energies and forces, and how unlike the training atoms each atom looks.

        Of a structure it is the mean over its atoms: with independent atoms, minus the logarithm of the structure's
        likelihood for each atom of it, which a supercell leaves as it is. Errors as `evaluate`; ValueError for
        elements that were not in the training set.
        """
        found = evaluate(self.model, batch)
        score = self.score_atoms(found.features, batch.atomic_numbers)
        total = score.new_zeros(batch.n_structures).index_add(0, batch.structure_of_atom, score)
        return Prediction(
            energy=found.energy,
            forces=found.forces,
            stress=found.stress,
            force_uncertainty=score.to(found.forces.dtype),
            energy_uncertainty=total / batch.atoms_per_structure,
            unit="nats",
        )

    def score_atoms(self, features: Tensor, atomic_numbers: Tensor) -> Tensor:
        """(N, F) features and (N,) atomic numbers to (N,) nats in float64, each atom by the score of its element."""
        present = torch.unique(atomic_numbers).tolist()
        if unknown := sorted(set(present) - set(self.elements)):
            raise ValueError(
                f"atomic_numbers: got {unknown}, the training set had {self.elements}; "
                "fit again to data with all elements of yours"
            )
        if ALL in self.scores:
            return self.scores[ALL](features)
        result = features.new_zeros(len(features), dtype=torch.float64)
        for number in present:
            atoms = (atomic_numbers == number).nonzero()[:, 0]
            result = result.index_copy(0, atoms, self.scores[number](features.index_select(0, atoms)))
        return result

    def to(
        self, *target: Target, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None
    ) -> Self:
        """A copy with the network in another floating-point type, with everything on another device, or both."""
        model = moved(self.model, *targets(target, device=device, dtype=dtype))
        scores = {number: score.on(model.device) for number, score in self.scores.items()}
        return type(self)(model, scores, elements=self.elements, history=self.history)

    def save(self, path: str | Path) -> None:
        """Weights, recipe and arrays; errors as `storage.save`."""
        payload = {
            **pack(self.model),
            "history": self.history,
            "elements": self.elements,
            "scores": {number: asdict(score) for number, score in self.scores.items()},
        }
        storage.save(path, payload, kind=self.kind)

    @classmethod
    def load(cls, path: str | Path, *, model: OtherNetwork | None = None) -> Self:
        """What `save` wrote, `model` as in `foreign.unpack`; errors as `storage.load` and as there."""
        payload = storage.load(path, kind=cls.kind)
        scores = {number: cls.score.from_plain(plain) for number, plain in payload["scores"].items()}
        return cls(unpack(payload, model), scores, elements=payload["elements"], history=payload["history"])


@dataclass(frozen=True, kw_only=True)
class FeatureDistance(AfterTraining):
    """A recipe that trains one network as ever and then looks at the features of its training atoms.

    `per_element`: atoms are compared with training atoms of their own element. Features of different elements lie in
    different places, so that pooled, most of the variance tells elements apart, which needs no network.
    """

    per_element: bool = True
    variance: float = 0.9999  # share that the principal components hold
    max_dimension: int = 32  # at most so many components

    def __post_init__(self) -> None:
        if not 0 < self.variance <= 1:
            raise ValueError(f"variance: got {self.variance}, expected a share, 0 < variance <= 1")
        if self.max_dimension < 1:
            raise ValueError(f"max_dimension: got {self.max_dimension}, expected at least 1")

    def training_features(self, model: PaiNN | OtherNetwork, train: Dataset) -> dict[int, Tensor]:
        """Element, or `ALL`, -> features (n, F) of its training atoms, in float64."""
        found, numbers = [], []
        for batch in pieces_of(model, train, labels=False):
            found.append(evaluate(model, batch).features.double())
            numbers.append(batch.atomic_numbers)
        features, kinds = torch.cat(found), torch.cat(numbers)
        if not self.per_element:
            return {ALL: features}
        return {int(z): features[kinds == z] for z in torch.unique(kinds)}

    def whiten(self, features: Tensor) -> tuple[Whitening, Tensor]:
        """The whitening of (n, F) training features, and their coordinates (n, D)."""
        whitening = Whitening.fit(features, variance=self.variance, max_dimension=self.max_dimension)
        return whitening, whitening(features)


def _moved(value: Any, device: torch.device | str) -> Any:
    """A dataclass with its tensors, also those of dataclasses in it, on another device."""
    changes = {}
    for field in fields(value):
        found = getattr(value, field.name)
        if isinstance(found, Tensor):
            changes[field.name] = found.to(device)
        elif is_dataclass(found):
            changes[field.name] = _moved(found, device)
    return replace(value, **changes)
