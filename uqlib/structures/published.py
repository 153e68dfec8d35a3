"""Data that others published: fetched once, checked against a known hash, kept in one folder, converted to eV and Å.

The folder is `UQLIB_DATA_DIR` if that is set, else the cache folder of the operating system
(`~/.cache/uqlib` on Linux, `~/Library/Caches/uqlib` on macOS). Nothing of it is part of this project.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pooch

from uqlib.common.storage import write_atomically
from uqlib.structures import nff
from uqlib.structures.arrays import labelled, read_npz

GITHUB = "https://raw.githubusercontent.com"
BOTNET = f"{GITHUB}/davkovacs/BOTNet-datasets/29e6d467317e4b5967b7ea5cbee54de953fa0d45/dataset_ethanol"
ATTACKS = f"{GITHUB}/learningmatter-mit/Atomistic-Adversarial-Attacks/98f2695dd24d75baddd730badb9b222592252fec/data"
SI_ZEO22 = f"{GITHUB}/tysours/Si-ZEO22/ef3624fc7212de76dd1c8dcd00dfd5c6498e04f0/data"
SI_ZEO22_HASHES = Path(__file__).with_name("si_zeo22.txt")
RMD17_MOLECULES = (
    "aspirin", "azobenzene", "benzene", "ethanol", "malonaldehyde",
    "naphthalene", "paracetamol", "salicylic", "toluene", "uracil",
)  # fmt: skip
RMD17_LEVEL = "PBE/def2-SVP, ORCA (Christensen & von Lilienfeld 2020)"


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file somewhere, and how to know that what came is what was meant."""

    name: str  # in the folder of published data
    url: str
    sha256: str | None
    git_blob: str | None = None  # git's SHA-1 of it, where the SHA-256 is not known


@dataclass(frozen=True, kw_only=True)
class Published:
    """Structures with labels in eV and Å, the splits that their authors gave them, and where they come from."""

    atoms: list[ase.Atoms]
    splits: dict[str, list[int]]
    card: dict[str, Any]


RMD17_ARCHIVE = RemoteFile(
    name="rmd17.tar.bz2",
    url="https://figshare.com/ndownloader/files/23950376",
    sha256="cddeea2ec2c4b22a9de16a9a65a3eeedac5b29da9c99c20bbff0153912bf922b",
)
AMMONIA = RemoteFile(
    name="ammonia.pth.tar",
    url=f"{ATTACKS}/ammonia.pth.tar",
    sha256="4239507b2ee91d58edb395da67a73a0ed891d7c7e9453e59be2abf830604f273",
)
ETHANOL = {
    "train": RemoteFile(
        name="rmd17_ethanol_train.xyz",
        url=f"{BOTNET}/train.xyz",
        sha256="a26a16d8910581fa321fedc3bd3dfe31f2460e8cbfdc7a8f65243f4fd7250dd0",
    ),
    "h_removal": RemoteFile(
        name="rmd17_ethanol_test_H_removal.xyz",
        url=f"{BOTNET}/test_H_removal.xyz",
        sha256="8d9f13272eb1c7570edaf6afc31e6f8670df38c41b82611504878576708b1a1c",
    ),
    "dimers": RemoteFile(
        name="rmd17_ethanol_test_dimers.xyz",
        url=f"{BOTNET}/test_dimers.xyz",
        sha256="6beaf368c2caed6493a39c643438317246926675f14b188b7a2dcbd7868f7342",
    ),
    "isolated_atoms": RemoteFile(
        name="rmd17_ethanol_isolated_atoms.xyz",
        url=f"{BOTNET}/isolated_atoms.xyz",
        sha256="a2a662390f31ad623ce493038e680bc34214f88d4432566bf8fbd0761be57583",
    ),
}


def folder() -> Path:
    """Where published files are kept: `UQLIB_DATA_DIR`, else the cache of the operating system."""
    return Path(os.environ.get("UQLIB_DATA_DIR") or pooch.os_cache("uqlib"))


