"""`Dataset`: labelled structures with named splits. `load` our own sets, `read` files of yours."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ase
import numpy as np
import torch

from uqlib.structures import published
from uqlib.structures.batch import DEFAULT_CUTOFF, Batch
from uqlib.structures.files import read_extxyz, read_frames
from uqlib.structures.pieces import keeps_pairs

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled structures in eV and Å. `dataset["train"]` is a split, itself a `Dataset`."""

    name: str
    atoms: tuple[ase.Atoms, ...]  # labels in a SinglePointCalculator
    splits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # name -> indices into `atoms`
    card: Mapping[str, Any] = field(default_factory=dict)  # what is known of its making, see `uqlib/data/*/card.json`
    _batches: dict = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
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

    def __getitem__(self, split: str) -> Dataset:
        if split not in self.splits:
            raise KeyError(f"split: got {split!r}, {self.name!r} has {sorted(self.splits) or 'no splits'}")
        return self.take(self.splits[split], name=f"{self.name}/{split}")

    def take(self, indices: Iterable[int], *, name: str | None = None) -> Dataset:
        """The named structures, in that order, as a data set without splits."""
        chosen = tuple(self.atoms[int(index)] for index in indices)
        return Dataset(name=name or self.name, atoms=chosen, card=self.card)

    @property
    def energies(self) -> np.ndarray:
        """(S,) eV. Raises ValueError where a structure has none."""
        return np.array(self._labels("energy"))

    @property
    def forces(self) -> np.ndarray:
        """(N, 3) eV/Å, all structures one behind another. Raises ValueError where a structure has none."""
        return np.concatenate(self._labels("forces"))

    def _labels(self, name: str) -> list[Any]:
        known = [{} if frame.calc is None else frame.calc.results for frame in self.atoms]
        missing = [index for index, results in enumerate(known) if results.get(name) is None]
        if missing:
            raise ValueError(
                f"{name}: {len(missing)} of {len(known)} structures of {self.name!r} have none (first: {missing[0]})"
            )
        return [results[name] for results in known]

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
    ) -> Batch:
        """All structures, or the named ones, as a `Batch`.

        The pairs are found at the first call and kept; of a large set they are found anew for the named structures.
        """
        key = (float(cutoff), dtype)
        if key not in self._batches:
            if indices is not None and not keeps_pairs(self.atoms, cutoff):
                return Batch.from_atoms([self.atoms[int(k)] for k in indices], cutoff=cutoff, dtype=dtype)
            self._batches[key] = Batch.from_atoms(self.atoms, cutoff=cutoff, dtype=dtype)
        whole = self._batches[key]
        return whole if indices is None else whole.select(indices)

    def split(self, *, seed: int, by_group: bool = True, **sizes: int) -> Dataset:
        """A new data set with random splits: `data.split(seed=0, train=80, valid=20)`; sizes are structures.

        With `by_group` whole groups (trajectories) go to one split, so that a test frame is never the neighbour
        in time of a training frame; sizes are then reached as nearly as whole groups allow, never exceeded.
        Raises ValueError where a split would stay empty or more is asked for than there is.
        """
        if sum(sizes.values()) > len(self) or not sizes or min(sizes.values()) < 1:
            raise ValueError(f"sizes: got {sizes}, expected positive numbers that add up to at most {len(self)}")
        labels = self.groups if by_group else np.arange(len(self)).astype(str)
        members: dict[str, list[int]] = {}
        for index, label in enumerate(labels):
            members.setdefault(str(label), []).append(index)
        order = [members[label] for label in np.random.default_rng(seed).permutation(sorted(members))]
        splits: dict[str, list[int]] = {name: [] for name in sizes}
        for group in sorted(order, key=len, reverse=True):  # large groups while there is room for them
            room = {name: size - len(splits[name]) for name, size in sizes.items()}
            roomiest = max(room, key=room.__getitem__)
            if len(group) <= room[roomiest]:
                splits[roomiest].extend(group)
        if empty := [name for name in sizes if not splits[name]]:
            raise ValueError(
                f"sizes: no whole group of correlated frames fits into {empty}; groups hold "
                f"{sorted({len(group) for group in order})} frames: ask for more, or set by_group=False"
            )
        chosen = {name: tuple(sorted(indices)) for name, indices in splits.items()}
        return Dataset(name=self.name, atoms=self.atoms, splits=chosen, card=self.card)

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
        return "\n".join(lines)


def available() -> list[str]:
    """Names that `load` knows: our own sets, which come with the library."""
    return sorted(path.parent.name for path in DATA.glob("*/card.json"))


def load(name: str, *, source: Literal["own", "published"] = "own", fold: int = 1) -> Dataset:
    """A data set by name, with its splits: `load("ammonia")["train"]`, `load("rmd17/aspirin", source="published")`.

    Our own sets come with the library; published ones are fetched once (`structures.published` says what there is, and
    `fold` chooses among the official splits of rMD17). Raises ValueError for an unknown name or source, and when a
    file is not, byte for byte, the one that was meant; OSError when a published set cannot be reached.
    """
    if source == "published":
        found = published.load(name, fold=fold)
        splits = {split: tuple(indices) for split, indices in found.splits.items()}
        return Dataset(name=name, atoms=tuple(found.atoms), splits=splits, card=found.card)
    if source != "own":
        raise ValueError(f"source: got {source!r}, expected 'own' or 'published'")
    if name not in available():
        raise ValueError(
            f"name: got {name!r}, expected one of {available()}, or a published set with source='published'"
        )
    folder = DATA / name
    card = _read_card(folder / "card.json")
    frames: list[ase.Atoms] = []
    splits = {}
    for split, entry in card["splits"].items():
        path = folder / f"{split}.xyz"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != entry["sha256"]:
            raise ValueError(
                f"{path}: got SHA-256 {digest}, the card says {entry['sha256']}; restore the file from git"
            )
        part = read_extxyz(path)
        splits[split] = tuple(range(len(frames), len(frames) + len(part)))
        frames.extend(part)
    return Dataset(name=name, atoms=tuple(frames), splits=splits, card=card)


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if not all(entry["sha256"] for entry in card["splits"].values()):
            raise ValueError("a split without a sum")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the card of a data set ({error}); restore the file from git") from error
    return card


def read(path: str | Path, *, energy_unit: str | None = None, length_unit: str = "Å") -> Dataset:
    """Files of yours, or a folder of them, as a data set: formats and errors as `files.read_frames`."""
    path = Path(path)
    frames = read_frames(path, energy_unit=energy_unit, length_unit=length_unit)
    return Dataset(name=path.stem, atoms=tuple(frames), card={"source": path.name})
