"""Make `uqlib/data/silica_vashishta`: the geometries of `silica`, two quenches more, labelled by a classical potential.

    python -m scripts.data.make_silica_vashishta     # a minute or two; needs LAMMPS's `lmp`

The geometries were sampled with the Vashishta potential, and here they get its energies, forces and stresses. That is
no electronic structure. It is a known surface on which the whole set is labelled at no cost: for looking at
structures, for trying methods on a bulk system, and for comparison with the DFT labels of `silica`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms

from scripts.data.campaign import SCRIPTS, Campaign, run
from scripts.data.cards import CardText
from scripts.data.make_silica import CAMPAIGN as SILICA
from scripts.data.make_silica import TEXT as SILICA_TEXT
from scripts.data.structure import bond_statistics
from uqlib.oracles import VashishtaOracle


@dataclass(frozen=True, kw_only=True)
class SameGeometries(Campaign):
    """A campaign with the plan of `silica`."""

    @property
    def plan_file(self) -> Path:
        return SCRIPTS / "plans" / "silica.xyz"


def checks(splits: Mapping[str, Sequence[Atoms]]) -> dict[str, object]:
    """The same structure statistics as on the card of `silica`."""
    return {f"structure of {split}": bond_statistics(frames) for split, frames in splits.items()}


TEXT = CardText(
    title="Silica, labelled by a classical potential",
    level="Vashishta potential of 1990 (classical; two- and three-body), LAMMPS. Not electronic structure",
    settings={"potential": "SiO.1990.vashishta, as it comes with LAMMPS", "stress": "eV/Å^3, positive under tension"},
    packages=("ase",),
    programs={"LAMMPS": "29 Sep 2021"},
    sampling=SILICA_TEXT.sampling,
    info_keys=SILICA_TEXT.info_keys,
    limits=(
        "The labels are those of a classical potential: no electrons, no charge transfer. Do not compare these "
        "energies or forces with experiment.",
        "The surface is simpler than that of DFT and easier to learn; errors of networks on it are too optimistic.",
        *SILICA_TEXT.limits[:1],
    ),
    references=SILICA_TEXT.references[:2],
    command="python -m scripts.data.make_silica_vashishta",
)
CAMPAIGN = SameGeometries(
    name="silica_vashishta", oracle=VashishtaOracle(), seed=SILICA.seed, plan=SILICA.plan, text=TEXT, checks=checks
)

if __name__ == "__main__":
    raise SystemExit(run(CAMPAIGN))