def fetch(file: RemoteFile, *, progress: bool = True) -> Path:
    """The file's path, after downloading it if it is not there. An interrupted download starts anew.

    Raises ValueError naming both hashes when what came, or what lies there, is not the file that was meant; what
    came is then not kept. Raises OSError where it cannot be reached; the message says how to get it by hand.
    """
    path = folder() / file.name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            pooch.retrieve(
                file.url,
                known_hash=None if file.sha256 is None else f"sha256:{file.sha256}",
                fname=file.name,
                path=path.parent,
                progressbar=progress,
            )
        except OSError as error:
            raise OSError(
                f"{file.url} could not be fetched ({error}); download it yourself and put it at {path}, "
                "or set UQLIB_DATA_DIR to a folder that has it"
            ) from error
        if file.sha256 is None:
            _refuse_if_other(file, path, keep=False)
    _refuse_if_other(file, path, keep=True)
    return path


def _refuse_if_other(file: RemoteFile, path: Path, *, keep: bool) -> None:
    known = file.sha256 is not None
    found, expected = _hash_of(path, path.stat(), git=not known), file.sha256 if known else file.git_blob
    if found != expected:
        if not keep:
            path.unlink()
        raise ValueError(
            f"{path}: got hash {found}, expected {expected}; "
            + ("delete it, and it will be fetched again" if keep else "the file was not kept")
        )


def _hash_of(path: Path, state: os.stat_result, *, git: bool) -> str:
    """SHA-256 of a file, or git's SHA-1; once in a process, unless the file changed since."""
    key = (path, state.st_size, state.st_mtime_ns, state.st_ino, git)
    if key not in _hashes:
        found = hashlib.sha1(b"blob %d\0" % state.st_size) if git else hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(1 << 24):
                found.update(part)
        _hashes[key] = found.hexdigest()
    return _hashes[key]


_hashes: dict[tuple[Any, ...], str] = {}


def names() -> list[str]:
    """What `load` knows."""
    return ["ammonia", "ethanol-extrapolation", *(f"rmd17/{m}" for m in RMD17_MOLECULES)] + [
        f"si-zeo22/{framework}" for framework in _si_zeo22_hashes()
    ]


def load(name: str, *, fold: int = 1, progress: bool = True) -> Published:
    """One of `names()`; rMD17 with its official split `fold`, 1 to 5.

    Raises ValueError for an unknown name or fold, and what `fetch` raises.
    """
    kind, _, member = name.partition("/")
    readers: dict[str, Callable[[], Published]] = {
        "rmd17": lambda: _rmd17(member, fold, progress),
        "si-zeo22": lambda: _si_zeo22(member, progress),
        "ethanol-extrapolation": lambda: _ethanol_extrapolation(progress),
        "ammonia": lambda: _ammonia(progress),
    }
    if name not in names():
        raise ValueError(
            f"name: got {name!r}, expected ammonia, ethanol-extrapolation, rmd17/<one of {', '.join(RMD17_MOLECULES)}> "
            "or si-zeo22/<three letters of a framework, sod for one>"
        )
    if fold not in range(1, 6):
        raise ValueError(f"fold: got {fold}, rMD17 has official splits 1 to 5")
    found = readers[kind]()
    return replace(found, card={**found.card, "name": name, "source": "published"})


def _rmd17(molecule: str, fold: int, progress: bool) -> Published:
    """Labels in kcal/mol become eV by multiplication: ethanol is near -4209 eV."""
    archive = f"rmd17/npz_data/rmd17_{molecule}.npz"
    files = {split: f"rmd17/splits/index_{split}_{fold:02d}.csv" for split in ("train", "test")}
    paths = _extract(RMD17_ARCHIVE, [archive, *files.values()], progress)
    chosen = {split: np.loadtxt(paths[file], dtype=int) for split, file in files.items()}
    atoms = read_npz(paths[archive], energy_unit="kcal/mol", frames=np.concatenate([*chosen.values()]))
    n = len(chosen["train"])
    splits = {"train": list(range(n)), "test": list(range(n, len(atoms)))}
    card = {"level": RMD17_LEVEL, "doi": "10.6084/m9.figshare.12672038", "licence": "CC0-1.0", "fold": fold}
    return Published(atoms=atoms, splits=splits, card=card)


