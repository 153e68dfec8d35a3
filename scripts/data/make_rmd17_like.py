"""Make `uqlib/data/ethanol` or `uqlib/data/malonaldehyde` at the level of rMD17, PBE/def2-SVP.

    python -m scripts.data.make_rmd17_like ethanol --workers 2
    python -m scripts.data.make_rmd17_like malonaldehyde --card     # only publish what is there

Splits: `train`, `valid`, `test` from Langevin dynamics at 500 K on GFN2-xTB, each trajectory in one split only; `hot`
the same at 1000 K; and scans of what those never visit, see the molecule's `TEXT` below.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.mep import NEB
from ase.optimize import BFGS
from tqdm.auto import tqdm

from scripts.data.campaign import Campaign, interleave, run, tag
from scripts.data.cards import CardText
from scripts.data.sampling import langevin, xtb
from uqlib.oracles import PySCFOracle

ORACLE = PySCFOracle(level="pbe/def2-svp")
FRAMES_PER_TRAJECTORY = 25
EVERY = 40.0  # fs between frames of a trajectory
EQUILIBRATE = 400.0  # fs
TEMPERATURES = {"train": 500.0, "valid": 500.0, "test": 500.0, "hot": 1000.0}  # K


@dataclass(frozen=True, kw_only=True)
class Molecule:
    """One molecule of rMD17: its start, how many trajectories for each split, and its scans."""

    start: Callable[[], Atoms]
    rotor: tuple[int, int, int, int] | None  # dihedral turned at random before a trajectory; its last atom moves
    trajectories: Mapping[str, int]
    scans: Callable[[Atoms], list[list[Atoms]]]
    scan_sampling: Mapping[str, str]
    title: str
    limits: tuple[str, ...]


def relaxed(atoms: Atoms, *, largest_force: float = 0.005) -> Atoms:
    """The nearest minimum on GFN2-xTB (`largest_force` in eV/Å), as a bare geometry."""
    atoms = atoms.copy()
    atoms.calc = xtb()
    BFGS(atoms, logfile=None).run(fmax=largest_force, steps=500)
    return Atoms(numbers=atoms.numbers, positions=atoms.positions - atoms.get_center_of_mass())


def torsion_scan(
    atoms: Atoms, name: str, dihedral: tuple[int, int, int, int], turns: tuple[int, ...], degrees: np.ndarray
) -> list[Atoms]:
    """Rigid rotation of the atoms `turns` about the middle bond of `dihedral`; angles in degrees."""
    frames = []
    for angle in degrees:
        moved = atoms.copy()
        moved.set_dihedral(*dihedral, angle, indices=list(turns))
        frames.append(tag(moved, split=name, source=name, group=name, dihedral=round(float(angle), 3)))
    return frames


def bond_scan(atoms: Atoms, name: str, bond: tuple[int, int], lengths: np.ndarray) -> list[Atoms]:
    """The second atom of `bond` moved along it; lengths in Å."""
    frames = []
    for length in lengths:
        moved = atoms.copy()
        moved.set_distance(*bond, length, fix=0)
        frames.append(tag(moved, split=name, source=name, group=name, bond_length=round(float(length), 4)))
    return frames


# Atoms of ASE's ethanol: C(H3) 0, C(H2) 1, O 2, H(O) 3, H2 of C1 4 5, H3 of C0 6 7 8.
def ethanol_scans(lowest: Atoms) -> list[list[Atoms]]:
    """Hydroxyl and methyl torsion, and the O-H bond up to 3 Å."""
    return [
        torsion_scan(lowest, "torsion_hydroxyl", (0, 1, 2, 3), (3,), np.arange(0.0, 360.0, 10.0)),
        torsion_scan(lowest, "torsion_methyl", (2, 1, 0, 6), (6, 7, 8), np.arange(0.0, 120.0, 5.0)),
        bond_scan(lowest, "stretch_hydroxyl", (2, 3), np.linspace(0.75, 3.0, 46)),
    ]


def malonaldehyde() -> Atoms:
    """The hydrogen-bonded enol, before relaxation: O 0 1, C 2 3 4, H 5 (between the O), 6 7 8 (on the C)."""
    positions = [
        (-1.28, -1.10, 0), (1.29, -1.03, 0), (-1.20, 0.17, 0), (0.0, 0.88, 0), (1.22, 0.21, 0),
        (-0.40, -1.45, 0), (-2.13, 0.76, 0), (0.0, 1.96, 0), (2.15, 0.79, 0),
    ]  # fmt: skip
    return Atoms("O2C3H4", positions=positions)


def malonaldehyde_scans(lowest: Atoms) -> list[list[Atoms]]:
    """The proton's way from one O to the other (nudged elastic band on GFN2-xTB), and the C-O torsion of the OH."""
    mirrored = lowest[[1, 0, 4, 3, 2, 5, 8, 7, 6]]  # names of the two halves exchanged
    final = Atoms(numbers=lowest.numbers, positions=mirrored.positions)
    final.positions = superpose(final.positions, lowest.positions)
    images = [lowest.copy() for _ in range(20)] + [final]
    band = NEB(images, k=0.5, method="improvedtangent")
    band.interpolate(method="idpp")
    for image in images:
        image.calc = xtb()
    relaxation = BFGS(band, logfile=None)  # pyright: ignore[reportArgumentType] - optimised like a structure
    relaxation.run(fmax=0.05, steps=100)
    transfer = []
    for image in images:
        progress = image.get_distance(0, 5) - image.get_distance(1, 5)
        info = {"transfer": round(float(progress), 6)}
        transfer.append(tag(image, split="proton_transfer", source="proton_transfer", group="proton_transfer", **info))
    torsion = torsion_scan(lowest, "torsion_hydroxyl", (3, 2, 0, 5), (5,), np.arange(0.0, 360.0, 10.0))
    return [transfer, torsion]


