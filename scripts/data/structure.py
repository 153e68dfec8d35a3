"""Structure of silica frames: coordination, angles and the first peaks of the pair distances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

BOND = 2.1  # Å; Si-O pairs closer than this are bonded
PEAKS = {"Si-O": (1.0, 2.1, 1.61), "O-O": (2.1, 3.2, 2.63), "Si-Si": (2.6, 3.6, 3.1)}  # Å: window, experiment


def bond_statistics(frames: Sequence[Atoms]) -> dict[str, str]:
    """Coordination numbers (per cent), angles (degrees) and mean first-neighbour distances (Å) over `frames`."""
    silicon: Counter[int] = Counter()
    oxygen: Counter[int] = Counter()
    inner: list[float] = []
    bridging: list[float] = []
    for atoms in frames:
        first, _, vectors = neighbor_list("ijD", atoms, {("Si", "O"): BOND})
        for atom in range(len(atoms)):
            bonds = vectors[first == atom]
            is_silicon = atoms.numbers[atom] == 14
            (silicon if is_silicon else oxygen)[len(bonds)] += 1
            (inner if is_silicon else bridging).extend(_angles(bonds))
    result = {
        "O around Si": _shares(silicon),
        "Si around O": _shares(oxygen),
        "O-Si-O (degrees)": f"{np.mean(inner):.1f} ± {np.std(inner):.1f}",
        "Si-O-Si (degrees)": f"{np.mean(bridging):.1f} ± {np.std(bridging):.1f}",
    }
    for pair, (low, high, experiment) in PEAKS.items():
        result[f"{pair} peak (Å)"] = f"{peak(frames, pair, low, high):.2f} (experiment, glass: {experiment})"
    return result


def peak(frames: Sequence[Atoms], pair: str, low: float, high: float, width: float = 0.04) -> float:
    """Position (Å) of the highest bin of the pair distances between `low` and `high`, divided by r^2."""
    one, other = pair.split("-")
    distances = np.concatenate([neighbor_list("d", atoms, {(one, other): high}) for atoms in frames])
    counts, edges = np.histogram(distances, bins=np.arange(low, high + width, width))
    centres = (edges[1:] + edges[:-1]) / 2
    return float(centres[np.argmax(counts / centres**2)])


def _angles(bonds: np.ndarray) -> list[float]:
    units = bonds / np.linalg.norm(bonds, axis=1, keepdims=True)
    cosines = (units @ units.T)[np.triu_indices(len(units), 1)]
    return np.degrees(np.arccos(np.clip(cosines, -1, 1))).tolist()


def _shares(counts: Counter[int]) -> str:
    total = sum(counts.values())
    return ", ".join(f"{number}: {100 * count / total:.1f} %" for number, count in sorted(counts.items()))
