"""Make `uqlib/data/ammonia`: NH3 at BP86-D3/def2-SVP, with its umbrella inversion left out of training.

    python -m scripts.data.make_ammonia --workers 2     # everything still missing, then the cards
    python -m scripts.data.make_ammonia --card          # only publish what is there

Splits: `train`, `valid`, `test` are thermal (300 K) displacements along the normal modes of one pyramidal minimum;
`path` is the minimum-energy inversion path; `grid` the surface of umbrella height x symmetric N-H distance; `hot`
holds dynamics at 600 and 1000 K and stretched N-H bonds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from scipy.optimize import minimize, root_scalar
from tqdm.auto import tqdm

from scripts.data.campaign import Campaign, interleave, run, tag
from scripts.data.cards import CardText
from scripts.data.sampling import langevin
from uqlib.oracles import PySCFOracle
from uqlib.structures.units import KB

ORACLE = PySCFOracle(level="bp86-d3/def2-svp")
TEMPERATURE = 300.0  # K, of train, valid and test
COUNTS = {"train": 80, "valid": 20, "test": 100}
PATH_POINTS = 41
GRID_HEIGHTS = np.linspace(-0.70, 0.70, 20)  # Å
GRID_LENGTHS = np.linspace(0.86, 1.34, 20)  # Å
HOT_TRAJECTORIES = {600.0: 3, 1000.0: 6}  # K -> number of trajectories of 15 frames each
STRETCHED = 65


def symmetric(height: float, radius: float) -> Atoms:
    """NH3 with a threefold axis along z: N `height` (Å) above the plane of the H, these `radius` (Å) off the axis."""
    angles = np.arange(3) * 2 * np.pi / 3
    hydrogens = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.zeros(3)], axis=1)
    return Atoms("NH3", positions=np.vstack([[0.0, 0.0, height], hydrogens]))


def umbrella(atoms: Atoms) -> float:
    """Height (Å) of N above the plane of the three H; its sign tells which way the umbrella points."""
    nitrogen, *hydrogens = atoms.positions
    first, second, third = hydrogens
    normal = np.cross(second - first, third - first)
    return float((nitrogen - first) @ normal / np.linalg.norm(normal))


def symmetric_derivatives(height: float, radius: float) -> tuple[float, NDArray[np.float64]]:
    """Energy (eV) and its derivatives (eV/Å) by height and radius."""
    atoms = ORACLE.label(symmetric(height, radius))
    forces = atoms.get_forces()
    radial = atoms.positions[1:] / radius
    radial[:, 2] = 0.0
    return atoms.get_potential_energy(), np.array([-forces[0, 2], -(forces[1:] * radial).sum()])


def find_minimum() -> tuple[float, float]:
    """Height and radius (Å) of the pyramidal minimum, to 1e-4 eV/Å."""
    found = minimize(
        lambda x: symmetric_derivatives(*x), x0=np.array([0.38, 0.95]), jac=True, method="BFGS", options={"gtol": 1e-4}
    )
    return float(found.x[0]), float(found.x[1])


def inversion_path(height: float, radius: float) -> list[Atoms]:
    """The inversion, from one minimum to its mirror image, at even steps of the umbrella height.

    The threefold axis is kept by symmetry along the whole minimum-energy path, which leaves one coordinate to relax at
    each height: the distance of the H from the axis. The second half mirrors the first.
    """
    heights = np.linspace(height, 0.0, PATH_POINTS // 2 + 1)
    radii = [radius]
    for h in tqdm(heights[1:], desc="relaxing the path", unit="point"):
        guess = 2 * radii[-1] - radii[-2] if len(radii) > 1 else radii[-1] + 0.01
        solution = root_scalar(lambda r, h=h: symmetric_derivatives(h, r)[1][1], x0=guess, x1=guess + 0.003, xtol=1e-6)
        radii.append(float(solution.root))
    half = list(zip(heights, radii, strict=True))
    return [symmetric(h, r) for h, r in half] + [symmetric(-h, r) for h, r in half[-2::-1]]


def hessian(atoms: Atoms, step: float = 0.005) -> NDArray[np.float64]:
    """Second derivatives (3N, 3N) in eV/Å^2 by central differences of the forces, `step` in Å."""
    rows = []
    for coordinate in tqdm(range(3 * len(atoms)), desc="Hessian", unit="coordinate"):
        forces = []
        for sign in (+1, -1):
            moved = atoms.copy()
            moved.positions.flat[coordinate] += sign * step
            forces.append(ORACLE.label(moved).get_forces().ravel())
        rows.append((forces[1] - forces[0]) / (2 * step))
    matrix = np.array(rows)
    return (matrix + matrix.T) / 2


def normal_mode_samples(
    atoms: Atoms, second: NDArray[np.float64], temperature: float, count: int, rng: np.random.Generator
) -> list[Atoms]:
    """Classical harmonic Boltzmann distribution at `temperature` (K): every vibration has kT/2 of potential energy."""
    root_mass = np.sqrt(np.repeat(atoms.get_masses(), 3))
    values, vectors = np.linalg.eigh(second / np.outer(root_mass, root_mass))
    values, vectors = values[6:], vectors[:, 6:]  # the six lowest are translations and rotations
    amplitudes = np.sqrt(KB * temperature / values) * rng.standard_normal((count, len(values)))
    displacements = (amplitudes @ vectors.T / root_mass).reshape(count, -1, 3)
    return [Atoms(atoms.numbers, positions=atoms.positions + displacement) for displacement in displacements]


def stretched(samples: list[Atoms], rng: np.random.Generator) -> list[Atoms]:
    """Thermal geometries with one N-H bond, chosen at random, set to lengths from 0.8 to 2.0 Å."""
    frames = []
    for k, (atoms, length) in enumerate(zip(samples, np.linspace(0.8, 2.0, len(samples)), strict=True)):
        hydrogen = int(rng.integers(1, 4))
        atoms.set_distance(0, hydrogen, length, fix=0)
        more = {"umbrella": round(umbrella(atoms), 6), "bond_length": round(float(length), 6)}
        frames.append(tag(atoms, split="hot", source="stretch", group=f"stretch-{k:03d}", **more))
    return frames


def hot_dynamics(atoms: Atoms, rng: np.random.Generator) -> list[Atoms]:
    """Langevin dynamics on GFN2-xTB: after 0.5 ps, a frame every 60 fs; a trajectory is a group."""
    frames = []
    for temperature, trajectories in HOT_TRAJECTORIES.items():
        for trajectory in range(trajectories):
            group = f"md-{temperature:.0f}K-{trajectory}"
            sampled = langevin(atoms, temperature, rng=rng, equilibrate=500.0, every=60.0, count=15, time_step=0.5)
            for frame in sampled:
                more = {"umbrella": round(umbrella(frame), 6), "temperature": temperature}
                frames.append(tag(frame, split="hot", source=f"md-{temperature:.0f}K", group=group, **more))
    return frames


def plan(seed: int) -> list[Atoms]:
    """All geometries, the most urgent first: train and valid, then the path, then the rest evenly mixed."""
    rng = np.random.default_rng(seed)
    height, radius = find_minimum()
    lowest = symmetric(height, radius)
    second = hessian(lowest)
    thermal: dict[str, list[Atoms]] = {}
    for split, count in COUNTS.items():
        thermal[split] = [
            tag(
                atoms,
                split=split,
                source="normal-modes",
                group=f"normal-modes-{split}-{k:03d}",
                umbrella=round(umbrella(atoms), 6),
                temperature=TEMPERATURE,
            )
            for k, atoms in enumerate(normal_mode_samples(lowest, second, TEMPERATURE, count, rng))
        ]
    path = [
        tag(atoms, split="path", source="path", group="path", umbrella=round(umbrella(atoms), 6))
        for atoms in inversion_path(height, radius)
    ]
    grid = [
        tag(
            symmetric(h, float(np.sqrt(length**2 - h**2))),
            split="grid",
            source="grid",
            group=f"grid-{row:02d}",
            umbrella=round(float(h), 6),
            bond_length=round(float(length), 6),
        )
        for row, h in enumerate(GRID_HEIGHTS)
        for length in GRID_LENGTHS
    ]
    hot = interleave(
        hot_dynamics(lowest, rng),
        stretched(normal_mode_samples(lowest, second, TEMPERATURE, STRETCHED, rng), rng),
    )
    return [*interleave(thermal["train"], thermal["valid"]), *path, *interleave(thermal["test"], hot, grid)]


def path_checks(path: Sequence[Atoms]) -> dict[str, object]:
    """The inversion path: barrier, symmetry, and its forces integrated against its energies (trapezoids)."""
    energies = np.array([atoms.get_potential_energy() for atoms in path])
    work = []
    for first, second in pairwise(path):
        step = second.positions - first.positions
        work.append(-((first.get_forces() + second.get_forces()) / 2 * step).sum())
    mirror = np.abs(energies - energies[::-1]).max()
    mismatch = np.abs(np.cumsum(work) - (energies[1:] - energies[0])).max()
    return {
        "inversion barrier (eV)": round(float(energies.max() - energies[0]), 4),
        "umbrella height at the saddle (Å)": round(umbrella(path[int(energies.argmax())]), 6),
        "umbrella height at the minimum (Å)": round(umbrella(path[0]), 4),
        "N-H distance at the minimum (Å)": round(float(path[0].get_distance(0, 1)), 4),
        "largest force at the minimum (eV/Å)": round(float(np.abs(path[0].get_forces()).max()), 6),
        "largest energy difference between mirror images (meV)": float(f"{1000 * mirror:.1e}"),
        "forces integrated along the path miss the energies by at most (meV)": round(1000 * float(mismatch), 3),
    }


def checks(splits: Mapping[str, Sequence[Atoms]]) -> dict[str, object]:
    """Numbers for the card, as far as the labels go."""
    result: dict[str, object] = {}
    if len(splits.get("path", ())) == PATH_POINTS:
        result |= path_checks(splits["path"])
    for split in COUNTS:
        heights = [umbrella(atoms) for atoms in splits.get(split, ())]
        if heights:
            result[f"umbrella heights in {split} (Å)"] = f"{min(heights):.3f} to {max(heights):.3f}"
    dynamics = [umbrella(atoms) for atoms in splits.get("hot", ()) if atoms.info["source"].startswith("md")]
    if dynamics:
        result["frames of hot dynamics that have inverted"] = f"{sum(h < 0 for h in dynamics)} of {len(dynamics)}"
    return result


THERMAL = (
    "classical harmonic Boltzmann distribution at 300 K along the six normal modes of one pyramidal minimum (Hessian "
    "by finite differences at the level of the labels)"
)
TEXT = CardText(
    title="Ammonia: one side of an umbrella",
    level="BP86-D3(zero)/def2-SVP with density fitting, restricted closed shell, PySCF",
    settings={
        "functional": "B88 exchange, P86 correlation on VWN (PySCF `b88,p86vwn`), D3 with zero damping (`dftd3`, `bp`)",
        "integration grid level (PySCF)": ORACLE.grid_level,
        "SCF energy tolerance (hartree)": ORACLE.energy_tolerance,
        "forces": "analytic, with the response of the density-functional grid",
    },
    packages=("pyscf", "dftd3", "tblite", "ase"),
    sampling={
        "train": THERMAL,
        "valid": THERMAL,
        "test": THERMAL + "; in domain",
        "path": f"minimum-energy inversion path, {PATH_POINTS} points at even steps of the umbrella height; the "
        "threefold axis is kept by symmetry, the H-axis distance relaxed at each height; the second half mirrors the "
        "first, and has labels of its own",
        "grid": f"{len(GRID_HEIGHTS)} umbrella heights x {len(GRID_LENGTHS)} symmetric N-H distances, threefold axis",
        "hot": "Langevin dynamics on GFN2-xTB (friction 0.01/fs, step 0.5 fs, a frame every 60 fs) at 600 and 1000 K, "
        "and thermal geometries with one N-H bond set to 0.8 to 2.0 Å",
    },
    info_keys={
        "source": "how the geometry was made: `normal-modes`, `path`, `grid`, `md-600K`, `md-1000K`, `stretch`",
        "group": "frames of one trajectory share it; split by it",
        "umbrella": "height of N above the plane of the three H, in Å; the sign tells which way the umbrella points",
        "temperature": "in K, where sampled thermally",
        "bond_length": "in Å: of all N-H in `grid`, of the stretched one in `hot`",
    },
    limits=(
        "Training, validation and test geometries lie on one side of the inversion, by design.",
        "Classical nuclei: zero-point motion, which is wider in the N-H stretches, is not sampled.",
        "Restricted closed shell: a stretched bond dissociates into ions or too high, not into radicals.",
        "Hot geometries come from another surface (GFN2-xTB); only their labels are DFT.",
        "def2-SVP is a small basis; the barrier is that of this level, not of nature.",
    ),
    references=(
        "The study whose system this is: Tan et al., npj Comput. Mater. 9, 225 (2023)",
        "BP86: Becke, Phys. Rev. A 38, 3098 (1988); Perdew, Phys. Rev. B 33, 8822 (1986)",
        "def2-SVP: Weigend and Ahlrichs, Phys. Chem. Chem. Phys. 7, 3297 (2005)",
        "D3: Grimme et al., J. Chem. Phys. 132, 154104 (2010)",
        "PySCF: Sun et al., J. Chem. Phys. 153, 024109 (2020)",
        "GFN2-xTB: Bannwarth, Ehlert and Grimme, J. Chem. Theory Comput. 15, 1652 (2019)",
    ),
    command="python -m scripts.data.make_ammonia",
)

CAMPAIGN = Campaign(name="ammonia", oracle=ORACLE, seed=2023, plan=plan, text=TEXT, checks=checks)

if __name__ == "__main__":
    raise SystemExit(run(CAMPAIGN))
