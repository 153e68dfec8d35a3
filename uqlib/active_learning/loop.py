"""The loop itself. Every step leaves a file when it is done, and is skipped when the file is there."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch

from uqlib import calibration
from uqlib.active_learning.history import REMEDY, Generation, History, generation_folder, predictor_path
from uqlib.active_learning.labels import LabelStore, identity, rounded_copy
from uqlib.active_learning.measures import Measure
from uqlib.active_learning.proposals import Candidates, Proposal
from uqlib.common.digest import digest_of
from uqlib.common.json_files import read_json
from uqlib.common.owner import owner_of
from uqlib.common.storage import write_atomically
from uqlib.oracles import Oracle
from uqlib.prediction import Method, Predictor, placed
from uqlib.structures.datasets import Dataset

CANDIDATES = "a list of candidates"


@dataclass(frozen=True, kw_only=True)
class ActiveLearning:
    """The recipe: `method` is fitted, `propose` looks for geometries, `oracle` labels them, and again.

    `generations` rounds of at most `labels` labels each. A share of the new ones, `valid_share`, goes to the validation
    set, spread evenly over their order, so that early stopping sees the new region too.
    """

    method: Method
    oracle: Oracle
    propose: Proposal
    generations: int = 3
    labels: int = 10
    valid_share: float = 0.2

    def __post_init__(self) -> None:
        if self.generations < 1 or self.labels < 1:
            raise ValueError(f"generations, labels: got {self.generations}, {self.labels}, expected at least 1 of each")
        if not 0 <= self.valid_share < 1:
            raise ValueError(f"valid_share: got {self.valid_share}, expected at least 0 and less than 1")

    def run(
        self,
        train: Dataset,
        valid: Dataset,
        *,
        seed: int,
        folder: str | Path,
        label_folder: str | Path | None = None,
        measures: Mapping[str, Measure] | None = None,
        executor: Executor | None = None,
        progress: bool = True,
        device: str | torch.device | None = None,
    ) -> History:
        """Run all generations, or those that `folder` does not hold yet.

        Args:
            train, valid: where to begin.
            seed: of everything random: initial weights, the choice of seeds, the attacks. Same seed, same history.
            folder: of this run: fitted predictors, candidates, records (`generation-0/`, ...) and a readable `log.txt`.
            label_folder: of labels, which several runs may share; None: `folder/labels`.
            measures: name -> what to follow; taken of every generation's predictor.
            executor: labels there, in parallel; None: here, one by one.
            progress: bars for training and labelling.
            device: where networks are trained and geometries are looked for, "auto" for a GPU if there is one; None: as
                the method's recipe says. It is no part of what `folder` holds.

        Geometries that cannot be labelled are recorded and skipped. A generation for which nothing is worth a label
        ends the run early.

        Raises:
            ValueError: `folder` holds another run (another recipe, seed, or starting data), or another process is at
                work in it; a part of the recipe, or a measure, has no identity by which that could be told; a file of
                the run is broken, which names it.
        """
        folder = Path(folder)
        with owner_of(folder, "folder"):
            _claim(folder, _identity(self, seed, train, valid))
            where = _device_of(self.method) if device is None else device
            store = LabelStore(folder / "labels" if label_folder is None else label_folder, self.oracle)
            return self._run(train, valid, seed, folder, store, measures or {}, executor, progress, device, where)

    def _run(
        self,
        train: Dataset,
        valid: Dataset,
        seed: int,
        folder: Path,
        store: LabelStore,
        measures: Mapping[str, Measure],
        executor: Executor | None,
        progress: bool,
        device: str | torch.device | None,
        where: str | torch.device | None,
    ) -> History:
        measured_by = {name: digest_of(measure, f"measures: {name!r}") for name, measure in measures.items()}
        generations: list[Generation] = []
        added: list[tuple[ase.Atoms, ...]] = []
        for number in range(self.generations + 1):
            predictor = placed(self._fitted(train, valid, seed, folder, number, progress, device), device=where)
            new: list[ase.Atoms] = []
            if number < self.generations:
                candidates = self._candidates(predictor, train, seed, folder, number)
                results = store.label(candidates.structures, executor=executor, progress=progress)
                new = [result.atoms for result in results if result.atoms is not None]
                failed = tuple(result.error.reason for result in results if result.error is not None)
            else:
                candidates, failed = Candidates(structures=[], counts={}), ()
            record = generation_folder(folder, number) / "record.json"
            by = record.with_name("measured_by.json")
            if not (record.exists() and by.exists()) or read_json(by, "a record", REMEDY) != measured_by:
                measured = {name: float(measure(predictor)) for name, measure in measures.items()}
                done = Generation(
                    number=number,
                    train=len(train),
                    valid=len(valid),
                    measures=measured,
                    candidates=dict(candidates.counts),
                    labelled=len(new),
                    failed=failed,
                )
                write_atomically(record, done.to_json().encode())
                write_atomically(by, (json.dumps(measured_by, indent=2) + "\n").encode())
            generations.append(Generation.read(record))
            write_atomically(folder / "log.txt", ("\n".join(map(str, generations)) + "\n").encode())
            if number < self.generations:
                added.append(tuple(new))
            if not new:
                break
            train, valid = self._grown(train, valid, new)
        return History(generations=tuple(generations), added=tuple(added), folder=folder)

    def _fitted(
        self,
        train: Dataset,
        valid: Dataset,
        seed: int,
        folder: Path,
        number: int,
        progress: bool,
        device: str | torch.device | None,
    ) -> Predictor:
        """This generation's predictor, always as its file says, so that a resumed run computes with the same."""
        path = predictor_path(folder, number)
        checkpoints = path.parent / "checkpoints"
        if not path.exists():
            method = _changed(self.method, checkpoints=checkpoints)
            fit: Any = (method if device is None else _changed(method, device=device)).fit
            options = {"progress": progress} if "progress" in inspect.signature(fit).parameters else {}
            fit(train, valid, seed=derived_seed(seed, number, 0), **options).save(path)
        shutil.rmtree(checkpoints, ignore_errors=True)  # they have served
        return calibration.load(path)

    def _candidates(self, predictor: Predictor, train: Dataset, seed: int, folder: Path, number: int) -> Candidates:
        path = candidates_path(folder, number)
        if not path.exists():
            more: dict[str, Any] = {}
            if getattr(self.propose, "continues", False):
                more = {"state": read_candidates(folder, number - 1).state if number else None}
            own = derived_seed(seed, number, 1)
            found = self.propose.candidates(predictor, train, number=self.labels, seed=own, **more)
            frames = [_geometry(atoms) for atoms in found.structures]
            plain = {"counts": dict(found.counts), "structures": frames}
            plain |= {} if found.state is None else {"state": found.state}
            write_atomically(path, json.dumps(plain).encode())
        return read_candidates(folder, number)

    def _grown(self, train: Dataset, valid: Dataset, new: Sequence[ase.Atoms]) -> tuple[Dataset, Dataset]:
        chosen = [int((k + 1) * self.valid_share) > int(k * self.valid_share) for k in range(len(new))]
        to_valid = [atoms for atoms, take in zip(new, chosen, strict=True) if take]
        to_train = [atoms for atoms, take in zip(new, chosen, strict=True) if not take]
        return _with(train, to_train), _with(valid, to_valid)