def _ethanol_extrapolation(progress: bool) -> Published:
    """1000 frames of rMD17 to train on, and two sets far from them, energies only: removal of a hydrogen, dimers."""
    atoms: list[ase.Atoms] = []
    splits = {}
    for split, file in ETHANOL.items():
        part = [_without_box(frame) for frame in ase.io.iread(fetch(file, progress=progress), index=":")]
        splits[split] = list(range(len(atoms), len(atoms) + len(part)))
        atoms.extend(part)
    card = {"level": RMD17_LEVEL, "licence": "MIT", "url": BOTNET}
    return Published(atoms=atoms, splits=splits, card=card)


def _without_box(frame: Any) -> ase.Atoms:
    """These files carry a box of 50 Å that is not periodic, and energies, some of them without forces."""
    labels = frame.calc.results
    bare = labelled(frame.numbers, frame.positions, labels["energy"], labels.get("forces"))
    bare.info = dict(frame.info)
    return bare


def _ammonia(progress: bool) -> Published:
    """78 first geometries and three generations of 20 that attacks found, in the order of the archive."""
    atoms = nff.read(fetch(AMMONIA, progress=progress))
    splits = {"initial": list(range(78))}
    splits |= {f"generation_{g}": list(range(58 + 20 * g, 78 + 20 * g)) for g in (1, 2, 3)}
    card = {"level": "BP86-D3/def2-SVP, ORCA; energies relative", "licence": "MIT", "url": ATTACKS}
    return Published(atoms=atoms, splits=splits, card=card)


def _si_zeo22(framework: str, progress: bool) -> Published:
    known = _si_zeo22_hashes()[framework]
    git_blob = known.removeprefix("git:") if known.startswith("git:") else None
    file = RemoteFile(
        name=f"si-zeo22_{framework}.npz",
        url=f"{SI_ZEO22}/{framework}.npz",
        sha256=None if git_blob else known,
        git_blob=git_blob,
    )
    atoms = read_npz(fetch(file, progress=progress), energy_unit="eV")
    card = {"level": "PBE-D3(BJ), VASP, 400 eV", "licence": "CC0-1.0", "url": SI_ZEO22}
    return Published(atoms=atoms, splits={}, card=card)


def _extract(file: RemoteFile, members: list[str], progress: bool) -> dict[str, Path]:
    """The named members of a tar archive, each written whole or not at all beside the archive."""
    paths = {member: folder() / member for member in members}
    missing = {member for member, path in paths.items() if not _is_as_extracted(path)}
    if missing:
        with tarfile.open(fetch(file, progress=progress)) as archive:
            for entry in archive:
                stream = archive.extractfile(entry) if entry.name in missing else None
                if stream is not None:
                    with stream:
                        content = stream.read()
                    write_atomically(paths[entry.name], content)
                    write_atomically(_sum_of(paths[entry.name]), hashlib.sha256(content).hexdigest().encode())
    if absent := [member for member, path in paths.items() if not path.exists()]:
        raise ValueError(f"{folder() / file.name}: has no {', '.join(absent)}")
    return paths


def _sum_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256")


def _is_as_extracted(path: Path) -> bool:
    """Whether a member lies there with the hash that it had when it came out of its checked archive."""
    if not (path.exists() and _sum_of(path).exists()):
        return False
    return _hash_of(path, path.stat(), git=False) == _sum_of(path).read_text(encoding="ascii", errors="replace").strip()


def _si_zeo22_hashes() -> dict[str, str]:
    lines = SI_ZEO22_HASHES.read_text().splitlines()
    pairs = [line.split() for line in lines if not line.startswith("#")]
    return dict(pairs)
