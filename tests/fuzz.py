"""Every reader of files, fed with what nobody wrote: spoilt copies of real files, for a minute or for hours.

    python tests/fuzz.py --seconds 1200                 # by mutation, all readers in turn; `make test` takes a minute
    python tests/fuzz.py --seconds 1200 --coverage xyz  # one of them led by coverage: pip install atheris

A reader may refuse, with a ValueError that names the file, or read; it may not end the process, raise anything else,
or take longer than `HANG`. What it reads must make a batch, or be refused there with a ValueError.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import json
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HANG = 5.0  # seconds of the processor
CRYSTAL = b'1\nLattice="3 0 0 0 3 0 0 0 3" energy=1 stress="1 2 3 2 4 5 3 5 6"\nH 0 0 0\n'
WORDS = (
    b"0", b"-1", b"1e999", b"nan", b"NaN", b"inf", b"Infinity", b"99999999999999999999", b"1e308", b"-0", b"null",
    b"true", b'"', b"'", b"[", b"]", b"{", b"}", b"=", b":", b",", b"\n", b"\r", b"\t", b"\0", b"\xff", b"\\", b"#",
    b"Properties=", b"Lattice=", b"pbc=", b"energy=", b"forces:R:3", b"species:S:1", b"pos:R:3", b"REF_", b"1000000000",
    b"train", b"valid", b"..", b"/", b"checkpoints", b"epochs", b"features", b"seeds", b"stress", b"virial", b"1.5",
    b"__ndarray__", b"oracle", b"check", b"positions", b"PK\x03\x04", b"\x80\x02", b"\x93NUMPY",
)  # fmt: skip
"""What readers look for, and numbers at their limits."""


@dataclass(frozen=True)
class Target:
    """A reader, the ending of its files, and some of them."""

    ending: str
    read: Callable[[Path], object]
    seeds: list[bytes]


def targets() -> dict[str, Target]:
    """All readers by name."""
    import ase.io
    import numpy as np
    import samples
    import torch

    from uqlib import calibration
    from uqlib.active_learning import LabelStore
    from uqlib.active_learning.history import Generation
    from uqlib.active_learning.labels import rounded_copy
    from uqlib.active_learning.loop import _claim
    from uqlib.common.json_files import read_json
    from uqlib.loops import packing, reading
    from uqlib.methods import Ensemble
    from uqlib.oracles import labelled_copy
    from uqlib.structures import datasets
    from uqlib.structures.datasets import DATA
    from uqlib.study.grid import FOLDER, load_grid
    from uqlib.study.stored import read_cell

    torch.set_num_threads(1)

    def made(write: Callable[[Path], object], ending: str) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"seed{ending}"
            write(path)
            return path.read_bytes()

    def structures(path: Path, **options: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = datasets.read(path, **options)  # pyright: ignore[reportArgumentType]
            str(data.report())
            if len(data) < 50 and max(map(len, data.atoms)) < 500:
                data.batch()

    def label(path: Path) -> None:
        store = LabelStore(path.parent, Springs())
        store._path = lambda _: path  # pyright: ignore[reportAttributeAccessIssue]
        store._read(0, FRAME)

    class Springs:
        def identity(self) -> str:
            return "springs"

        def label(self, atoms):
            return labelled_copy(atoms, energy=1.0, forces=np.zeros((len(atoms), 3)))

    def stored(path: Path) -> None:
        store = LabelStore(path.parent, Springs())
        store.label([FRAME], progress=False)
        next(path.parent.glob("*.json")).replace(path)

    FRAME = rounded_copy(samples.rattled("NH3", 0))
    data = samples.dataset({"train": 4, "valid": 2})
    network = {"features": 2, "interactions": 1, "radial": 2, "cutoff": 2.0}
    fitted = Ensemble(members=2, network=network, settings=samples.BRIEF).fit(
        data["train"], data["valid"], seed=0, progress=False
    )
    xyz = (DATA / "ammonia" / "test.xyz").read_bytes()
    few = b"".join(xyz.splitlines(keepends=True)[: 2 * (2 + int(xyz.split()[0]))])
    arrays = {"z": np.array([8, 1]), "R": np.arange(12.0).reshape(2, 2, 3), "E": np.zeros(2), "F": np.ones((2, 2, 3))}
    cell = (FOLDER / "teaching" / "ammonia" / "0" / "mve.json").read_bytes()
    record = Generation(
        number=0, train=1, valid=1, measures={"a": 1.0}, candidates={"kept": 1}, labelled=1, failed=("no",)
    ).to_json()

    def in_place(path: Path) -> None:
        place = path.parent / "ammonia" / "0"
        place.mkdir(parents=True, exist_ok=True)
        read_cell(path.replace(place / "mve.json"))

    def claim(path: Path) -> None:
        path.replace(path.parent / "run.json")
        _claim(path.parent, {"seed": 0, "train": "a"})

    npz = made(lambda path: np.savez(path, **arrays), ".npz")
    packed = made(lambda path: np.savez_compressed(path, **arrays), ".npz")
    database = made(lambda path: ase.io.write(path, list(data.atoms[:2])), ".json")
    trajectory = made(lambda path: ase.io.write(path, list(data.atoms[:2])), ".traj")
    card = (DATA / "ammonia" / "card.json").read_bytes()
    labels = b"".join((DATA / "loops" / "ammonia" / "labels.jsonl").read_bytes().splitlines(keepends=True)[:3])
    return {
        "xyz": Target(".xyz", structures, [few, CRYSTAL]),
        "packed xyz": Target(".xyz.gz", structures, [gzip.compress(few)]),
        "npz": Target(".npz", lambda path: structures(path, energy_unit="eV"), [npz, packed]),
        "nff": Target(".pth.tar", structures, [nff_bytes(zipped) for zipped in (True, False)]),
        "database": Target(".json", structures, [database]),
        "traj": Target(".traj", structures, [trajectory]),
        "uq": Target(".uq", calibration.load, [made(fitted.save, ".uq")]),
        "uq body": Target(".uq", rehashed(calibration.load), [made(fitted.save, ".uq")]),
        "cell": Target(".json", in_place, [cell]),
        "label": Target(".json", label, [made(stored, ".json")]),
        "labels": Target(".jsonl", packing._read, [labels]),
        "record": Target(".json", Generation.read, [record.encode()]),
        "run": Target(".json", claim, [b'{"seed": 0, "train": "a"}']),
        "card": Target(".json", lambda path: read_json(path, "a card", "restore it"), [card]),
        "study.toml": Target(".toml", load_grid, [(FOLDER / "teaching.toml").read_bytes()]),
        "loops.toml": Target(".toml", reading.load_grid, [reading.DEFAULT.read_bytes()]),
    }  # fmt: skip


def nff_bytes(zipped: bool) -> bytes:
    """A small archive as NFF writes it: a pickled object of its class."""
    import io

    import torch

    module = type(sys)("nff.data.dataset")
    kind = type("Dataset", (), {"__module__": "nff.data.dataset"})
    module.Dataset = kind  # pyright: ignore[reportAttributeAccessIssue]
    names = {"nff": type(sys)("nff"), "nff.data": type(sys)("nff.data"), "nff.data.dataset": module}
    sys.modules.update(names)
    try:
        one: Any = kind()
        table = torch.tensor([[8.0, 0, 0, 0], [1.0, 0, 0, 1.0]])
        one.props = {"nxyz": [table], "energy": [torch.tensor(1.0)], "energy_grad": [torch.zeros(2, 3)]}
        one.units = "kcal/mol"
        buffer = io.BytesIO()
        torch.save(one, buffer, _use_new_zipfile_serialization=zipped)
        return buffer.getvalue()
    finally:
        for name in names:
            del sys.modules[name]


def rehashed(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """A reader of files whose sums are put right first, so that what lies behind them is reached."""
    import hashlib

    def inner(path: Path) -> object:
        head, _, body = path.read_bytes().partition(b"\n")
        try:
            found = json.loads(head)
            found |= {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            path.write_bytes(json.dumps(found).encode() + b"\n" + body)
        except (ValueError, TypeError):
            pass
        return read(path)

    return inner


def mutated(seed: bytes, draw: random.Random) -> bytes:
    """A spoilt copy: cut, bits turned, pieces doubled, moved, left out, or exchanged for words that readers know."""
    found = bytearray(seed)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 8))):
        at, length = draw.randrange(len(found) + 1), draw.choice((1, 2, 4, 16, 64))
        kind = draw.randrange(7)
        if kind == 0 and found:
            found[min(at, len(found) - 1)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            found[at : at + length] = draw.choice(WORDS)
        elif kind == 2:
            found[at:at] = draw.choice(WORDS)
        elif kind == 3:
            del found[at : at + length]
        elif kind == 4:
            found[at:at] = found[at : at + length] * draw.choice((1, 2, 100))
        elif kind == 5:
            del found[draw.randrange(len(found) + 1) :]
        else:
            found[at : at + length] = draw.randbytes(length)
    return bytes(found)


def attempt(target: Target, content: bytes, folder: Path) -> bool:
    """Read it once; whether it was accepted. Raises AssertionError for what a reader may not do."""
    path = folder / f"input{target.ending}"
    path.write_bytes(content)
    started = time.process_time()
    try:
        target.read(path)
        accepted = True
    except ValueError as error:
        if not str(error):
            raise AssertionError("an error without words") from error
        accepted = False
    spent = time.process_time() - started
    assert spent < HANG, f"took {spent:.1f} s"
    return accepted


def by_mutation(target: Target, seconds: float, *, seed: int, most: int | None = None) -> tuple[int, int]:
    """How many inputs were tried, and how many of them were accepted. Raises with the input of a fault in its words."""
    draw, tried, accepted = random.Random(seed), 0, 0
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        while (most is None or tried < most) and time.monotonic() < deadline:
            content = mutated(draw.choice(target.seeds), draw)
            try:
                accepted += attempt(target, content, Path(folder))
            except Exception as error:
                kept = Path(tempfile.gettempdir()) / f"fault{target.ending}"
                kept.write_bytes(content)
                raise AssertionError(f"input {tried} ({kept}): {type(error).__name__}: {error}") from error
            tried += 1
    return tried, accepted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="all together")
    parser.add_argument("--seed", type=int, default=None, help="of a run that is to be repeated")
    parser.add_argument("--only", metavar="NAME", help="one reader")
    parser.add_argument("--coverage", metavar="NAME", help="one reader, led by coverage")
    arguments = parser.parse_args()
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    if arguments.coverage:
        return by_coverage(arguments.coverage, arguments.seconds)
    known, faults, total = targets(), 0, 0
    known = {arguments.only: known[arguments.only]} if arguments.only else known
    for name, target in known.items():
        seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
        share, tried = arguments.seconds / len(known), 0
        deadline = time.monotonic() + share
        while time.monotonic() < deadline:
            try:
                found, accepted = by_mutation(target, deadline - time.monotonic(), seed=seed)
                tried += found
                print(f"{name}: {found} inputs, {accepted} accepted (seed {seed})", flush=True)
            except AssertionError as error:
                faults += 1
                print(f"{name}: FAULT {str(error)[:300]} (again: --only '{name}' --seed {seed})", flush=True)
            seed += 1
        total += tried
    print(f"{total} inputs, {faults} faults")
    return 1 if faults else 0


def by_coverage(name: str, seconds: float) -> int:
    """One reader with atheris, which keeps inputs that reach new lines."""
    atheris: Any = importlib.import_module("atheris")

    with atheris.instrument_imports(include=["uqlib.structures", "uqlib.common", "uqlib.study", "ase.io.extxyz"]):
        target = targets()[name]
    corpus = Path(tempfile.mkdtemp(prefix="corpus-"))
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    folder = Path(tempfile.mkdtemp(prefix="input-"))
    options = [f"-max_total_time={int(seconds)}", "-rss_limit_mb=4000", "-timeout=30", "-print_final_stats=1"]
    os.chdir(folder)
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda content: attempt(target, content, folder))
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
