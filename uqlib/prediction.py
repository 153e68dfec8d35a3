"""The waist of the library: what a potential predicts, and what a method of uncertainty quantification is.

Everything above (metrics, calibration, attacks, dynamics) takes a `Predictor`; everything below serves `evaluate`,
the only place where forces are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol, runtime_checkable

import ase
import torch
from torch import Tensor

from uqlib.common.devices import as_device, as_dtype, same_place
from uqlib.networks.memory import UNKNOWN, most_pairs
from uqlib.structures.batch import Batch
from uqlib.structures.dataset import Dataset, as_dataset
from uqlib.structures.pieces import pieces


@dataclass(frozen=True, kw_only=True)
class Parts:
    """An uncertainty in two parts, both standard deviations; their squares add up to that of the whole."""

    aleatoric: Tensor  # (N,) eV/Å or (S,) eV: noise that more data of the same kind would not remove
    epistemic: Tensor  # the same shape: what more data would teach


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Energies, forces and how far to trust them.

    `unit` says what `force_uncertainty` is: "eV/Å" a standard deviation of one force component, "nats" a score that
    can only rank. `energy_uncertainty` is in eV (a standard deviation) or nats accordingly. Methods that tell noise
    from ignorance also give the two parts.

    `stress_uncertainty` is a standard deviation of each component of the stress, nan where the stress is. It is None of
    scores in nats, which say nothing of a cell that they do not say of its atoms, and of methods that learn their
    uncertainty from labels and saw none of stress. `atom_energy_uncertainty` is that of an atom's share in the energy.
    How a network shares out its energy is its own affair: no label can tell whether this one is of the right size.
    """

    energy: Tensor  # (S,)    eV
    forces: Tensor  # (N, 3)  eV/Å
    force_uncertainty: Tensor  # (N,)    larger = trust less
    energy_uncertainty: Tensor | None = None  # (S,)
    stress: Tensor | None = None  # (S, 3, 3)  eV/Å³
    unit: Literal["eV/Å", "nats"] = "eV/Å"
    force_parts: Parts | None = None  # (N,) eV/Å each
    energy_parts: Parts | None = None  # (S,) eV each
    stress_uncertainty: Tensor | None = None  # (S, 3, 3)  eV/Å³
    atom_energy_uncertainty: Tensor | None = None  # (N,)  eV

    def __post_init__(self) -> None:
        structures, atoms = self.energy.shape, self.forces.shape
        if len(structures) != 1 or len(atoms) != 2 or atoms[1] != 3:
            raise ValueError(f"energy, forces: got {tuple(structures)}, {tuple(atoms)}, expected (S,) and (N, 3)")
        if self.force_uncertainty.shape != atoms[:1]:
            raise ValueError(
                f"force_uncertainty: got {tuple(self.force_uncertainty.shape)}, expected {(atoms[0],)}, one an atom"
            )
        if self.energy_uncertainty is not None and self.energy_uncertainty.shape != structures:
            raise ValueError(
                f"energy_uncertainty: got {tuple(self.energy_uncertainty.shape)}, expected {tuple(structures)}"
            )
        cells = (*structures, 3, 3)
        for name, shape in (("stress", cells), ("stress_uncertainty", cells), ("atom_energy_uncertainty", atoms[:1])):
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(f"{name}: got {tuple(value.shape)}, expected {tuple(shape)}")
        if self.unit not in ("eV/Å", "nats"):
            raise ValueError(f"unit: got {self.unit!r}, expected 'eV/Å' or 'nats'")


@dataclass(frozen=True, kw_only=True)
class Members:
    """M potentials that a predictor takes for equally good: each has energies, and forces that are their slope.

    What depends on a potential (a barrier, an average along a trajectory) is computed with each; how far the M results
    lie apart is its error bar. Variances are over M - 1.
    """

    energy: Tensor  # (M, S)     eV, float64
    forces: Tensor  # (M, N, 3)  eV/Å
    stress: Tensor | None = None  # (M, S, 3, 3)  eV/Å³; None where the method has none for each member


@runtime_checkable
class WithMembers(Protocol):
    """A predictor with members. A method that has none refuses in `members`, and says why."""

    def members(self, batch: Batch) -> Members:
        """Differentiable where `predict` is."""
        ...


@runtime_checkable
class Predictor(Protocol):
    """A fitted potential with uncertainties. It says what its batches have to be; nobody has to tell it.

    One that can be moved has `to`, as in `to("cuda")` or `to("cuda", torch.float64)`, which returns a copy. One that
    knows how much memory it takes has `bytes_per_pair`.
    """

    @property
    def cutoff(self) -> float:
        """Å, of the neighbour pairs it wants to see."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the positions it wants to see."""
        ...

    @property
    def device(self) -> torch.device:
        """On which the batch has to be."""
        ...

    def predict(self, batch: Batch) -> Prediction:
        """Differentiable exactly when `batch.positions.requires_grad`."""
        ...


class AroundPredictor:
    """What lies around another predictor wants the batches that that one wants."""

    predictor: Predictor

    @property
    def cutoff(self) -> float:
        """Å, of the neighbour pairs it wants to see."""
        return self.predictor.cutoff

    @property
    def dtype(self) -> torch.dtype:
        """Of the positions it wants to see."""
        return self.predictor.dtype

    @property
    def device(self) -> torch.device:
        """On which the batch has to be."""
        return self.predictor.device

    @property
    def bytes_per_pair(self) -> int:
        """Of memory, about, that a directed pair takes in a prediction."""
        return getattr(self.predictor, "bytes_per_pair", UNKNOWN)


