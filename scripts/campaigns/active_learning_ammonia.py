"""Active learning on ammonia, several seeds: does it pay to ask the uncertainty where to spend a label?

    python -m scripts.campaigns.active_learning_ammonia --workers 2

Every run starts from the six cheapest structures of the training set, all near the pyramidal minimum, and buys
three times ten labels from PySCF.

The settings were chosen with other seeds, 0 to 4, 100 and 101, which are in no result. Attacks at 700 K ended on
copies of a few geometries; those at 1000 K that offer stages of their way as well do not, and pick labels 0.3 to 2.8
eV above the minimum. Random displacements of 0.1 Å cost up to 3 eV at once, hence 0.07 Å. New labels go to the
training set alone: in a small validation set, two extreme geometries stop trainings after a third of their epochs.

Four settings were changed after first rounds of runs: from twenty structures, with trainings of 100 epochs and the six
most uncertain candidates of each generation. Trained so briefly the network did not fit the large forces of new labels,
and paid for the attempt with what it had known; three times as many epochs on the same labels brought the force error
on the inversion path from 15 to 96 meV/Å down to 6 to 32. A start with twenty structures leaves an error of the barrier
that is noise, 3 to 31 meV. The most uncertain candidates lie in holes of up to 7 eV, from which the network learns
little: "attack" now takes them from all ranks of uncertainty, "attack-highest" does as before. (With everything else
changed, the two end alike.) And six labels a generation left a noise of 30 meV in the barrier.
"""

from __future__ import annotations

from dataclasses import replace

import ase
import numpy as np

from scripts.campaigns.active_learning_runs import Experiment, main
from uqlib.active_learning import Attacked, Displaced, barrier_error, energy_mae, force_mae, force_spearman
from uqlib.active_learning.measures import Measure
from uqlib.dynamics import BondLengths, ShortestDistance
from uqlib.methods import Ensemble, LastLayer
from uqlib.networks.training import Settings
from uqlib.oracles import PySCFOracle
from uqlib.structures.datasets import Dataset

NETWORK = {"features": 64, "interactions": 2}
SETTINGS = Settings(epochs=250, batch_size=5, learning_rate=5e-3, schedule="cosine", patience=250, clip=1.0)
ATTACK = Attacked(
    temperature=1000.0,
    steps=40,
    learning_rate=0.01,
    displacement=0.05,
    stages=4,
    oversampling=12,
    percentile=50.0,
    choose="spread",
)


def measures(data: Dataset) -> dict[str, Measure]:
    """The barrier, and errors on the path and the test splits."""
    return {
        "barrier error (eV)": barrier_error(data["path"]),
        "force MAE on the path (eV/Å)": force_mae(data["path"]),
        "force MAE on test (eV/Å)": force_mae(data["test"]),
        "force MAE on hot (eV/Å)": force_mae(data["hot"]),
        "energy MAE on the grid (eV/atom)": energy_mae(data["grid"]),
        "Spearman on hot": force_spearman(data["hot"]),
    }


def rest(data: Dataset) -> ase.Atoms:
    """The pyramidal minimum: the first frame of the inversion path."""
    return data["path"].atoms[0]


def describe(atoms: ase.Atoms) -> dict[str, float]:
    """Umbrella height and N-H distances in Å."""
    nitrogen, *hydrogens = atoms.positions
    normal = np.cross(hydrogens[1] - hydrogens[0], hydrogens[2] - hydrogens[0])
    bonds = atoms.get_distances(0, [1, 2, 3])
    return {
        "umbrella": (nitrogen - np.mean(hydrogens, axis=0)) @ normal / np.linalg.norm(normal),
        "bond": bonds.mean(),
        "longest": bonds.max(),
    }


EXPERIMENT = Experiment(
    name="ammonia",
    oracle=PySCFOracle(level="bp86-d3/def2-svp"),
    start={"train": 6, "valid": 3},
    among=80,
    labels=10,
    generations=3,
    methods={
        "llpr": LastLayer(network=NETWORK, settings=SETTINGS),
        "ensemble": Ensemble(members=3, network=NETWORK, settings=SETTINGS),
    },
    proposals={
        "attack": ATTACK,
        "attack-highest": replace(ATTACK, choose="highest"),
        "random": Displaced(scale=0.07),
    },
    seeds={
        "llpr": {"attack": 5, "attack-highest": 5, "random": 5},
        "ensemble": {"attack": 3, "random": 3},
    },
    first_seed=10,  # those below were looked at while the settings were chosen
    measures=measures,
    rest=rest,
    describe=describe,
    rules=(BondLengths(), ShortestDistance(first="H", second="H", distance=1.1)),
    temperatures=(300.0, 600.0, 1000.0),
)

if __name__ == "__main__":
    main(EXPERIMENT, __doc__)
