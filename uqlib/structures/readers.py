"""The one list of formats: which reader takes a file, by its name or by how it begins.

A newcomer adds a function from a path to frames, and a line in `READERS`. Compressed files (`.gz`, `.bz2`, `.xz`) are
opened as what they hold, and the case of an ending does not matter.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import ase
import ase.io

from uqlib.common.temporary import own_folder
from uqlib.structures import arrays, cp2k, databases, deepmd, extxyz, hdf5, nff
from uqlib.structures.bounds import unpacked
from uqlib.structures.keys import Options

OPENERS: dict[str, Callable] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
START = 100_000  # bytes in which a program's output says whose it is
END = 100_000  # bytes in which it says that it has come to its end


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How files of one kind are known and read. Its frames carry all they have; labels are chosen afterwards."""

    name: str
    patterns: tuple[str, ...]  # of the lower-case name without the ending of a compression
    read: Callable[[Path, Options], extxyz.Found]
    marks: tuple[bytes, ...] = ()  # or what its beginning holds, for names that say nothing
    own_units: bool = False  # it says them, or its reader knows them: stating others is refused
    converts: bool = False  # its reader brings labels to eV and Å itself, by the units that were stated
    parts: tuple[str, ...] = ()  # other files, relative to its own, that it reads with it
    end: bytes = b""  # what stands near the end of a file that is whole
    labelled: bool = True  # False: geometries alone, which a folder of calculations leaves aside


def _found(frames: list[ase.Atoms]) -> extxyz.Found:
    return extxyz.Found(frames=frames, notes=[])


def _npz(path: Path, options: Options) -> extxyz.Found:
    if options.energy_unit is None:
        raise ValueError(f"energy_unit: got None; {path.name} does not say its units, its authors do")
    keys = {q: options.keys_for(k) for q, k in (("energies", "energy"), ("forces", "forces"))}
    frames = arrays.read_npz(
        path,
        energy_unit=options.energy_unit,
        length_unit=options.length_unit or "Å",
        forces_unit=options.forces_unit,
        keys=keys,
    )
    left = arrays.left_over(path, keys)
    return extxyz.Found(frames=frames, notes=[f"not used: {', '.join(left)}"] if left else [])


def _ase(name: str) -> Callable[[Path, Options], extxyz.Found]:
    def read(path: Path, options: Options) -> extxyz.Found:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # ASE's, of things in the file that it passes over
                return _found(list(ase.io.iread(path, index=":", format=name)))
        except Exception as error:  # its parsers raise whatever they stumble on
            raise ValueError(f"{path}: not {name}, or cut short ({type(error).__name__}: {error})") from error

    return read


def _cp2k(path: Path, options: Options) -> extxyz.Found:
    try:
        return _found(cp2k.parse(path.read_text(encoding="utf-8", errors="replace")))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _output(
    name: str, kind: str, *patterns: str, marks: tuple[bytes, ...] = (), end: bytes = b"", labelled: bool = True
) -> Reader:
    return Reader(
        name=name, patterns=patterns, read=_ase(kind), marks=marks, own_units=True, end=end, labelled=labelled
    )


