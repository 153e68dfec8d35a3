"""`Dataset`: labelled structures with named splits."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import ase
import numpy as np
import torch

from uqlib.structures import splitting
from uqlib.structures.batch import DEFAULT_CUTOFF, LABELS, Batch, label_tensors
from uqlib.structures.element_energies import by_number
from uqlib.structures.files import Reading
from uqlib.structures.notices import say
from uqlib.structures.pieces import keeps_pairs
from uqlib.structures.report import Report, report


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled structures in eV and Å. `dataset["train"]` is a split, itself a `Dataset`."""

    name: str
    atoms: tuple[ase.Atoms, ...]  # labels in a SinglePointCalculator
    splits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # name -> indices into `atoms`
    card: Mapping[str, Any] = field(default_factory=dict)  # what is known of its making, see `uqlib/data/*/card.json`
    E0: Mapping[Any, float] = field(default_factory=dict)  # symbol or atomic number -> eV of an atom alone, where given
    reading: Reading | None = field(default=None, repr=False, compare=False)  # what its reader found
    _batches: dict = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "atoms", _structures(self.atoms, "atoms"))
        object.__setattr__(self, "E0", by_number(self.E0))
        if not self.atoms:
            raise ValueError(f"atoms: the data set {self.name!r} is empty, expected at least one structure")
        seen: dict[int, str] = {}
        for split, indices in self.splits.items():
            for index in indices:
                if not 0 <= index < len(self.atoms):
                    raise ValueError(f"splits: {split!r} names structure {index}, there are {len(self.atoms)}")
                if index in seen:
                    raise ValueError(
                        f"splits: structure {index} is in {seen[index]!r} and in {split!r}; splits overlap"
                    )
                seen[index] = split

    def __len__(self) -> int:
        return len(self.atoms)

    def identity(self) -> tuple[Any, ...]:
        """What tells it from other data, for `digest_of`: structures with labels in their order, splits, E0."""
        return self.atoms, {name: tuple(map(int, chosen)) for name, chosen in self.splits.items()}, self.E0

    def __getitem__(self, split: str) -> Dataset:
        if split not in self.splits:
            raise KeyError(f"split: got {split!r}, {self.name!r} has {sorted(self.splits) or 'no splits'}")
        return self.take(self.splits[split], name=f"{self.name}/{split}")

    def take(self, indices: Iterable[int], *, name: str | None = None) -> Dataset:
        """The named structures, in that order, as a data set without splits."""
        chosen = tuple(self.atoms[int(index)] for index in indices)
        return Dataset(name=name or self.name, atoms=chosen, card=self.card, E0=self.E0)

    def known(self, label: str) -> np.ndarray:
        """(S,) whether each structure has this label, "energy", "forces" or "stress"."""
        return np.array([frame.calc is not None and frame.calc.results.get(label) is not None for frame in self.atoms])

    @cached_property
    def _given(self) -> frozenset[str]:
        """Labels that some structure has; looked for once, a large set is asked for many batches."""
        return frozenset(label for label in LABELS if self.known(label).any())

    def having(self, *labels: str) -> Dataset:
        """The structures that have all these labels: `data.having("energy", "forces")`."""
        chosen = np.all([self.known(label) for label in labels], axis=0)
        return self.take(np.flatnonzero(chosen))

    def report(self) -> Report:
        """What is in it: labels, names left over, files skipped, doubtful units, states, duplicates, groups."""
        return report(self.name, self.atoms, self.reading, self.E0)

    @property
    def energies(self) -> np.ndarray:
        """(S,) eV. Raises ValueError where a structure has none."""
        return np.array(self._labels("energy"))

    @property
    def forces(self) -> np.ndarray:
        """(N, 3) eV/Å, all structures one behind another. Raises ValueError where a structure has none."""
        return np.concatenate(self._labels("forces"))

    def _labels(self, name: str) -> list[Any]:
        missing = np.flatnonzero(~self.known(name))
        if len(missing):
            left = self.reading.left_over if self.reading is not None else {}
            there = f"; left over in the file: {', '.join(list(left)[:8])}" if left else ""
            rest = f"; data.having({name!r}) takes those that have" if len(missing) < len(self) else ""
            raise ValueError(
                f"{name}: {len(missing)} of {len(self)} structures of {self.name!r} have none "
                f"(first: {missing[0]}){rest}{there}"
            )
        return [frame.calc.results[name] for frame in self.atoms if frame.calc is not None]

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur, sorted."""
        return tuple(sorted({int(z) for frame in self.atoms for z in frame.numbers}))

    @property
    def groups(self) -> np.ndarray:
        """(S,) labels of what is correlated: frames of one trajectory share a label, others stand alone."""
        return np.array([str(frame.info.get("group", f"frame {index}")) for index, frame in enumerate(self.atoms)])

    def info(self, key: str) -> np.ndarray:
        """(S,) values of one entry of `atoms.info`. Raises KeyError naming those that all frames have."""
        if any(key not in frame.info for frame in self.atoms):
            common = set.intersection(*(set(frame.info) for frame in self.atoms))
            raise KeyError(f"key: got {key!r}, every structure of {self.name!r} has {sorted(common)}")
        return np.array([frame.info[key] for frame in self.atoms])

    def batch(
        self,
        indices: Sequence[int] | torch.Tensor | None = None,
        *,
        cutoff: float = DEFAULT_CUTOFF,
        dtype: torch.dtype = torch.float32,
        labels: bool = True,
    ) -> Batch:
        """All structures, or the named ones, as a `Batch`.

        The pairs are found at the first call and kept; of a large set they are found anew for the named structures.
        With `labels=False` nobody looks at labels, so that broken ones do no harm.
        """
        key = (float(cutoff), dtype)
        if key not in self._batches:
            if indices is not None and not keeps_pairs(self.atoms, cutoff):
                frames = [self.atoms[int(k)] for k in indices]
                batch = Batch.from_atoms(frames, cutoff=cutoff, dtype=dtype, labels=False)
                return replace(batch, **label_tensors(frames, dtype, given=self._given)) if labels else batch
            self._batches[key] = Batch.from_atoms(self.atoms, cutoff=cutoff, dtype=dtype, labels=False)
        whole = self._batches[key]
        if labels:
            if (*key, "labels") not in self._batches:
                self._batches[*key, "labels"] = replace(whole, **label_tensors(self.atoms, dtype))
            whole = self._batches[*key, "labels"]
        return whole if indices is None else whole.select(indices)

    def split(
        self, *, seed: int, by_group: bool = True, blocks: bool | None = None, gap: int | None = None, **sizes: int
    ) -> Dataset:
        """A new data set with random splits: `data.split(seed=0, train=80, valid=20)`; sizes are structures.

        With `by_group` whole groups (trajectories) go to one split, so that a test frame is never the neighbour
        in time of a training frame; sizes are then reached as nearly as whole groups allow, never exceeded. Where
        there is one group only, or with `blocks`, each split gets a stretch of each group, with `gap` frames left out
        between two (default: a twentieth of the group), which is said in a `DataWarning`. Elements that are rare go
        to "train", as do isolated atoms. Raises ValueError where a split would stay empty or more is asked for than
        there is.
        """
        if sum(sizes.values()) > len(self) or not sizes or min(sizes.values()) < 1:
            raise ValueError(f"sizes: got {sizes}, expected positive numbers that add up to at most {len(self)}")
        if blocks and not by_group:
            raise ValueError("blocks: got True with by_group=False; frames taken one by one are not cut into stretches")
        labels = self.groups if by_group else np.arange(len(self)).astype(str)
        splits, remark = splitting.divide(self.atoms, labels, sizes, seed=seed, blocks=blocks, gap=gap)
        if remark:
            say(f"{self.name}: {remark}")
        chosen = {name: tuple(sorted(indices)) for name, indices in splits.items()}
        return replace(self, splits=chosen)

    def __repr__(self) -> str:
        formulas = sorted({frame.get_chemical_formula() for frame in self.atoms})
        shown = ", ".join(formulas[:3]) + (f" and {len(formulas) - 3} more" if len(formulas) > 3 else "")
        lines = [
            f"{self.name}: {len(self)} structures of {shown}",
            textwrap.fill(
                str(self.card.get("level", "not stated")),
                width=76,
                initial_indent="  level of theory   ",
                subsequent_indent=" " * 20,
            ),
        ]
        known = [{} if frame.calc is None else frame.calc.results for frame in self.atoms]
        if energies := [r["energy"] / len(a) for r, a in zip(known, self.atoms, strict=True) if "energy" in r]:
            lines.append(f"  energy            {min(energies):.3f} to {max(energies):.3f} eV/atom")
        if forces := [np.linalg.norm(results["forces"], axis=1) for results in known if "forces" in results]:
            size = np.concatenate(forces)
            lines.append(f"  force on an atom  {size.mean():.2f} on average, {size.max():.2f} at most, eV/Å")
        if self.splits:
            counts = ", ".join(f"{name} {len(indices)}" for name, indices in self.splits.items())
            if not self.card.get("complete", True):
                counts += f" (partial: {self.card['labelled']} of {self.card['planned']} planned)"
            lines.append(
                textwrap.fill(counts, width=76, initial_indent="  splits            ", subsequent_indent=" " * 20)
            )
        for note in self.reading.notes if self.reading is not None else ():
            lines.append(
                textwrap.fill(note, width=76, initial_indent="  note              ", subsequent_indent=" " * 20)
            )
        return "\n".join(lines)


def as_dataset(data: Dataset | ase.Atoms | Iterable[ase.Atoms], argument: str = "data") -> Dataset:
    """A data set as it is; structures of ASE, one or several, as a data set without a name of its own."""
    if isinstance(data, Dataset):
        return data
    return Dataset(name=argument, atoms=_structures([data] if isinstance(data, ase.Atoms) else data, argument))


def expect_dataset(data: Any, argument: str) -> None:
    """Raise TypeError, with the remedy, for anything but a `Dataset`."""
    if not isinstance(data, Dataset):
        raise TypeError(
            f"{argument}: got a {type(data).__name__}, expected a Dataset; "
            'uqlib.Dataset(name="mine", atoms=frames) makes one of a list of ase.Atoms, uqlib.read(path) of a file'
        )


def _structures(atoms: Any, argument: str) -> tuple[ase.Atoms, ...]:
    try:
        found = tuple(atoms)
    except TypeError:
        found = (atoms,)
    if isinstance(atoms, ase.Atoms) or not all(isinstance(frame, ase.Atoms) for frame in found):
        kinds = sorted({type(frame).__name__ for frame in found})
        raise TypeError(f"{argument}: got {', '.join(kinds)}, expected ase.Atoms, several of them in a list or tuple")
    return found
