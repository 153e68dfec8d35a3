"""What all labelling campaigns share: the plan, the label log, the resumable run, the published files.

A campaign has three steps, each safe to repeat and to kill at any moment:

1. plan      geometries with their split, source and group, evenly mixed
             (`scripts/plans/<name>.xyz`, committed, so that another machine continues with the same geometries);
2. label     every planned geometry that has no label yet, the most urgent first; each is appended to a log and synced
             (`scripts/labels/<name>.xyz`, not committed);
3. publish   log and published labels together, one file per split in plan order, and the cards (`uqlib/data/<name>/`).
"""

from __future__ import annotations

import argparse
import fcntl
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from scripts.data.cards import CardText, write_cards
from uqlib.common import storage
from uqlib.common.owner import waiting_for
from uqlib.common.processes import worker_pool
from uqlib.oracles import LabelResult, Oracle, geometry_digest, label_many

SCRIPTS = Path(__file__).resolve().parents[1]
DATA = SCRIPTS.parent / "uqlib" / "data"


def fingerprint(atoms: Atoms) -> str:
    """Name of a geometry: 12 hex digits from elements, positions, cell (to 1e-6 Å) and periodicity."""
    return geometry_digest(atoms)[:12]


def frame_text(atoms: Atoms) -> str:
    """One frame as extended XYZ: labels, if any, as REF_energy (eV), REF_forces (eV/Å), REF_stress (eV/Å^3, 3x3)."""
    copy = atoms.copy()
    copy.calc = None
    results = atoms.calc.results if atoms.calc is not None else {}
    if "energy" in results:
        copy.info["REF_energy"] = round(float(results["energy"]), 8)
        copy.arrays["REF_forces"] = np.asarray(results["forces"], dtype=float)
    if "stress" in results:
        copy.info["REF_stress"] = np.round(atoms.get_stress(voigt=False), 10)
    buffer = io.StringIO()
    ase.io.write(buffer, copy, format="extxyz")
    return buffer.getvalue()


def read_frames(path: Path) -> list[Atoms]:
    """Every *complete* frame of an extended XYZ file; labels go back into a `SinglePointCalculator`.

    A last frame that a kill cut short is left out: its lines are fewer than its header says, or the last of them does
    not end. A missing file has no frames.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    complete = text[: complete_length(text)]
    frames = list(ase.io.iread(io.StringIO(complete), index=":", format="extxyz")) if complete else []
    for atoms in frames:
        if "REF_energy" in atoms.info:
            results = {"energy": float(atoms.info.pop("REF_energy")), "forces": atoms.arrays.pop("REF_forces")}
            if "REF_stress" in atoms.info:
                stress = np.asarray(atoms.info.pop("REF_stress"), dtype=float).reshape(3, 3)
                results["stress"] = np.array([*np.diag(stress), stress[1, 2], stress[0, 2], stress[0, 1]])
            atoms.calc = SinglePointCalculator(atoms, **results)
    return frames


def complete_length(text: str) -> int:
    """How many characters of `text` (extended XYZ) belong to complete frames."""
    lines = text.splitlines(keepends=True)
    line = done = 0
    while line < len(lines) and lines[line].strip().isdigit():
        end = line + 2 + int(lines[line])
        if end > len(lines) or not lines[end - 1].endswith("\n"):
            break
        done += sum(map(len, lines[line:end]))
        line = end
    return done


class LabelLog:
    """Append-only file of labelled frames, one writer at a time, each frame synced to disk before the next is taken.

    Opening it cuts off a last frame that a kill left incomplete.

    Raises:
        RuntimeError: another process is writing to the same log.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise RuntimeError(f"{path} is being written by another run; wait for it or stop it") from error
        self._file.seek(0)
        text = self._file.read().decode("utf-8")
        self._file.truncate(len(text[: complete_length(text)].encode("utf-8")))

    def append(self, atoms: Atoms) -> None:
        """Write one labelled frame and wait until it is on disk."""
        self._file.write(frame_text(atoms).encode("utf-8"))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Release the file and its lock."""
        self._file.close()


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` with `text`: a reader sees the old file or the new one, never a part."""
    storage.write_atomically(path, text.encode())


def tag(atoms: Atoms, *, split: str, source: str, group: str, **more: float | str) -> Atoms:
    """Return a bare copy with the info keys that every frame of every set has."""
    copy = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    copy.info.update({"split": split, "source": source, "group": group, **more})
    return copy


def interleave(*sequences: Sequence[Atoms]) -> list[Atoms]:
    """Merge sequences evenly: after any part of the result, the same share of each sequence has been seen."""
    keyed = [
        ((k + 0.5) / len(frames), n, atoms) for n, frames in enumerate(sequences) for k, atoms in enumerate(frames)
    ]
    return [atoms for _, _, atoms in sorted(keyed, key=lambda item: item[:2])]