READERS = (
    Reader(name="extended XYZ", patterns=("*.xyz", "*.extxyz"), read=lambda p, o: extxyz.read(p, opened)),
    Reader(
        name="ASE database", patterns=("*.db", "*.json"), read=lambda p, o: _found(databases.read(p, o)),
        marks=(b"SQLite format 3\0",),
    ),
    Reader(
        name="NFF archive", patterns=("*.pth.tar", "*.pth"), read=lambda p, o: _found(nff.read(p)), own_units=True
    ),
    Reader(name="numpy archive", patterns=("*.npz",), read=_npz, converts=True),
    Reader(
        name="HDF5", patterns=("*.h5", "*.hdf5"), read=lambda p, o: _found(hdf5.read(p, o)),
        marks=(b"\x89HDF\r\n\x1a\n",), converts=True,
    ),
    Reader(
        name="DeePMD system", patterns=("type.raw",), read=lambda p, o: _found(deepmd.read(p)), own_units=True,
        parts=("type_map.raw", "nopbc", "set.*/*.npy"),
    ),
    Reader(
        name="ASE trajectory", patterns=("*.traj",), read=_ase("traj"), marks=(b"- of UlmASE-Trajectory",)
    ),
    _output("VASP OUTCAR", "vasp-out", "*outcar*", end=b"General timing and accounting"),
    _output("VASP XML", "vasp-xml", "*vasprun*.xml*", marks=(b"<modeling>",), end=b"</modeling>"),
    Reader(name="CP2K output", patterns=(), read=_cp2k, marks=(cp2k.MARK.encode(),), own_units=True),
    _output("ORCA output", "orca-output", marks=(b"* O   R   C   A *",)),
    _output("Quantum ESPRESSO output", "espresso-out", "*.pwo", marks=(b"Program PWSCF",)),
    _output("FHI-aims output", "aims-output", marks=(b"Invoking FHI-aims ...",)),
    _output("CASTEP output", "castep-castep", "*.castep"),
    _output("CASTEP dynamics", "castep-md", marks=(b"<-- E",)),
    _output("Gaussian output", "gaussian-out", marks=(b"Entering Gaussian System",)),
    _output("NWChem output", "nwchem-out", "*.nwo", marks=(b"Northwest Computational Chemistry Package",)),
    _output("GPAW output", "gpaw-out", marks=(b"  ___ ___ ___ _ _ _",)),
    _output("CIF", "cif", "*.cif", labelled=False),
    _output("VASP POSCAR", "vasp", "*poscar*", "*contcar*", "*.vasp", labelled=False),
    _output("XDATCAR", "vasp-xdatcar", "*xdatcar*", labelled=False),
    _output("PDB", "proteindatabank", "*.pdb", labelled=False),
)  # fmt: skip


def opened(path: Path) -> io.BufferedIOBase:
    """A file as bytes, unpacked where it is compressed."""
    return OPENERS.get(path.suffix.lower(), open)(path, "rb")


def reader_for(path: Path) -> Reader | None:
    """Who reads a file, by its name and, where that says nothing, by its beginning; None for what nobody reads."""
    name = path.name.lower()
    if path.suffix.lower() in OPENERS:
        name = name.removesuffix(path.suffix.lower())
    for reader in READERS:
        if any(fnmatch(name, pattern) for pattern in reader.patterns):
            return reader
    try:
        with opened(path) as file:
            start = file.read(START)
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return None
    return next((reader for reader in READERS if any(mark in start for mark in reader.marks)), None)


def breaks_off(path: Path, reader: Reader) -> bool:
    """Whether a file lacks what stands at the end of a whole one; False where nothing is known of that."""
    if not reader.end:
        return False
    with opened(path) as file:
        last = b""
        while block := file.read(END):
            last = last[-END:] + block
    return reader.end not in last


def endings() -> str:
    """The endings that are known, for people."""
    patterns = dict.fromkeys(p.replace("*", "") for reader in READERS for p in reader.patterns)
    return ", ".join(p if p.startswith(".") else p.upper() for p in patterns)


def read_file(path: Path, reader: Reader, options: Options) -> extxyz.Found:
    """All frames of a file, with everything that it says of them. Raises ValueError when it is broken."""
    if reader.own_units and options.units_stated:
        raise ValueError(
            f"{options.units_stated[0]}: got {getattr(options, options.units_stated[0])!r}; {path.name} is a "
            f"{reader.name}, which is read in its own units"
        )
    if path.suffix.lower() not in OPENERS or reader.name == "extended XYZ":
        return reader.read(path, options)
    with _unpacked(path) as plain:
        return reader.read(plain, options)


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The content of a compressed file as one that can be named, for as long as it is read."""
    with own_folder("unpacked") as folder:
        plain = folder / path.name[: -len(path.suffix)]
        try:
            with opened(path) as file:
                content = unpacked(file, path.stat().st_size, str(path))
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise ValueError(f"{path}: cut short, or not compressed as it says ({error})") from error
        plain.write_bytes(content)
        yield plain
