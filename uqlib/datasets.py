"""`Dataset`: labelled structures with named splits. `load` our own sets, `read` files of yours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase
import ase.db
import ase.io
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from uqlib import nff
from uqlib.batch import DEFAULT_CUTOFF, Batch

DATA = Path(__file__).parent / "data"
LABELS = ("energy", "forces", "stress")


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
        """(S,) eV."""
        return np.array([frame.get_potential_energy() for frame in self.atoms])

    @property
    def forces(self) -> np.ndarray:
        """(N, 3) eV/Å, all structures one behind another."""
        return np.concatenate([frame.get_forces() for frame in self.atoms])

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
        """All structures, or the named ones, as a `Batch`. The pairs are found at the first call and kept."""
        key = (float(cutoff), dtype)
        if key not in self._batches:
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
        for group in order:
            for name, size in sizes.items():
                if len(splits[name]) + len(group) <= size:
                    splits[name].extend(group)
                    break
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
        per_atom = self.energies / np.array([len(frame) for frame in self.atoms])
        size = np.linalg.norm(self.forces, axis=1)
        lines = [
            f"{self.name}: {len(self)} structures of {shown}",
            f"  level of theory   {self.card.get('level', 'not stated')}",
            f"  energy            {per_atom.min():.3f} to {per_atom.max():.3f} eV/atom",
            f"  force on an atom  {size.mean():.2f} on average, {size.max():.2f} at most, eV/Å",
        ]
        if self.splits:
            counts = ", ".join(f"{name} {len(indices)}" for name, indices in self.splits.items())
            lines.append(f"  splits            {counts}")
        return "\n".join(lines)


def available() -> list[str]:
    """Names that `load` knows: our own sets, which come with the library."""
    return sorted(path.parent.name for path in DATA.glob("*/card.json"))


def load(name: str) -> Dataset:
    """One of our own data sets, with the splits of its card: `load("ammonia")["train"]`.

    Raises ValueError for an unknown name, and when a file is not, byte for byte, the one on the card.
    """
    if name not in available():
        raise ValueError(f"name: got {name!r}, expected one of {available()}")
    folder = DATA / name
    card = json.loads((folder / "card.json").read_text())
    frames: list[ase.Atoms] = []
    splits = {}
    for split, entry in card["splits"].items():
        path = folder / f"{split}.xyz"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != entry["sha256"]:
            raise ValueError(
                f"{path}: got SHA-256 {digest}, the card says {entry['sha256']}; restore the file from git"
            )
        part = _read_extxyz(path)
        splits[split] = tuple(range(len(frames), len(frames) + len(part)))
        frames.extend(part)
    return Dataset(name=name, atoms=tuple(frames), splits=splits, card=card)


def read(path: str | Path) -> Dataset:
    """A file of yours: extended XYZ (`.xyz`, `.extxyz`), an ASE database (`.db`), or an NFF archive (`.pth.tar`).

    Extended XYZ: energies in eV under `energy` or `REF_energy`, forces in eV/Å under `forces` or `REF_forces`.
    NFF archives, in kcal/mol, are converted; they are read without running the code that a pickle may carry.
    Raises FileNotFoundError, and ValueError for other endings, broken files and files without structures.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path: {path} does not exist")
    name = path.name
    if name.endswith((".xyz", ".extxyz")):
        frames = _read_extxyz(path)
    elif name.endswith(".db"):
        frames = [row.toatoms() for row in ase.db.connect(path).select()]
    elif name.endswith((".pth.tar", ".pth")):
        frames = nff.read(path)
    else:
        raise ValueError(f"path: got {name!r}, expected an ending .xyz, .extxyz, .db or .pth.tar")
    if not frames:
        raise ValueError(f"path: {path} holds no structures")
    return Dataset(name=path.stem, atoms=tuple(frames), card={"source": name})


def _read_extxyz(path: Path) -> list[ase.Atoms]:
    try:
        frames = list(ase.io.iread(path, index=":", format="extxyz"))
    except Exception as error:  # the parser raises what it stumbles on: KeyError, IndexError, its own XYZError
        raise ValueError(f"{path}: not extended XYZ, or cut short ({type(error).__name__}: {error})") from error
    return [_with_labels(frame) for frame in frames if isinstance(frame, ase.Atoms)]


def _with_labels(frame: ase.Atoms) -> ase.Atoms:
    """REF_ entries become labels: ASE itself would drop or recompute what is called plainly `energy`."""
    found = dict(frame.calc.results) if frame.calc is not None else {}
    for label in LABELS:
        value = frame.info.pop(f"REF_{label}", frame.arrays.pop(f"REF_{label}", None))
        if value is not None:
            is_stress = label == "stress" and np.size(value) == 9
            found[label] = full_3x3_to_voigt_6_stress(np.reshape(value, (3, 3))) if is_stress else value
    frame.calc = SinglePointCalculator(frame, **{k: v for k, v in found.items() if k in LABELS}) if found else None
    return frame