def in_plan_order(frames: Sequence[Atoms]) -> range:
    """Every index, in the order of the plan."""
    return range(len(frames))


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """One data set: its name, who labels it, and how its geometries and its card are made."""

    name: str
    oracle: Oracle
    seed: int  # of the plan
    plan: Callable[[int], list[Atoms]]  # seed -> geometries
    text: CardText
    checks: Callable[[Mapping[str, Sequence[Atoms]]], dict[str, object]]  # labelled splits -> what goes on the card
    urgency: Callable[[Sequence[Atoms]], Sequence[int]] = in_plan_order  # plan -> indices in the order of labelling

    @property
    def plan_file(self) -> Path:
        return SCRIPTS / "plans" / f"{self.name}.xyz"

    @property
    def log_file(self) -> Path:
        return SCRIPTS / "labels" / f"{self.name}.xyz"

    @property
    def folder(self) -> Path:
        return DATA / self.name

    def planned(self) -> list[Atoms]:
        """The plan, made now if it does not exist; read back from disk either way, so that every run sees the same."""
        if not self.plan_file.exists():
            with waiting_for(self.plan_file):
                self._plan()
        return read_frames(self.plan_file)

    def _plan(self) -> None:
        if not self.plan_file.exists():  # another process may have made it, while this one waited
            frames = without_duplicates(self.plan(self.seed))
            write_atomically(self.plan_file, "".join(frame_text(atoms) for atoms in frames))

    def labels(self) -> dict[str, Atoms]:
        """Every label there is, published or only logged, by fingerprint."""
        files = [*sorted(self.folder.glob("*.xyz")), self.log_file]
        return {fingerprint(atoms): atoms for file in files for atoms in read_frames(file)}

    def label(self, frames: Sequence[Atoms], *, workers: int) -> None:
        """Label what has no label yet. Failures are printed and written beside the log; a later run tries again."""
        log = LabelLog(self.log_file)
        known = self.labels()
        todo = [frames[k] for k in self.urgency(frames) if fingerprint(frames[k]) not in known]
        print(f"{self.name}: {len(frames)} planned, {len(frames) - len(todo)} labelled, {len(todo)} to do", flush=True)

        def record(result: LabelResult) -> None:
            if result.atoms is not None:
                log.append(result.atoms)
            else:
                report = {"geometry": fingerprint(todo[result.index]), "error": str(result.error)}
                with self.log_file.with_suffix(".failures.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(report) + "\n")

        try:
            if workers == 1:
                label_many(self.oracle, todo, on_result=record)
            else:
                with single_threaded_pool(workers) as pool:
                    label_many(self.oracle, todo, executor=pool, on_result=record)
        finally:
            log.close()

    def publish(self, frames: Sequence[Atoms]) -> None:
        """Write the labelled part of the plan, split by split in plan order, then the cards. One process at a time."""
        with waiting_for(self.log_file.with_suffix(".published")):
            self._publish(frames)

    def _publish(self, frames: Sequence[Atoms]) -> None:
        known = self.labels()
        splits: dict[str, list[Atoms]] = {}
        for atoms in frames:
            labelled = known.get(fingerprint(atoms))
            if labelled is not None:
                labelled.info = dict(atoms.info)
                splits.setdefault(atoms.info["split"], []).append(labelled)
        for split, labelled_frames in splits.items():
            write_atomically(self.folder / f"{split}.xyz", "".join(frame_text(atoms) for atoms in labelled_frames))
        agreement = SCRIPTS / "agreement" / f"{self.name}.json"
        write_cards(
            self.folder,
            name=self.name,
            text=self.text,
            splits=splits,
            planned=frames,
            seed=self.seed,
            checks=self.checks(splits),
            agreement=json.loads(agreement.read_text(encoding="utf-8")) if agreement.exists() else {},
        )


def without_duplicates(frames: Iterable[Atoms]) -> list[Atoms]:
    """Drop geometries that occurred before; positions pass through the file format first, as they will when read."""
    unique: dict[str, Atoms] = {}
    for atoms in frames:
        (written,) = ase.io.iread(io.StringIO(frame_text(atoms)), format="extxyz")
        unique.setdefault(fingerprint(written), atoms)
    return list(unique.values())


def single_threaded_pool(workers: int) -> ProcessPoolExecutor:
    """Worker processes that use one thread each and end when this process is killed."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a fresh worker loads its libraries
    return worker_pool(workers)


def give_way(nice: int) -> None:
    """Lower this process's priority and that of the programs it starts."""
    if nice:
        os.nice(nice)
        group = Path("/proc/self/autogroup")  # Linux weighs whole sessions first: after setsid, nice alone does nothing
        if group.exists():
            group.write_text(str(nice), encoding="ascii")


def run(campaign: Campaign, arguments: Sequence[str] | None = None) -> int:
    """The command line of every campaign."""
    parser = argparse.ArgumentParser(description=f"Make the data set {campaign.name}: plan, label, publish. Resumable.")
    parser.add_argument("--card", action="store_true", help="only publish what is labelled so far, with its cards")
    parser.add_argument("--plan", action="store_true", help="only make the plan")
    parser.add_argument("--workers", type=int, default=1, help="labels made at once, one thread each (default 1)")
    parser.add_argument("--nice", type=int, default=0, help="give way to other programs, 1 to 19")
    options = parser.parse_args(arguments)
    give_way(options.nice)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    frames = campaign.planned()
    if options.plan:
        return 0
    if not options.card:
        campaign.label(frames, workers=options.workers)
    campaign.publish(frames)
    print(f"{campaign.name}: {len(campaign.labels())} of {len(frames)} labelled -> {campaign.folder}", file=sys.stderr)
    return 0
