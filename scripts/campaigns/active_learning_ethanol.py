"""Active learning on ethanol, several seeds: dynamics at 1000 K from labels bought at will.

    python -m scripts.campaigns.active_learning_ethanol --workers 2

Every run starts from the ten cheapest of the first sixty training structures, all at 500 K, and buys three times twenty
labels of attacks from PySCF. Its rival gets sixty more of the first hundred of that set. Network, training and attacks
are those of ammonia, once as they are and once with another temperature.

That temperature was chosen with seed 100, which is in no result, mostly with GFN2-xTB for an oracle. What attacks at
1000 K, ammonia's, asked about first lay 0.2 to 0.7 eV above the minimum, where 21 vibrations bring a molecule at 500 K
anyway, and never had two hydrogens close, which is how dynamics broke. At 3000 K the first questions lay at 1 to 5 eV.
That is no matter of size: an attack weighs the energy per atom, and at 1000 K the weight of nine atoms falls by e for
0.8 eV, where their 21 vibrations hold 0.9 eV.
Frames of dynamics at 1000 K that the potential itself ran, picked by uncertainty, were no help to the one training that
tried them.
"""

from __future__ import annotations

from dataclasses import replace

import ase
import numpy as np

from scripts.campaigns.active_learning_ammonia import ATTACK, NETWORK, SETTINGS
from scripts.campaigns.active_learning_runs import Experiment, main
from uqlib.active_learning import force_mae, force_spearman
from uqlib.active_learning.measures import Measure
from uqlib.dynamics import BondLengths, ShortestDistance
from uqlib.methods import LastLayer
from uqlib.oracles import PySCFOracle
from uqlib.structures.datasets import Dataset

BONDS = ((1, 0), (2, 1), (3, 2), (4, 1), (5, 1), (6, 0), (7, 0), (8, 0))
HYDROXYL, METHYL = (0, 1, 2, 3), (2, 1, 0, 6)  # dihedral angles


def measures(data: Dataset) -> dict[str, Measure]:
    """Errors on the first structures of the test splits: the sets may still grow, these stay."""
    test, hot = data["test"].take(np.arange(100)), data["hot"].take(np.arange(30))
    return {
        "force MAE on test (eV/Å)": force_mae(test),
        "force MAE on hot (eV/Å)": force_mae(hot),
        "Spearman on hot": force_spearman(hot),
    }


def rest(data: Dataset) -> ase.Atoms:
    """Where dynamics begin: the lowest frame of the hydroxyl's rotation."""
    scan = data["torsion_hydroxyl"]
    return scan.atoms[int(scan.energies.argmin())]


def describe(atoms: ase.Atoms) -> dict[str, float]:
    """Longest bond in Å, dihedral angles of hydroxyl and methyl in degrees."""
    return {
        "longest": max(atoms.get_distance(i, j) for i, j in BONDS if 1 in atoms.numbers[[i, j]]),
        "hydroxyl": atoms.get_dihedral(*HYDROXYL),
        "methyl": atoms.get_dihedral(*METHYL),
    }


EXPERIMENT = Experiment(
    name="ethanol",
    oracle=PySCFOracle(level="pbe/def2-svp"),
    start={"train": 10, "valid": 4},
    among=60,
    labels=20,
    generations=3,
    methods={"llpr": LastLayer(network=NETWORK, settings=SETTINGS)},
    proposals={"attack": replace(ATTACK, temperature=3000.0), "attack-1000K": ATTACK},
    seeds={"llpr": {"attack": 3, "attack-1000K": 3}},
    first_seed=10,
    measures=measures,
    rest=rest,
    describe=describe,
    rules=(BondLengths(), ShortestDistance(first="H", second="H", distance=1.1)),
    temperatures=(300.0, 600.0, 1000.0),
    same=100,
)

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