def candidates_path(folder: Path, number: int) -> Path:
    """Where a run keeps what was proposed in a generation."""
    return generation_folder(folder, number) / "candidates.json"


def read_candidates(folder: Path, number: int) -> Candidates:
    """What was proposed in a generation. Raises ValueError naming the file if it is no such list."""
    path = candidates_path(folder, number)
    plain = read_json(path, CANDIDATES, REMEDY)
    try:
        structures = [ase.Atoms(**frame) for frame in plain["structures"]]
        return Candidates(structures=structures, counts=dict(plain["counts"]), state=plain.get("state"))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: not {CANDIDATES} ({type(error).__name__}: {error}); {REMEDY}") from error


def _changed(method: Method, **options: Any) -> Any:
    """The recipe with other `checkpoints` or another `device`, where it, or the recipe inside it, has such a thing."""
    recipe: Any = method
    names = set(getattr(recipe, "__dataclass_fields__", ()))
    changes: dict[str, Any] = {name: value for name, value in options.items() if name in names}
    if "method" in names:
        changes["method"] = _changed(recipe.method, **options)
    return replace(recipe, **changes) if changes else recipe


def _device_of(method: Any) -> str | torch.device | None:
    """Where the recipe, or the recipe inside it, trains; None where neither says."""
    return getattr(method, "device", None) or (_device_of(method.method) if hasattr(method, "method") else None)


def _geometry(atoms: ase.Atoms) -> dict[str, Any]:
    """What `ase.Atoms` takes, as plain numbers: JSON keeps every digit."""
    atoms = rounded_copy(atoms)
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": np.asarray(atoms.cell).tolist(),
        "pbc": atoms.pbc.tolist(),
    }


def _with(data: Dataset, new: Sequence[ase.Atoms]) -> Dataset:
    """With structures added; each keeps the labels that it has, more or fewer than the others."""
    return replace(data, atoms=(*data.atoms, *new), splits={}, reading=None)


def derived_seed(seed: int, number: int, purpose: int) -> int:
    """Of what a generation draws for a purpose: 0 its training, 1 its proposal."""
    return int(np.random.SeedSequence([seed, number, purpose]).generate_state(1)[0])


def _identity(recipe: ActiveLearning, seed: int, train: Dataset, valid: Dataset) -> dict[str, str | int]:
    """What decides a run, in digests of all that counts. Raises ValueError as `digest_of`."""
    method = _changed(recipe.method, checkpoints=None)
    oracle = identity(recipe.oracle)
    rest = (recipe.generations, recipe.labels, recipe.valid_share)
    return {
        "seed": seed,
        "recipe": digest_of([digest_of(method, "method"), digest_of(recipe.propose, "propose"), rest]),
        "oracle": hashlib.sha256(oracle.encode()).hexdigest(),
        "train": digest_of(train, "train"),
        "valid": digest_of(valid, "valid"),
    }


def _claim(folder: Path, run: dict[str, str | int]) -> None:
    """Write what the folder is for, or check that it is for this."""
    path = folder / "run.json"
    if not path.exists():
        write_atomically(path, (json.dumps(run, indent=2) + "\n").encode())
        return
    before = read_json(path, "a record of a run", "give this run a folder of its own")
    if not isinstance(before, dict) or not run.keys() <= before.keys():
        raise ValueError(
            f"folder: {folder} holds a run of an older uqlib, or none: {path} does not say enough to know what it was; "
            "give this one a folder of its own"
        )
    if changed := [key for key in run if before[key] != run[key]]:
        seeds = f" ({before['seed']}), now {seed}" if (seed := run["seed"]) != before["seed"] else ""
        raise ValueError(
            f"folder: {folder} holds a run with another {', another '.join(changed)}{seeds}; give this one a folder of "
            "its own"
        )
