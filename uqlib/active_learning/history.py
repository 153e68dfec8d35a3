"""What happened, generation by generation: for the log, the figure, and a run that goes on after a crash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import ase

from uqlib.common.json_files import read_json

RECORD, REMEDY = "a record of a generation", "delete it, and it is made again"


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One round: a potential, how good it was, and which labels it asked for."""

    number: int  # 0 is the potential before any label was bought
    train: int  # structures it was trained on
    valid: int
    measures: Mapping[str, float]
    candidates: Mapping[str, int]  # what became of the proposed geometries; empty in the last generation
    labelled: int  # labels that came of them
    failed: tuple[str, ...]  # reasons of those that could not be labelled

    def __str__(self) -> str:
        lines = [f"generation {self.number}: trained on {self.train}, validated on {self.valid}"]
        lines += [f"    {name}: {value:.4g}" for name, value in self.measures.items()]
        if self.candidates:
            counts = ", ".join(f"{count} {why}" for why, count in self.candidates.items())
            lines.append(f"    proposed: {counts}; {self.labelled} labelled, {len(self.failed)} failed")
        lines += [f"    no label: {reason.splitlines()[0]}" for reason in self.failed]
        return "\n".join(lines)

    def to_json(self) -> str:
        """The text that `read` reads."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Generation:
        """Raises ValueError naming the file if it is no record of a generation."""
        try:
            plain = read_json(path, RECORD, REMEDY, finite=False)  # a measure may have no value
            measures = {name: float(value) for name, value in plain["measures"].items()}
            return cls(**{**plain, "measures": measures, "failed": tuple(plain["failed"])})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: not {RECORD} ({error}); {REMEDY}") from error


@dataclass(frozen=True, kw_only=True)
class History:
    """All generations of one run, and the structures that each of them added."""

    generations: tuple[Generation, ...]
    added: tuple[tuple[ase.Atoms, ...], ...]  # labelled, by the generation whose potential asked for them
    folder: Path

    def measure(self, name: str) -> list[float]:
        """One measure, generation by generation. Raises KeyError naming those there are."""
        known = sorted(self.generations[0].measures)
        if name not in known:
            raise KeyError(f"name: got {name!r}, measured were {known}")
        return [generation.measures[name] for generation in self.generations]

    def predictor_path(self, generation: int = -1) -> Path:
        """The file of a generation's fitted predictor, for `uqlib.calibration.load`; the last one by default."""
        return predictor_path(self.folder, self.generations[generation].number)

    def __str__(self) -> str:
        return "\n".join(str(generation) for generation in self.generations)


def generation_folder(folder: Path, number: int) -> Path:
    """Where a run keeps a generation."""
    return folder / f"generation-{number}"


def predictor_path(folder: Path, number: int) -> Path:
    """The file of a generation's fitted predictor."""
    return generation_folder(folder, number) / "predictor.uq"