@runtime_checkable
class Method(Protocol):
    """A recipe: hyper-parameters now, training later."""

    def fit(self, train: Dataset, valid: Dataset, *, seed: int) -> Predictor:
        """Train on `train`, choose by `valid`; everything drawn at random comes from `seed`."""
        ...


def placed(
    predictor: Predictor, *, device: torch.device | str | None = None, dtype: torch.dtype | str | None = None
) -> Predictor:
    """The predictor itself where nothing else is asked for, or a copy on that device or in that floating-point type.

    Raises:
        TypeError: no predictor at all, or one that cannot be moved and should be.
        ValueError: a device that is not there ("auto": a GPU if there is one), a type other than float32 and float64.
    """
    if not isinstance(predictor, Predictor):
        raise TypeError(
            f"predictor: got a {type(predictor).__name__}, expected what `Method.fit` returns, with `predict`, "
            "`cutoff`, `dtype` and `device`; fit the method first"
        )
    wanted = [
        None if device is None or same_place(found := as_device(device), predictor.device) else found,
        None if dtype is None or (kind := as_dtype(dtype)) == predictor.dtype else kind,
    ]
    moves = [value for value in wanted if value is not None]
    if moves and not hasattr(predictor, "to"):
        raise TypeError(
            f"predictor: a {type(predictor).__name__} in {predictor.dtype} on {predictor.device} cannot be brought to "
            f"{' and '.join(map(str, moves))}, it has no `to`; leave device and dtype out"
        )
    movable: Any = predictor
    return movable.to(*moves) if moves else predictor


def pieces_for(
    predictor: Predictor,
    data: Dataset,
    *,
    structures: int = 100,
    max_pairs: int | None = None,
    memory: float | None = None,
) -> Iterator[Batch]:
    """All of `data` as batches that `predictor` takes, of at most `structures` structures, and no larger than fits.

    Limits as in `predict`; labels are not looked at.
    """
    if max_pairs is None:
        of_pair = getattr(predictor, "bytes_per_pair", UNKNOWN)
        max_pairs = most_pairs(of_pair, predictor.device, memory=memory)
    elif memory is not None:
        raise ValueError(f"max_pairs, memory: got {max_pairs} and {memory}, expected one of the two limits")
    options = {"cutoff": predictor.cutoff, "dtype": predictor.dtype, "device": predictor.device}
    return pieces(data, structures=structures, max_pairs=max_pairs, labels=False, **options)


def predict(
    predictor: Predictor,
    data: Dataset | ase.Atoms | Sequence[ase.Atoms],
    *,
    batch_size: int = 100,
    max_pairs: int | None = None,
    memory: float | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
) -> Prediction:
    """A whole data set, a batch at a time, as one `Prediction` on the CPU, without gradients.

    Args:
        predictor: any.
        data: structures, also of ASE, one or a list of them; labels are not looked at.
        batch_size: structures in a batch, at most.
        max_pairs: directed pairs of neighbours in a batch, at most; a structure with more is a batch of its own.
        memory: the same limit in GB, as nearly as it is known; None: 0.6, or a quarter of what is free if that is less,
            and on a GPU half of what is free there.
        dtype: None: the predictor's own; otherwise it is brought to this one.
        device: None: the one that the predictor is on; otherwise it is brought to this one; "auto": a GPU if there is
            one.

    Raises:
        ValueError: limits out of range, or what `placed` and the predictor refuse.
    """
    predictor = placed(predictor, device=device, dtype=dtype)
    found = pieces_for(predictor, as_dataset(data), structures=batch_size, max_pairs=max_pairs, memory=memory)
    return joined([mapped(predictor.predict(batch), Tensor.cpu) for batch in found])


def joined(parts: Sequence[Prediction]) -> Prediction:
    """Predictions of several batches as one. What one of them lacks (the stress, without a period) is nan there."""

    def join(name: str) -> Tensor | Parts | None:
        values = [getattr(part, name) for part in parts]
        if any(value is None for value in values) and name in ("stress", "stress_uncertainty"):
            if (known := next((value for value in values if value is not None), None)) is None:
                return None
            cells = [known.new_full((len(part.energy), 3, 3), torch.nan) for part in parts]
            values = [cell if value is None else value for value, cell in zip(values, cells, strict=True)]
        if isinstance(values[0], Parts):
            return Parts(
                aleatoric=torch.cat([v.aleatoric for v in values]), epistemic=torch.cat([v.epistemic for v in values])
            )
        return None if values[0] is None else torch.cat(values)

    return Prediction(**{name: join(name) for name in TENSORS}, unit=parts[0].unit)  # pyright: ignore[reportArgumentType]


TENSORS = [field.name for field in fields(Prediction) if field.name != "unit"]


def mapped(prediction: Prediction, change: Callable[[Tensor], Tensor]) -> Prediction:
    """With `change` made to each tensor that there is; the unit stays."""

    def of(value: Any) -> Any:
        if isinstance(value, Parts):
            return Parts(aleatoric=of(value.aleatoric), epistemic=of(value.epistemic))
        return value if value is None else change(value)

    return replace(prediction, **{name: of(getattr(prediction, name)) for name in TENSORS})