def superpose(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Rotate (reflections allowed) and shift (N, 3) positions onto others with least squares (Kabsch)."""
    centre, target = moving.mean(0), fixed.mean(0)
    left, _, right = np.linalg.svd((moving - centre).T @ (fixed - target))
    return (moving - centre) @ left @ right + target


TORSIONS = "rigid rotation from the GFN2-xTB minimum, one full period"
MOLECULES = {
    "ethanol": Molecule(
        start=lambda: molecule("CH3CH2OH"),
        rotor=(0, 1, 2, 3),
        trajectories={"train": 20, "valid": 4, "test": 20, "hot": 6},
        scans=ethanol_scans,
        scan_sampling={
            "torsion_hydroxyl": f"torsion about C-O, {TORSIONS}",
            "torsion_methyl": f"torsion about C-C, {TORSIONS}",
            "stretch_hydroxyl": "O-H bond of the GFN2-xTB minimum set to 0.75 to 3.0 Å, all else fixed",
        },
        title="Ethanol at the level of rMD17",
        limits=("The O-H scan is restricted closed shell and does not dissociate into radicals.",),
    ),
    "malonaldehyde": Molecule(
        start=malonaldehyde,
        rotor=None,  # turned away, the hydrogen bond would not close again at 500 K
        trajectories={"train": 6, "valid": 2, "test": 3, "hot": 2},
        scans=malonaldehyde_scans,
        scan_sampling={
            "proton_transfer": "nudged elastic band on GFN2-xTB, 21 images, from one O to the other; `transfer` is the "
            "difference of the two O-H distances",
            "torsion_hydroxyl": f"torsion of the OH about C-O, {TORSIONS}; breaks the hydrogen bond",
        },
        title="Malonaldehyde, the enol with its shared proton, at the level of rMD17",
        limits=(
            "The proton-transfer path is that of GFN2-xTB, not of PBE.",
            "The barrier of GFN2-xTB to that transfer is several times that of PBE: hardly a thermal frame is halfway.",
        ),
    ),
}


def dynamics(system: Molecule, lowest: Atoms, split: str, rng: np.random.Generator) -> list[Atoms]:
    """All trajectories of one split, interleaved. Each starts with its rotor turned at random, for variety."""
    temperature = TEMPERATURES[split]
    trajectories = []
    for k in tqdm(range(system.trajectories[split]), desc=f"dynamics, {split}", unit="trajectory"):
        start = lowest.copy()
        if system.rotor is not None:
            start.set_dihedral(*system.rotor, rng.uniform(0.0, 360.0), indices=[system.rotor[-1]])
        sampled = langevin(
            start,
            temperature,
            rng=rng,
            equilibrate=EQUILIBRATE,
            every=EVERY,
            count=FRAMES_PER_TRAJECTORY,
            time_step=1.0 if temperature < 800 else 0.5,
            friction=0.02,
        )
        source = f"md-{temperature:.0f}K"
        trajectories.append(
            [tag(a, split=split, source=source, group=f"{split}-{k:02d}", temperature=temperature) for a in sampled]
        )
    return interleave(*trajectories)


def campaign(name: str) -> Campaign:
    """The campaign of one molecule."""
    system = MOLECULES[name]

    def plan(seed: int) -> list[Atoms]:
        rng = np.random.default_rng(seed)
        lowest = relaxed(system.start())
        parts = [dynamics(system, lowest, split, rng) for split in TEMPERATURES]
        return interleave(*parts, *(shuffled(scan, rng) for scan in system.scans(lowest)))

    return Campaign(name=name, oracle=ORACLE, seed=2020, plan=plan, text=card_text(name, system), checks=checks)


def shuffled(frames: Sequence[Atoms], rng: np.random.Generator) -> list[Atoms]:
    """A scan in an order whose beginning already spans it."""
    return [frames[k] for k in rng.permutation(len(frames))]


def card_text(name: str, system: Molecule) -> CardText:
    """What the card of one molecule says."""
    thermal = (
        f"Langevin dynamics on GFN2-xTB at {{:.0f}} K (friction 0.02/fs), {FRAMES_PER_TRAJECTORY} frames "
        f"{EVERY:.0f} fs apart after {EQUILIBRATE:.0f} fs; whole trajectories belong to one split"
    )
    return CardText(
        title=system.title,
        level="PBE/def2-SVP with density fitting, restricted closed shell, no dispersion, PySCF (the level of rMD17)",
        settings={
            "integration grid level (PySCF)": ORACLE.grid_level,
            "SCF energy tolerance (hartree)": ORACLE.energy_tolerance,
            "forces": "analytic, with the response of the density-functional grid",
        },
        packages=("pyscf", "tblite", "ase"),
        sampling={split: thermal.format(kelvin) for split, kelvin in TEMPERATURES.items()} | dict(system.scan_sampling),
        info_keys={
            "source": "how the geometry was made",
            "group": "frames of one trajectory or scan share it; split by it",
            "temperature": "in K, for dynamics",
            "dihedral, bond_length, transfer": "coordinate of a scan, in degrees or Å",
        },
        limits=(
            "Geometries come from another surface (GFN2-xTB); only their labels are PBE.",
            "Frames of one trajectory are correlated: slow torsions turn less often than frames are taken.",
            *system.limits,
        ),
        references=(
            "rMD17: Christensen and von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018 (2020)",
            "PBE: Perdew, Burke and Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996)",
            "def2-SVP: Weigend and Ahlrichs, Phys. Chem. Chem. Phys. 7, 3297 (2005)",
            "PySCF: Sun et al., J. Chem. Phys. 153, 024109 (2020)",
            "GFN2-xTB: Bannwarth, Ehlert and Grimme, J. Chem. Theory Comput. 15, 1652 (2019)",
        ),
        command=f"python -m scripts.data.make_rmd17_like {name}",
    )


def checks(splits: Mapping[str, Sequence[Atoms]]) -> dict[str, object]:
    """Numbers for the card: how far apart the frames are, and how they sit in energy."""
    result: dict[str, object] = {}
    reference = min(a.get_potential_energy() for frames in splits.values() for a in frames)
    for split, frames in splits.items():
        above = np.array([a.get_potential_energy() for a in frames]) - reference
        result[f"energy above the lowest frame, {split} (eV)"] = (
            f"mean {above.mean():.2f}, {above.min():.2f} to {above.max():.2f}"
        )
    return result


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in MOLECULES:
        raise SystemExit(f"usage: {sys.argv[0]} {{{','.join(MOLECULES)}}} [--workers N] [--card] [--plan]")
    raise SystemExit(run(campaign(sys.argv[1]), sys.argv[2:]))
