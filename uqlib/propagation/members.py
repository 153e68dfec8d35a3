"""A member as a potential of its own, what all members say of structures, and a result with each: `Spread`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ase
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from uqlib.common.devices import Target, targets
from uqlib.methods.shared.committee import Committee
from uqlib.networks.evaluation import evaluate
from uqlib.prediction import AroundPredictor, Members, Prediction, Predictor, WithMembers, pieces_for, placed
from uqlib.structures.batch import Batch
from uqlib.structures.dataset import as_dataset

Array = NDArray[np.float64]
Structures = ase.Atoms | Sequence[ase.Atoms]


@dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """A result on the mean of M potentials, and with each of them."""

    value: Array  # (...)  on the mean potential
    members: Array  # (M, ...)  with each, in the same unit

    @property
    def sigma(self) -> Array:
        """(...) the standard deviation over members, over M - 1: the error bar."""
        return self.members.std(axis=0, ddof=1)

    def map(self, function: Callable[[Array], ArrayLike]) -> Spread:
        """`function` of the value and of each member's: the error bar of what follows from the result."""
        each = np.array([function(member) for member in self.members], dtype=np.float64)
        return Spread(value=np.asarray(function(self.value), dtype=np.float64), members=each)

    def __sub__(self, other: Spread) -> Spread:
        """Member by member, so that what they err in alike cancels. Raises ValueError for other numbers of members."""
        if len(self.members) != len(other.members):
            raise ValueError(
                f"other: got {len(other.members)} members, expected {len(self.members)}, of the same predictor"
            )
        return Spread(value=self.value - other.value, members=self.members - other.members)

    def __str__(self) -> str:
        if self.value.size == 1:
            return f"{float(self.value.ravel()[0]):.4g} ± {float(self.sigma.ravel()[0]):.2g}"
        return f"{len(self.members)} members of shape {self.value.shape}"


class Member(AroundPredictor):
    """One of a predictor's members, as a predictor: to run, relax or simulate with it alone.

    It doubts nothing: its uncertainty is zero. Of a `Committee` the one network is evaluated; of anything else all
    members are, and one is kept.
    """

    def __init__(self, predictor: Predictor, index: int) -> None:
        self.predictor, self.index = predictor, index

    def to(
        self, *target: Target, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None
    ) -> Member:
        """A copy in another floating-point type, on another device, or both, where the predictor can be moved."""
        place = targets(target, device=device, dtype=dtype)
        return Member(placed(self.predictor, device=place[0], dtype=place[1]), self.index)

    def predict(self, batch: Batch) -> Prediction:
        """Energies, forces and, where members have one, stress of this member."""
        if isinstance(self.predictor, Committee):
            one = evaluate(self.predictor.models[self.index], batch)
            energy, forces, stress = one.energy, one.forces, one.stress
        else:
            found = _asked(self.predictor).members(batch)
            energy, forces = found.energy[self.index], found.forces[self.index]
            stress = None if found.stress is None else found.stress[self.index]
        return Prediction(
            energy=energy, forces=forces, stress=stress, force_uncertainty=torch.zeros_like(forces[:, 0].detach())
        )

    def members(self, batch: Batch) -> Members:
        """Itself, the only one."""
        own = self.predict(batch)
        stress = None if own.stress is None else own.stress[None]
        return Members(energy=own.energy[None], forces=own.forces[None], stress=stress)


def members_of(predictor: Predictor, atoms: ase.Atoms) -> list[Member]:
    """All members as predictors; `atoms`, any structure that the predictor knows, is what they are counted with."""
    count = len(along(predictor, atoms).energy)
    return [Member(predictor, index) for index in range(count)]


def each_member(predictor: Predictor, atoms: ase.Atoms, compute: Callable[[Predictor, ase.Atoms], ArrayLike]) -> Spread:
    """Any quantity on the mean potential, and once more on each member: right however it depends on the potential.

    It takes M + 1 computations. The other functions of this room need one, where a first order is enough.

    Args:
        predictor: with M members.
        atoms: what `compute` starts from.
        compute: a function of a predictor and a structure that returns a number or an array.
    """
    each = [np.asarray(compute(one, atoms.copy()), dtype=np.float64) for one in members_of(predictor, atoms)]
    return Spread(value=np.asarray(compute(predictor, atoms.copy()), dtype=np.float64), members=np.array(each))


def along(predictor: Predictor, frames: Structures, *, batch_size: int = 100) -> Members:
    """What all members say of structures, in order, on the CPU, without gradients; forces and stress in float64.

    Args:
        predictor: with members.
        frames: S structures with N atoms in all.
        batch_size: structures in a batch, at most; what memory holds is looked after.

    Raises:
        TypeError: a predictor without members (`MetatomicModel`, say). ValueError: one that refuses, and says why.
    """
    asked = _asked(predictor)
    found = [asked.members(batch) for batch in pieces_for(predictor, as_dataset(frames), structures=batch_size)]

    def join(parts: list[Any]) -> Any:
        return None if parts[0] is None else torch.cat([part.detach().double().cpu() for part in parts], dim=1)

    return Members(
        energy=join([part.energy for part in found]),
        forces=join([part.forces for part in found]),
        stress=join([part.stress for part in found]),
    )


def precise(predictor: Predictor) -> Predictor:
    """In float64 where it can be brought to it: what is differentiated by differences needs the digits."""
    return placed(predictor, dtype=torch.float64) if hasattr(predictor, "to") else predictor


def _asked(predictor: Any) -> WithMembers:
    if not isinstance(predictor, WithMembers):
        raise TypeError(
            f"predictor: a {type(predictor).__name__} has no members, expected an ensemble, a shallow ensemble or LLPR"
        )
    return predictor
