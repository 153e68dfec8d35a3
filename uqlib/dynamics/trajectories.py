"""What dynamics leave behind: `Trajectories` in memory, and one extended XYZ file a replica on disk."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ase
import ase.io
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Reason = Literal["completed", "broken", "uncertain", "not finite"]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """When a replica ended and why, with the last structure whose numbers were all finite."""

    time: float  # fs
    reason: Reason  # "completed": it ran to the end
    detail: str  # in words
    atoms: ase.Atoms
    flagged: float | None  # fs, when its uncertainty first exceeded `flag_above`


@dataclass(frozen=True, kw_only=True)
class Trajectories:
    """S replicas at T moments. After a replica has ended its numbers are nan; `frames` leaves them out."""

    starts: tuple[ase.Atoms, ...]
    times: Array  # (T,)  fs
    positions: Array  # (T, N, 3)  Å, atoms of all replicas one behind another, not wrapped into the cell
    potential_energy: Array  # (T, S)  eV
    conserved: Array  # (T, S)  eV: total energy with that of the thermostat; nan under Langevin
    temperature: Array  # (T, S)  K
    force_uncertainty: Array  # (T, N)  eV/Å or nats
    unit: str  # of the uncertainty
    endings: tuple[Ending, ...]
    searches: int  # for neighbours, of one replica each

    @property
    def replica_of_atom(self) -> NDArray[np.int64]:
        """(N,)"""
        return np.repeat(np.arange(len(self.starts)), [len(atoms) for atoms in self.starts])

    @property
    def uncertainty(self) -> Array:
        """(T, S), that of the most uncertain atom."""
        sizes = np.array([len(atoms) for atoms in self.starts])
        return np.maximum.reduceat(self.force_uncertainty, np.cumsum(sizes) - sizes, axis=1)

    @property
    def durations(self) -> Array:
        """(S,) fs until each replica ended, for whatever reason."""
        return np.array([ending.time for ending in self.endings])

    @property
    def broken(self) -> NDArray[np.bool_]:
        """(S,) which broke a rule or had numbers that were not finite. The others were whole when the time was over.

        Raises ValueError where an uncertainty stopped some: nobody knows whether they would have broken, and they are
        not like the others, so that neither a share of `broken` nor a Kaplan-Meier curve would mean anything.
        """
        if stopped := int(self.ended("uncertain").sum()):
            raise ValueError(
                f"broken: {stopped} of {len(self.endings)} replicas were stopped by their uncertainty, expected only "
                'those that ran to the end or broke; give ended("broken", "not finite") and ended("uncertain") to '
                "`competing_risks`, or run again with flag_above in place of stop_above"
            )
        return self.ended("broken", "not finite")

    def ended(self, *reasons: Reason) -> NDArray[np.bool_]:
        """(S,) which ended for one of these reasons."""
        return np.array([ending.reason in reasons for ending in self.endings])

    def frames(self, replica: int) -> list[ase.Atoms]:
        """The recorded structures of one replica, up to its end, with `force_uncertainty` in their arrays."""
        own = self.replica_of_atom == replica
        there = np.isfinite(self.potential_energy[:, replica])
        frames = []
        for step in np.flatnonzero(there):
            info = {"time": float(self.times[step]), "potential_energy": float(self.potential_energy[step, replica])}
            spread = self.force_uncertainty[step, own]
            frames.append(snapshot(self.starts[replica], self.positions[step, own], uncertainty=spread, info=info))
        return frames

    def __str__(self) -> str:
        reasons = [ending.reason for ending in self.endings]
        counts = ", ".join(f"{reasons.count(reason)} {reason}" for reason in dict.fromkeys(sorted(reasons)))
        return f"{len(self.starts)} replicas, {self.times[-1]:g} fs: {counts}"


class Stream:
    """A folder with a file for each replica, `replica-000.xyz` and so on, that grows as the dynamics go.

    A frame is written in a single piece, so that a run that is killed leaves whole frames, readable by
    `ase.io.read(path, ":")`. Raises FileExistsError where the folder already holds such files.
    """

    def __init__(self, folder: str | Path, replicas: int) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.paths = [self.folder / f"replica-{replica:03d}.xyz" for replica in range(replicas)]
        if old := [path.name for path in self.paths if path.exists()]:
            raise FileExistsError(f"stream: {self.folder} already holds {old[0]}; name an empty folder or remove it")

    def write(self, replica: int, atoms: ase.Atoms) -> None:
        """Append one frame."""
        text = io.StringIO()
        ase.io.write(text, atoms, format="extxyz")
        with self.paths[replica].open("ab", buffering=0) as file:  # one system call for the whole frame
            file.write(text.getvalue().encode())


@dataclass(kw_only=True)
class Record:
    """Rows of numbers of the live replicas that become `Trajectories`, and go to the stream if there is one."""

    starts: tuple[ase.Atoms, ...]
    stream: Stream | None = None
    times: list[float] = field(default_factory=list)
    rows: dict[str, list[Array]] = field(default_factory=dict)

    def add(
        self,
        time: float,
        replicas: list[int],
        atoms: Array,
        *,
        positions: Array,
        force_uncertainty: Array,
        **scalars: Array,
    ) -> None:
        """Values of `replicas` (L,) and of their `atoms` (N,), by their indices among all."""
        self.times.append(time)
        total = sum(len(start) for start in self.starts)
        for name, values in {"positions": positions, "force_uncertainty": force_uncertainty}.items():
            self._append(name, (total, *values.shape[1:]), atoms, values)
        for name, values in scalars.items():
            self._append(name, (len(self.starts),), replicas, values)
        if self.stream is not None:
            last = np.cumsum([len(start) for start in self.starts])
            for replica in replicas:
                start = self.starts[replica]
                own = slice(last[replica] - len(start), last[replica])
                info = {name: float(self.rows[name][-1][replica]) for name in ("potential_energy", "temperature")}
                info["time"] = time
                here, spread = self.rows["positions"][-1][own], self.rows["force_uncertainty"][-1][own]
                self.stream.write(replica, snapshot(start, here, uncertainty=spread, info=info))

    def _append(self, name: str, shape: tuple[int, ...], where: Any, values: Array) -> None:
        row = np.full(shape, np.nan)
        row[where] = values
        self.rows.setdefault(name, []).append(row)

    def trajectories(self, *, endings: tuple[Ending, ...], unit: str, searches: int) -> Trajectories:
        arrays = {name: np.stack(rows) for name, rows in self.rows.items()}
        return Trajectories(
            starts=self.starts, times=np.array(self.times), endings=endings, unit=unit, searches=searches, **arrays
        )


def snapshot(
    start: ase.Atoms,
    positions: Array,
    *,
    velocities: Array | None = None,
    uncertainty: Array | None = None,
    info: Mapping[str, float] | None = None,
) -> ase.Atoms:
    """A structure like `start` at `positions` (N, 3) Å; velocities in ASE's units; uncertainty one an atom."""
    atoms = start.copy()
    atoms.arrays.pop("momenta", None)
    if velocities is not None:
        atoms.set_velocities(velocities)
    atoms.positions = positions
    if uncertainty is not None:
        atoms.set_array("force_uncertainty", uncertainty)
    atoms.info.update(info or {})
    return atoms
