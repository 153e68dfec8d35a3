"""Make `uqlib/data/silica`: amorphous SiO2 in cells of 72 atoms at PBE, with CP2K.

    python -m scripts.data.make_silica --workers 2     # everything still missing, then the cards
    python -m scripts.data.make_silica --card          # only publish what is there
    python -m scripts.data.make_silica --converge      # cut-off and SCF threshold, for the card (half an hour)

Splits: `train`, `valid`, `test` are glass at 300-1000 K and supercooled melt to 2000 K, each quench in one split only;
`melt` 3000-4500 K; `tension` to fracture; `compression` to densified glass; `crystals`. The plan holds two quenches
more, which only `make_silica_vashishta.py` labels.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from ase import Atoms
from tqdm.auto import tqdm

from scripts.data.campaign import (
    SCRIPTS,
    Campaign,
    fingerprint,
    frame_text,
    interleave,
    read_frames,
    run,
    tag,
    write_atomically,
)
from scripts.data.cards import CardText
from scripts.data.melt_quench import compression, crystals, quench, sample, simulate, tension
from scripts.data.structure import bond_statistics
from uqlib.oracles import CP2KOracle

ORACLE = CP2KOracle(data_directory="/usr/share/cp2k")
UNITS_PER_CELL = 24
QUENCHES = {"train": 8, "valid": 1, "test": 2}
TEMPERATURES = (300.0, 600.0, 1000.0, 1500.0, 2000.0)  # K, three frames of each from every quench
EXTREME_RUNS = 2
MELT = (3000.0, 3500.0, 4000.0, 4500.0)  # K
STRAINS = np.linspace(0.05, 0.60, 12)
VOLUMES = np.linspace(0.95, 0.63, 9)
CRYSTAL_FRAMES = {"quartz": 4, "cristobalite": 2, "sodalite": 4}  # at each of three temperatures
COLDEST = 600.0  # K; active learning begins with glass that is no hotter,
COLD = {"train": 12, "valid": 2}  # so many frames of it, the first of the plan
# What it is judged by comes next: a rival with as many labels of its own, and some frames of every split.
EARLY = {"train": 30, "valid": 2, "test": 4, "melt": 5, "tension": 3, "compression": 4, "crystals": 3}
SPARED = ("train-6", "train-7")  # quenches that `silica_vashishta` has and this set does without, to save half an hour


def cached(name: str, make: Callable[[], list[Atoms]]) -> list[Atoms]:
    """Frames of one run, from `labels/silica_runs/<name>.xyz` if it is there: an interrupted plan goes on."""
    path = SCRIPTS / "labels" / "silica_runs" / f"{name}.xyz"
    if not path.exists():
        write_atomically(path, "".join(frame_text(atoms) for atoms in make()))
    return read_frames(path)


def glass_run(split: str, k: int, seed: int) -> list[Atoms]:
    """One quench at a density from 2.1 to 2.3 g/cm^3, heated step by step; its frames in random order."""
    rng = np.random.default_rng([seed, list(QUENCHES).index(split), k])
    glass = quench(UNITS_PER_CELL, rng.uniform(2.1, 2.3), rng)
    frames = heated(glass, TEMPERATURES, 3, rng, kind="glass", split=split, group=f"{split}-{k}")
    return shuffled(frames, rng)


def extreme_run(k: int, seed: int) -> list[Atoms]:
    """One more quench: molten, torn apart and compressed, each from the same start; frames evenly mixed."""
    rng = np.random.default_rng([seed, len(QUENCHES), k])
    glass = quench(UNITS_PER_CELL, rng.uniform(2.1, 2.3), rng)
    melt = heated(glass, MELT, 4, rng, kind="melt", split="melt", group=f"melt-{k}")
    torn = deformed(glass, "tension", STRAINS, f"tension-{k}", rng)
    dense = deformed(glass, "compression", VOLUMES, f"compression-{k}", rng)
    return interleave(shuffled(melt, rng), shuffled(torn, rng), shuffled(dense, rng))


def crystal_run(name: str, cell: Atoms, seed: int) -> list[Atoms]:
    """One crystal at three temperatures; frames in random order."""
    rng = np.random.default_rng([seed, len(QUENCHES) + 1, len(cell)])
    frames = heated(cell, (300.0, 600.0, 1000.0), CRYSTAL_FRAMES[name], rng, kind=name, split="crystals", group=name)
    return shuffled(frames, rng)


def shuffled(frames: list[Atoms], rng: np.random.Generator) -> list[Atoms]:
    """The same frames in an order whose beginning already spans the run."""
    return [frames[i] for i in rng.permutation(len(frames))]


def heated(start: Atoms, temperatures: Sequence[float], frames: int, rng: np.random.Generator, **info: str) -> list:
    """`frames` frames 2 ps apart at each temperature (K), one after another."""
    tagged = []
    for temperature in temperatures:
        seed = int(rng.integers(1, 10**6))
        sampled = simulate(
            start, sample(temperature, frames, 2.0, seed, settle=2.0), temperature=temperature, seed=seed
        )
        start = sampled[-1]
        source = f"{info['kind']}-{temperature:.0f}K"
        tags = {"split": info["split"], "source": source, "group": info["group"]}
        tagged += [tag(atoms, **tags, temperature=temperature) for atoms in sampled]
    return tagged


def deformed(start: Atoms, name: str, amounts: np.ndarray, group: str, rng: np.random.Generator) -> list[Atoms]:
    """A glass under `tension` (strains) or `compression` (volumes relative to the start) at 300 K."""
    seed = int(rng.integers(1, 10**6))
    commands = {"tension": tension, "compression": compression}[name](amounts, seed)
    frames = simulate(start, commands, temperature=300.0, seed=seed)
    key = {"tension": "strain", "compression": "relative_volume"}[name]
    return [
        tag(atoms, split=name, source=name, group=group, temperature=300.0, **{key: round(float(amount), 4)})
        for atoms, amount in zip(frames, amounts, strict=True)
    ]


def plan(seed: int) -> list[Atoms]:
    """All geometries, every split and every quench evenly mixed."""
    runs: dict[str, Callable[[], list[Atoms]]] = {}
    for k in range(max(QUENCHES.values())):
        for split in QUENCHES:
            if k < QUENCHES[split]:
                runs[f"{split}-{k}"] = partial(glass_run, split, k, seed)
        if k < EXTREME_RUNS:
            runs[f"extreme-{k}"] = partial(extreme_run, k, seed)
    for name, cell in crystals().items():
        runs[f"crystal-{name}"] = partial(crystal_run, name, cell, seed)
    return interleave(*(cached(name, make) for name, make in tqdm(runs.items(), desc="classical runs", unit="run")))


def urgency(frames: Sequence[Atoms]) -> list[int]:
    """The order of labelling: what active learning begins with, what it is judged by, the plan."""
    cold, early, ranks = dict(COLD), dict(EARLY), []
    for atoms in frames:
        split = atoms.info["split"]
        first = cold.get(split, 0) > 0 and atoms.info["temperature"] <= COLDEST
        ranks.append(0 if first else 1 if early.get(split, 0) > 0 else 2)
        cold[split] = cold.get(split, 0) - first
        early[split] = early.get(split, 0) - 1
    return sorted(range(len(frames)), key=lambda k: ranks[k])


def converge() -> None:
    """How labels move with what the oracle can be set to, for the card: a glass, a melt, and the two labelled frames
    whose forces cancel least, which are asked only whether they are worse than others."""
    frames = read_frames(SCRIPTS / "plans" / "silica.xyz")
    reference = replace(ORACLE, cutoff=1000.0, relative_cutoff=50.0, screening=1e-10, scf_threshold=1e-5)
    label = f"as labelled ({ORACLE.cutoff:.0f} Ry)"
    variants = {
        label: ORACLE,
        "400 Ry": replace(ORACLE, cutoff=400.0),
        "600 Ry": replace(ORACLE, cutoff=600.0),
        "relative cut-off 50 Ry, EPS_DEFAULT 1e-10": replace(ORACLE, relative_cutoff=50.0, screening=1e-10),
        "EPS_SCF 1e-5": replace(ORACLE, scf_threshold=1e-5),
        "electrons at 500 K": replace(ORACLE, electronic_temperature=500.0),
    }
    cases = [(atoms, {label: ORACLE}) for atoms in sorted(CAMPAIGN.labels().values(), key=net_force)[-2:]]
    for split in ("melt", "train"):
        cases.insert(0, (next(atoms for atoms in frames if atoms.info["split"] == split), variants))
    result: dict[str, dict[str, dict[str, float]]] = {}
    for frame, tried in tqdm(cases, desc="convergence", unit="frame"):
        best = labelled_once(reference, frame)
        for name, oracle in tried.items():
            labelled = labelled_once(oracle, frame)
            energy = (labelled.get_potential_energy() - best.get_potential_energy()) / len(frame)
            force = np.sqrt(((labelled.get_forces() - best.get_forces()) ** 2).mean())
            result.setdefault(f"{frame.info['source']}, {frame.info['group']}", {})[name] = {
                "energy (meV/atom)": round(1000 * energy, 3),
                "force RMSE (meV/Å)": round(1000 * force, 2),
                "largest stress difference (eV/Å^3)": round(np.abs(labelled.get_stress() - best.get_stress()).max(), 6),
                "net force, largest component (eV/Å)": round(net_force(labelled), 3),
                "the same of the reference (eV/Å)": round(net_force(best), 3),
            }
    against = {"against": "1000 Ry, relative cut-off 50 Ry, EPS_DEFAULT 1e-10, EPS_SCF 1e-5"}
    text = json.dumps({**against, **result}, indent=2, ensure_ascii=False)
    write_atomically(SCRIPTS / "agreement" / "silica_convergence.json", text + "\n")


def net_force(atoms: Atoms) -> float:
    """The largest component of the sum of all forces, eV/Å: zero, were there no grid."""
    return float(np.abs(atoms.get_forces().sum(axis=0)).max())


def labelled_once(oracle: CP2KOracle, frame: Atoms) -> Atoms:
    """The label of a frame by an oracle, kept in `labels/silica_convergence`: an interrupted test goes on."""
    key = hashlib.sha256(f"{oracle} {fingerprint(frame)}".encode()).hexdigest()[:12]
    path = SCRIPTS / "labels" / "silica_convergence" / f"{key}.xyz"
    if not path.exists():
        write_atomically(path, frame_text(oracle.label(frame)))
    return read_frames(path)[0]


def checks(splits: Mapping[str, Sequence[Atoms]]) -> dict[str, object]:
    """Numbers for the card: coordination, angles and neighbour distances, and the convergence test."""
    result: dict[str, object] = {f"structure of {split}": bond_statistics(frames) for split, frames in splits.items()}
    saved = SCRIPTS / "agreement" / "silica_convergence.json"
    if saved.exists():
        result["convergence"] = json.loads(saved.read_text(encoding="utf-8"))
    return result


@dataclass(frozen=True, kw_only=True)
class Silica(Campaign):
    """The plan is that of `silica_vashishta`, too, which has all of it."""

    def planned(self) -> list[Atoms]:
        return [atoms for atoms in super().planned() if atoms.info["group"] not in SPARED]


GLASS = (
    f"melt-quench with the Vashishta potential (independent quenches, {3 * UNITS_PER_CELL} atoms, 2.1 to 2.3 g/cm^3), "
    "then dynamics at 300, 600, 1000 K (glass) and 1500, 2000 K (supercooled melt), frames 2 ps apart; a quench is a "
    "group"
)
TEXT = CardText(
    title="Silica: glass, melt, fracture and crystals",
    level="PBE/DZVP-MOLOPT-SR-GTH, GTH pseudopotentials, Gamma point, no dispersion, CP2K",
    settings={
        "plane-wave cut-off (Ry)": ORACLE.cutoff,
        "relative cut-off (Ry)": ORACLE.relative_cutoff,
        "plane-wave grids": "6, each of half the cut-off of the one before",
        "SCF threshold (EPS_SCF)": ORACLE.scf_threshold,
        "screening (EPS_DEFAULT)": ORACLE.screening,
        "electronic temperature (K)": ORACLE.electronic_temperature,
        "energy": "free energy of the electrons, whose derivatives forces and stress are",
        "SCF": "diagonalisation; Broyden mixing on a coarse grid (250 Ry), then DIIS on the fine one",
        "stress": "analytic; eV/Å^3, positive under tension",
    },
    packages=("ase",),
    programs={"CP2K": "2023.1"},
    sampling={
        "train": GLASS,
        "valid": GLASS,
        "test": GLASS,
        "melt": "3000 to 4500 K, from two further quenches heated step by step, frames 2 ps apart",
        "tension": f"x stretched at 300 K in steps of 5 ps, strains {STRAINS[0]:.2f} to {STRAINS[-1]:.2f}, no "
        "contraction across",
        "compression": f"cell shrunk evenly at 300 K in steps of 5 ps, to {VOLUMES[-1]:.2f} of its volume",
        "crystals": "alpha-quartz (2x2x2), alpha-cristobalite (2x2x2, 96 atoms) and the SOD framework (36 atoms) at "
        "experimental cells, 300, 600 and 1000 K",
    },
    info_keys={
        "source": "how the geometry was made, with the temperature",
        "group": "frames of one quench or run share it; split by it",
        "temperature": "in K",
        "strain, relative_volume": "of the deformed glasses, relative to their start",
    },
    limits=(
        "Geometries come from a classical potential and very fast quenches: more defects than in real glass.",
        "Gamma point only, cells of about 10 Å: energies of cells of different shape do not compare to the last meV.",
        "The stress is that of the printed basis and cut-off, without a correction for changing plane-wave sets.",
    ),
    references=(
        "Vashishta et al., Phys. Rev. B 41, 12197 (1990), LAMMPS file SiO.1990.vashishta",
        "LAMMPS: Thompson et al., Comput. Phys. Commun. 271, 108171 (2022)",
        "CP2K: Kühne et al., J. Chem. Phys. 152, 194103 (2020)",
        "MOLOPT basis: VandeVondele and Hutter, J. Chem. Phys. 127, 114105 (2007)",
        "GTH: Goedecker, Teter and Hutter, Phys. Rev. B 54, 1703 (1996)",
        "PBE: Perdew, Burke and Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996)",
    ),
    command="python -m scripts.data.make_silica",
)
CAMPAIGN = Silica(name="silica", oracle=ORACLE, seed=2305, plan=plan, text=TEXT, checks=checks, urgency=urgency)

if __name__ == "__main__":
    if sys.argv[1:] == ["--converge"]:
        converge()
    else:
        raise SystemExit(run(CAMPAIGN))
